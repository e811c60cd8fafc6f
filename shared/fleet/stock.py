"""Where a member's stock is known from, and what its nodes and instances cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from shared.fleet.forms import FleetPart, Labels, MemberId, Price, ResourceList, Taint, once
from shared.fleet.instances import VirtualPrices


class NodePool(FleetPart):
    """Nodes that the member's autoscaler can add.

    allocatable: of one node, before DaemonSets take their part. stock: how many more instances the cloud can sell now;
    None is "with stock, number unknown", 0 is none. price: per node and hour, in the fleet's one currency.
    node_group: the autoscaler's own name for it, where that is another than `id`: a node group of cluster-autoscaler,
    a NodePool of Karpenter. Of a name with slashes its last part will do.
    """

    id: MemberId
    node_group: str = ""
    instance_type: str
    allocatable: ResourceList
    labels: Labels = {}
    taints: tuple[Taint, ...] = ()
    min: int = Field(0, ge=0)
    max: int = Field(ge=0, le=20_000)
    stock: int | None = Field(None, ge=0)
    price: Price | None = None

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self

    @property
    def told_as(self) -> str:
        """How the member's autoscaler calls it."""
        return self.node_group or self.id


class NodePrice(FleetPart):
    """What nodes of no pool cost. name: of a node, or of a group of them (name-0, name-1, …); labels: that they have.
    What is not given is not asked for."""

    name: str = ""
    labels: Labels = {}
    price: Price

    def is_of(self, name: str, labels: Mapping[str, str]) -> bool:
        group, _, number = name.rpartition("-")
        named = self.name in ("", name) or (self.name == group and number.isdigit())
        return named and self.labels.items() <= labels.items()


class Stock(FleetPart):
    """Where inventory learns what the member's autoscaler could add, and what the member's nodes cost.

    none: nothing is elastic. static: `pools` here. nodepool-inventory: the ConfigMaps
    kube-system/autoscaler-meta and kube-system/<pool>-inventory-status, as ACK's node pools and the
    simulator publish them; there `pools` only adds prices, by id. cluster-autoscaler: the ConfigMap
    kube-system/cluster-autoscaler-status; karpenter: the NodePools of karpenter.sh/v1. Those two tell how many nodes
    may still come, not what a node is like: `pools` describes them, and of what it does not name nothing is promised.
    The smaller `max` counts; nodes that exist are told by the labels given here.
    nodes: prices of nodes that belong to no pool; the first that fits counts. virtual: of serverless instances.
    """

    source: Literal["none", "static", "nodepool-inventory", "cluster-autoscaler", "karpenter"] = "none"
    pools: tuple[NodePool, ...] = ()
    nodes: tuple[NodePrice, ...] = ()
    virtual: tuple[VirtualPrices, ...] = ()

    @field_validator("pools")
    @classmethod
    def _each_once(cls, pools: tuple[NodePool, ...]) -> tuple[NodePool, ...]:
        once("pool", [pool.id for pool in pools])
        once("node group", [pool.told_as for pool in pools])
        return pools

    def node_price(self, name: str, labels: Mapping[str, str]) -> float:
        """What a node of no pool costs per hour; 0 where nothing is said."""
        return next((one.price for one in self.nodes if one.is_of(name, labels)), 0.0)

    def instance_prices(self, node: str) -> VirtualPrices:
        """What a virtual node's instances cost, and which types it sells beside the known ones."""
        named = {one.node: one for one in self.virtual}
        return named.get(node) or named.get("") or VirtualPrices(node=node)
