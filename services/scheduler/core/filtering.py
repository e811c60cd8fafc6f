"""Which members a policy may use, and why not the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

import numpy as np

from services.scheduler.core.constraints import Taint, Toleration
from services.scheduler.core.division import Ties, hash_of
from services.scheduler.core.nodes import Indexes
from services.scheduler.core.values import Affinity, MemberFacts, Policy, Tier
from shared.contracts.placement import Reason

Verdict: TypeAlias = Literal["open", "stay", "leave", "dead"]
ALIKE: Final = 4096  # different questions whose answers are kept

UNKNOWN: Final = "CapacityUnknown"  # of a reason


@dataclass(frozen=True, slots=True)
class TierMembers:
    """The members of one tier that may take new replicas, by their numbers in FleetRoom's arrays."""

    names: tuple[str, ...]
    numbers: Indexes
    hashes: Ties


@dataclass(frozen=True, slots=True)
class Candidates:
    """A policy's view of the fleet.

    verdicts: open (may take new replicas), stay (keeps what it has), leave (what is there moves away, never below
    what serves), dead (replaced at once). A member without one is not selected, or not in the fleet.
    unknown: per tier the members that only stay because their capacity is not known.
    """

    tiers: tuple[TierMembers, ...]
    tier_of: Mapping[str, int]
    verdicts: Mapping[str, Verdict]
    reasons: tuple[Reason, ...]
    unknown: tuple[tuple[str, ...], ...] = ()

    @property
    def selected(self) -> Iterable[str]:
        return self.tier_of


@dataclass(slots=True)
class Fleet:
    """All members. Candidates are kept until a member changes: per policy, and once for policies that ask alike.

    unknown_since: when a decision first met a member without knowing its capacity, Unix seconds.
    """

    members: dict[str, MemberFacts] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    unknown_since: dict[str, float] = field(default_factory=dict)
    _unheard: set[str] = field(default_factory=set)
    _kept: dict[str, tuple[Policy, Candidates]] = field(default_factory=dict)
    _alike: dict[tuple[tuple[Tier, ...], tuple[Toleration, ...]], Candidates] = field(default_factory=dict)

    def put(self, facts: MemberFacts, number: int) -> bool:
        """Adds or replaces; whether anything changed. number: the member's in FleetRoom's arrays."""
        if self.members.get(facts.id) == facts:
            return False
        self.members[facts.id], self.numbers[facts.id] = facts, number
        if facts.heard_of:
            self._hear(facts.id)
        else:
            self._unheard.add(facts.id)
        self._forget_all()
        return True

    def _hear(self, member: str) -> None:
        self._unheard.discard(member)
        self.unknown_since.pop(member, None)

    def look(self, now: float) -> None:
        """Decisions are taken now."""
        for member in self._unheard:
            self.unknown_since.setdefault(member, now)

    def remove(self, member: str) -> MemberFacts | None:
        self._hear(member)
        self._forget_all()
        return self.members.pop(member, None)

    def _forget_all(self) -> None:
        self._kept.clear()
        self._alike.clear()

    def forget(self, policy: str) -> None:
        self._kept.pop(policy, None)

    def candidates(self, policy: Policy) -> Candidates:
        kept = self._kept.get(policy.key)
        if kept is not None and kept[0] is policy:
            return kept[1]
        asked = policy.tiers, policy.tolerations
        found = self._alike.get(asked)
        if found is None:
            if len(self._alike) >= ALIKE:
                self._alike.clear()
            found = self._alike[asked] = _candidates(policy, self.members, self.numbers)
        self._kept[policy.key] = (policy, found)
        return found


def selects(affinity: Affinity, member: MemberFacts) -> bool:
    """All parts of an affinity hold; exclude wins."""
    if member.id in affinity.exclude:
        return False
    if affinity.names is not None and member.id not in affinity.names:
        return False
    if affinity.labels is not None and not affinity.labels.matches(member.labels):
        return False
    if not affinity.fields:
        return True
    fields = {"provider": member.provider, "region": member.region, "zone": member.zone}
    return all(expression.matches(fields) for expression in affinity.fields)


