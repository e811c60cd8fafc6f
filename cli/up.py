"""`brim up`: a whole brim on this machine, until it is told to stop."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib import resources
from pathlib import Path

import anyio

from cli import connection
from cli.connection import Connection
from cli.running import Brim, join_members, run_brim
from shared import fleet as fleet_file
from shared.bus import Bus
from shared.clock import Clock
from shared.errors import Misconfigured
from shared.fleet import Fleet
from shared.service import STOP_SIGNALS
from shared.settings import Settings

CLOCK_FILE = "clock.json"
DEFAULT_FLEET = "hybrid.yaml"


def example(name: str) -> str:
    """The text of one of the packaged examples."""
    return resources.files("examples").joinpath(name).read_text(encoding="utf-8")


def load_fleet(path: Path | None) -> Fleet:
    """The fleet of a file, or the hybrid example. Raises Misconfigured, Invalid."""
    if path is not None:
        return fleet_file.load(path)
    return fleet_file.parse(example(DEFAULT_FLEET), source=f"examples/{DEFAULT_FLEET}")


def clock_of(folder: Path, speed: float | None) -> Clock:
    """The folder's clock, which goes on where it is: fleet time never jumps back when brim starts again.

    Raises Misconfigured for another speed than the folder was begun with.
    """
    file = folder / CLOCK_FILE
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        clock = Clock(speed=float(known["speed"]), epoch=float(known["epoch"]))
    except FileNotFoundError:
        clock = Clock(speed=1.0 if speed is None else speed, epoch=time.time())
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"speed": clock.speed, "epoch": clock.epoch}) + "\n", encoding="utf-8")
        return clock
    except (OSError, ValueError, KeyError, TypeError):
        raise Misconfigured(f"{file} cannot be read: remove it, or choose another folder with --data") from None
    if speed is not None and speed != clock.speed:
        raise Misconfigured(
            f"time in {folder} runs at speed {clock.speed:g}, and cannot be changed to {speed:g}: "
            "leave --speed out, or choose another folder with --data"
        )
    return clock


async def up(settings: Settings, fleet: Fleet, folder: Path, clock: Clock, *, say: Callable[[str], None]) -> None:
    """Run until SIGINT or SIGTERM. `say` is told what listens where, and what to do next."""
    refuse_second(folder)
    with anyio.open_signal_receiver(*STOP_SIGNALS) as signals:
        async with AsyncExitStack() as stack:
            brim = await stack.enter_async_context(run_brim(settings, clock, fleet, folder))
            bus = await stack.enter_async_context(Bus.connect(brim.settings.bus, name="up"))
            await bus.ensure_streams()
            await join_members(bus, brim)
            await brim.ready()
            connection.write(folder, _connection(brim))
            stack.callback(connection.remove, folder)
            for line in introduction(brim, folder):
                say(line)
            async for _ in signals:
                say("Stopping …")
                break
    say("Stopped. `brim up` goes on from here.")


def _connection(brim: Brim) -> Connection:
    return Connection(
        server=brim.settings.bus.urls[0],
        kubeconfig=brim.kubeconfig,
        speed=brim.clock.speed,
        epoch=brim.clock.epoch,
        pid=os.getpid(),
    )


def refuse_second(folder: Path) -> None:
    """Two servers on one folder would spoil it. Raises Misconfigured."""
    known = connection.read(folder)
    if known is None or known.pid in (0, os.getpid()):
        return
    try:
        os.kill(known.pid, 0)
    except OSError:
        return
    raise Misconfigured(
        f"brim already runs in {folder} (process {known.pid}): stop it, or choose another folder with --data"
    )


def introduction(brim: Brim, folder: Path) -> list[str]:
    """What a person sees once everything is ready."""
    speed = brim.clock.speed
    lines = [
        f"brim is up: {len(brim.fleet.members)} members, state in {folder}"
        + (f"; time runs {speed:g} times as fast" if speed != 1 else ""),
        f"  NATS        {brim.settings.bus.shown}",
    ]
    if brim.kubeconfig is not None:
        lines.append(f"  kubeconfig  {brim.kubeconfig}")
    lines += [f"  member      {name}  {member.url}" for name, member in brim.members.items()]
    option = "" if folder == Path(".brim") else f" --data {folder}"
    lines += [
        "",
        "In another terminal:",
        f"  brim get clusters{option}",
        f"  brim apply -f FILE{option} --wait",
    ]
    if brim.kubeconfig is not None:
        first = next(iter(brim.members))
        lines.append(f"  KUBECONFIG=$(brim kubeconfig{option}) kubectl --context {first} get nodes")
    return [*lines, "", "Ctrl-C stops it; its state stays."]
