"""Finding room for more replicas: tier by tier, free room first, then elastic, then virtual."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass

import numpy as np

from services.scheduler.core import division, spending, spread, units
from services.scheduler.core.division import Ints
from services.scheduler.core.drafts import Case
from services.scheduler.core.filtering import TierMembers
from services.scheduler.core.nodes import ELASTIC, FREE, VIRTUAL_ROOM

EXPLAINED = 16  # members whose nodes are looked at anew to say why there is no room, per decision
KINDS = ("free", "elastic", "virtual")


@dataclass(frozen=True, slots=True)
class Looked:
    """The room of one tier's members, by kind, after what does not count is set to 0."""

    index: int
    tier: TierMembers
    room: tuple[Ints, Ints, Ints]


def look(case: Case, index: int, allowed: Callable[[str], bool] | None = None) -> Looked:
    """The tier's room. Members that are blocked, or not allowed, have none."""
    tier = case.candidates.tiers[index]
    found = units.rooms(case, tier) if case.workload.units else case.room.rooms(case.shape, tier.numbers)
    room = (found[0].astype(np.int64), found[1].astype(np.int64), found[2].astype(np.int64))
    _see(case, index, tier, room)
    for position, name in enumerate(tier.names) if case.own else ():
        room[FREE][position] += case.own.get(name, 0)
    for position, name in enumerate(tier.names) if case.own_virtual else ():
        room[VIRTUAL_ROOM][position] += case.own_virtual.get(name, 0)
    for position, name in enumerate(tier.names) if case.given else ():
        _take_given(case, name, position, room)
    if not case.policy.ecs_provision:
        room = (room[0], np.zeros_like(room[1]), room[2])
    if not case.drafts and not case.rests and allowed is None:
        return Looked(index, tier, room)
    for position, name in enumerate(tier.names):
        if not _open(case, name) or (allowed is not None and not allowed(name)):
            for line in room:
                line[position] = 0
    return Looked(index, tier, room)


def _take_given(case: Case, name: str, position: int, room: tuple[Ints, Ints, Ints]) -> None:
    """What this decision gave the member already is not reserved yet: it is no longer room."""
    for kind, label in enumerate(KINDS):
        room[kind][position] = max(0, room[kind][position] - case.given_by_kind.get((name, label), 0))


def _open(case: Case, name: str) -> bool:
    draft = case.drafts.get(name)
    if draft is not None:
        return not case.blocked(draft)
    return not case.resting(name)


def _see(case: Case, index: int, tier: TierMembers, room: tuple[Ints, Ints, Ints]) -> None:
    if tier.names and tier.names[0] in case.looked:
        return
    case.looked.update(tier.names)
    sight = case.sight
    sight.members.extend(tier.names)
    sight.tiers.extend([index] * len(tier.names))
    sight.free.extend(room[FREE].tolist())
    sight.elastic.extend(room[ELASTIC].tolist())
    sight.virtual.extend(room[VIRTUAL_ROOM].tolist())


def grow(case: Case, count: int, allowed: Callable[[str], bool] | None = None) -> int:
    """Gives out `count` new replicas as far as there is room; returns what is left over."""
    chosen = chosen_by_spread(case)
    if isinstance(chosen, spread.Unsatisfied):
        case.because(spread.CODE, str(chosen))
        return count
    if chosen is not None:
        count = seed(case, count, both(allowed, chosen))
    for index in range(len(case.candidates.tiers)):
        if not count:
            break
        looked = look(case, index, both(allowed, chosen))
        for kind in (FREE, ELASTIC, VIRTUAL_ROOM):
            if count:
                count = _give(case, looked, kind, count)
        if count and case.hesitates(index):
            break
    return count