def untolerated(taints: Sequence[Taint], tolerations: Sequence[Toleration], effects: tuple[str, ...]) -> Taint | None:
    """The first of these effects' taints that nothing tolerates."""
    for taint in taints:
        if taint.effect in effects and not any(toleration.tolerates(taint) for toleration in tolerations):
            return taint
    return None


def judge(policy: Policy, member: MemberFacts) -> tuple[Verdict, str, str]:
    """(verdict, code, sentence) for a member that the policy selects."""
    if member.lost:
        return "dead", "MemberLost", "lost: unreachable for too long"
    if member.wish == "drained":
        return "leave", "Drained", "drained"
    taint = untolerated(member.taints, policy.tolerations, ("NoExecute",))
    if taint is not None:
        return "leave", "ClusterTaintNotTolerated", f"the policy does not tolerate the cluster's taint {taint}"
    if member.wish == "cordoned":
        return "stay", "Cordoned", "cordoned: no new replicas"
    taint = untolerated(member.taints, policy.tolerations, ("NoSchedule",))
    if taint is not None:
        return "stay", "ClusterTaintNotTolerated", f"the policy does not tolerate the cluster's taint {taint}"
    if member.silent:
        return "stay", "MemberUnreachable", "does not answer: no new replicas until it does"
    if not member.heard_of:
        return "stay", UNKNOWN, "its capacity is not known (yet)"
    return "open", "", ""


def _candidates(policy: Policy, members: Mapping[str, MemberFacts], numbers: Mapping[str, int]) -> Candidates:
    """By the policy's tiers and tolerations alone."""
    tier_of: dict[str, int] = {}
    repeated: list[str] = []
    for index, tier in enumerate(policy.tiers):
        for member in _considered(tier.affinity, members):
            if selects(tier.affinity, member):
                if member.id in tier_of:
                    repeated.append(member.id)
                tier_of.setdefault(member.id, index)
    verdicts: dict[str, Verdict] = {}
    grouped: dict[tuple[str, str], list[str]] = {}
    for name in tier_of:
        verdicts[name], code, sentence = judge(policy, members[name])
        if code:
            grouped.setdefault((code, sentence), []).append(name)
    absent = sorted({name for tier in policy.tiers for name in tier.affinity.names or () if name not in members})
    if absent:
        grouped["UnknownMember", "named by the policy, but not in the fleet"] = absent
    if not tier_of and not absent:
        grouped["NoMemberSelected", "the policy selects no member"] = []
    if repeated:
        grouped["SelectedTwice", "selected by several affinities; the first counts"] = sorted(set(repeated))
    reasons = tuple(Reason(code=c, message=m, members=tuple(sorted(who))) for (c, m), who in grouped.items())
    tiers = tuple(_tier(index, tier_of, verdicts, numbers) for index in range(len(policy.tiers)))
    doubted = {name for (code, _), who in grouped.items() if code == UNKNOWN for name in who}
    unknown = tuple(
        tuple(name for name, tier in tier_of.items() if tier == index and name in doubted)
        for index in range(len(policy.tiers))
    )
    return Candidates(tiers, tier_of, verdicts, reasons, unknown if doubted else ())


def _considered(affinity: Affinity, members: Mapping[str, MemberFacts]) -> Iterable[MemberFacts]:
    if affinity.names is None:
        return sorted(members.values(), key=lambda member: member.id)
    return [members[name] for name in dict.fromkeys(affinity.names) if name in members]


def _tier(
    index: int, tier_of: Mapping[str, int], verdicts: Mapping[str, Verdict], numbers: Mapping[str, int]
) -> TierMembers:
    names = tuple(name for name, tier in tier_of.items() if tier == index and verdicts[name] == "open")
    return TierMembers(
        names,
        np.array([numbers[name] for name in names], dtype=np.intp),
        np.array([hash_of(name) for name in names], dtype=np.uint64),
    )
