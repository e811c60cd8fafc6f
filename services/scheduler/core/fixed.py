"""Duplicated and static weights: the policy fixes the numbers. Room does not cap them; a shortfall is reported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.scheduler.core import divided, division, filtering, groups, growing, moving, spread
from services.scheduler.core.division import hash_of, tie_breaks
from services.scheduler.core.drafts import Case, Draft
from services.scheduler.core.records import SHORTFALL


def decide(case: Case) -> None:
    """Sets every member's number."""
    say_fixed(case)
    if case.policy.division == "duplicated":
        keep_lost(case)
    moving.leave(case)
    divided.adopt_autoscaled(case)
    targets = targets_of(case, members_of(case))
    for draft in case.drafts.values():
        if draft.present and draft.verdict == "open" and not draft.autoscaled and draft.member not in targets:
            draft.verdict = "leave"  # another tier, or fewer groups, by a policy that changed
    moving.leave(case)
    total = sum(targets.values())
    _set(case, targets, total)
    for draft in case.drafts.values():
        draft.free = draft.elastic = draft.virtual = 0
    if not targets:
        case.pending = case.workload.replicas
        case.because("Pending", "no member can take it now")
    moving.settle(case, total)
    say_shortfall(case)


def say_fixed(case: Case) -> None:
    """What is asked for in vain where the policy fixes the numbers."""
    if case.request is not None:
        case.because("FixedByPolicy", "the policy fixes each member's replicas: nothing can be moved")
    if case.ceiling is not None:
        case.because("FixedByPolicy", "the policy fixes each member's replicas: no ceiling of cost holds for them")


def keep_lost(case: Case) -> None:
    """Nothing replaces a copy of its own, so that the one in a lost member is there when the member returns."""
    for draft in case.drafts.values():
        if draft.present and case.candidates.verdicts.get(draft.member) == "dead":
            draft.verdict, draft.serving = "stay", 0


def _set(case: Case, targets: Mapping[str, int], total: int) -> None:
    """Scale-in happens at once; what a member loses to others goes when its replacements serve."""
    held = sum(draft.healthy for draft in case.drafts.values() if draft.present and not draft.autoscaled)
    going = max(0, held - total)
    for name, target in targets.items():
        if name not in case.drafts and not target and total:
            continue  # its weight gives it nothing
        draft = case.draft(name)
        if not draft.present:
            say_removing(case, name)
            case.pending += target if case.policy.division == "static" else 0
            continue
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


def say_removing(case: Case, member: str) -> None:
    case.because("Removing", "its old object is still being removed; then it gets its part", member)


def targets_of(case: Case, names: Sequence[str]) -> dict[str, int]:
    """Replicas per member: those that only stay keep what they have, the others (names) share the rest."""
    wanted = case.workload.replicas
    keeping = {
        draft.member: min(draft.replicas, wanted)
        for draft in case.drafts.values()
        if draft.present and draft.verdict == "stay" and not draft.autoscaled
    }
    if case.policy.division == "duplicated":
        return keeping | dict.fromkeys(names, wanted)
    owned = sum(draft.replicas for draft in case.drafts.values() if draft.autoscaled)
    left = max(0, wanted - owned - sum(keeping.values()))
    return keeping | (_weighed(case, names, left, keeping) if names else {})


def _weighed(case: Case, names: Sequence[str], count: int, keeping: Mapping[str, int]) -> dict[str, int]:
    """By weight; but where so few replicas would leave groups empty that constraints ask for, those come first."""
    votes = np.array(_weights(case, names), dtype=np.int64)
    ties = tie_breaks(case.workload.uid, np.array([hash_of(name) for name in names], dtype=np.uint64))
    seats = division.webster(votes, count, ties)
    holding = {name for name, held in keeping.items() if held}
    used = holding | {name for name, seat in zip(names, seats.tolist(), strict=True) if seat}
    if not groups.is_met(case, used):
        weighed = dict(zip(names, votes.tolist(), strict=True))
        first = groups.first(case, holding, {name: vote for name, vote in weighed.items() if vote}, count)
        start = np.array([name in first for name in names], dtype=np.int64)
        seats = division.webster(votes, count - int(start.sum()), ties, start)
    return dict(zip(names, seats.tolist(), strict=True))


def members_of(case: Case) -> list[str]:
    """The open members of the tier in force: the one that holds replicas, else the first that can."""
    tiers = case.candidates.tiers
    holding = [draft.tier for draft in case.drafts.values() if draft.present and draft.verdict in ("open", "stay")]
    able = [index for index, tier in enumerate(tiers) if tier.names]
    if not able:
        return []
    if not holding and any(case.hesitates(index) for index in range(able[0])):
        return []
    active = min(holding, default=able[0])
    names = [name for name in tiers[active].names if _may(case, name)] if active < len(tiers) else []
    if not case.policy.spread:
        return names
    there = {draft.member for draft in case.drafts.values() if draft.present}
    choices = [spread.Choice(case.fleet.members[name], name in there, 1, active) for name in names]
    chosen = spread.select(choices, case.policy.spread)
    if isinstance(chosen, spread.Unsatisfied):
        case.because(spread.CODE, str(chosen))
        return [name for name in names if name in there]
    return [name for name in names if name in chosen]


def _may(case: Case, name: str) -> bool:
    draft = case.drafts.get(name)
    return draft is None or not draft.autoscaled


def _weights(case: Case, names: Sequence[str]) -> list[int]:
    """The first static weight that selects a member counts; where none selects any, all weigh the same."""
    found = []
    for name in names:
        member = case.fleet.members[name]
        matching = (w.weight for w in case.policy.weights if filtering.selects(w.affinity, member))
        found.append(next(matching, 0))
    return found if any(found) else [1] * len(names)


def say_shortfall(case: Case) -> None:
    """Replicas without room: of what was promised before, and of what is new."""
    for draft in case.drafts.values():
        owed, new = case.room.short(case.workload.uid, draft.member), case.given.get(draft.member, 0)
        if not draft.present or serves(draft) or not (owed or new):
            continue
        room = case.room.room(case.shape, draft.member)
        total = room.free + room.elastic + room.virtual
        short = min(draft.replicas, owed + max(0, new - total))
        if short:
            why = f" ({growing.why(case, draft.member)[1]})" if total == 0 else ""
            sentence = f"{short} of the {draft.replicas} replicas that the policy asks for there have no room{why}"
            case.because(SHORTFALL, sentence, draft.member)


def serves(draft: Draft) -> bool:
    """All of it does."""
    return draft.status is not None and draft.status.ready >= draft.replicas
