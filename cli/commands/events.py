"""`brim events` and `brim rejected`: what happened, as one stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import anyio
import click

from cli import colours
from cli.completion import complete_namespaces, complete_workloads
from cli.naming import fits, split
from cli.session import Session, connected, output_option, warn
from cli.stories import Line, as_text, line_of
from shared.bus import Message
from shared.contracts.outcome import Rejected
from shared.errors import Invalid

STREAMS = {
    "DESIRED": "brim.desired.>",
    "ACTED": "brim.acted.>",
    "PLACEMENT": "brim.placement.>",
    "OUTCOME": "brim.outcome.>",
    "REJECTED": "brim.rejected.>",
}
WIDEST = 60  # columns for the name of an object, at most

Takes = Callable[[Line], bool]


@click.command()
@click.argument("words", metavar="[WORKLOAD]", nargs=-1, shell_complete=complete_workloads)
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@click.option(
    "-n",
    "--namespace",
    default="",
    metavar="NAMESPACE",
    shell_complete=complete_namespaces,
    help="Only of this namespace; all by default.",
)
@output_option("json", otherwise="a line for each event")
@connected
async def events(session: Session, words: tuple[str, ...], follow: bool, namespace: str, output: str | None) -> None:
    """Show what happened: placements, rebalances, outcomes in members, who approved, undid or paused what, refused
    messages, oldest first. Times are UTC.

    What Kubernetes itself tells of its objects is shown by `brim get events -M`.

    \b
    Examples:
      brim events
      brim events deploy/qwen3 -n test -f
    """
    takes = _selection(split(words) if words else [], namespace)
    past: list[Message] = []
    for stream, filter_ in STREAMS.items():
        past += await session.bus.history(stream, filter_)
    lines = sorted(line for message in past if (line := readable(message)) is not None and takes(line))
    width = min(WIDEST, max((len(line.about) for line in lines), default=0))
    for line in lines:
        _print(line, width, output)
    if not lines and not follow:
        warn("Nothing has happened yet")
    if follow:
        await _follow(session, past, takes, width, output)


@click.command()
@click.option("-f", "--follow", is_flag=True, help="Go on until Ctrl-C.")
@output_option("json", otherwise="a message and its faults")
@connected
async def rejected(session: Session, follow: bool, output: str | None) -> None:
    """Show messages that were refused in the last seven days, and why, field by field.

    \b
    Example:
      brim rejected -o json
    """

    async def show(message: Message) -> None:
        try:
            found = Rejected.decode(message.data)
        except Invalid as error:
            warn(f"{message.subject}: {error}")
            return
        if output == "json":
            click.echo(json.dumps(json.loads(found.encode()), ensure_ascii=False))
        else:
            click.echo(as_text(found))

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


def _selection(wanted: Sequence[tuple[str, str]], namespace: str) -> Takes:
    """Of a namespace, and of named objects; empty: of all."""

    def takes(line: Line) -> bool:
        if namespace and line.namespace != namespace:
            return False
        ref = line.ref
        if not wanted:
            return True
        return ref is not None and any(ref.name == name and (not kind or fits(kind, ref)) for kind, name in wanted)

    return takes


async def _follow(session: Session, past: Sequence[Message], takes: Takes, width: int, output: str | None) -> None:
    async def show(message: Message) -> None:
        line = readable(message)
        if line is not None and takes(line):
            _print(line, width, output)

    async with anyio.create_task_group() as group:
        for stream, filter_ in STREAMS.items():
            token = filter_.split(".")[1]
            seen = [message.sequence for message in past if message.subject.split(".")[1] == token]
            start = max(seen) + 1 if seen else (await session.bus.stream_info(stream)).last_sequence + 1
            group.start_soon(session.bus.follow(stream, [filter_], show, start=start).run)


def _print(line: Line, width: int, output: str | None) -> None:
    if output == "json":
        click.echo(json.dumps(line.as_json(), ensure_ascii=False))
    else:
        click.echo(line.as_text(width, paint=colours.cell))
