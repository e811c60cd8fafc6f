"""The fleet file: which members there are, how to reach them, and where their stock is known from.

One format serves `brim up`, `brim plan`, the tests and real members alike. A member is either reached through
a kubeconfig context, or simulated from the description given here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from shared import documents, eci, names, quantities
from shared.errors import Invalid, Misconfigured
from shared.faults import faults_of

API_VERSION = "brim.dev/v1alpha1"


def _resource_list(value: dict[str, str]) -> dict[str, str]:
    for resource, text in value.items():
        try:
            quantities.amount(resource, text)
        except ValueError as error:
            told = str(error)
            raise ValueError(told if told.startswith(resource) else f"{resource}: {told}") from None
    return value


def _labels(value: dict[str, str]) -> dict[str, str]:
    for key, text in value.items():
        names.require_label(key, text)
    return value


def _dns_label(value: str) -> str:
    names.require_dns_label(value)
    return value


def _dns_name(value: str) -> str:
    names.require_dns_subdomain(value)
    return value


def _once(what: str, given: Sequence[str]) -> None:
    """Raises ValueError for the first that is given twice, with its places."""
    for place, one in enumerate(given):
        if one in given[:place]:
            raise ValueError(f"{what} {one!r} is given twice, at [{given.index(one)}] and [{place}]")


MemberId = Annotated[str, AfterValidator(_dns_label)]
NodeName = Annotated[str, AfterValidator(_dns_name)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
ResourceList = Annotated[dict[str, Annotated[str, Field(coerce_numbers_to_str=True)]], AfterValidator(_resource_list)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # per hour, in the fleet's one currency


class _Model(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,
    )


class Taint(_Model):
    """A node's or a member's taint, as Kubernetes writes it."""

    key: str = Field(min_length=1)
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class NodeGroup(_Model):
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


class NodePool(_Model):
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


class InstanceType(_Model):
    """An instance type that is sold beside those of `shared.eci.TYPES`."""

    name: str = Field(pattern=r"^ecs\.[a-z0-9.-]+$")
    vcpu: int = Field(gt=0)
    memory: Annotated[str, Field(coerce_numbers_to_str=True)]
    gpus: int = Field(0, ge=0)
    gpu_model: str = ""

    @field_validator("memory")
    @classmethod
    def _is_an_amount(cls, text: str) -> str:
        quantities.amount("memory", text)
        return text

    @property
    def spec(self) -> eci.Spec:
        memory = quantities.amount("memory", self.memory)
        return eci.Spec(self.name, self.vcpu * 1000, memory, self.gpus, self.gpu_model)


class InstancePrices(_Model):
    """What serverless instances cost. vcpu, gib: of one vCPU and one GiB of a size. types: by instance type.
    spot: what a spot instance costs, as a share of that."""

    vcpu: Price = 0.0
    gib: Price = 0.0
    types: dict[str, Price] = {}
    spot: float = Field(1.0, ge=0, le=1)

    @property
    def rates(self) -> eci.Prices:
        return eci.Prices(self.vcpu, self.gib, self.types, self.spot)


def _canonical(wanted: Iterable[str], types: Iterable[InstanceType]) -> list[str]:
    """Names of sizes and instance types as ECI writes them ("2-4" is "2-4Gi"). Raises ValueError with a sentence
    for what is not sold."""
    more = _specs(types)
    return [eci.spec_named(name, more).name for name in wanted]


def _specs(types: Iterable[InstanceType]) -> dict[str, eci.Spec]:
    return {one.name: one.spec for one in types}


# What a virtual node may run in all, unless its description says otherwise.
_QUOTA = {"cpu": "1000", "memory": "4000Gi", "pods": "1000", "ephemeral-storage": "30000Gi", eci.GPU: "1000"}


class VirtualNode(_Model):
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
        names_of = _canonical(stock, info.data.get("instance_types", ()))
        return dict(zip(names_of, stock.values(), strict=True))

    @field_validator("prices")
    @classmethod
    def _prices_are_of_specs(cls, prices: InstancePrices, info: ValidationInfo) -> InstancePrices:
        _canonical(prices.types, info.data.get("instance_types", ()))
        return prices

    @property
    def node_name(self) -> str:
        """As ACK calls it."""
        return f"virtual-kubelet-{self.zone}"

    @property
    def own_types(self) -> dict[str, eci.Spec]:
        """`instance_types` by name."""
        return _specs(self.instance_types)


class Delays(_Model):
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


class Simulated(_Model):
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
        _once("pool", [pool.id for pool in pools])
        return pools

    @field_validator("virtual_nodes")
    @classmethod
    def _one_per_zone(cls, virtual_nodes: tuple[VirtualNode, ...]) -> tuple[VirtualNode, ...]:
        _once("zone", [one.zone for one in virtual_nodes])
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


class Kubeconfig(_Model):
    """How a real member is reached. Never a secret itself: it names where credentials are read.

    context: of the file `path`; None is the file of the settings, else $KUBECONFIG or ~/.kube/config. in_cluster: by
    the service account of the pods that brim's services run in, for the member in which they run.
    """

    context: str = ""
    path: str | None = None
    in_cluster: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.in_cluster and (self.context or self.path):
            raise ValueError("inCluster is the service account of brim's own pods: leave context and path out")
        if not self.in_cluster and not self.context:
            raise ValueError("give a context, or inCluster: true")
        return self

    def __str__(self) -> str:
        if self.in_cluster:
            return "the service account of brim's pods"
        return f"context {self.context} of {self.path or 'the default kubeconfig'}"


class NodePrice(_Model):
    """What nodes of no pool cost. name: of a node, or of a group of them (name-0, name-1, …); labels: that they have.
    What is not given is not asked for."""

    name: str = ""
    labels: Labels = {}
    price: Price

    def is_of(self, name: str, labels: Mapping[str, str]) -> bool:
        group, _, number = name.rpartition("-")
        named = self.name in ("", name) or (self.name == group and number.isdigit())
        return named and self.labels.items() <= labels.items()


class VirtualPrices(InstancePrices):
    """node: the virtual node's name; empty for all that are not named. instance_types: that it sells beside the
    known ones."""

    node: str = ""
    instance_types: tuple[InstanceType, ...] = ()

    @model_validator(mode="after")
    def _are_of_specs(self) -> Self:
        _canonical(self.types, self.instance_types)
        return self

    @property
    def own_types(self) -> dict[str, eci.Spec]:
        """`instance_types` by name."""
        return _specs(self.instance_types)


class Stock(_Model):
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
        _once("pool", [pool.id for pool in pools])
        _once("node group", [pool.told_as for pool in pools])
        return pools

    def node_price(self, name: str, labels: Mapping[str, str]) -> float:
        """What a node of no pool costs per hour; 0 where nothing is said."""
        return next((one.price for one in self.nodes if one.is_of(name, labels)), 0.0)

    def instance_prices(self, node: str) -> VirtualPrices:
        """What a virtual node's instances cost, and which types it sells beside the known ones."""
        named = {one.node: one for one in self.virtual}
        return named.get(node) or named.get("") or VirtualPrices(node=node)


