"""Whether a node takes a pod by itself: its unit, taints, labels, amounts and host ports. One flag per row of a member.

The rules are kube-scheduler's NodeUnschedulable, TaintToleration, NodeAffinity, NodeResourcesFit and NodePorts filters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from services.scheduler.core import fits
from services.scheduler.core.inside.nodes import Amounts, Flags, Nodes
from services.scheduler.core.inside.values import HostPort, Labels
from services.scheduler.core.nodes import READY, VIRTUAL
from services.scheduler.core.values import Shape
from shared.units import UNITS, Unit


@dataclass(frozen=True, slots=True)
class Where:
    """Nodes that a pod is tried on together. unit: None for every node that is not virtual. filters: what it asks of
    them but amounts."""

    unit: Unit | None
    selector: Labels
    filters: Shape

    @property
    def virtual(self) -> bool:
        return self.unit == "eci"


def of_unit(nodes: Nodes, unit: Unit | None, selector: Labels = ()) -> Flags:
    """Nodes of this unit, whatever their state."""

    def compute() -> Flags:
        codes = nodes.units
        here: Flags = anywhere(nodes) & (codes != UNITS.index("eci") if unit is None else codes == UNITS.index(unit))
        for key, value in selector:
            here &= np.array([nodes.label(row, key) == value for row in range(nodes.top)], dtype=np.bool_)
        return here

    return nodes.derived(("unit", unit, selector), compute)


def ready(nodes: Nodes, where: Where) -> Flags:
    """Nodes of the unit that pods can start on now."""
    phase = VIRTUAL if where.virtual else READY
    return nodes.derived(
        ("ready", where.unit, where.selector),
        lambda: of_unit(nodes, where.unit, where.selector) & (nodes.phase == phase),
    )


def tolerated(nodes: Nodes, filters: Shape) -> Flags:
    """Nodes without a taint that keeps the pod away, cordoned ones included among those that do."""
    return nodes.derived(
        ("tolerated", filters.tolerations),
        lambda: nodes.by_class(lambda facts: fits.untolerated(filters, facts) is None),
    )


def selected(nodes: Nodes, filters: Shape) -> Flags:
    """Nodes that nodeSelector and required node affinity mean."""

    def compute() -> Flags:
        if not fits.asks_for_names(filters):
            return nodes.by_class(lambda facts: fits.selects(filters, facts))
        found = np.zeros(nodes.top, dtype=np.bool_)
        names = fits.named(filters)
        for name in nodes.rows if names is None else [name for name in names if name in nodes.rows]:
            row = nodes.rows[name]
            found[row] = fits.selects(filters, nodes.facts[int(nodes.klass[row])], name)
        return found

    if not filters.node_selector and not filters.affinity:
        return anywhere(nodes)
    return nodes.derived(("selected", filters.node_selector, filters.affinity), compute)


def takes(nodes: Nodes, where: Where) -> Flags:
    """All of the above."""
    return nodes.derived(
        ("takes", where),
        lambda: ready(nodes, where) & tolerated(nodes, where.filters) & selected(nodes, where.filters),
    )


def enough(nodes: Nodes, requests: Amounts, claims: Iterable[tuple[int, Amounts]] = ()) -> Flags:
    """Nodes with these amounts free. claims: (row, amounts) that are set aside for others."""
    found: Flags | None = None
    for resource, amount in requests:
        has = nodes.line(nodes.avail, resource) >= amount
        found = has if found is None else found & has
    assert found is not None  # every pod asks for its slot
    for row, left in _without(nodes, claims).items():
        found[row] = all(left.get(resource, 0) >= amount for resource, amount in requests)
    return found


def _without(nodes: Nodes, claims: Iterable[tuple[int, Amounts]]) -> dict[int, dict[str, float]]:
    """What is left on rows of which something is set aside."""
    left: dict[int, dict[str, float]] = {}
    for row, amounts in claims:
        here = left.get(row)
        if here is None:
            here = left[row] = {name: float(nodes.avail[column, row]) for name, column in nodes.columns.items()}
        for resource, amount in amounts:
            here[resource] = here.get(resource, 0.0) - amount
    return left


def free_ports(nodes: Nodes, used: Mapping[int, Iterable[HostPort]], ports: Sequence[HostPort]) -> Flags:
    """Nodes where none of these host ports is used."""
    found = np.ones(nodes.top, dtype=np.bool_)
    for row, taken in used.items():
        if any(port.clashes(other) for other in taken for port in ports):
            found[row] = False
    return found


def anywhere(nodes: Nodes) -> Flags:
    """All nodes that there are."""
    return nodes.derived("all", lambda: nodes.by_class(lambda facts: True))
