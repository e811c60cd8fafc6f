"""Topology spread: which nodes hard constraints leave open, and how even each would be.

The rules are kube-scheduler's PodTopologySpread: domains are made up of the nodes that the pod's own node affinity
(and, where asked for, taints) leave it; pods that terminate do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from services.scheduler.core.inside.affinity import Asker
from services.scheduler.core.inside.neighbours import Neighbours, Query
from services.scheduler.core.inside.nodes import Flags, Nodes
from services.scheduler.core.inside.values import PodTerm, TopologySpread
from services.scheduler.core.nodes import EMPTY, Floats, Indexes
from services.scheduler.core.values import HOSTNAME

Eligible = Callable[[TopologySpread], Flags]  # which nodes a constraint's domains are made up of


def even(
    nodes: Nodes, neighbours: Neighbours, asker: Asker, constraints: Sequence[TopologySpread], eligible: Eligible
) -> Flags | None:
    """Nodes that the hard constraints leave open; None for all."""
    hard = [constraint for constraint in constraints if constraint.hard]
    if not hard:
        return None
    everywhere = nodes.phase != EMPTY
    for constraint in hard:  # a node counts in a domain only where it is in one of every constraint
        everywhere = everywhere & (nodes.domains(constraint.topology)[0] >= 0)
    open_: Flags = everywhere.copy()
    for constraint in hard:
        numbers, size = nodes.domains(constraint.topology)
        term = _term(constraint, asker)
        counted = everywhere & eligible(constraint)
        sums = _sums(neighbours, term, numbers, size, counted)
        there = np.zeros(size, dtype=np.bool_)
        there[numbers[counted]] = True
        least = float(sums[there].min()) if there.any() and int(there.sum()) >= constraint.min_domains else 0.0
        self_match = neighbours.selects(term, asker.namespace, asker.labels)
        open_ &= (sums[numbers] + self_match - least <= constraint.max_skew) & (numbers >= 0)
    return open_


def unevenness(
    nodes: Nodes,
    neighbours: Neighbours,
    asker: Asker,
    constraints: Sequence[TopologySpread],
    eligible: Eligible,
    rows: Indexes,
) -> Floats | None:
    """How crowded each of these rows is already by the soft constraints, less being better; None where there are none.

    A row outside of one of their topologies is infinitely so.
    """
    found: Floats | None = None
    for constraint in constraints:
        if constraint.hard:
            continue
        numbers, size = nodes.domains(constraint.topology)
        sums = _sums(neighbours, _term(constraint, asker), numbers, size, (numbers >= 0) & eligible(constraint))
        here = numbers[rows]
        domains = len(rows) if constraint.topology == HOSTNAME else len(np.unique(here[here >= 0]))
        crowd = sums[here] * math.log(domains + 2) + (constraint.max_skew - 1)
        crowd = np.where(here >= 0, crowd, np.inf)
        found = crowd if found is None else found + crowd
    return found


def _term(constraint: TopologySpread, asker: Asker) -> PodTerm:
    return PodTerm(constraint.topology, constraint.selector, frozenset([asker.namespace]))


def _sums(neighbours: Neighbours, term: PodTerm, numbers: Indexes, size: int, counted: Flags) -> Floats:
    counts, _ = neighbours.of(Query((term,), staying=True))
    found = np.bincount(numbers[counted], weights=counts[counted], minlength=max(size, 1))
    return found.astype(np.float64, copy=False)
