"""Duplicated and static weights: the policy fixes the numbers. Room does not cap them; a shortfall is reported."""

from __future__ import annotations

import numpy as np

from services.scheduler.core import divided, division, filtering, moving, spread
from services.scheduler.core.division import hash_of, tie_breaks
from services.scheduler.core.drafts import Case


def decide(case: Case) -> int:
    """Sets every member's number; returns how many replicas that makes in all."""
    if case.request is not None:
        case.because("FixedByPolicy", "the policy fixes each member's replicas: nothing can be moved")
    moving.leave(case)
    divided.adopt_autoscaled(case)
    targets = _targets(case)
    total = sum(targets.values())
    held = sum(draft.replicas for draft in case.drafts.values() if draft.present and not draft.autoscaled)
    going = max(0, held - total)  # scale-in: these go at once; any others only when their replacements serve
    for name, target in targets.items():
        draft = case.draft(name)
        draft.retiring = 0
        if target > draft.replicas:
            case.given[name] = target - draft.replicas
            draft.replicas = target
        elif target < draft.replicas:
            excess = draft.replicas - target
            cut = min(excess, going)
            draft.cut(cut)
            draft.retiring = excess - cut
            going -= cut
    for draft in case.drafts.values():
        draft.free = draft.elastic = draft.virtual = 0
    if not targets:
        case.pending = case.workload.replicas
        case.because("Pending", "no member can take it now")
    moving.settle(case, total)
    _say_shortfall(case)
    return total


def decide_job(case: Case) -> None:
    """A Job whose numbers the policy fixes gets its completions once, and then only its parallelism changes."""
    if any(draft.present for draft in case.drafts.values()):
        for draft in case.drafts.values():
            if draft.verdict in ("leave", "dead"):
                case.because("JobStays", "the policy fixes each member's part of the Job: it cannot move", draft.member)
        if case.policy.division == "duplicated":
            for draft in case.drafts.values():
                draft.replicas = case.workload.replicas if draft.present else 0
        return
    targets = {name: count for name, count in _targets(case).items() if count}
    votes = np.array(list(targets.values()), dtype=np.int64)
    ties = tie_breaks(case.workload.uid, np.array([hash_of(name) for name in targets], dtype=np.uint64))
    completions = case.workload.completions
    parts = division.webster(votes, completions or 0, ties).tolist() if targets else []
    for (name, count), part in zip(targets.items(), parts, strict=True):
        draft = case.draft(name)
        draft.replicas = case.given[name] = count
        if completions is not None:
            draft.completions = completions if case.policy.division == "duplicated" else part
    if not targets:
        case.pending = case.workload.replicas
        case.because("Pending", "no member can take it now")
    _say_shortfall(case)


def _targets(case: Case) -> dict[str, int]:
    """Replicas per member: those that only stay keep what they have, the others share the rest."""
    wanted = case.workload.replicas
    keeping = {
        draft.member: min(draft.replicas, wanted)
        for draft in case.drafts.values()
        if draft.present and draft.verdict == "stay" and not draft.autoscaled
    }
    names = _members(case)
    if case.policy.division == "duplicated":
        return keeping | dict.fromkeys(names, wanted)
    weights = _weights(case, names)
    owned = sum(draft.replicas for draft in case.drafts.values() if draft.autoscaled)
    left = max(0, wanted - owned - sum(keeping.values()))
    ties = tie_breaks(case.workload.uid, np.array([hash_of(name) for name in names], dtype=np.uint64))
    seats = division.webster(np.array(weights, dtype=np.int64), left, ties).tolist() if names else []
    return keeping | dict(zip(names, seats, strict=True))


def _members(case: Case) -> list[str]:
    """The open members of the tier in force: the one that holds replicas, else the first that can."""
    tiers = case.candidates.tiers
    holding = [draft.tier for draft in case.drafts.values() if draft.present and draft.verdict in ("open", "stay")]
    able = [index for index, tier in enumerate(tiers) if tier.names]
    if not able:
        return []
    active = min(holding, default=able[0])
    names = [name for name in tiers[active].names if _may(case, name)] if active < len(tiers) else []
    if not case.policy.spread:
        return names
    choices = [spread.Choice(case.fleet.members[name], name in case.drafts, 1, active) for name in names]
    chosen = spread.select(choices, case.policy.spread)
    if isinstance(chosen, spread.Unsatisfied):
        case.because("SpreadConstraint", str(chosen))
        return []
    return [name for name in names if name in chosen]


def _may(case: Case, name: str) -> bool:
    draft = case.drafts.get(name)
    return draft is None or (draft.present and not draft.autoscaled)


def _weights(case: Case, names: list[str]) -> list[int]:
    """The first static weight that selects a member counts; where none selects any, all weigh the same."""
    found = []
    for name in names:
        member = case.fleet.members[name]
        matching = (w.weight for w in case.policy.weights if filtering.selects(w.affinity, member))
        found.append(next(matching, 0))
    return found if any(found) else [1] * len(names)


def _say_shortfall(case: Case) -> None:
    for name, count in case.given.items():
        room = case.room.room(case.shape, name)
        total = room.free + room.elastic + room.virtual
        if total < count:
            code, why = case.room.why(case.shape, name) if total == 0 else ("", "")
            detail = f" ({why})" if code else ""
            case.because("Shortfall", f"the policy asks for {count} more there, room for {total}{detail}", name)
