"""What a member's autoscaler could still add: node pools × stock.

A pool's stock is a number where one is told, None for "some, number unknown", 0 for none. States as ACK's
node pools tell them: WithStock and ClosedWithStock can be had, WithoutStock cannot. What nothing is said about
cannot be had either: a promise that the cloud does not keep leaves replicas stuck.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.inventory.core.capacity import SLOT
from services.inventory.core.daemons import Daemons
from services.inventory.core.facts import TaintFacts
from shared.contracts.capacity import Pool, Taint
from shared.described import TYPE_LABEL
from shared.units import POOL_LABEL

AVAILABLE = frozenset({"WithStock", "ClosedWithStock"})
SOLD_OUT = "WithoutStock"
USUAL_SLOTS = 110  # pods per node: the kubelet's default


@dataclass(frozen=True, slots=True)
class Supply:
    """What one zone sells of one instance type. count: instances, None where only the state is told."""

    instance_type: str
    state: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """A pool as it is configured. allocatable: of one node, whole base units. stock: see the module.

    nodes: how many it has as the autoscaler counts, ordered ones included; None: count those that are there. label:
    by which its nodes say whose they are, and what it says; empty where they do not.
    """

    id: str
    instance_type: str
    max: int
    allocatable: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[TaintFacts, ...] = ()
    min: int = 0
    stock: int | None = 0
    price: float | None = None
    nodes: int | None = None
    label: str = POOL_LABEL
    told_as: str = ""

    @property
    def own_labels(self) -> dict[str, str]:
        """Those that a node has by being of the pool."""
        own = {TYPE_LABEL: self.instance_type} if self.instance_type else {}
        return own | ({self.label: self.told_as or self.id} if self.label else {})


def stock_of(supplies: Iterable[Supply], instance_type: str = "") -> int | None:
    """The stock of a pool. instance_type: only what concerns this type counts, all where none is named."""
    ours = [one for one in supplies if not instance_type or one.instance_type in ("", instance_type)]
    available = [one for one in ours if one.state in AVAILABLE]
    counts = [one.count for one in available if one.count is not None]
    return sum(counts) if len(counts) == len(available) else None


def pools_of(facts: Iterable[PoolFacts], nodes: Mapping[str, int], daemons: Daemons) -> tuple[Pool, ...]:
    """The pools as CAPACITY tells them, by id. nodes: how many of each pool exist. daemons: what takes a part of
    every node."""
    return tuple(_pool(pool, nodes, daemons) for pool in sorted(facts, key=lambda pool: pool.id))


def _pool(pool: PoolFacts, nodes: Mapping[str, int], daemons: Daemons) -> Pool:
    name = pool.told_as or pool.id
    return Pool(
        id=pool.id,
        instance_type=pool.instance_type,
        allocatable=_left({SLOT: USUAL_SLOTS, **pool.allocatable}, *daemons.takes(name)),
        labels={**pool.own_labels, **pool.labels},
        taints=tuple(Taint(key=key, value=value, effect=effect) for key, value, effect in pool.taints),
        min=pool.min,
        max=pool.max,
        nodes=nodes.get(name, 0) if pool.nodes is None else pool.nodes,
        stock=pool.stock,
        price=pool.price,
    )


def _left(allocatable: Mapping[str, int], slots: int, taken: Mapping[str, int]) -> dict[str, int]:
    taken = {**taken, SLOT: slots}
    return {resource: max(0, amount - taken.get(resource, 0)) for resource, amount in allocatable.items()}
