"""Room for a pod of higher priority: on which node of a unit, and who has to go for it.

As kube-scheduler does it: all pods of lower priority go in thought, then as many as still fit come back, the most
important first. Of the nodes the one counts whose most important victim is the least important, then that with fewer
and less important ones. Who is on its way out already is waited for and costs nothing. PodDisruptionBudgets are not
looked at: brim is not told of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from services.scheduler.core.inside import fit
from services.scheduler.core.inside.nodes import Flags
from services.scheduler.core.inside.records import LEAVING, PodRecord
from services.scheduler.core.inside.trial import Case, full, open_rows
from services.scheduler.core.inside.units import Stage
from services.scheduler.core.nodes import Floats
from services.scheduler.core.values import PODS

LOOKED_AT: Final = 100  # nodes of one level, as many as kube-scheduler looks at by default
CLOSELY: Final = 10  # nodes of one level where neighbours have to be judged anew for every victim
_LIFT: Final = 2**31  # makes every priority positive, so that one victim more weighs more than its priority


@dataclass(frozen=True, slots=True)
class Plan:
    """victims: who is to go from the node, none where it is enough to wait for those that go anyway."""

    stage: Stage
    node: str
    victims: tuple[PodRecord, ...]


def plan(case: Case, stage: Stage) -> Plan | None:
    """The best place in the unit, if any. Not on virtual nodes: an instance is nobody else's room."""
    pod = case.record.pod
    if pod.preemption == "Never" or stage.where.virtual:
        return None
    nodes = case.member.nodes
    takes = fit.takes(nodes, stage.where)
    if full(case, stage) is not None:
        takes = takes & _of_unit(case, stage)
    if not takes.any():
        return None
    avail = _less_claims(case)
    seen = np.zeros(nodes.top, dtype=np.bool_)
    for level, gain in case.member.counts.ranks.below(pod.priority):
        someone = gain[nodes.columns[PODS], : nodes.top] > 0
        rows = takes & ~seen & someone & _holds(case, avail + gain)
        seen |= rows
        best = _best(case, stage, rows, level)
        if best is not None:
            return best
    return None


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


def _best(case: Case, stage: Stage, rows: Flags, level: int) -> Plan | None:
    """Of nodes whose most important victim is as important as this level, the one that costs least."""
    nodes, closely = case.member.nodes, _judged_closely(case, stage)
    found = np.flatnonzero(rows)
    ranked = found[np.argsort(nodes.rank[found])].tolist()
    best: tuple[tuple[int, int, int], Plan] | None = None
    for row in ranked[: CLOSELY if closely else LOOKED_AT]:
        victims = _victims(case, stage, row, closely=closely)
        if victims is None:
            continue
        most = max((victim.pod.priority for victim in victims), default=LEAVING)
        weight = (most, sum(victim.pod.priority + _LIFT for victim in victims), len(victims))
        if best is None or weight < best[0]:
            best = weight, Plan(stage, nodes.names[row], tuple(victims))
        if len(victims) <= 1 and most <= level:
            break  # no other can cost less
    return best[1] if best is not None else None


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


def _victims(case: Case, stage: Stage, row: int, *, closely: bool) -> list[PodRecord] | None:
    """Who has to go from this node; None where that would not help."""
    there = sorted(
        case.member.on(case.member.nodes.names[row]), key=lambda r: (-r.pod.priority, r.pod.created_at, r.uid)
    )
    leaving = [record for record in there if record.seat and record.seat.priority == LEAVING]
    lower = [r for r in there if r.seat and LEAVING < r.seat.priority < case.record.pod.priority]
    fits = _fits_closely if closely else _fits
    if not fits(case, stage, row, [*leaving, *lower]):
        return None
    victims = list(lower)
    for record in lower:  # the most important first
        spared = [other for other in victims if other is not record]
        if fits(case, stage, row, [*leaving, *spared]):
            victims = spared
    return victims


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
