"""One pod on the nodes of one unit: which of them take it, and which is the best.

What kube-scheduler filters and scores by holds here, unit by unit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np

from services.scheduler.core.inside import affinity, fit, prices, scores, spread, virtual
from services.scheduler.core.inside.affinity import Asker
from services.scheduler.core.inside.member import Member
from services.scheduler.core.inside.nodes import Amounts, Flags
from services.scheduler.core.inside.records import PodRecord
from services.scheduler.core.inside.units import Stage
from services.scheduler.core.inside.values import ResourcePolicy, TopologySpread
from services.scheduler.core.inside.virtual import Offer, Wish
from services.scheduler.core.nodes import Floats, Indexes
from shared.contracts.annotations import ceiling_of

Claims: TypeAlias = tuple[tuple[int, Amounts], ...]  # (row, amounts) set aside for others
_SLACK: Final = 1e-9  # by which sums of prices may be off


@dataclass(slots=True)
class Case:
    """The pod that looks for a node, and all that bears on it. wish: it asks for ECI, and follows no policy then.
    avoid: virtual nodes that had no instance for its like a moment ago. room_comes: somebody has left the node where
    room is made for it, which the capacity does not show yet.
    """

    member: Member
    record: PodRecord
    policy: ResourcePolicy | None
    wish: Wish | None
    claims: Claims = ()
    room_comes: bool = False
    asker: Asker = field(init=False)
    ceiling: float | None = field(init=False)
    avoid: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        record = self.record
        self.asker = Asker(record.pod.namespace, record.labels, record.needs)
        bounds = [_ceiling_of(record.pod.annotations), self.policy.ceiling if self.policy else None]
        self.avoid = self.member.rests.of(record.owner)
        self.ceiling = min((bound for bound in bounds if bound is not None), default=None)

    @property
    def requests(self) -> Amounts:
        return self.record.needs.shape.requests

    @property
    def group(self) -> tuple[str | None, ...]:
        """Its values of matchLabelKeys."""
        labels = dict(self.record.labels)
        return tuple(labels.get(key) for key in self.policy.label_keys) if self.policy else ()

    def annotations(self, stage: Stage) -> Mapping[str, str]:
        """As they will be in this unit: the unit's marks are written over the pod's, a profile's effect is not."""
        own = self.record.pod.annotations
        if self.wish is not None:
            return {**self.wish.annotations, **own}
        return {**own, **dict(stage.rule.pod_annotations)} if stage.rule else own

    def eligible(self, constraint: TopologySpread) -> Flags:
        """Nodes that make up the domains of a spread constraint; for a pod that asks for ECI only virtual ones."""
        nodes, filters = self.member.nodes, self.record.needs.filters
        if self.wish is not None:
            return fit.of_unit(nodes, "eci")
        found = fit.anywhere(nodes)
        if constraint.honor_affinity:
            found = found & fit.selected(nodes, filters)
        if constraint.honor_taints:
            found = found & fit.tolerated(nodes, filters)
        return found


@dataclass(frozen=True, slots=True)
class Choice:
    """Where the pod goes. offer: the instance, on a virtual node."""

    stage: Stage
    row: int
    per_hour: float = 0.0
    offer: Offer | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Why virtual nodes that take the pod sell it nothing: (code, sentence) each."""

    reasons: tuple[tuple[str, str], ...]


def full(case: Case, stage: Stage) -> str | None:
    """Why the unit's own bounds leave no room for the pod; None where they do."""
    if case.policy is None or stage.place is None:
        return None
    return case.member.counts.tally(case.policy).full(stage.place, case.group, case.requests)


