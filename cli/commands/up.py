"""`brim up`: everything in one process."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import click

from cli import up as running
from cli.connection import require_address
from cli.options import Speed
from cli.session import log_level_option, setup_logs
from shared.settings import load


@click.command()
@click.option(
    "--fleet", type=click.Path(dir_okay=False, path_type=Path), help="Fleet file; a hybrid example by default."
)
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Folder for all state; .brim by default."
)
@click.option("--server", metavar="URL", help="Use this NATS server instead of an embedded one.")
@click.option(
    "--speed",
    type=Speed(),
    envvar="BRIM_CLOCK__SPEED",
    help="Fleet seconds per second; 1 by default.",
)
@log_level_option("warning")
def up(fleet: Path | None, data: Path | None, server: str | None, speed: float | None, log_level: str) -> None:
    """Run brim here: a NATS server, the simulated members of the fleet, and all services, until Ctrl-C.

    State survives a restart. Other brim commands in this folder find it without options.

    \b
    Examples:
      brim up
      brim up --fleet my-fleet.yaml --data /var/lib/brim
      brim up --speed 30
    """
    settings = load()
    if server is not None:
        require_address(server, "--server")
        settings = settings.model_copy(update={"bus": settings.bus.model_copy(update={"url": server})})
    setup_logs(settings.log, log_level)
    folder = data or settings.data
    chosen = running.load_fleet(fleet or settings.fleet)
    anyio.run(
        lambda: running.up(settings, chosen, folder, speed, say=click.echo),
        backend_options={"use_uvloop": sys.platform != "win32"},
    )
