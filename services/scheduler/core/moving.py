"""Replicas that have to leave: stuck, drained, deselected or lost ones.

Never through the ready ones: replicas that are to leave are `retiring` until enough serve elsewhere, and shrink
at once only as far as none that serves is lost.
"""

from __future__ import annotations

from services.scheduler.core.drafts import Case, Draft
from shared.contracts.placement import Rest
from shared.contracts.rebalance import Stuck


def leave(case: Case) -> None:
    """Members that may no longer hold anything: lost ones are emptied at once, others retire all they have."""
    for draft in case.drafts.values():
        if not draft.present or draft.finished:
            continue
        if draft.verdict == "dead":
            if draft.replicas or draft.present:
                case.cause = "lost"
            draft.replicas = draft.free = draft.elastic = draft.virtual = draft.retiring = draft.serving = 0
            draft.present = False
        elif draft.verdict == "leave" and draft.retiring < draft.replicas:
            drained = case.candidates.verdicts.get(draft.member) == "leave"
            case.cause = "drain" if drained else "policy"
            draft.retiring = draft.replicas


def take_stuck(case: Case) -> None:
    """Exactly the stuck replicas become retiring, and their member rests for this workload."""
    request = case.request
    if request is None or request.cause != "stuck":
        return
    for stuck in request.stuck:
        draft = case.drafts.get(stuck.member)
        if draft is None or not draft.present or draft.autoscaled:
            continue
        case.cause = "rebalance"
        count = min(_count(case, draft, stuck), draft.healthy)
        draft.retiring += count
        draft.serving = min(draft.replicas, max(draft.serving, stuck.ready))
        rest(case, stuck.member)


def _count(case: Case, draft: Draft, stuck: Stuck) -> int:
    """An ordered StatefulSet creates nothing above its stuck ordinal: all from there up are stuck."""
    ordinal = draft.status.first_stuck_ordinal if draft.status is not None else None
    if case.workload.ordered and ordinal is not None:
        return max(stuck.count, draft.replicas - ordinal)
    return stuck.count


def rest(case: Case, member: str) -> None:
    """The workload avoids the member: base, doubling with every time in a row, to a maximum."""
    last = case.rests.get(member)
    step = last.step + 1 if last is not None else 1
    length = min(case.rules.rest_max, case.rules.rest_base * 2.0 ** min(step - 1, 40))
    case.rests[member] = Rest(member=member, until=case.now + length, step=step)


def reclaim(case: Case, need: int) -> int:
    """Retiring replicas whose member may keep them after all stay, before anything new is started elsewhere."""
    for draft in sorted(case.drafts.values(), key=lambda draft: (draft.tier, draft.member)):
        if need and draft.retiring and draft.verdict in ("open", "stay") and not case.blocked(draft):
            kept = min(need, draft.retiring)
            draft.retiring -= kept
            need -= kept
    return need


def settle(case: Case, wanted: int) -> None:
    """Lets retiring replicas go as far as at least `wanted` still serve; those that do not serve go at once."""
    retiring = [draft for draft in case.drafts.values() if draft.retiring]
    if not retiring:
        return
    serving = sum(min(draft.serving, draft.replicas) for draft in case.drafts.values() if draft.present)
    spare = max(0, serving - wanted)
    for draft in sorted(retiring, key=lambda draft: (-draft.tier, draft.member)):
        count = draft.retiring
        while count and lost(case, draft, count) > spare:
            count -= max(1, lost(case, draft, count) - spare)
        if count <= 0:
            continue
        spare -= lost(case, draft, count)
        draft.cut(count)
        draft.retiring -= count
        if case.cause == "capacity":
            case.cause = "settled"


def lost(case: Case, draft: Draft, count: int) -> int:
    """How many serving replicas go, at worst, when the member's object shrinks by `count`.

    A Deployment gives up those that do not serve first. A StatefulSet gives up its highest ordinals, whatever they
    do: those below a stuck ordinal serve, and of those above it the rest of `serving` may.
    """
    serving, left = min(draft.serving, draft.replicas), draft.replicas - count
    if not case.workload.ordered:
        return max(0, serving - left)
    ordinal = draft.status.first_stuck_ordinal if draft.status is not None else None
    if ordinal is None:
        return min(count, serving)
    return min(serving, max(0, ordinal - left) + min(count, max(0, serving - ordinal)))