class Member(_Model):
    """One Kubernetes cluster of the fleet.

    eci_label: pods there that ask for ECI by label and name no scheduler of their own are sent to brim's; for clusters
    where no webhook of the cloud's does so.
    """

    id: MemberId
    alias: str = ""
    provider: str = ""
    region: str = ""
    zone: str = ""
    labels: Labels = {}
    taints: tuple[Taint, ...] = ()
    kubeconfig: Kubeconfig | None = None
    simulated: Simulated | None = None
    stock: Stock | None = None
    eci_label: bool = False

    @model_validator(mode="after")
    def _one_way_to_reach_it(self) -> Self:
        if (self.kubeconfig is None) == (self.simulated is None):
            raise ValueError("give either kubeconfig or simulated, not both and not neither")
        return self

    @property
    def stock_or_default(self) -> Stock:
        """A simulated member publishes its pools as ConfigMaps, all but prices; a real one says nothing
        unless asked. Prices that `stock` leaves out are those of the description."""
        if self.simulated is None:
            return self.stock or Stock()
        told = self.simulated.stock
        if self.stock is None:
            return told
        known = {"nodes": self.stock.nodes or told.nodes, "virtual": self.stock.virtual or told.virtual}
        return self.stock.model_copy(update=known)


class Fleet(_Model):
    """The file's whole content."""

    api_version: Literal["brim.dev/v1alpha1"] = "brim.dev/v1alpha1"
    kind: Literal["Fleet"] = "Fleet"
    members: tuple[Member, ...]

    @field_validator("members")
    @classmethod
    def _some_and_each_once(cls, members: tuple[Member, ...]) -> tuple[Member, ...]:
        if not members:
            raise ValueError("a fleet has at least one member")
        _once("member", [member.id for member in members])
        return members


def load(path: Path) -> Fleet:
    """Read a fleet file. Raises Misconfigured (no file, not one document) or Invalid (with every fault in it)."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"fleet file {path}: {error.strerror}; give one with --fleet FILE") from error
    return parse(text, source=str(path))


def parse(text: str, *, source: str = "fleet file") -> Fleet:
    """`load` for text already read."""
    values, malformed = documents.parse(text)
    if malformed is not None:
        raise Invalid([replace(malformed, object=source)])
    found = [value for value in values if value is not None]
    if len(found) != 1:
        what = f"holds {len(found)} documents" if found else "is empty"
        raise Misconfigured(f"{source} {what}: a fleet file is one document, of kind Fleet")
    try:
        return Fleet.model_validate(found[0])
    except ValidationError as error:
        raise Invalid(faults_of(error, source)) from None


def schema() -> dict[str, JsonValue]:
    """The JSON Schema of the file, for editors that check as one types."""
    found: dict[str, JsonValue] = Fleet.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:brim:fleet", **found}
