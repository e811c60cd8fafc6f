"""What a member's autoscaler could still add: node pools × stock.

A pool's stock is a number where one is told, None for "some, number unknown", 0 for none. States as ACK's
node pools tell them: WithStock and ClosedWithStock can be had, WithoutStock cannot. What nothing is said about
cannot be had either: a promise that the cloud does not keep leaves replicas stuck.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.inventory.core.capacity import SLOT
from services.inventory.core.facts import TaintFacts
from shared.contracts.capacity import Pool, Taint
from shared.units import POOL_LABEL

AVAILABLE = frozenset({"WithStock", "ClosedWithStock"})
SOLD_OUT = "WithoutStock"
INSTANCE_TYPE_LABEL = "node.kubernetes.io/instance-type"
USUAL_SLOTS = 110  # pods per node: the kubelet's default


@dataclass(frozen=True, slots=True)
class Supply:
    """What one zone sells of one instance type. count: instances, None where only the state is told."""

    instance_type: str
    state: str
    count: int | None = None


@dataclass(frozen=True, slots=True)
class PoolFacts:
    """A pool as it is configured. allocatable: of one node, whole base units. stock: see the module."""

    id: str
    instance_type: str
    max: int
    allocatable: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[TaintFacts, ...] = ()
    min: int = 0
    stock: int | None = 0
    price: float | None = None


def stock_of(supplies: Iterable[Supply], instance_type: str = "") -> int | None:
    """The stock of a pool. instance_type: only what concerns this type counts, all where none is named."""
    ours = [one for one in supplies if not instance_type or one.instance_type in ("", instance_type)]
    available = [one for one in ours if one.state in AVAILABLE]
    counts = [one.count for one in available if one.count is not None]
    return sum(counts) if len(counts) == len(available) else None


def pools_of(facts: Iterable[PoolFacts], nodes: Mapping[str, int]) -> tuple[Pool, ...]:
    """The pools as CAPACITY tells them, by id. nodes: how many of each pool exist."""
    return tuple(
        Pool(
            id=pool.id,
            instance_type=pool.instance_type,
            allocatable={SLOT: USUAL_SLOTS, **pool.allocatable},
            labels={POOL_LABEL: pool.id, INSTANCE_TYPE_LABEL: pool.instance_type, **pool.labels},
            taints=tuple(Taint(key=key, value=value, effect=effect) for key, value, effect in pool.taints),
            min=pool.min,
            max=pool.max,
            nodes=nodes.get(pool.id, 0),
            stock=pool.stock,
            price=pool.price,
        )
        for pool in sorted(facts, key=lambda pool: pool.id)
    )
