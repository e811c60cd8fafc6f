"""What every command shares: its options, its connection, and how it prints."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

import anyio
import click
import yaml
from pydantic import JsonValue

from cli import connection
from cli.connection import Target
from shared import logs
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts.outcome import FieldFault
from shared.contracts.submit import Answer
from shared.errors import BrimError, Fault, Invalid
from shared.settings import LogSettings, load

P = ParamSpec("P")
T = TypeVar("T")
Form = Literal["json", "yaml"]

INTAKE = 30.0  # seconds for an answer of the intake


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

    async def submit(self, subject: str, payload: bytes) -> Answer:
        """Ask the intake. Raises Invalid with every fault, where it found any: then nothing was accepted."""
        answer = Answer.decode(await self.bus.request(subject, payload, timeout=INTAKE))
        raise_faults(answer.faults)
        return answer


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
        target = connection.find(load(), server=server, data=data)
        run_connected(target, lambda session: command(session, *args, **kwargs))

    return body


def run_connected(target: Target, use: Callable[[Session], Awaitable[T]]) -> T:
    """Run one coroutine with a session of its own, and return its result."""

    async def run() -> T:
        async with connection.connect(target) as bus:
            return await use(Session(bus, target.clock, target))

    return anyio.run(run)


def output_option(*forms: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option("-o", "--output", type=click.Choice(forms), help="Form of the output; a table by default.")


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


def style(text: str, **styles: bool | str) -> str:
    """Colour and weight where standard output is a terminal, plain text elsewhere."""
    return click.style(text, **styles) if sys.stdout.isatty() else text  # type: ignore[arg-type]


def leaf(error: BaseException) -> BaseException:
    """The one error inside groups of one, as task groups wrap them."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def sentences(error: BaseException) -> list[str]:
    """What a person reads of an error: one line, or one per fault."""
    found = leaf(error)
    if isinstance(found, Invalid):
        return [str(fault) for fault in found.faults]
    if isinstance(found, BaseExceptionGroup):
        return [line for part in found.exceptions for line in sentences(part)]
    if isinstance(found, BrimError):
        return [" ".join(str(found).split())]
    return [f"unexpected {type(found).__name__}: {' '.join(str(found).split())}"]
