"""`brim up`: a whole brim on this machine, until it is told to stop."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from importlib import resources
from pathlib import Path
from typing import TextIO

import anyio

from cli import connection, reading
from cli.connection import Connection
from cli.running import Brim, join_members, run_brim
from shared import fleet as fleet_file
from shared import nats_server, telemetry
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts.cluster import strangers
from shared.errors import Misconfigured
from shared.fleet import Fleet
from shared.service import STOP_SIGNALS
from shared.settings import Settings

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

CLOCK_FILE = "clock.json"
LOCK_FILE = "lock"
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


async def up(
    settings: Settings, fleet: Fleet, folder: Path, speed: float | None, *, say: Callable[[str], None]
) -> None:
    """Run until SIGINT or SIGTERM. `say` is told what happens, what listens where, and what to do next.

    speed: of the clock, for a folder that is new. Raises Misconfigured where brim runs in the folder already.
    """
    with claimed(folder), anyio.open_signal_receiver(*STOP_SIGNALS) as signals:
        clock = clock_of(folder, speed)
        say(f"Starting {_parts(settings, fleet)} …")
        async with telemetry.exporting(settings.telemetry, service="up"), AsyncExitStack() as stack:
            brim = await stack.enter_async_context(run_brim(settings, clock, fleet, folder))
            bus = await stack.enter_async_context(Bus.connect(brim.settings.bus, name="up"))
            await bus.ensure_streams()
            await join_members(bus, brim)
            await brim.ready()
            connection.write(folder, _connection(brim))
            stack.callback(connection.remove, folder)
            left = strangers(await reading.clusters(bus), {member.id for member in fleet.members})
            for line in [*introduction(brim, folder), *(["", left] if left else [])]:
                say(line)
            async for _ in signals:
                say("Stopping …")
                break
    say(f"Stopped. `brim up{connection.data_option(folder)}` goes on from here.")


def _parts(settings: Settings, fleet: Fleet) -> str:
    simulated = sum(member.simulated is not None for member in fleet.members)
    parts = ["a NATS server"] if nats_server.needed(settings.bus) else []
    parts += [f"{simulated} simulated member{'s' if simulated > 1 else ''}"] if simulated else []
    return ", ".join([*parts, "four services"])


def _connection(brim: Brim) -> Connection:
    return Connection(
        server=brim.settings.bus.urls[0],
        kubeconfig=brim.kubeconfig,
        speed=brim.clock.speed,
        epoch=brim.clock.epoch,
        pid=os.getpid(),
    )


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Hold a folder while the block runs: two servers on one folder would spoil it.

    The lock goes with this process, however it ends. Raises Misconfigured where another holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK_FILE).open("w", encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"folder {folder} cannot be used: {error.strerror}; choose another with --data") from None
    with lock:
        if not _locked(lock):
            known = connection.read(folder)
            process = f" (process {known.pid})" if known is not None and known.pid else ""
            raise Misconfigured(
                f"brim already runs in {folder}{process}: stop it, or choose another folder with --data"
            )
        yield


def _locked(file: TextIO) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


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
    width = max((len(name) for name in brim.members), default=0)
    lines += [f"  member      {name:<{width}}  {member.url}" for name, member in brim.members.items()]
    option = connection.data_option(folder)
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
