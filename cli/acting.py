"""Actions and lasting wishes, and hearing what came of them in each member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio

from cli import reading
from shared.bus import Bus, Message
from shared.contracts import subjects
from shared.contracts.action import Acted, Action
from shared.contracts.outcome import Outcome
from shared.contracts.own_kinds import is_for_brim
from shared.contracts.placement import Placement
from shared.contracts.submit import Accepted

ANSWER = 30.0  # seconds until all members that can answer have
LOOK_EVERY = 0.05  # seconds between two looks at what members did
AWAY = ("MemberUnavailable", "UnknownMember")  # codes of attempts that go on and that nobody waits for


async def act(bus: Bus, action: Action, *, timeout: float = ANSWER) -> tuple[list[Acted], bool]:
    """What was said of it, by member, and whether all was said in time."""
    said: list[Acted] = []
    ended, serving = anyio.Event(), anyio.Event()
    action = action.model_copy(update={"reply": subjects.acting(action.id)})

    async def hear(message: Message) -> bytes:
        said.append(Acted.decode(message.data))
        if said[-1].last:
            ended.set()
        return b""

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: bus.serve(action.reply, hear, on_serving=serving.set))
        await serving.wait()
        await bus.publish(subjects.action("executor", action.verb), action.encode(), event=Action.TYPE)
        with anyio.move_on_after(timeout):
            await ended.wait()
        group.cancel_scope.cancel()
    return sorted((one for one in said if not one.last), key=lambda one: one.member), ended.is_set()


async def carried_out(
    bus: Bus, entry: Accepted, members: Sequence[str], *, timeout: float = ANSWER
) -> Mapping[str, str]:
    """Wait until every member that is asked did what was accepted, or said why not. members: empty for all that hold
    the object.

    Returns by member why it is not done there, "" where it is. timeout: real seconds.
    """
    if is_for_brim(entry.ref):
        return {}
    placed, became = subjects.placement(entry.ref), subjects.outcome_everywhere(entry.ref)
    found: dict[str, str | None] = {}
    async with (
        reading.replayed(bus, "PLACEMENT", [placed]) as placements,
        reading.replayed(bus, "OUTCOME", [became]) as outcomes,
    ):
        with anyio.move_on_after(timeout):
            while True:
                message = placements.get(placed)
                placement = Placement.decode(message.data) if message is not None else None
                if placement is not None and placement.generation >= entry.generation:
                    found = _look(placement, reading.decoded(outcomes, Outcome), members)
                    if None not in found.values():
                        break
                await anyio.sleep(LOOK_EVERY)
    late = f"not carried out within {timeout:g} s: `brim explain` may say why"
    return {member: late if told is None else told for member, told in found.items()}


def _look(placement: Placement, outcomes: Sequence[Outcome], members: Sequence[str]) -> dict[str, str | None]:
    """As `carried_out`; None for a member that is still at it. What a member does not hold has nothing to do there."""
    holding = {share.member for share in placement.shares if share.present}
    known = {one.member: one for one in outcomes if one.uid == placement.uid and not one.order < placement.order}
    return {member: _told(known.get(member)) if member in holding else "" for member in members or sorted(holding)}


def _told(outcome: Outcome | None) -> str | None:
    if outcome is None or (outcome.result == "retrying" and outcome.code not in AWAY):
        return None
    return "" if outcome.result == "applied" else outcome.message or outcome.result
