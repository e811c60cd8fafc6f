"""`python -m simulator --fleet FILE`: the simulated members of a fleet file, until SIGINT or SIGTERM.

Where services run elsewhere (in containers of their own), `--listen` and `--name` make members reachable for them, and
`--port` and `--data` let a restarted simulator be found again, as it was.
"""

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
from simulator.server import Address


@click.command()
@click.option("--fleet", "fleet_path", required=True, type=click.Path(path_type=Path), help="The fleet file.")
@click.option("--kubeconfig", type=click.Path(path_type=Path), help="Write a kubeconfig for all members here.")
@click.option("--speed", default=1.0, show_default=True, help="Fleet seconds per real second.")
@click.option("--epoch", type=float, help="When fleet time and real time agree, as Unix seconds; else now.")
@click.option("--data", type=click.Path(path_type=Path), help="Keep the members' state in this folder.")
@click.option("--listen", default="127.0.0.1", show_default=True, help="The address that the API servers listen on.")
@click.option("--name", help="The host name in the kubeconfig, where it is another than that address.")
@click.option("--port", default=0, help="Of the first member; the others have the ports that follow. 0: free ones.")
def main(
    fleet_path: Path,
    kubeconfig: Path | None,
    speed: float,
    epoch: float | None,
    data: Path | None,
    listen: str,
    name: str | None,
    port: int,
) -> None:
    """Run the simulated members of a fleet file."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        clock = Clock(speed=speed) if epoch is None else Clock(speed=speed, epoch=epoch)
        fleet = fleet_file.load(fleet_path)
        asyncio.run(serve(fleet, clock, kubeconfig, data, Address(listen, name or listen, port)))
    except BrimError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


async def serve(
    fleet: fleet_file.Fleet, clock: Clock, kubeconfig: Path | None, data: Path | None, first: Address
) -> None:
    """Run until a signal asks to stop. first: the address of the first member."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with run_members(fleet, clock, data, first) as running:
        if kubeconfig is not None:
            write_kubeconfig(running, kubeconfig)
        for member in running.values():
            click.echo(f"{member.member.id}\t{member.url}")
        await stopped.wait()


if __name__ == "__main__":
    main()
