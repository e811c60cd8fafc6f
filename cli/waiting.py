"""Waiting until what was accepted runs in the members, with a line whenever something changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import anyio

from cli import reading
from cli.fleet_tables import Workload, shares_text
from cli.session import Session
from shared.bus import View
from shared.contracts import subjects
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.status import Status
from shared.contracts.submit import Accepted
from shared.errors import MemberUnavailable

LOOK_EVERY = 0.2  # seconds; messages that come closer together make one line
NOT_PLACED = frozenset({"PropagationPolicy", "ClusterPropagationPolicy", "Cluster", "ResourcePolicy", "Namespace"})


async def until_running(
    session: Session, accepted: Sequence[Accepted], *, timeout: float, say: Callable[[str], None]
) -> None:
    """Wait until every accepted object is placed as wanted, applied, and its replicas are Ready.

    timeout: real seconds. Raises MemberUnavailable, naming what is not there yet and why.
    """
    waiting = [entry for entry in accepted if entry.ref.kind not in NOT_PLACED and entry.change != "deleted"]
    if not waiting:
        return
    async with (
        reading.replayed(session.bus, "DESIRED") as desired,
        reading.replayed(session.bus, "PLACEMENT") as placements,
        reading.replayed(session.bus, "STATUS") as statuses,
        reading.replayed(session.bus, "OUTCOME") as outcomes,
    ):
        said: dict[str, str] = {}
        with anyio.move_on_after(timeout):
            while True:
                states = [_state(entry, desired, placements, statuses, outcomes) for entry in waiting]
                for entry, state in zip(waiting, states, strict=True):
                    if said.get(str(entry.ref)) != state[1]:
                        say(f"{entry.ref}: {state[1]}")
                        said[str(entry.ref)] = state[1]
                if all(done for done, _ in states):
                    return
                await anyio.sleep(LOOK_EVERY)
    late = "; ".join(f"{entry.ref}: {said.get(str(entry.ref), 'nothing was decided')}" for entry in waiting)
    raise MemberUnavailable(f"not all of it runs after {timeout:g} s ({late}): `brim explain` says why", code="Timeout")


def _state(entry: Accepted, desired: View, placements: View, statuses: View, outcomes: View) -> tuple[bool, str]:
    """Whether it runs, and how far it is in a few words."""
    wish, decided = desired.get(subjects.desired(entry.ref)), placements.get(subjects.placement(entry.ref))
    if wish is None:
        return False, "accepted"
    placement = Placement.decode(decided.data) if decided is not None else None
    of_it = [
        Status.decode(message.data)
        for subject, message in statuses.items().items()
        if subjects.object_key(subject, skip=3) == entry.ref.key
    ]
    results = [
        Outcome.decode(message.data)
        for subject, message in outcomes.items().items()
        if subjects.object_key(subject, skip=3) == entry.ref.key
    ]
    return progress(Workload(Desired.decode(wish.data), placement, tuple(of_it), tuple(results)), entry.generation)


def progress(workload: Workload, generation: int) -> tuple[bool, str]:
    """Pure: (it runs as wanted since that generation, how far it is)."""
    placement = workload.placement
    if placement is None or placement.generation < generation:
        return False, "accepted, not placed yet"
    results = {outcome.member: outcome for outcome in workload.outcomes if not outcome.order < placement.order}
    shares = [share for share in placement.shares if share.present]
    for member, outcome in sorted(results.items()):
        if outcome.result in ("retrying", "failed", "conflict"):
            return False, f"{outcome.result} in {member}: {outcome.message}"
    applied = all(share.member in results for share in shares)
    if not workload.divided:
        return bool(shares) and applied, f"{len(results)}/{len(shares)} members applied ({shares_text(placement)})"
    words = f"{workload.ready}/{placement.wanted} ready ({shares_text(placement)})"
    if placement.pending:
        words += f", {placement.pending} pending: " + "; ".join(
            reason.message for reason in placement.reasons if not reason.members
        )
    finished = bool(workload.statuses) and all(status.finished for status in workload.statuses)
    running = workload.ready >= placement.wanted or finished
    return applied and placement.pending == 0 and running, words
