"""A member's node pools, kept up to date from whatever source its stock has; counted when somebody asks."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from services.inventory import cluster_autoscaler, karpenter, node_pools
from services.inventory.cache import Cache
from services.inventory.cluster_autoscaler import Group
from services.inventory.core.capacity import Capacity
from services.inventory.core.facts import Key, NodeFacts
from services.inventory.core.stock import PoolFacts, pools_of
from services.inventory.projections import ConfigMap
from shared.contracts.capacity import Pool
from shared.fleet import NodePool, Stock
from shared.units import KARPENTER_LABEL

log = logging.getLogger("brim.inventory")

CONFIG_MAPS: Final = "config maps"
NODE_POOLS: Final = "node pools"
# Whom events name as their source: the autoscaler that each source of stock goes with.
AUTOSCALERS: Final = {
    "nodepool-inventory": ("GOATScaler",),
    "cluster-autoscaler": ("cluster-autoscaler",),
    "karpenter": ("karpenter",),
    "static": ("GOATScaler", "cluster-autoscaler", "karpenter"),
}


class Pools:
    """changed: called when what is to be told may be another. priced: when a pool's price is another."""

    def __init__(
        self,
        member: str,
        stock: Stock,
        capacity: Capacity,
        changed: Callable[[], None],
        priced: Callable[[], None] = lambda: None,
    ) -> None:
        self._member = member
        self._stock = stock
        self._capacity = capacity
        self._changed = changed
        self._priced = priced
        self._config_maps: dict[str, ConfigMap] = {}
        self._value: tuple[Pool, ...] | None = None
        self._said: set[str] = set()
        self.node_pools: Cache[karpenter.NodePool] = Cache(self._node_pool_changed)
        self._facts = list(self._read())
        self._prices = self._told_prices()

    @property
    def sources(self) -> frozenset[str]:
        """What has to be listed before anything is known of the pools."""
        match self._stock.source:
            case "nodepool-inventory" | "cluster-autoscaler":
                return frozenset({CONFIG_MAPS})
            case "karpenter":
                return frozenset({NODE_POOLS})
            case "none" | "static":
                return frozenset()

    @property
    def autoscalers(self) -> tuple[str, ...]:
        """Whose events may say something of nodes to come."""
        return AUTOSCALERS.get(self._stock.source, ())

    @property
    def value(self) -> tuple[Pool, ...]:
        if self._value is None:
            self._value = pools_of(self._facts, self._capacity.pool_nodes, self._capacity.daemons)
        return self._value

    def of_node(self, labels: Mapping[str, str]) -> str:
        """The pool whose described labels a node has, for nodes that do not say it themselves; empty for none."""
        if self._stock.source != "cluster-autoscaler":
            return ""
        fitting = [pool for pool in self._stock.pools if pool.labels and pool.labels.items() <= labels.items()]
        return max(fitting, key=lambda pool: len(pool.labels)).told_as if fitting else ""

    def node_price(self, node: NodeFacts) -> float:
        """What it costs per hour: its pool's price, else what the fleet file says of such nodes; 0 for nothing."""
        price = self._prices.get(node.pool)
        return price if price is not None else self._stock.node_price(node.name, node.labels)

    # -- changes ---------------------------------------------------------------------------------------------

    def recount(self) -> None:
        """Nodes came or went, or what takes a part of every node."""
        self._value = None

    def config_map_changed(self, name: str, after: ConfigMap | None) -> None:
        """Of any ConfigMap of kube-system; those that say nothing of pools are left out."""
        if not (node_pools.is_about_pools(name) or name == cluster_autoscaler.STATUS):
            return
        if after is not None:
            self._config_maps[name] = after
        else:
            self._config_maps.pop(name, None)
        self._read_again()

    def _node_pool_changed(self, key: Key, before: karpenter.NodePool | None, after: karpenter.NodePool | None) -> None:
        self._read_again()

    def _read_again(self) -> None:
        self._facts, self._value = list(self._read()), None
        self._changed()
        before, self._prices = self._prices, self._told_prices()
        if self._prices != before:
            self._priced()

    def _told_prices(self) -> dict[str, float]:
        return {pool.told_as or pool.id: pool.price for pool in self._facts if pool.price is not None}

    # -- sources ---------------------------------------------------------------------------------------------

    def _read(self) -> Iterator[PoolFacts]:
        match self._stock.source:
            case "cluster-autoscaler":
                told = self._config_maps.get(cluster_autoscaler.STATUS)
                groups = cluster_autoscaler.groups_of(told.data.get("status", "")) if told is not None else []
                for group in groups:
                    if (pool := self._described(group.name)) is not None:
                        yield _of_group(pool, group)
            case "karpenter":
                for item in self.node_pools.items.values():
                    if (pool := self._described(item.metadata.name)) is not None:
                        yield _of_node_pool(pool, item)
            case _:
                yield from node_pools.pool_facts(self._stock, self._config_maps)

    def _described(self, name: str) -> NodePool | None:
        """What the fleet file says of it. Of a name with slashes the last part will do: some clouds give whole URLs."""
        for pool in self._stock.pools:
            if pool.told_as in (name, name.rpartition("/")[2]):
                return pool
        if name not in self._said:
            self._said.add(name)
            log.warning(
                "member %s: the fleet file's stock does not describe node group %s: nothing is promised on it",
                *(self._member, name),
            )
        return None


def _of_group(pool: NodePool, group: Group) -> PoolFacts:
    known = node_pools.described(pool)
    return PoolFacts(
        id=pool.id,
        instance_type=pool.instance_type,
        max=min(pool.max, group.maximum),
        min=group.minimum,
        allocatable=known.allocatable,
        labels=known.labels,
        taints=known.taints,
        stock=pool.stock if group.grows else 0,
        price=pool.price,
        nodes=group.target,
        label="",
        told_as=pool.told_as,
    )


def _of_node_pool(pool: NodePool, item: karpenter.NodePool) -> PoolFacts:
    known = node_pools.described(pool)
    more = item.more(known.allocatable) if item.grows else 0
    stock = [number for number in (pool.stock, more) if number is not None]
    return PoolFacts(
        id=pool.id,
        instance_type=pool.instance_type,
        max=pool.max,
        min=pool.min,
        allocatable=known.allocatable,
        labels={**item.labels, **known.labels},
        taints=item.taints or known.taints,
        stock=min(stock, default=None),
        price=pool.price,
        nodes=item.nodes,
        label=KARPENTER_LABEL,
        told_as=pool.told_as,
    )
