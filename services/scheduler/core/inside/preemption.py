"""Room for a pod of higher priority: on which node of a unit, and who has to go for it.

As kube-scheduler does it: all pods of lower priority go in thought, then as many as still fit come back: first those
whose going would violate a PodDisruptionBudget, then the others, each time the most important first. Of the nodes the
one counts where the fewest violate one, then the one whose most important victim is the least important, then that with
fewer and less important ones. Who is on its way out already is waited for and costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from services.scheduler.core.inside import fit
from services.scheduler.core.inside.budgets import Allowance
from services.scheduler.core.inside.nodes import Flags
from services.scheduler.core.inside.records import LEAVING, PodRecord
from services.scheduler.core.inside.trial import Case, full, open_rows
from services.scheduler.core.inside.units import Stage
from services.scheduler.core.nodes import Floats
from services.scheduler.core.values import PODS

LOOKED_AT: Final = 100  # nodes of one level, as many as kube-scheduler looks at by default
CLOSELY: Final = 10  # nodes of one level where neighbours have to be judged anew for every victim
FURTHER: Final = 10  # times as many, for places where no budget is violated: most others are told apart at once
_NO_VIOLATIONS: Final[Mapping[PodRecord, Sequence[str]]] = {}
_LIFT: Final = 2**31  # makes every priority positive, so that one victim more weighs more than its priority


@dataclass(frozen=True, slots=True)
class Plan:
    """victims: who is to go from the node, none where it is enough to wait for those that go anyway (leaving).
    violated: the victims whose going violates PodDisruptionBudgets, and which."""

    stage: Stage
    node: str
    victims: tuple[PodRecord, ...]
    leaving: tuple[PodRecord, ...] = ()
    violated: Mapping[PodRecord, Sequence[str]] = field(default_factory=dict)

    @property
    def weight(self) -> tuple[int, int, int, int]:
        """Less is better."""
        importance = sum(victim.pod.priority + _LIFT for victim in self.victims)
        return (len(self.violated), self.most, importance, len(self.victims))

    @property
    def most(self) -> int:
        """The priority of the most important victim."""
        return max((victim.pod.priority for victim in self.victims), default=LEAVING)


def best_of(case: Case, stages: Iterable[Stage]) -> Plan | None:
    """In the first of these units that has a place; one where no budget is violated comes before all others."""
    best: Plan | None = None
    for stage in stages:
        found = plan(case, stage)
        if found is not None and not found.violated:
            return found
        if best is None or (found is not None and len(found.violated) < len(best.violated)):
            best = found
    return best


def plan(case: Case, stage: Stage) -> Plan | None:
    """The best place in the unit, if any. Not on virtual nodes: an instance is nobody else's room."""
    pod = case.record.pod
    if pod.preemption == "Never" or stage.where.virtual:
        return None
    if case.room_comes:
        return Plan(stage, case.record.nominated, ())
    nodes = case.member.nodes
    takes = fit.takes(nodes, stage.where)
    if full(case, stage) is not None:
        takes = takes & _of_unit(case, stage)
    if not takes.any():
        return None
    closely, budgets = _judged_closely(case, stage), case.member.budgets.allowance(case.member.counts.going)
    found = _search(_Look(case, stage, closely, budgets, sparing=True), takes) if budgets is not None else None
    return found or _search(_Look(case, stage, closely, budgets), takes)


@dataclass(frozen=True, slots=True)
class _Look:
    """closely: more than amounts decides on a node. budgets: None where there are none. sparing: only at places where
    none is violated."""

    case: Case
    stage: Stage
    closely: bool
    budgets: Allowance | None
    sparing: bool = False

    def fits(self, row: int, gone: Sequence[PodRecord]) -> bool:
        fits = _fits_closely if self.closely else _fits
        return fits(self.case, self.stage, row, gone)


def _search(look: _Look, takes: Flags) -> Plan | None:
    """Level by level: first nodes on which it is enough that the least important go."""
    case, nodes = look.case, look.case.member.nodes
    avail = _less_claims(case)
    if look.sparing:
        takes = takes & _holds(case, avail + _spared(case))
    seen = np.zeros(nodes.top, dtype=np.bool_)
    best: Plan | None = None
    for level, gain in case.member.counts.ranks.below(case.record.pod.priority):
        someone = gain[nodes.columns[PODS], : nodes.top] > 0
        rows = takes & ~seen & someone & _holds(case, avail + gain)
        seen |= rows
        best = _better(best, look, rows, level)
        if best is not None and not best.violated and best.most <= level:
            break  # on all other nodes somebody more important has to go
    return best


