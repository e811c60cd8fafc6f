"""Replicas divided by room: dynamic weights, and Aggregated."""

from __future__ import annotations

import numpy as np

from services.scheduler.core import division, growing, moving
from services.scheduler.core.division import Ints, hash_of, tie_breaks
from services.scheduler.core.drafts import Case, Draft
from services.scheduler.core.nodes import ELASTIC, FREE, VIRTUAL_ROOM


def decide(case: Case) -> None:
    """1 leave, 2 stuck, 3 what others own, 4 grow or shrink, 5 move back or afresh, 6 settle, 7 say what is missing."""
    wanted = case.workload.replicas
    moving.leave(case)
    moving.take_stuck(case)
    adopt_autoscaled(case)
    need = wanted - sum(draft.healthy for draft in case.drafts.values())
    if need < 0:
        shrink(case, -need)
    elif need > 0:
        need = growing.grow(case, moving.reclaim(case, need))
    case.pending = max(0, need)
    if case.pending == 0:
        if case.request is not None and case.request.cause == "manual":
            _afresh(case)
        else:
            _fail_back(case)
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


def shrink(case: Case, count: int, floor: int = 0) -> None:
    """Scale-in: pending replicas first, then the last tier, then by Webster inside the tier. floor: left for each."""
    drafts = [draft for draft in case.drafts.values() if draft.healthy > floor and not draft.autoscaled]
    tiers = sorted({draft.tier for draft in drafts}, reverse=True)
    for waiting in (True, False):
        for tier in tiers:
            here = sorted((draft for draft in drafts if draft.tier == tier), key=lambda draft: draft.member)
            held = [min(d.idle if waiting else d.healthy, max(0, d.healthy - floor)) for d in here]
            away = min(count, sum(held))
            if not away:
                continue
            ties = tie_breaks(case.workload.uid, np.array([hash_of(d.member) for d in here], dtype=np.uint64))
            left = division.shrink(held, away, ties)
            for draft, had, keeps in zip(here, held, left, strict=True):
                draft.cut(had - keeps)
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
    allowance = case.policy.failback - len(case.failbacks) if case.rules.failback else 0
    if allowance <= 0 or any(draft.retiring for draft in case.drafts.values()):
        return
    last = max((draft.tier for draft in case.drafts.values() if _movable(draft)), default=0)
    for index in range(last):
        later = [draft for draft in case.drafts.values() if draft.tier > index and _movable(draft)]
        looked = growing.look(case, index)
        room = looked.room[FREE]
        count = min(allowance, int(room.sum()), sum(draft.healthy for draft in later))
        if not count:
            continue
        seats = division.webster(room, count, tie_breaks(case.workload.uid, looked.tier.hashes))
        for position in np.flatnonzero(seats).tolist():
            growing.add(case, looked.tier.names[position], "free", int(seats[position]))
        case.failbacks += (case.now,) * count
        case.cause = "failback"
        allowance -= count
        for draft in sorted(later, key=lambda draft: (-draft.tier, draft.member)):
            moved = min(count, draft.healthy)
            draft.retiring += moved
            count -= moved


def _movable(draft: Draft) -> bool:
    return draft.present and draft.healthy > 0 and not draft.autoscaled and draft.verdict in ("open", "stay")


def _afresh(case: Case) -> None:
    """As if nothing were placed: room counts with what the workload itself holds. What differs, moves."""
    fixed = [d for d in case.drafts.values() if d.autoscaled or case.blocked(d) or d.verdict == "stay"]
    left = case.workload.replicas - sum(draft.healthy for draft in fixed)
    case.cause = "rebalance"
    targets: dict[str, tuple[int, int, int]] = {}
    for index in range(len(case.candidates.tiers)):
        looked = growing.look(case, index)
        own = np.array([_own(case, name) for name in looked.tier.names], dtype=np.int64)
        given = [np.zeros(len(own), dtype=np.int64)] * 3
        for kind in (FREE, ELASTIC, VIRTUAL_ROOM):
            room = looked.room[kind] + (own if kind == FREE else 0)
            here = min(left, int(room.sum()))
            given[kind] = _divide(case, looked, room, here)
            left -= here
        for position, name in enumerate(looked.tier.names):
            targets[name] = (int(given[0][position]), int(given[1][position]), int(given[2][position]))
    for name, kinds in targets.items():
        _move_to(case, name, kinds)


def _own(case: Case, name: str) -> int:
    draft = case.drafts.get(name)
    return draft.healthy if draft is not None and draft.present and not case.blocked(draft) else 0


def _divide(case: Case, looked: growing.Looked, room: Ints, count: int) -> Ints:
    ties = tie_breaks(case.workload.uid, looked.tier.hashes)
    if case.policy.division == "aggregated":
        return division.aggregated(room, count, ties, np.zeros(len(room), dtype=np.bool_))
    return division.webster(room, count, ties)


def _move_to(case: Case, name: str, kinds: tuple[int, int, int]) -> None:
    own = _own(case, name)
    change = sum(kinds) - own
    if change < 0:
        case.drafts[name].retiring -= change
    new = max(0, change)
    for label, count in zip(("virtual", "elastic", "free"), reversed(kinds), strict=True):
        taken = min(new, count)
        if taken:
            growing.add(case, name, label, taken)
            new -= taken
