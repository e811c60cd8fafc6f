"""The values that deciding inside a member is made from and of.

All are frozen. Amounts are whole base units (`shared.quantities.amount`). What travels on BINDING is the contract's own
type, so that there is one description of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from services.scheduler.core.constraints import LabelSelector, Term
from services.scheduler.core.values import Shape
from shared.contracts.binding import Binding
from shared.units import Unit

PodKey: TypeAlias = tuple[str, str, str]  # (member, namespace, name)
Labels: TypeAlias = tuple[tuple[str, str], ...]  # sorted
Owner: TypeAlias = tuple[str, str, str, str]  # whose pods one ceiling bounds: (kind, group, namespace, name)
NextUnit: TypeAlias = Literal[
    "LackResourceOrExceedMax", "ExceedMax", "LackResourceAndNoTerminating", "TimeoutOrExceedMax"
]

ANY_ADDRESS: Final = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class PodTerm:
    """Some pods, and the topology in which they count: a term of pod affinity or anti-affinity.

    selector: None selects no pod, an empty one all. namespaces: by name; namespace_selector: and by label.
    """

    topology: str
    selector: LabelSelector | None
    namespaces: frozenset[str] = frozenset()
    namespace_selector: LabelSelector | None = None


@dataclass(frozen=True, slots=True)
class TopologySpread:
    """One topologySpreadConstraint. hard: DoNotSchedule, else ScheduleAnyway. honor_…: which nodes make up domains."""

    topology: str
    selector: LabelSelector | None
    max_skew: int
    hard: bool = True
    min_domains: int = 1
    honor_affinity: bool = True
    honor_taints: bool = False


@dataclass(frozen=True, slots=True)
class HostPort:
    protocol: str
    port: int
    address: str = ANY_ADDRESS

    def clashes(self, other: HostPort) -> bool:
        return (
            (self.protocol, self.port) == (other.protocol, other.port)
            and (self.address == other.address or ANY_ADDRESS in (self.address, other.address))
        )  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """What a pod asks of a node and of its neighbours. Equal pods have equal needs.

    shape: amounts, nodeSelector, required node affinity, tolerations. preferred_nodes, preferred: with their weights;
    those of anti-affinity are negative. unsupported: what brim does not implement, in words.
    """

    __slots__ = (
        "_hash",
        "affinity",
        "anti_affinity",
        "ports",
        "preferred",
        "preferred_nodes",
        "shape",
        "spread",
        "unsupported",
    )
    shape: Shape
    preferred_nodes: tuple[tuple[Term, int], ...]
    affinity: tuple[PodTerm, ...]
    anti_affinity: tuple[PodTerm, ...]
    preferred: tuple[tuple[PodTerm, int], ...]
    spread: tuple[TopologySpread, ...]
    ports: tuple[HostPort, ...]
    unsupported: tuple[str, ...]

    def __post_init__(self) -> None:
        # Looked up several times per decision, and deep.
        parts = (self.preferred_nodes, self.affinity, self.anti_affinity, self.preferred, self.spread, self.ports)
        object.__setattr__(self, "_hash", hash((self.shape, *parts, self.unsupported)))

    def __hash__(self) -> int:
        value: int = self._hash  # type: ignore[attr-defined]
        return value

    @property
    def filters(self) -> Shape:
        """What it asks of a node but amounts."""
        shape = self.shape
        return Shape((), shape.node_selector, shape.affinity, shape.tolerations)


# -- policies ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PolicyUnit:
    """One unit of a ResourcePolicy. node_selector: for ecs only. pod_labels, pod_annotations: the unit's marks."""

    resource: Unit
    node_selector: Labels = ()
    max: int | None = None
    max_resources: tuple[tuple[str, int], ...] = ()
    pod_labels: Labels = ()
    pod_annotations: Labels = ()

    @property
    def bounded(self) -> bool:
        return self.max is not None or bool(self.max_resources)


@dataclass(frozen=True, slots=True)
class ResourcePolicy:
    """In which order the pods of a namespace fill the units of a member.

    timeout: seconds. ceiling: per hour, what the pods of one workload may cost in one member; None for any.
    created_at: Unix seconds.
    """

    namespace: str
    name: str
    units: tuple[PolicyUnit, ...]
    selector: Labels = ()
    next_unit: NextUnit = "LackResourceOrExceedMax"
    timeout: float = 900.0
    preempts_early: bool = False
    ignores_previous: bool = False
    ignores_terminating: bool = True
    label_keys: tuple[str, ...] = ()
    ceiling: float | None = None
    created_at: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)

    def __str__(self) -> str:
        return f"ResourcePolicy {self.namespace}/{self.name}"


# -- decisions -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Decided:
    """What is to be done about one pod, and why. orders: to be published, in this order; none for nothing.

    node, unit: where it goes, empty for nowhere now. code, message: the reason, for a machine and for a person.
    """

    key: PodKey
    uid: str
    orders: tuple[Binding, ...]
    node: str = ""
    unit: Unit | None = None
    code: str = ""
    message: str = ""
