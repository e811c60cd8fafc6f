"""Replicas divided by room: dynamic weights, and Aggregated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from services.scheduler.core import division, groups, growing, moving, spread
from services.scheduler.core.division import hash_of, tie_breaks
from services.scheduler.core.drafts import Case, Draft
from services.scheduler.core.nodes import FREE
from shared.contracts.placement import Failback


def decide(case: Case) -> None:
    """1 leave, 2 stuck, 3 what others own, 4 grow or shrink, 5 settle, 6 move back or afresh, 7 say what is missing."""
    wanted = case.workload.replicas
    groups.leave(case)
    moving.leave(case)
    moving.take_stuck(case)
    adopt_autoscaled(case)
    need = wanted - sum(draft.healthy for draft in case.drafts.values())
    if need < 0:
        shrink(case, -need, groups.floors(case))
    elif need > 0:
        need = growing.grow(case, moving.reclaim(case, need))
    case.pending = max(0, need)
    moving.settle(case, wanted)
    if case.pending == 0:
        manual = case.request is not None and case.request.cause == "manual"
        for move in (_afresh,) if manual else (groups.open_more, _fail_back):
            move(case)
            moving.settle(case, wanted)
    if case.pending:
        _say_pending(case)


def adopt_autoscaled(case: Case) -> None:
    """Where a HorizontalPodAutoscaler owns the count, what it has counts as placed, and is left alone."""
    for draft in case.drafts.values():
        name = draft.status.autoscaler if draft.status is not None else None
        if name is None or not draft.present or draft.verdict in ("leave", "dead"):
            continue
        assert draft.status is not None
        draft.autoscaled, draft.retiring = True, 0
        draft.replicas = draft.free = draft.status.replicas
        draft.elastic = draft.virtual = 0
        case.because("Autoscaled", f"HorizontalPodAutoscaler {name} owns the replicas there", draft.member)


def shrink(case: Case, count: int, floors: Mapping[str, int]) -> None:
    """Scale-in: pending replicas first, then the last tier, then by Webster inside the tier. floors: what is left
    for a member at least."""
    spare = {draft.member: max(0, draft.healthy - floors.get(draft.member, 0)) for draft in case.drafts.values()}
    drafts = [draft for draft in case.drafts.values() if spare[draft.member] and not draft.autoscaled]
    tiers = sorted({draft.tier for draft in drafts}, reverse=True)
    for waiting in (True, False):
        for tier in tiers:
            here = sorted((draft for draft in drafts if draft.tier == tier), key=lambda draft: draft.member)
            held = [min(draft.idle if waiting else draft.healthy, spare[draft.member]) for draft in here]
            away = min(count, sum(held))
            if not away:
                continue
            ties = tie_breaks(case.workload.uid, np.array([hash_of(d.member) for d in here], dtype=np.uint64))
            left = division.shrink(held, away, ties)
            for draft, had, keeps in zip(here, held, left, strict=True):
                draft.cut(had - keeps)
                spare[draft.member] -= had - keeps
            count -= away


def _say_pending(case: Case) -> None:
    plural = "s" * (case.pending != 1)
    case.because("Pending", f"{case.pending} replica{plural} fit nowhere now; tried again when room appears")
    say_resting(case)
    growing.explain_shortage(case)


def say_resting(case: Case) -> None:
    for member, rest in case.rests.items():
        if case.resting(member):
            times = f"{rest.step} time{'s' * (rest.step != 1)} in a row"
            case.because("Resting", f"replicas got stuck there {times}; rests until {_clock(rest.until)}", member)


def _clock(at: float) -> str:
    seconds = int(at) % 86400
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02} UTC"


# -- back to earlier tiers, and everything afresh ------------------------------------------------------------


def _fail_back(case: Case) -> None:
    """Replicas go back to an earlier tier's free room, as many an hour as the policy allows."""
    allowance = case.policy.failback - sum(past.count for past in case.failbacks) if case.rules.failback else 0
    if allowance <= 0 or any(draft.retiring for draft in case.drafts.values()):
        return
    last = max((draft.tier for draft in case.drafts.values() if _movable(draft)), default=0)
    chosen = growing.chosen_by_spread(case) if last else None
    if isinstance(chosen, spread.Unsatisfied):
        return
    floors = groups.floors(case)
    for index in range(last):
        later = [draft for draft in case.drafts.values() if draft.tier > index and _movable(draft)]
        others = replace(case, own={}, own_virtual={})  # what just left stays away
        looked = growing.look(others, index, growing.both(None, chosen))
        room = looked.room[FREE]
        spare = {draft.member: max(0, draft.healthy - floors.get(draft.member, 0)) for draft in later}
        count = min(allowance, int(room.sum()), sum(spare.values()))
        if not count:
            continue
        seats = division.webster(room, count, tie_breaks(case.workload.uid, looked.tier.hashes))
        for position in np.flatnonzero(seats).tolist():
            growing.add(case, looked.tier.names[position], "free", int(seats[position]))
        case.failbacks += (Failback(at=case.now, count=count),)
        case.cause = "failback"
        allowance -= count
        for draft in sorted(later, key=lambda draft: (-draft.tier, draft.member)):
            moved = min(count, spare[draft.member])
            draft.retiring += moved
            count -= moved


def _movable(draft: Draft) -> bool:
    return draft.present and draft.healthy > 0 and not draft.autoscaled and draft.verdict in ("open", "stay")


def _afresh(case: Case) -> None:
    """As if nothing were placed: room counts with what the workload itself holds. What differs, moves."""
    kept = {d.member: d for d in case.drafts.values() if d.autoscaled or case.blocked(d) or d.verdict == "stay"}
    own = {d.member: d.healthy for d in case.drafts.values() if d.member not in kept}
    fresh = replace(case, drafts=kept, own=own, own_virtual={}, given={}, given_by_kind={})
    case.cause = "rebalance"
    if growing.grow(fresh, case.workload.replicas - sum(draft.healthy for draft in kept.values())):
        return  # fewer groups than are asked for: what is there stays
    for name in own | fresh.given:
        free, elastic, virtual = (fresh.given_by_kind.get((name, kind), 0) for kind in growing.KINDS)
        _move_to(case, name, own.get(name, 0), (free, elastic, virtual))


def _move_to(case: Case, name: str, own: int, kinds: tuple[int, int, int]) -> None:
    change = sum(kinds) - own
    if change < 0:
        case.drafts[name].retiring -= change
    new = max(0, change)
    for label, count in zip(("virtual", "elastic", "free"), reversed(kinds), strict=True):
        taken = min(new, count)
        if taken:
            growing.add(case, name, label, taken)
            new -= taken
