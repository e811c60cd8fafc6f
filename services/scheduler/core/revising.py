"""Which revision each share names, and the room that its update takes for a while."""

from __future__ import annotations

from services.scheduler.core import waves
from services.scheduler.core.drafts import Case, Draft
from services.scheduler.core.waves import Update
from shared.contracts.placement import Placement
from shared.contracts.status import Status


def settle(case: Case) -> None:
    """Every present draft gets its revision; `case.waves` and `case.before` what the placement is to remember."""
    case.before = before_of(case)
    if case.previous is None and not case.workload.pins:  # by far the most frequent: nothing goes over to anything
        for draft in case.drafts.values():
            draft.target = case.workload.revision
        return
    updates = [_update(case, draft) for draft in case.drafts.values() if draft.present]
    state = case.previous.waves if case.previous is not None else None
    workload = case.workload
    found = waves.decide(
        workload.revision,
        case.before,
        updates,
        workload.pins,
        case.plan,
        state,
        case.now,
        stepwise=workload.stepwise,
    )
    case.waves = found.waves
    case.wake_at(found.due)
    for code, sentence, member in found.reasons:
        case.because(code, sentence, member)
    stepwise = found.waves is not None or workload.stepwise or _rolling(case)
    for draft in case.drafts.values():
        if draft.present:
            draft.target = found.targets[draft.member]
            draft.surge = _surge(case, draft) if stepwise else 0


def _update(case: Case, draft: Draft) -> Update:
    facts = case.fleet.members[draft.member]
    current = draft.revision if draft.was_present else 0
    replicas = draft.replicas
    if not case.workload.components and draft.status is not None:
        replicas = draft.status.replicas  # of a pod on each node, as many as the member says
    return Update(facts, current, replicas, draft.status, case.measured.get(draft.member))


def before_of(case: Case) -> int:
    """The revision that members had until the newest one came; 0 where there was none."""
    previous = case.previous
    if previous is None or not previous.revision:
        return 0
    if previous.revision == case.workload.revision:
        return previous.before
    held = [share.revision for share in previous.shares if share.present and share.revision]
    if not held:
        return previous.revision
    if previous.waves is not None and previous.waves.state != "done":
        return min(held)
    if previous.before and _half_way(case, previous):
        return previous.before
    return max(held)


def _half_way(case: Case, previous: Placement) -> bool:
    """Whether some member still has pods from before the previous revision. One whose pods are all of it has had it,
    though its rollout is not closed yet."""
    told = [case.statuses[share.member] for share in previous.shares if share.present and share.member in case.statuses]
    if case.workload.stepwise and any(status.revision != previous.revision for status in told):
        return True
    return any(status.rolling and status.updated < status.replicas for status in told)


def _rolling(case: Case) -> bool:
    return any(status.rolling for status in case.statuses.values())


def _surge(case: Case, draft: Draft) -> int:
    """Pods beyond its replicas that the member may make while it goes over, in a rollout that goes step by step."""
    if not draft.was_present or not draft.replicas or draft.autoscaled:
        return 0
    return case.workload.surge(draft.replicas) if is_updating(draft.target, draft.replicas, draft.status) else 0


def is_updating(target: int, replicas: int, status: Status | None) -> bool:
    """Whether a member has not gone over to this revision with all of its replicas."""
    return status is None or status.revision != target or status.rolling or status.updated < replicas


def watches(placement: Placement, old: Status | None, new: Status) -> bool:
    """Whether a status can change what revisions the shares name, or the room that they ask for."""
    share = placement.share(new.member)
    if share is None or not share.present:
        return False
    under_way = placement.waves is not None and placement.waves.state in ("running", "baking")
    behind = share.revision != placement.revision
    if not (under_way or behind or share.surge or new.rolling):
        return False
    return old is None or _seen(old) != _seen(new)


def _seen(status: Status) -> tuple[object, ...]:
    return (
        status.revision,
        status.replicas,
        status.ready,
        status.updated,
        status.bound,
        status.pending,
        status.restarts,
        status.rolling,
        status.observed_generation >= status.generation,
    )