def _spared(case: Case) -> Floats:
    """What pods of lower priority hold, but for those that no budget lets go."""
    counts, priority = case.member.counts, case.record.pod.priority
    return counts.ranks.all_below(priority) - counts.kept.below(priority, case.member.budgets)


def _less_claims(case: Case) -> Floats:
    avail = case.member.nodes.avail.copy()
    for row, amounts in case.claims:
        for resource, amount in amounts:
            avail[case.member.nodes.columns[resource], row] -= amount
    return avail


def _holds(case: Case, avail: Floats) -> Flags:
    nodes = case.member.nodes
    found = np.ones(nodes.top, dtype=np.bool_)
    for resource, amount in case.requests:
        column = nodes.columns.get(resource)
        found &= (avail[column, : nodes.top] if column is not None else np.zeros(nodes.top)) >= amount
    return found


def _better(best: Plan | None, look: _Look, rows: Flags, level: int) -> Plan | None:
    """The best of what was found before and of nodes whose most important victim is as important as this level."""
    nodes, enough = look.case.member.nodes, CLOSELY if look.closely else LOOKED_AT
    found, places = np.flatnonzero(rows), 0
    ranked = found[np.argsort(nodes.rank[found])].tolist()
    for row in ranked[: enough * FURTHER if look.sparing else enough]:
        made = _on(look, row)
        if made is None:
            continue
        places += 1
        if best is None or made.weight < best.weight:
            best = made
        if places == enough or (not best.violated and len(best.victims) <= 1 and best.most <= level):
            break  # enough to choose from, or no other can cost less
    return best


def _judged_closely(case: Case, stage: Stage) -> bool:
    """More than amounts decides: ports, neighbours, or the unit's own bounds."""
    needs, member = case.record.needs, case.member
    return bool(
        needs.ports
        or needs.affinity
        or needs.anti_affinity
        or any(constraint.hard for constraint in needs.spread)
        or member.counts.neighbours.refusing(case.asker.namespace, case.asker.labels)
        or case.ceiling is not None
        or (stage.rule is not None and stage.rule.bounded)
    )


def _on(look: _Look, row: int) -> Plan | None:
    """Who has to go from this node; None where that would not help."""
    case, member = look.case, look.case.member
    node = member.nodes.names[row]
    there = sorted(member.on(node), key=lambda r: (-r.pod.priority, r.pod.created_at, r.uid))
    leaving = [record for record in there if record.seat and record.seat.priority == LEAVING]
    lower = [r for r in there if r.seat and LEAVING < r.seat.priority < case.record.pod.priority]
    violated = look.budgets.violated(lower) if look.budgets is not None else _NO_VIOLATIONS
    others = [record for record in lower if record not in violated] if violated else lower
    if not look.fits(row, [*leaving, *(others if look.sparing else lower)]):
        return None
    victims = lower
    for record in (*violated, *others):  # those who come back first
        spared = [other for other in victims if other is not record]
        if look.fits(row, [*leaving, *spared]):
            victims = spared
    found = {record: violated[record] for record in victims if record in violated}
    return None if look.sparing and found else Plan(look.stage, node, tuple(victims), tuple(leaving), found)


def _fits(case: Case, stage: Stage, row: int, gone: Sequence[PodRecord]) -> bool:
    nodes = case.member.nodes
    asked = dict(case.requests)
    for r, amounts in case.claims:
        for resource, amount in amounts if r == row else ():
            asked[resource] = asked.get(resource, 0) + amount
    for record in gone:
        for resource, amount in record.needs.shape.requests:
            asked[resource] = asked.get(resource, 0) - amount
    return all(
        amount <= 0 or (resource in nodes.columns and nodes.avail[nodes.columns[resource], row] >= amount)
        for resource, amount in asked.items()
    )


def _fits_closely(case: Case, stage: Stage, row: int, gone: Sequence[PodRecord]) -> bool:
    with case.member.without(gone):
        return full(case, stage) is None and bool(open_rows(case, stage)[row])


def _of_unit(case: Case, stage: Stage) -> Flags:
    """Nodes with pods of lower priority that count in the unit."""
    member = case.member
    found = np.zeros(member.nodes.top, dtype=np.bool_)
    for record in member.pods.values():
        seat = record.seat
        if seat is None or seat.entry is None or case.policy is None or seat.policy != case.policy.key:
            continue
        counts = (seat.entry.place, seat.entry.group) == (stage.place, case.group)
        if counts and seat.priority < case.record.pod.priority:
            found[seat.row] = True
    return found
