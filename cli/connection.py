"""How a command finds brim: an address on the command line, in the environment, or in the data folder.

`brim up` writes `connection.json` into its data folder while it runs, so that every other command in the same
folder needs no options.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import click
from pydantic import BaseModel, ConfigDict, ValidationError

from shared.bus import Bus
from shared.clock import Clock
from shared.errors import BusUnavailable, Misconfigured
from shared.settings import Settings

FILE = "connection.json"
CONNECT = 5.0  # seconds until a server that does not answer is given up
NOTICE = 1.0  # seconds until a person is told what is waited for
SCHEMES = ("nats", "tls", "ws", "wss")


class Connection(BaseModel):
    """What `brim up` says of itself. kubeconfig: of the simulated members, if there are any."""

    model_config = ConfigDict(frozen=True)

    server: str
    kubeconfig: Path | None = None
    speed: float = 1.0
    epoch: float = 0.0
    pid: int = 0

    @property
    def clock(self) -> Clock:
        return Clock(speed=self.speed, epoch=self.epoch)


@dataclass(frozen=True, slots=True)
class Target:
    """Which brim a command means. source: where the address came from, for error messages."""

    settings: Settings
    clock: Clock
    kubeconfig: Path | None
    source: str


def find(settings: Settings, *, server: str | None, data: Path | None) -> Target:
    """The brim to talk to. Raises Misconfigured where nothing says which."""
    folder = data or settings.data
    known = read(folder)
    if server is not None:
        require_address(server, "--server")
    if server is None and (settings.bus.url or os.environ.get("NATS_URL")):
        clock = known.clock if known is not None and data is not None else settings.clock.clock()
        return Target(settings, clock, settings.kubeconfig, "the environment")
    if server is None and known is None:
        raise Misconfigured(
            f"no brim runs in {folder}: start one with `brim up`, or name a NATS server with --server nats://HOST:PORT"
        )
    if server is None and known is not None and not alive(known.pid):
        raise Misconfigured(
            f"brim no longer runs in {folder}: its process {known.pid} ended without a word; "
            f"start it again with `brim up{data_option(folder)}`"
        )
    bus = settings.bus.model_copy(update={"url": server or (known.server if known else "")})
    same = known is not None and server in (None, known.server)
    return Target(
        settings.model_copy(update={"bus": bus}),
        known.clock if known is not None and same else settings.clock.clock(),
        known.kubeconfig if known is not None and same else settings.kubeconfig,
        "--server" if server else str(folder / FILE),
    )


def require_address(text: str, source: str) -> None:
    """Raises Misconfigured for what no NATS client could use."""
    for part in filter(None, (part.strip() for part in text.split(","))):
        scheme, separator, _ = part.partition("://")
        address = urlsplit(part if separator else f"nats://{part}")
        try:
            usable = bool(address.hostname) and (address.port or 1) > 0
        except ValueError:
            usable = False
        if not usable or (separator and scheme not in SCHEMES):
            raise Misconfigured(f"{source} {part!r} is no address of a NATS server: give one such as nats://HOST:4222")


def alive(pid: int) -> bool:
    """Whether a process runs. 0 is one that nobody knows, and counts as running."""
    if pid == 0:
        return True
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


def data_option(folder: Path) -> str:
    """What a command needs to find a brim there: nothing where it looks by itself."""
    return "" if folder == Path(".brim") else f" --data {folder}"


def read(folder: Path) -> Connection | None:
    """What lies in a data folder; None where no brim runs. Raises Misconfigured for a file that is broken."""
    file = folder / FILE
    try:
        return Connection.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise Misconfigured(
            f"{file} cannot be read ({type(error).__name__}): remove it and start `brim up` again"
        ) from None


def write(folder: Path, connection: Connection) -> None:
    """Put it there in one piece: a reader sees the old file or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f".{FILE}"
    unfinished.write_text(connection.model_dump_json(indent=2) + "\n", encoding="utf-8")
    unfinished.replace(folder / FILE)


def remove(folder: Path) -> None:
    (folder / FILE).unlink(missing_ok=True)


@asynccontextmanager
async def connect(target: Target, *, timeout: float = CONNECT) -> AsyncIterator[Bus]:
    """A bus for one command. Raises BusUnavailable when no server answers within `timeout` seconds."""
    where = target.settings.bus.shown
    patience = asyncio.get_running_loop().call_later(
        NOTICE, lambda: click.echo(f"Waiting for the NATS server at {where} …", err=True)
    )
    entering = Bus.connect(target.settings.bus, name="cli")
    try:
        with anyio.fail_after(timeout):
            bus = await entering.__aenter__()
    except TimeoutError:
        raise BusUnavailable(
            f"no NATS server answers at {where} (named by {target.source}): is brim running? `brim up` starts it"
        ) from None
    finally:
        patience.cancel()
    try:
        yield bus
    finally:
        await entering.__aexit__(None, None, None)
