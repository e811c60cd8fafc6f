"""What a pod on a node costs per hour: its share of the node's price, as inventory meters it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from services.scheduler.core.inside.nodes import Amounts, Nodes
from services.scheduler.core.nodes import Floats
from services.scheduler.core.values import PODS
from shared.pod_requests import dominant_share
from shared.units import pool_of


def hourly(nodes: Nodes, prices: Mapping[str, float], requests: Amounts) -> Floats:
    """Per row, by the same rule as `of_row`. prices: of one node of each pool, per hour; other nodes are free."""
    price = nodes.derived(("prices", tuple(sorted(prices.items()))), lambda: _of_rows(nodes, prices))
    if not price.any():
        return price
    share = np.zeros(nodes.top)
    for resource, amount in requests:
        if resource != PODS:
            total = nodes.line(nodes.total, resource)
            np.maximum(share, np.divide(amount, total, out=np.zeros(nodes.top), where=total > 0), out=share)
    return price * np.minimum(share, 1.0)


def of_row(nodes: Nodes, prices: Mapping[str, float], requests: Amounts, row: int) -> float:
    """On one node."""
    price = prices.get(pool_of(nodes.facts[int(nodes.klass[row])].labels)) if prices else None
    if price is None:
        return 0.0
    allocatable = {resource: int(nodes.total[column, row]) for resource, column in nodes.columns.items()}
    return price * dominant_share(dict(requests), allocatable)


def _of_rows(nodes: Nodes, prices: Mapping[str, float]) -> Floats:
    by_class = [prices.get(pool_of(facts.labels), 0.0) for facts in nodes.facts]
    return np.array(by_class or [0.0])[nodes.klass]
