"""How good each of the nodes is that take a pod: kube-scheduler's default scores, with its weights.

NodeResourcesFit (LeastAllocated over cpu and memory) and NodeResourcesBalancedAllocation count once, TaintToleration
(PreferNoSchedule) three times, NodeAffinity, PodTopologySpread and InterPodAffinity twice; each lies in 0…100.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.scheduler.core.constraints import Taint, Term, Toleration
from services.scheduler.core.inside import fit
from services.scheduler.core.inside.nodes import Nodes
from services.scheduler.core.inside.values import Needs
from services.scheduler.core.nodes import Floats, Indexes
from services.scheduler.core.values import Shape

_SCORED = ("cpu", "memory")
BEST = 100.0


def room(nodes: Nodes, needs: Needs, rows: Indexes) -> Floats:
    """LeastAllocated and BalancedAllocation together."""
    requests = dict(needs.shape.requests)
    least = np.zeros(len(rows))
    used = []
    for resource in _SCORED:
        total = nodes.line(nodes.total, resource)[rows]
        left = nodes.line(nodes.avail, resource)[rows] - requests.get(resource, 0)
        share = np.divide(left, total, out=np.zeros(len(rows)), where=total > 0)
        np.clip(share, 0.0, 1.0, out=share)
        least += share
        used.append(1.0 - share)
    balance = 1.0 - np.abs(used[0] - used[1]) / 2.0  # the standard deviation of two
    scores: Floats = BEST * (least / len(_SCORED) + balance)
    return scores


def preferences(nodes: Nodes, needs: Needs, rows: Indexes) -> Floats | None:
    """Preferred node affinity and taints that are better avoided; None where they say nothing."""
    found: Floats | None = None
    if needs.preferred_nodes:
        weights = nodes.derived(("preferred", needs.preferred_nodes), lambda: _weights(nodes, needs.preferred_nodes))
        here = weights[rows]
        if here.any():
            found = 2.0 * BEST * here / here.max()
    tolerations = needs.shape.tolerations
    avoided = nodes.derived(("avoided", tolerations), lambda: _avoided(nodes, tolerations))[rows]
    if avoided.any():
        shunned = 3.0 * BEST * (1.0 - avoided / avoided.max())
        found = shunned if found is None else found + shunned
    return found


def liked(weights: Floats) -> Floats:
    """InterPodAffinity: from the least liked of these nodes to the most liked."""
    low, high = float(weights.min()), float(weights.max())
    return np.zeros(len(weights)) if high == low else 2.0 * BEST * (weights - low) / (high - low)


def spread(crowd: Floats) -> Floats:
    """PodTopologySpread: the least crowded is the best; nodes outside of the topologies get nothing."""
    inside = np.isfinite(crowd)
    if not inside.any():
        return np.zeros(len(crowd))
    low, high = float(crowd[inside].min()), float(crowd[inside].max())
    if high <= 0:
        return np.where(inside, 2.0 * BEST, 0.0)
    scores: Floats = np.where(inside, 2.0 * BEST * (high + low - np.where(inside, crowd, 0.0)) / high, 0.0)
    return scores


def _weights(nodes: Nodes, preferred: Sequence[tuple[Term, int]]) -> Floats:
    found = np.zeros(nodes.top)
    for term, weight in preferred:
        if not term.expressions and not term.fields:
            continue  # an empty preference prefers nothing
        shape = Shape((), (), (term,), ())
        found += weight * fit.selected(nodes, shape)
    return found


def _avoided(nodes: Nodes, tolerations: tuple[Toleration, ...]) -> Floats:
    """Taints PreferNoSchedule that the pod does not tolerate, per row."""

    def count(taints: tuple[Taint, ...]) -> int:
        return sum(t.effect == "PreferNoSchedule" and not any(o.tolerates(t) for o in tolerations) for t in taints)

    return np.array([count(facts.taints) for facts in nodes.facts] or [0], dtype=np.float64)[nodes.klass]
