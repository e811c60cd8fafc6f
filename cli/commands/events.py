"""`brim events` and `brim rejected`: what happened, as one stream."""

from __future__ import annotations

import json
from collections.abc import Sequence

import anyio
import click

from cli.session import Session, connected, output_option, warn
from cli.stories import Line, line_of
from shared.bus import Message
from shared.contracts.outcome import Rejected
from shared.errors import Invalid

STREAMS = {"PLACEMENT": "brim.placement.>", "OUTCOME": "brim.outcome.>", "REJECTED": "brim.rejected.>"}


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option("-n", "--namespace", default="", help="Only of this namespace; all by default.")
@output_option("json")
@connected
async def events(session: Session, follow: bool, namespace: str, output: str | None) -> None:
    """Show what happened: placements, rebalances, outcomes in members, refused messages, oldest first.

    \b
    Examples:
      brim events
      brim events -f -n test
    """
    past: list[Message] = []
    for stream, filter_ in STREAMS.items():
        past += await session.bus.history(stream, filter_)
    for line in sorted(line for message in past if (line := readable(message)) is not None):
        _print(line, namespace, output)
    if follow:
        await _follow(session, past, namespace, output)


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@output_option("json")
@connected
async def rejected(session: Session, follow: bool, output: str | None) -> None:
    """Show messages that were refused in the last seven days, and why, field by field.

    \b
    Example:
      brim rejected -o json
    """

    async def show(message: Message) -> None:
        line = readable(message)
        if output == "json" and line is not None:
            click.echo(json.dumps(json.loads(Rejected.decode(message.data).encode()), ensure_ascii=False))
        elif line is not None:
            click.echo(str(line))

    past = await session.bus.history("REJECTED", STREAMS["REJECTED"])
    for message in past:
        await show(message)
    if not past and not follow:
        warn("Nothing was rejected")
    if follow:
        start = past[-1].sequence + 1 if past else (await session.bus.stream_info("REJECTED")).last_sequence + 1
        await session.bus.follow("REJECTED", [STREAMS["REJECTED"]], show, start=start).run()


def readable(message: Message) -> Line | None:
    """The message's line; a message that cannot be read is said so, and does not end the story."""
    try:
        return line_of(message)
    except Invalid as error:
        return Line(message.published_at, "unreadable", message.subject, str(error))


async def _follow(session: Session, past: Sequence[Message], namespace: str, output: str | None) -> None:
    async def show(message: Message) -> None:
        line = readable(message)
        if line is not None:
            _print(line, namespace, output)

    async with anyio.create_task_group() as group:
        for stream, filter_ in STREAMS.items():
            token = filter_.split(".")[1]
            seen = [message.sequence for message in past if message.subject.split(".")[1] == token]
            start = max(seen) + 1 if seen else (await session.bus.stream_info(stream)).last_sequence + 1
            group.start_soon(session.bus.follow(stream, [filter_], show, start=start).run)


def _print(line: Line, namespace: str, output: str | None) -> None:
    if namespace and line.namespace != namespace:
        return
    click.echo(json.dumps(line.as_json(), ensure_ascii=False) if output == "json" else str(line))
