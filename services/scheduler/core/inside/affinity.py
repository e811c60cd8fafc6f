"""Pod affinity and anti-affinity: which nodes they leave open, and how much each is liked.

The rules are kube-scheduler's InterPodAffinity. Anti-affinity holds both ways: a pod that is there keeps out whom its
own terms mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.scheduler.core.inside.neighbours import Neighbours, Query
from services.scheduler.core.inside.nodes import Flags, Nodes
from services.scheduler.core.inside.values import Labels, Needs
from services.scheduler.core.nodes import Floats


@dataclass(frozen=True, slots=True)
class Asker:
    """The pod that looks for a node."""

    namespace: str
    labels: Labels
    needs: Needs


def near(nodes: Nodes, neighbours: Neighbours, asker: Asker) -> Flags | None:
    """Nodes that required affinity leaves open; None where the pod has none.

    The first of a group that wants to be together finds nobody: it may go wherever the topologies exist.
    """
    terms = asker.needs.affinity
    if not terms:
        return None
    counts, total = neighbours.of(Query(terms))
    alone = not total and all(neighbours.selects(term, asker.namespace, asker.labels) for term in terms)
    open_ = np.ones(nodes.top, dtype=np.bool_)
    for term in terms:
        numbers, _ = nodes.domains(term.topology)
        open_ &= (numbers >= 0) if alone else _in_domain(nodes, term.topology, counts) > 0
    return open_


def apart(nodes: Nodes, neighbours: Neighbours, asker: Asker) -> Flags | None:
    """Nodes that required anti-affinity leaves open, the pod's own and that of the pods there; None for all."""
    taken = [(term.topology, neighbours.of(Query((term,)))[0]) for term in asker.needs.anti_affinity]
    taken += [(term.topology, rows) for term, rows in neighbours.refusing(asker.namespace, asker.labels)]
    if not taken:
        return None
    open_ = np.ones(nodes.top, dtype=np.bool_)
    for topology, counts in taken:
        open_ &= _in_domain(nodes, topology, counts) == 0
    return open_


def liking(nodes: Nodes, neighbours: Neighbours, asker: Asker) -> Floats | None:
    """Per row the weights of all preferred terms that hold there, of the pod and of those there; None for none."""
    found: Floats | None = None
    weighted = [(term, weight, neighbours.of(Query((term,)))[0]) for term, weight in asker.needs.preferred]
    weighted += [(term, weight, rows) for (term, weight), rows in neighbours.wishing(asker.namespace, asker.labels)]
    for term, weight, counts in weighted:
        here = weight * _in_domain(nodes, term.topology, counts)
        found = here if found is None else found + here
    return found


def _in_domain(nodes: Nodes, topology: str, counts: Floats) -> Floats:
    """Per row how many are in the same domain; 0 where the node is in none."""
    numbers, size = nodes.domains(topology)
    sums = np.bincount(numbers + 1, weights=counts, minlength=size + 1).astype(np.float64, copy=False)
    sums[0] = 0.0
    return sums[numbers + 1]
