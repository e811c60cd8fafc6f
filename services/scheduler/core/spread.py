"""Spread constraints: over how many clusters, regions, zones, providers or label values replicas may go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from services.scheduler.core.values import MemberFacts, Spread

CODE: Final = "SpreadConstraint"  # of the reason that there are too few groups


@dataclass(frozen=True, slots=True)
class Choice:
    """A member that could be chosen. rank: smaller is better, for those not used already."""

    facts: MemberFacts
    used: bool
    room: int
    tier: int

    @property
    def rank(self) -> tuple[bool, bool, int, int, str]:
        return (not self.used, self.room <= 0, self.tier, -self.room, self.facts.id)


@dataclass(frozen=True, slots=True)
class Unsatisfied:
    """There are fewer groups than the constraint's minimum."""

    constraint: Spread
    groups: int

    def __str__(self) -> str:
        what = self.constraint.label or self.constraint.by
        return f"spread over at least {self.constraint.minimum} of {what} is asked, {self.groups} can take replicas"


def group_of(constraint: Spread, facts: MemberFacts) -> str:
    """The member's group; empty where it has none, then it is not eligible."""
    by_field: Mapping[str, str] = {
        "cluster": facts.id,
        "region": facts.region,
        "zone": facts.zone,
        "provider": facts.provider,
        "label": facts.labels.get(constraint.label, ""),
    }
    return by_field[constraint.by]


def select(choices: Sequence[Choice], constraints: Sequence[Spread]) -> Set[str] | Unsatisfied:
    """The members that may hold replicas. Groups in use stay; then those with room, by tier, the roomiest first."""
    left = list(choices)
    keepers: list[Choice] = []
    for constraint in _widest_first(constraints):
        groups: dict[str, list[Choice]] = {}
        for choice in sorted(left, key=lambda choice: choice.rank):
            name = group_of(constraint, choice.facts)
            if name:
                groups.setdefault(name, []).append(choice)
        if len([1 for members in groups.values() if _usable(members)]) < constraint.minimum:
            usable = len([1 for members in groups.values() if _usable(members)])
            return Unsatisfied(constraint, usable)
        ordered = sorted(groups.values(), key=lambda members: _rank(members, keepers))
        chosen = ordered[: constraint.maximum] if constraint.maximum else ordered
        left = [choice for members in chosen for choice in members]
        keepers = [members[0] for members in chosen[: constraint.minimum]]
    return {choice.facts.id for choice in left}


def keepers(held: Sequence[Choice], constraints: Sequence[Spread], most: int) -> Set[str]:
    """At most so many members that must not be emptied, or there were fewer groups than a minimum."""
    kept: dict[str, Choice] = {}
    for constraint in _widest_first(constraints):
        groups = {group_of(constraint, choice.facts) for choice in kept.values()}
        for choice in sorted(held, key=lambda choice: choice.rank):
            group = group_of(constraint, choice.facts)
            if group and group not in groups and len(groups) < constraint.minimum and len(kept) < most:
                groups.add(group)
                kept[choice.facts.id] = choice
    return kept.keys()


def _widest_first(constraints: Sequence[Spread]) -> list[Spread]:
    """Clusters within the groups."""
    return sorted(constraints, key=lambda constraint: constraint.by == "cluster")


def _usable(members: Sequence[Choice]) -> bool:
    return any(choice.used or choice.room > 0 for choice in members)


def _rank(members: Sequence[Choice], keepers: Sequence[Choice]) -> tuple[object, ...]:
    """Clusters that keep the outer groups at their minimum come before the rest, except before used ones."""
    best = members[0]
    kept = any(choice in keepers for choice in members)
    room = sum(choice.room for choice in members)
    return (not best.used, not kept, room <= 0, best.tier, -room, best.facts.id)
