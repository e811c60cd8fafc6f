"""`brim rollout`: new versions over all members, watched and steered from one place."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
import click

from cli import acting, colours, reading
from cli.completion import complete_members, complete_words
from cli.naming import find_desired, split
from cli.options import namespace_option
from cli.rollouts import history_table, rollout_table, steps_table, waves_line, workload_table
from cli.session import Session, connected, echo_as, output_option, who
from cli.tables import render
from shared.contracts import subjects
from shared.contracts.action import CATCHING_UP, Action
from shared.contracts.desired import Revision
from shared.contracts.fleet_rollout import FleetRollout, is_fleet_rollout
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.contracts.rollout import GROUP, KIND, Rollout, is_rollout
from shared.contracts.status import Status
from shared.contracts.submit import Accepted, Roll
from shared.errors import BusUnavailable, NotFound, Refused

WATCH_EVERY = 1.0  # seconds between two looks

watch_option = click.option("-w", "--watch", is_flag=True, help="Go on and print what changes, until Ctrl-C.")
argument = click.argument("words", metavar="ROLLOUT", nargs=-1, required=True, shell_complete=complete_words)


@dataclass(frozen=True, slots=True)
class Page:
    """What a command prints. news: where this is another, it is printed again."""

    text: str
    news: object
    failed: bool = False


def where_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """-m, several times, or -M."""
    command = click.option("-M", "--all-members", is_flag=True, help="Every member that has it; the default.")(command)
    return click.option(
        "-m",
        "--member",
        "members",
        multiple=True,
        metavar="MEMBER",
        shell_complete=complete_members,
        help="This member; may be repeated.",
    )(command)


@click.group()
def rollout() -> None:
    """Watch, approve, pause and undo new versions, in one member, several, or all.

    ROLLOUT is a Rollout, a FleetRollout, or a workload: rollout/web, fleetrollout/web, deploy/web.

    \b
    Examples:
      brim rollout get -n demo -w
      brim rollout approve rollout/qwen -n demo -M
      brim rollout undo deploy/qwen -n demo -m ack
    """


@rollout.command("get")
@click.argument("names", metavar="[ROLLOUT]...", nargs=-1)
@namespace_option
@where_options
@watch_option
@output_option("json", "yaml")
@connected
async def get(
    session: Session,
    names: tuple[str, ...],
    namespace: str,
    members: tuple[str, ...],
    all_members: bool,
    watch: bool,
    output: str | None,
) -> None:
    """Rollouts as each member has them.

    \b
    Examples:
      brim rollout get -n demo
      brim rollout get qwen -n demo -m ack -w
    """
    chosen = await _members(session, members, all_members)
    wanted = {name.rpartition("/")[2] for name in names}

    async def found() -> list[Status]:
        told = await reading.newest(session.bus, Status, "STATUS")
        mine = [one for one in told if one.rollout is not None and one.ref.namespace == namespace]
        mine = [one for one in mine if (not wanted or one.ref.name in wanted) and (not chosen or one.member in chosen)]
        return sorted(mine, key=lambda one: (one.ref.name, one.member))

    async def page() -> Page:
        table = rollout_table(await found(), session.now)
        if not table.rows and not watch:
            raise NotFound(f"no rollout found in namespace {namespace!r}: `brim get rollout -A` lists what is wanted")
        return Page(render(table, paint=colours.cell), [row[:-1] for row in table.rows])  # their ages are no news

    if output:
        echo_as(output, [one.model_dump(mode="json", by_alias=True) for one in await found()])
        return
    await _show(page, watch)


@rollout.command("status")
@argument
@namespace_option
@where_options
@watch_option
@output_option("json", "yaml")
@connected
async def status(
    session: Session,
    words: tuple[str, ...],
    namespace: str,
    members: tuple[str, ...],
    all_members: bool,
    watch: bool,
    output: str | None,
) -> None:
    """How far the members are, and what they wait for. The status is not 0 where a rollout failed.

    \b
    Examples:
      brim rollout status deploy/qwen -n demo
      brim rollout status rollout/qwen -n demo -m ack -w
    """
    chosen = await _members(session, members, all_members)
    refs = [await find_desired(session.bus, kind, name, namespace) for kind, name in split(words)]

    async def page() -> Page:
        parts = [await _status_of(session, ref, chosen) for ref in refs]
        text = "\n".join(text for text, _ in parts)
        return Page(text, text, failed=any(failed for _, failed in parts))

    if output:
        for ref in refs:
            found = (await reading.workload(session.bus, await _workload_of(session, ref))).placement
            shown = _in_members(found, chosen)
            echo_as(output, shown.model_dump(mode="json", by_alias=True) if shown is not None else None)
        return
    await _show(page, watch)


async def _status_of(session: Session, ref: ObjectRef, chosen: Sequence[str]) -> tuple[str, bool]:
    """The page of one object, and whether its waves failed."""
    workload = await reading.workload(session.bus, await _workload_of(session, ref))
    placement = workload.placement
    waves = placement.waves if placement is not None else None
    lines = [f"{workload.desired.ref}: newest revision {workload.desired.revision}"]
    lines += [line] if (line := waves_line(placement)) else []
    rollouts = await _statuses_of_rollouts(session, workload.desired.ref)
    shown = replace(workload, placement=_in_members(placement, chosen))
    lines.append(render(workload_table(shown, rollouts), paint=colours.cell))
    for reason in placement.reasons if placement is not None else ():
        named = [member for member in reason.members if not chosen or member in chosen]
        if reason.code.startswith("Wave") and named:
            lines.append(f"- {', '.join(named)}: {reason.message}")
    return "\n".join(lines), waves is not None and waves.state in ("failed", "undone")


def _in_members(placement: Placement | None, chosen: Sequence[str]) -> Placement | None:
    if placement is None or not chosen:
        return placement
    return placement.model_copy(update={"shares": tuple(one for one in placement.shares if one.member in chosen)})


@rollout.command("history")
@argument
@namespace_option
@where_options
@watch_option
@connected
async def history(
    session: Session,
    words: tuple[str, ...],
    namespace: str,
    members: tuple[str, ...],
    all_members: bool,
    watch: bool,
) -> None:
    """Revisions that can be gone back to, and of a Rollout the step at which each member is.

    \b
    Examples:
      brim rollout history deploy/qwen -n demo
      brim rollout history rollout/qwen -n demo -m ack
    """
    chosen = await _members(session, members, all_members)
    refs = [await find_desired(session.bus, kind, name, namespace) for kind, name in split(words)]

    async def page() -> Page:
        text = "\n".join([await _history_of(session, ref, chosen) for ref in refs])
        return Page(text, text)

    await _show(page, watch)


async def _history_of(session: Session, ref: ObjectRef, chosen: Sequence[str]) -> str:
    workload = await reading.workload(session.bus, await _workload_of(session, ref))
    placement = _in_members(workload.placement, chosen)
    lines = [f"{workload.desired.ref}:"] if workload.desired.ref.key != ref.key else []
    messages = await session.bus.history("REVISION", subjects.revisions(workload.desired.uid))
    older = [Revision.decode(message.data) for message in messages if not message.removed]
    older = [entry for entry in older if entry.number < workload.desired.revision]
    lines.append(render(history_table(workload.desired, older, placement)))
    if is_rollout(ref.kind, ref.group):
        steps = await reading.newest(session.bus, Status, "STATUS", [subjects.status_everywhere(ref)])
        steps = [one for one in steps if not chosen or one.member in chosen]
        lines.append(render(steps_table(steps, placement), paint=colours.cell))
    return "\n".join(lines)


async def _show(page: Callable[[], Awaitable[Page]], watch: bool) -> None:
    """Print a page, and where it is watched again whenever it tells something new."""
    shown = await page()
    click.echo(shown.text)
    while watch:
        await anyio.sleep(WATCH_EVERY)
        before, shown = shown, await page()
        if shown.news != before.news:
            click.echo(shown.text)
    if shown.failed:
        raise click.exceptions.Exit(1)


@rollout.command("approve")
@argument
@namespace_option
@where_options
@click.option("--catch-up", is_flag=True, help="Members that are away now are approved when they are back, for a day.")
@connected
async def approve(
    session: Session,
    words: tuple[str, ...],
    namespace: str,
    members: tuple[str, ...],
    all_members: bool,
    catch_up: bool,
) -> None:
    """Let rollouts go on that are paused at a step. Every member is tried; the status is not 0 where one failed.

    \b
    Examples:
      brim rollout approve rollouts/qwen -n demo -M
      brim rollout approve rollouts/qwen -n demo -m ack
    """
    chosen = await _members(session, members, all_members)
    failed = False
    for kind, name in split(words):
        ref = await find_desired(session.bus, kind or "rollout", name, namespace)
        if not is_rollout(ref.kind, ref.group):
            raise Refused(f"{ref} has no steps to approve: name its Rollout")
        action = Action(
            id=uuid.uuid4().hex,
            verb="approve",
            ref=ref,
            members=chosen,
            who=who(),
            catch_up=catch_up,
            asked_at=session.now,
        )
        failed |= await _acted(session, action)
    if failed:
        raise click.exceptions.Exit(1)


async def _acted(session: Session, action: Action) -> bool:
    """Publish the action and print a line per member. Whether any failed. Raises BusUnavailable without an answer."""
    told, ended = await acting.act(session.bus, action)
    for one in told:
        where = f"cluster({one.member}): " if one.member else ""
        click.echo(f"{where}rollout.rollouts.kruise.io/{action.ref.name} {one.message}", err=not one.done)
    if not ended:
        raise BusUnavailable("nobody answered for every member in time: does `brim run executor` run?")
    return any(not one.done and one.code != CATCHING_UP for one in told)


async def _carried_out(session: Session, entry: Accepted, members: Sequence[str]) -> bool:
    """A line per member. Whether any has not done it; it is a lasting wish, so that members that are away follow."""
    what = f"{entry.ref.kind.lower()}/{entry.ref.name} {entry.change}"
    asked = (await reading.workload(session.bus, entry.ref)).desired.asked
    if asked is not None and asked.revision and entry.change == asked.change:
        what += f" to revision {asked.revision}"
    found = await acting.carried_out(session.bus, entry, members)
    if not found:
        click.echo(what)
    for member, told in found.items():
        click.echo(f"cluster({member}): {what}{f', but not yet there: {told}' if told else ''}", err=bool(told))
    return any(found.values())


def _rolling(verb: str, summary: str, example: str, *options: Callable[..., Any]) -> None:
    """A command that sends a Roll."""

    @connected
    async def body(
        session: Session,
        words: tuple[str, ...],
        namespace: str,
        members: tuple[str, ...],
        all_members: bool,
        to_revision: int | None = None,
    ) -> None:
        chosen = await _members(session, members, all_members)
        failed = False
        for kind, name in split(words):
            ref = await find_desired(session.bus, kind, name, namespace)
            asked = {"verb": verb, "ref": ref, "members": chosen, "revision": to_revision, "who": who()}
            answer = await session.submit(subjects.ROLL, Roll.model_validate(asked).encode())
            for entry in answer.accepted:
                failed |= await _carried_out(session, entry, chosen)
        if failed:
            raise click.exceptions.Exit(1)

    body.__doc__ = f"{summary}\n\n\b\nExample:\n  {example}\n"
    decorated: Callable[..., Any] = where_options(namespace_option(body))
    for option in options:
        decorated = option(decorated)
    rollout.command(verb)(argument(decorated))


_rolling(
    "pause",
    "Keep a Rollout at its step, or a FleetRollout at its wave.",
    "brim rollout pause rollout/qwen -n demo -m ack",
)
_rolling("resume", "Let a paused or failed rollout go on.", "brim rollout resume fleetrollout/qwen -n demo")
_rolling(
    "undo",
    "Take members back to an older revision. They stay there until a newer template is applied.",
    "brim rollout undo deploy/qwen -n demo -m ack",
    click.option(
        "--to-revision",
        type=click.IntRange(1),
        metavar="N",
        help="As `history` numbers them; the one before by default.",
    ),
)
_rolling("abort", "Undo, and pause.", "brim rollout abort rollout/qwen -n demo")
_rolling("restart", "Replace all pods by new ones of the same template.", "brim rollout restart deploy/qwen -n demo")


async def _members(session: Session, members: Sequence[str], all_members: bool) -> tuple[str, ...]:
    """Ids; empty for all. Raises NotFound for a name that is no member's."""
    if members and all_members:
        raise click.UsageError("give either -M or -m MEMBER")
    found = [(await reading.member_ids(session.bus, member))[0].id for member in members]
    return tuple(dict.fromkeys(found))


async def _statuses_of_rollouts(session: Session, workload: ObjectRef) -> list[Status]:
    """Of the Rollouts that are about a workload, in every member."""
    wanted = await reading.desired_objects(session.bus, [subjects.desired_kind(KIND, GROUP)])
    refs = [one.ref for one in wanted if Rollout.read(one.manifest).workload.key == workload.key]
    filters = [subjects.status_everywhere(ref) for ref in refs]
    return await reading.newest(session.bus, Status, "STATUS", filters) if filters else []


async def _workload_of(session: Session, ref: ObjectRef) -> ObjectRef:
    """What a Rollout or FleetRollout is about."""
    if not (is_rollout(ref.kind, ref.group) or is_fleet_rollout(ref.kind, ref.group)):
        return ref
    manifest = (await reading.workload(session.bus, ref)).desired.manifest
    read = Rollout.read(manifest) if is_rollout(ref.kind, ref.group) else FleetRollout.read(manifest)
    return read.workload
