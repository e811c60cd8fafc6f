"""What a simulated member consists of."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from shared import eci, quantities
from shared.fleet.forms import FleetPart, Labels, MemberId, NodeName, Price, ResourceList, Taint, once
from shared.fleet.instances import InstancePrices, InstanceType, VirtualPrices, canonical, specs_of
from shared.fleet.stock import NodePool, NodePrice, Stock


class NodeGroup(FleetPart):
    """`count` equal nodes. With a count of 1 `name` is the node's name, else its prefix (name-0, name-1, …).

    capacity: what the machine has, where that is more than pods may use; the rest is reserved for its system.
    price: per node and hour; None is "paid for anyway".
    """

    name: NodeName = "node"
    count: int = Field(1, ge=0, le=20_000)
    allocatable: ResourceList
    capacity: ResourceList = {}
    labels: Labels = {}
    taints: tuple[Taint, ...] = ()
    price: Price | None = None

    @field_validator("capacity")
    @classmethod
    def _holds_what_is_allocatable(cls, capacity: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        allocatable = info.data.get("allocatable", {})
        for resource, text in capacity.items():
            used = allocatable.get(resource, "0")
            if quantities.amount(resource, text) < quantities.amount(resource, used):
                raise ValueError(f"{resource} is {text}, less than the {used} that is allocatable")
        return capacity

    @property
    def node_names(self) -> list[str]:
        return [self.name] if self.count == 1 else [f"{self.name}-{index}" for index in range(self.count)]


# What a virtual node may run in all, unless its description says otherwise.
_QUOTA = {"cpu": "1000", "memory": "4000Gi", "pods": "1000", "ephemeral-storage": "30000Gi", eci.GPU: "1000"}


class VirtualNode(FleetPart):
    """A virtual node backed by serverless instances.

    allocatable: its quota, by resource; what is left out has a usual one. stock: instances left, by size or instance
    type; what is not named, or null, is in stock, number unknown; 0 is sold out.
    """

    zone: MemberId
    instance_types: tuple[InstanceType, ...] = ()
    allocatable: ResourceList = dict(_QUOTA)
    stock: dict[str, Annotated[int, Field(ge=0)] | None] = {}
    prices: InstancePrices = InstancePrices()

    @field_validator("allocatable")
    @classmethod
    def _with_the_usual_quota(cls, allocatable: ResourceList) -> ResourceList:
        return {**_QUOTA, **allocatable}

    @field_validator("stock")
    @classmethod
    def _stock_is_of_specs(cls, stock: dict[str, int | None], info: ValidationInfo) -> dict[str, int | None]:
        names_of = canonical(stock, info.data.get("instance_types", ()))
        return dict(zip(names_of, stock.values(), strict=True))

    @field_validator("prices")
    @classmethod
    def _prices_are_of_specs(cls, prices: InstancePrices, info: ValidationInfo) -> InstancePrices:
        canonical(prices.types, info.data.get("instance_types", ()))
        return prices

    @property
    def node_name(self) -> str:
        """As ACK calls it."""
        return f"virtual-kubelet-{self.zone}"

    @property
    def own_types(self) -> dict[str, eci.Spec]:
        """`instance_types` by name."""
        return specs_of(self.instance_types)


class Delays(FleetPart):
    """How long things take in a simulated member, in fleet seconds. Defaults are what was observed on ACK."""

    schedule: float = Field(0.0, ge=0)  # pod created → bound
    start: float = Field(2.0, ge=0)  # pod bound → Ready (image pull and start)
    eci_start: float = Field(8.0, ge=0)  # pod bound to a virtual node → Ready
    image_pull: float = Field(3.0, ge=0)  # the end of eciStart, from which the instance is billed
    stop: float = Field(1.0, ge=0)  # pod deleted → gone
    scale_up_trigger: float = Field(4.0, ge=0)  # pod unschedulable → the autoscaler orders nodes
    node_create: float = Field(16.0, ge=0)  # ordered → node object, NotReady
    node_ready: float = Field(35.0, ge=0)  # node object → Ready
    node_idle: float = Field(600.0, ge=0)  # an added node without pods for this long is removed


class Simulated(FleetPart):
    """A member that lives in brim's simulator."""

    nodes: tuple[NodeGroup, ...] = ()
    pools: tuple[NodePool, ...] = ()
    virtual_nodes: tuple[VirtualNode, ...] = ()
    delays: Delays = Delays()
    version: str = Field("v1.34.1", pattern=r"^v\d+\.\d+\.\d+")

    @field_validator("nodes")
    @classmethod
    def _each_name_once(cls, nodes: tuple[NodeGroup, ...]) -> tuple[NodeGroup, ...]:
        taken: dict[str, int] = {}
        for place, group in enumerate(nodes):
            for name in group.node_names:
                if name in taken:
                    raise ValueError(f"node name {name!r} is given twice, by [{taken[name]}] and [{place}]")
                taken[name] = place
        return nodes

    @field_validator("pools")
    @classmethod
    def _each_pool_once(cls, pools: tuple[NodePool, ...]) -> tuple[NodePool, ...]:
        once("pool", [pool.id for pool in pools])
        return pools

    @field_validator("virtual_nodes")
    @classmethod
    def _one_per_zone(cls, virtual_nodes: tuple[VirtualNode, ...]) -> tuple[VirtualNode, ...]:
        once("zone", [one.zone for one in virtual_nodes])
        return virtual_nodes

    @property
    def stock(self) -> Stock:
        """Where inventory learns of it; its prices, and its own instance types, which a member never tells."""
        return Stock(
            source="nodepool-inventory",
            pools=self.pools,
            nodes=tuple(
                NodePrice(name=group.name, labels=group.labels, price=group.price)
                for group in self.nodes
                if group.price is not None
            ),
            virtual=tuple(
                VirtualPrices(node=one.node_name, instance_types=one.instance_types, **one.prices.model_dump())
                for one in self.virtual_nodes
            ),
        )
