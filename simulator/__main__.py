"""`python -m simulator --fleet FILE [--kubeconfig OUT] [--speed N] [--data DIR]`: members until SIGINT/SIGTERM."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click

from shared import fleet as fleet_file
from shared.clock import Clock
from shared.errors import BrimError
from simulator.members import run_members, write_kubeconfig


@click.command()
@click.option("--fleet", "fleet_path", required=True, type=click.Path(path_type=Path), help="The fleet file.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Write a kubeconfig for all members here.")
@click.option("--speed", default=1.0, show_default=True, help="Fleet seconds per real second.")
@click.option("--data", type=click.Path(path_type=Path), help="Keep the members' state in this folder.")
def main(fleet_path: Path, kubeconfig: Path | None, speed: float, data: Path | None) -> None:
    """Run the simulated members of a fleet file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        asyncio.run(serve(fleet_file.load(fleet_path), Clock(speed=speed), kubeconfig, data))
    except BrimError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


async def serve(fleet: fleet_file.Fleet, clock: Clock, kubeconfig: Path | None, data: Path | None) -> None:
    """Run until a signal asks to stop."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with run_members(fleet, clock, data) as running:
        if kubeconfig is not None:
            write_kubeconfig(running, kubeconfig)
        for member in running.values():
            click.echo(f"{member.member.id}\t{member.url}")
        await stopped.wait()


if __name__ == "__main__":
    main()
