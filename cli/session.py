"""What every command shares: its options, its connection, and how it prints."""

from __future__ import annotations

import functools
import getpass
import json
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import anyio
import click
import yaml
from pydantic import JsonValue

from cli import connection, manifests
from cli.connection import Target
from shared import logs, telemetry
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts.outcome import FieldFault
from shared.contracts.submit import Answer
from shared.documents import Document
from shared.errors import BusUnavailable, Fault, Invalid, NotPermitted
from shared.settings import LogSettings, load

P = ParamSpec("P")
T = TypeVar("T")
Form = Literal["json", "yaml"]

INTAKE = 30.0  # seconds for an answer of the intake
UNSERVED = 5.0  # seconds in which a service must be there
ASK_AGAIN = 0.1  # seconds between two questions until it is


def who() -> str:
    """Whoever runs this command, as the system names them. In containers a user may have no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return f"uid {os.getuid()}"


@dataclass(frozen=True, slots=True)
class Session:
    """One command's connection to one brim."""

    bus: Bus
    clock: Clock
    target: Target

    @property
    def now(self) -> float:
        """Fleet time, Unix seconds."""
        return self.clock.now()

    async def submit(self, subject: str, payload: bytes, documents: Sequence[Document] = ()) -> Answer:
        """Ask the intake. documents: what the payload was made of, for places in faults.

        Raises Invalid with every fault, where it found any: then nothing was accepted.
        """
        answer = Answer.decode(await self.ask(subject, payload, timeout=INTAKE))
        raise_faults(manifests.located(answer.faults, documents))
        return answer

    async def ask(self, subject: str, payload: bytes, *, timeout: float) -> bytes:
        """A service's answer. One that starts just now is waited for: nobody has seen the question, so that it may be
        asked again. Raises BusUnavailable where none serves it within a few seconds."""
        told, deadline = False, anyio.current_time() + UNSERVED
        while True:
            try:
                return await self.bus.request(subject, payload, timeout=timeout)
            except BusUnavailable as error:
                if error.code != "NotServed" or anyio.current_time() >= deadline:
                    raise
            if not told and anyio.current_time() >= deadline - UNSERVED + connection.NOTICE:
                told = True
                warn(f"Waiting for a service that answers on {subject} …")
            await anyio.sleep(ASK_AGAIN)


def raise_faults(faults: Iterable[FieldFault]) -> None:
    found = [Fault(fault.object, fault.field, fault.message, fault.code) for fault in faults]
    if found:
        raise Invalid(found)


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--server and --data."""
    command = click.option("--server", metavar="URL", help="NATS server of the brim that is meant.")(command)
    return click.option(
        "--data",
        type=click.Path(file_okay=False, path_type=Path),
        help="Data folder of the `brim up` that is meant; .brim by default.",
    )(command)


def connected(command: Callable[Concatenate[Session, P], Awaitable[None]]) -> Callable[..., None]:
    """Make an async function, whose first argument is the session, the body of a click command."""

    @target_options
    @functools.wraps(command)
    def body(server: str | None, data: Path | None, *args: P.args, **kwargs: P.kwargs) -> None:
        run_connected(target_of(server, data), lambda session: command(session, *args, **kwargs))

    return body


def target_of(server: str | None, data: Path | None) -> Target:
    """The brim that --server, --data and the settings mean. Raises Misconfigured."""
    return connection.find(load(), server=server, data=data)


def run_connected(target: Target, use: Callable[[Session], Awaitable[T]]) -> T:
    """Run one coroutine with a session of its own, and return its result."""

    context = click.get_current_context(silent=True)
    name = context.command_path if context is not None else "brim"

    async def run() -> T:
        async with (
            telemetry.command(target.settings.telemetry, name, {"enduser.id": who()}, warn),
            connection.connect(target) as bus,
        ):
            with _telling_of_the_bus():
                return await use(Session(bus, target.clock, target))

    return anyio.run(run)


class _Told(logging.Handler):
    """What the bus logs, as plain lines: a command that goes on must not fall silent where the server is away."""

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "code", "") != NotPermitted.code:  # the command fails with these very words
            warn(record.getMessage())


@contextmanager
def _telling_of_the_bus() -> Iterator[None]:
    log, handler = logging.getLogger("brim.bus"), _Told(logging.INFO)
    before = log.level
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(before)


def output_option(*forms: str, otherwise: str = "a table") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """-o. otherwise: what is printed without it."""
    return click.option("-o", "--output", type=click.Choice(forms), help=f"Form of the output; {otherwise} by default.")


def log_level_option(default: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--log-level, for the commands that run services in this process."""
    return click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default=default,
        show_default=True,
        envvar="BRIM_LOG__LEVEL",
        help="What the services log on standard error.",
    )


def setup_logs(settings: LogSettings, level: str) -> None:
    logs.setup(LogSettings.model_validate({**settings.model_dump(), "level": level}))


def echo_as(form: str, value: JsonValue) -> None:
    """Print a value as JSON or YAML; keys keep their order, so that output is stable."""
    if form == "json":
        click.echo(json.dumps(value, indent=2, ensure_ascii=False))
    else:
        click.echo(yaml.safe_dump(value, sort_keys=False, allow_unicode=True), nl=False)


def warn(message: str) -> None:
    click.echo(message, err=True)