def steps(case: Case, stage: Stage) -> Iterator[tuple[str, Flags]]:
    """What is asked of a node beside its state, taints and labels: (code where it says no, which nodes say yes)."""
    member = case.member
    nodes, needs = member.nodes, case.record.needs
    if not stage.where.virtual:
        yield "InsufficientResources", fit.enough(nodes, case.requests, case.claims)
    if needs.ports:
        yield "HostPortTaken", fit.free_ports(nodes, member.counts.ports(), needs.ports)
    if case.wish is None:  # who asks for ECI gets it whatever its affinity says
        near = affinity.near(nodes, member.counts.neighbours, case.asker)
        if near is not None:
            yield "PodAffinity", near
        apart = affinity.apart(nodes, member.counts.neighbours, case.asker)
        if apart is not None:
            yield "PodAntiAffinity", apart
    if needs.spread:
        even = spread.even(nodes, member.counts.neighbours, case.asker, needs.spread, case.eligible)
        if even is not None:
            yield "TopologySpread", even
    if case.ceiling is not None and stage.where.unit in (None, "ecs"):
        spent = member.counts.spending(case.record.owner)
        cost = prices.hourly(nodes, member.prices, case.requests)
        yield "CostCeiling", (cost == 0) | (spent + cost <= case.ceiling + _SLACK)


def open_rows(case: Case, stage: Stage) -> Flags:
    """Nodes of the unit that take the pod; of virtual ones, that may."""
    mask = fit.takes(case.member.nodes, stage.where)
    if not mask.any():
        return mask
    for _, yes in steps(case, stage):
        mask = mask & yes
    return mask


def choose(case: Case, stage: Stage) -> Choice | Refused:
    """The best node of the unit."""
    rows = np.flatnonzero(open_rows(case, stage))
    if not len(rows):
        return Refused(())
    if stage.where.virtual:
        return _buy(case, stage, rows)
    nodes = case.member.nodes
    row = int(rows[0])
    if len(rows) > 1:
        best = _scores(case, rows)
        ties = rows[best >= best.max() - 1e-6]
        row = int(ties[nodes.rank[ties].argmin()])
    per_hour = prices.of_row(nodes, case.member.prices, case.requests, row)
    return Choice(stage, row, per_hour)


def _scores(case: Case, rows: Indexes) -> Floats:
    nodes, needs = case.member.nodes, case.record.needs
    found = scores.room(nodes, needs, rows)
    preferred = scores.preferences(nodes, needs, rows)
    if preferred is not None:
        found += preferred
    return found + _neighbourly(case, rows)


def _neighbourly(case: Case, rows: Indexes) -> Floats:
    """The scores that depend on other pods."""
    member, needs = case.member, case.record.needs
    found = np.zeros(len(rows))
    liked = affinity.liking(member.nodes, member.counts.neighbours, case.asker)
    if liked is not None:
        found += scores.liked(liked[rows])
    if needs.spread:
        crowd = spread.unevenness(member.nodes, member.counts.neighbours, case.asker, needs.spread, case.eligible, rows)
        if crowd is not None:
            found += scores.spread(crowd)
    return found


def _buy(case: Case, stage: Stage, rows: Indexes) -> Choice | Refused:
    """The preferred instance that can be had, then the cheapest, then the better node."""
    member = case.member
    names = {row: member.nodes.names[row] for row in rows.tolist()}
    able = [row for row, name in names.items() if name not in case.avoid]
    found, refused = virtual.offers(member.nodes, able, member.sales, case.requests, case.annotations(stage))
    resting = sorted(case.avoid.intersection(names.values()))
    refused += [("NoInstance", f"{name} had no instance for its like, and is avoided for a while") for name in resting]
    if case.ceiling is not None:
        spent = member.counts.spending(case.record.owner)
        dear = [offer for offer in found if spent + offer.per_hour > case.ceiling + _SLACK]
        found = [offer for offer in found if offer not in dear]
        refused += [("CostCeiling", ceiling_reached(case.ceiling, spent, offer.per_hour)) for offer in dear]
    if not found:
        return Refused(tuple(refused))
    likes = dict(zip(rows.tolist(), _neighbourly(case, rows).tolist(), strict=True))
    rank = member.nodes.rank
    offer = min(found, key=lambda o: (o.choice, o.per_hour, -likes[o.row], int(rank[o.row])))
    return Choice(stage, offer.row, offer.per_hour, offer)


def ceiling_reached(ceiling: float, spent: float, more: float) -> str:
    return f"it would cost {more:g} more per hour, {spent:g} of at most {ceiling:g} are spent"


def _ceiling_of(annotations: Mapping[str, str]) -> float | None:
    """Nobody checked what a person wrote on a pod straight in the member: what is no price bounds nothing."""
    try:
        return ceiling_of(annotations)
    except ValueError:
        return None
