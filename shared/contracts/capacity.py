"""CAPACITY: what room a member has, as columns.

A snapshot replaces all that was known of a member; it may come in chunks. Deltas are numbered from the
snapshot's number on, one by one; a gap means that something was lost and a snapshot must be asked for.
Amounts are whole base units (`shared.quantities.amount`): millicores for cpu, bytes, devices, pod slots.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal, Self, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from shared.contracts.base import Contract, Part, faults_of
from shared.contracts.selectors import LabelSelector
from shared.eci import Prices, Spec
from shared.errors import Invalid

Phase: TypeAlias = Literal["ready", "upcoming", "unready", "virtual"]

NAMESPACE_LABEL: Final = "kubernetes.io/metadata.name"


class Taint(Part):
    key: str
    value: str = ""
    effect: str


class NodeClass(Part):
    """All that scheduling asks of a node but its amounts; equal for thousands of nodes.

    labels are without kubernetes.io/hostname where that is the node's own name.
    """

    labels: dict[str, str] = {}
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False


class NodeColumns(Part):
    """Nodes, one per position. All lists are equally long.

    classes: keys of the member's class table. phases: ready (counts as free room), upcoming (a node of an
    autoscaler's pool that is not Ready yet: elastic room), unready (no room), virtual (serverless).
    free: allocatable − the requests of the pods bound there, "pods" included; may be negative.
    """

    names: list[str] = []
    classes: list[int] = []
    phases: list[Phase] = []
    allocatable: dict[str, list[int]] = {}
    free: dict[str, list[int]] = {}

    @model_validator(mode="after")
    def _equally_long(self) -> Self:
        columns: list[list[int] | list[Phase]] = [
            self.classes,
            self.phases,
            *self.allocatable.values(),
            *self.free.values(),
        ]
        if any(len(column) != len(self.names) for column in columns):
            raise ValueError("the columns of nodes are not equally long")
        return self


class Pool(Part):
    """Nodes that the member's autoscaler can add.

    nodes: how many of the pool exist now. stock: instances that can still be had; None is "some, number
    unknown", 0 is none. headroom: nodes that could be added: min(max − nodes, stock), never negative.
    """

    id: str
    instance_type: str
    allocatable: dict[str, int]
    labels: dict[str, str] = {}
    taints: tuple[Taint, ...] = ()
    min: int = 0
    max: int
    nodes: int
    stock: int | None = None
    price: float | None = None

    @property
    def headroom(self) -> int:
        room = max(0, self.max - self.nodes)
        return room if self.stock is None else min(room, self.stock)


class InstanceType(Part):
    """An instance type that brim does not know by itself. cpu: millicores. memory: bytes."""

    name: str
    cpu: int
    memory: int
    gpus: int = 0
    gpu_model: str = ""


class VirtualStock(Part):
    """What a virtual node sells.

    stock: instances left by size or instance type; what is not named is in stock, number unknown; 0 is none.
    vcpu, gib: price per hour of a size's vCPU and GiB. types: price per hour by instance type. spot: what a spot
    instance costs, as a share of that. instance_types: sold beside the known ones (`shared.eci.TYPES`).
    """

    node: str
    stock: dict[str, int] = {}
    vcpu: float = 0.0
    gib: float = 0.0
    types: dict[str, float] = {}
    spot: float = 1.0
    instance_types: tuple[InstanceType, ...] = ()

    @property
    def prices(self) -> Prices:
        return Prices(vcpu=self.vcpu, gib=self.gib, types=self.types, spot=self.spot)

    @property
    def own_types(self) -> dict[str, Spec]:
        """`instance_types` by name."""
        return {one.name: Spec(one.name, one.cpu, one.memory, one.gpus, one.gpu_model) for one in self.instance_types}


class EciProfile(Part):
    """One selector of ConfigMap kube-system/eci-profile: what it matches runs on ECI, with this effect on the pod.

    namespace_selector, object_selector: of the namespace's labels and of the pod's; None does not ask.
    """

    name: str
    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Surroundings(Part):
    """What deciding inside a member needs beside its nodes; told whole whenever some of it changes.

    namespaces: labels of the namespaces that have any, without kubernetes.io/metadata.name: see `labels_of`.
    """

    namespaces: dict[str, dict[str, str]] = {}
    virtual: tuple[VirtualStock, ...] = ()
    profiles: tuple[EciProfile, ...] = ()

    def labels_of(self, namespace: str) -> dict[str, str]:
        """All labels of a namespace. Kubernetes gives each its own name as a label, so that it need not be told."""
        return {NAMESPACE_LABEL: namespace, **self.namespaces.get(namespace, {})}


class DisruptionBudget(Part):
    """A PodDisruptionBudget, as far as preemption asks.

    selector: of pods of its namespace; an empty one selects all of them, None none. allowed: how many of these may go
    now; 0 while the member has not counted yet what its spec asks for. evicted: names of pods whose going is counted in
    that already.
    """

    selector: LabelSelector | None = None
    allowed: int = 0
    evicted: tuple[str, ...] = ()


class Snapshot(Contract):
    """All of a member, or one chunk of it (0-based `chunk` of `chunks`); classes, pools, bound and budgets come first.

    number: the last delta that is contained. bound: bound replicas per workload uid, in the same revision as
    the free amounts. bound_virtual: how many of these are on virtual nodes; 0 where it is not named. surroundings: in
    the first chunk only; None there while they are not known yet, and without them nothing can be decided inside the
    member. budgets: by "namespace/name"; they are known as soon as the surroundings are.
    """

    TYPE: ClassVar[str] = "dev.brim.capacity.snapshot.v1"

    form: Literal["snapshot"] = "snapshot"
    member: str
    epoch: int
    number: int
    chunk: int = 0
    chunks: int = 1
    observed_at: float
    classes: dict[int, NodeClass] = {}
    nodes: NodeColumns = NodeColumns()
    pools: tuple[Pool, ...] = ()
    bound: dict[str, int] = {}
    bound_virtual: dict[str, int] = {}
    surroundings: Surroundings | None = None
    budgets: dict[str, DisruptionBudget] = {}


class Delta(Contract):
    """What changed since `number - 1`. pools, surroundings: whole, or None for unchanged. bound, bound_virtual: of whom
    they changed; 0 ends. budgets: those that changed; null for one that is no more."""

    TYPE: ClassVar[str] = "dev.brim.capacity.delta.v1"

    form: Literal["delta"] = "delta"
    member: str
    epoch: int
    number: int
    observed_at: float
    classes: dict[int, NodeClass] = {}
    nodes: NodeColumns = NodeColumns()
    removed: list[str] = []
    pools: tuple[Pool, ...] | None = None
    bound: dict[str, int] = {}
    bound_virtual: dict[str, int] = {}
    surroundings: Surroundings | None = None
    budgets: dict[str, DisruptionBudget | None] = {}


class Heartbeat(Contract):
    """Inventory lives. number: the last delta sent, so that a lost last delta is noticed.

    reachable_at: when the member itself last answered. lost: unreachable for so long that its replicas should
    go elsewhere; inventory says so, and never of more than a third of the fleet at once. silent: it does not answer
    now, and has not for a while: it gets no new replicas.
    """

    TYPE: ClassVar[str] = "dev.brim.capacity.heartbeat.v1"

    form: Literal["heartbeat"] = "heartbeat"
    member: str
    epoch: int
    number: int
    observed_at: float
    reachable_at: float
    lost: bool = False
    silent: bool = False


Capacity: TypeAlias = Snapshot | Delta | Heartbeat

_CAPACITY: TypeAdapter[Capacity] = TypeAdapter(Annotated[Snapshot | Delta | Heartbeat, Field(discriminator="form")])


def decode_capacity(data: bytes) -> Capacity:
    """Read any message of the CAPACITY stream. Raises Invalid."""
    try:
        return _CAPACITY.validate_json(data)
    except ValidationError as error:
        raise Invalid(faults_of(error, "capacity message")) from error