def seed(case: Case, count: int, allowed: Callable[[str], bool] | None) -> int:
    """Where at least so many groups are asked, each of them gets a replica first."""
    for constraint in case.policy.spread:
        used = {spread.group_of(constraint, case.fleet.members[d.member]) for d in case.drafts.values() if d.healthy}
        for index in range(len(case.candidates.tiers)):
            looked = look(case, index, allowed)
            for position, name in enumerate(looked.tier.names):
                kind = next((kind for kind in (FREE, ELASTIC, VIRTUAL_ROOM) if looked.room[kind][position] > 0), None)
                group = spread.group_of(constraint, case.fleet.members[name])
                if count and kind is not None and len(used) < constraint.minimum and group not in used:
                    add(case, name, KINDS[kind], 1)
                    used.add(group)
                    count -= 1
            if count and len(used) < constraint.minimum and case.hesitates(index):
                break
    return count


def both(allowed: Callable[[str], bool] | None, chosen: Set[str] | None) -> Callable[[str], bool] | None:
    if chosen is None:
        return allowed
    return lambda name: name in chosen and (allowed is None or allowed(name))


def chosen_by_spread(case: Case) -> Set[str] | spread.Unsatisfied | None:
    """The members that spread constraints leave; None without constraints."""
    if not case.policy.spread:
        return None
    choices = []
    for index in range(len(case.candidates.tiers)):
        looked = look(case, index)
        totals = (looked.room[0] + looked.room[1] + looked.room[2]).tolist()
        for name, total in zip(looked.tier.names, totals, strict=True):
            draft = case.drafts.get(name)
            used = draft is not None and draft.present and draft.healthy > 0
            choices.append(spread.Choice(case.fleet.members[name], used, total, index))
    listed = {choice.facts.id for choice in choices}
    for draft in case.drafts.values():  # those that only keep what they have count as used
        if draft.member not in listed and draft.healthy > 0 and draft.verdict == "stay":
            choices.append(spread.Choice(case.fleet.members[draft.member], True, 0, draft.tier))
    return spread.select(choices, case.policy.spread)


def _give(case: Case, looked: Looked, kind: int, count: int) -> int:
    room = spending.affordable(case, looked.tier.names, looked.room[kind], kind, count)
    total = int(room.sum())
    here = min(count, total)
    if not here:
        return count
    ties = division.tie_breaks(case.workload.uid, looked.tier.hashes)
    if case.policy.division == "aggregated":
        used = np.array([_uses(case, name) for name in looked.tier.names], dtype=np.bool_)
        seats = division.aggregated(room, here, ties, used)
    else:
        seats = division.webster(room, here, ties)
    names, label = looked.tier.names, KINDS[kind]
    winners = np.flatnonzero(seats)
    for position, given in zip(winners.tolist(), seats[winners].tolist(), strict=True):
        add(case, names[position], label, given)
    return count - here


def _uses(case: Case, name: str) -> bool:
    draft = case.drafts.get(name)
    return draft is not None and draft.healthy > 0


def add(case: Case, member: str, kind: str, count: int) -> None:
    """`count` new replicas for a member, on room of this kind."""
    draft = case.draft(member)
    draft.replicas += count
    setattr(draft, kind, getattr(draft, kind) + count)
    if kind == "elastic":
        draft.deadline = case.now + case.rules.elastic_deadline
    case.given[member] = case.given.get(member, 0) + count
    case.given_by_kind[member, kind] = case.given_by_kind.get((member, kind), 0) + count


def explain_shortage(case: Case) -> None:
    """Why the members that were considered have no room."""
    budget = EXPLAINED
    unexplained = []
    for tier in case.candidates.tiers:
        for name in tier.names:
            if case.resting(name) or not _open(case, name) or case.given.get(name):
                continue
            if not _explained(case, name):
                if budget == 0:
                    unexplained.append(name)
                    continue
                budget -= 1
            case.because(*why(case, name), name)
    if unexplained:
        case.because("InsufficientResources", "no room", *unexplained)


def why(case: Case, member: str) -> tuple[str, str]:
    """(code, sentence): why the member has no room for a replica."""
    return units.why(case, member) if case.workload.units else case.room.why(case.shape, member)


def _explained(case: Case, member: str) -> bool:
    return units.explained(case, member) if case.workload.units else case.room.explained(case.shape, member)
