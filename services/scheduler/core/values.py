"""The values that decisions are made from and of.

All are frozen. Amounts are whole base units (`shared.quantities.amount`). What travels in a placement (Share,
Rest, Seen, Reason) is the contract's own type, so that there is one description of it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Final, Literal, TypeAlias

from services.scheduler.core.constraints import Expression, LabelSelector, Taint, Term, Toleration
from shared.contracts.desired import Tombstone
from shared.contracts.placement import Cause, Failback, Placement, Reason, Rest, Seen, Share, Waves
from shared.contracts.refs import ObjectRef, Order
from shared.eci import Spec
from shared.units import Unit

WorkloadKey: TypeAlias = tuple[str, str, str, str]  # ObjectRef.key: (kind, group, namespace, name)
PODS: Final = "pods"
HOSTNAME: Final = "kubernetes.io/hostname"


@dataclass(frozen=True)
class Shape:
    """What one replica asks of a node. Equal shapes are one shape: build them with `Shape.of`.

    requests: sorted (resource, amount), amounts > 0, with ("pods", 1).
    affinity: the required node affinity's terms, of which one must match; empty for none.
    """

    __slots__ = ("_hash", "affinity", "node_selector", "requests", "tolerations")
    requests: tuple[tuple[str, int], ...]
    node_selector: tuple[tuple[str, str], ...]
    affinity: tuple[Term, ...]
    tolerations: tuple[Toleration, ...]

    def __post_init__(self) -> None:
        # Looked up several times per decision; hashing nested tuples anew each time would cost more than the look-up.
        parts = (self.requests, self.node_selector, self.affinity, self.tolerations)
        object.__setattr__(self, "_hash", hash(parts))

    def __hash__(self) -> int:
        value: int = self._hash  # type: ignore[attr-defined]
        return value

    @classmethod
    def of(
        cls,
        requests: Mapping[str, int],
        node_selector: Mapping[str, str] | None = None,
        affinity: tuple[Term, ...] = (),
        tolerations: tuple[Toleration, ...] = (),
    ) -> Shape:
        """The shape of a pod: zero requests are dropped, the pod's own slot is added."""
        asked = {sys.intern(name): amount for name, amount in requests.items() if amount > 0}
        asked[PODS] = max(1, asked.get(PODS, 1))
        selector = tuple(sorted((node_selector or {}).items()))
        return cls(tuple(sorted(asked.items())), selector, affinity, tolerations)

    def times(self, count: int) -> Shape:
        """`count` of these as one request."""
        scaled = tuple((name, amount * count) for name, amount in self.requests)
        return Shape(scaled, self.node_selector, self.affinity, self.tolerations)


@dataclass(frozen=True, slots=True)
class Component:
    """One group of equal pods of a workload. count: in the whole object (for a divided kind: the wanted replicas).

    serverless: what is reserved for it is virtual nodes rather than nodes that are to be added.
    choices: nodes for it are looked for in these shapes, one after the other, each a stricter one; empty for `shape`.
    on_virtual: its pods are those that are bound to virtual nodes, and none of the other components' are.
    """

    name: str
    shape: Shape
    count: int
    serverless: bool = False
    choices: tuple[Shape, ...] = ()
    on_virtual: bool = False


@dataclass(frozen=True, slots=True)
class UnitRoom:
    """One unit that a workload's pods may use inside a member.

    asks: the pod's shape as it is there. nodes: those of the unit. shape: both in one.
    maximum: pods of the workload that may be there; None for any number. specs: of eci, the instances that a pod may
    have, the preferred first. spot: they are spot instances.
    """

    unit: Unit
    shape: Shape
    asks: Shape
    nodes: tuple[Term, ...]
    maximum: int | None = None
    specs: tuple[Spec, ...] = ()
    spot: bool = False


@dataclass(frozen=True, slots=True)
class Amount:
    """A count, or a percentage of the replicas, which rounds up."""

    number: int = 0
    percent: bool = False

    def of(self, replicas: int) -> int:
        return -(-replicas * self.number // 100) if self.percent else self.number


@dataclass(frozen=True, slots=True)
class Beside:
    """Pods of a new version that a Kruise Rollout starts beside the old ones and keeps there until the end.

    steps: of those pods, never more than there are replicas. promoted: at the end the workload is rolled out in its own
    way while they are still there.
    """

    steps: tuple[Amount, ...]
    promoted: bool = False

    def of(self, replicas: int) -> int:
        return max((min(step.of(replicas), replicas) for step in self.steps), default=0)


@dataclass(frozen=True, slots=True)
class Workload:
    """A desired object that policies may select. Kinds without replicas have no components.

    replicas: what people want in all; for a Job its parallelism (already capped by completions).
    divisible: shares may be of any size; otherwise the object goes whole to one member (with components) or to
    every selected one (without). order: of DESIRED. created_at: Unix seconds.
    priority: of the queue, greater first. pins: see Desired. max_surge: pods beyond its replicas that its own updates
    make. stepwise: a Rollout of it is in force; beside: what that makes of the surge. units: where brim binds the pods
    itself; empty where it does not. ceiling: what elastic and virtual room may cost per hour, None for any amount.
    """

    ref: ObjectRef
    uid: str
    generation: int = 1
    revision: int = 0
    replicas: int = 0
    components: tuple[Component, ...] = ()
    divisible: bool = True
    is_job: bool = False
    completions: int | None = None
    indexed: bool = False
    ordered: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    created_at: float = 0.0
    priority: int = 0
    pins: Mapping[str, int] = field(default_factory=dict)
    max_surge: Amount = Amount()
    stepwise: bool = False
    beside: Beside | None = None
    units: tuple[UnitRoom, ...] = ()
    ceiling: float | None = None
    deleted: Tombstone | None = None

    @property
    def key(self) -> WorkloadKey:
        return self.ref.key

    @property
    def ends(self) -> bool:
        """It may run to completion, and is not to be run again then."""
        return bool(self.components) and (self.is_job or not self.divisible)

    def surge(self, replicas: int) -> int:
        """Pods beyond so many replicas while they are updated."""
        if self.beside is None:
            return self.max_surge.of(replicas)
        return self.beside.of(replicas) + (self.max_surge.of(replicas) if self.beside.promoted else 0)

    @property
    def pods(self) -> int:
        """Pods of one whole object."""
        return self.replicas if self.divisible else sum(component.count for component in self.components)


@dataclass(frozen=True, slots=True)
class Selector:
    """One of a policy's resourceSelectors. name wins over labels, labels over neither.

    namespace: empty for the policy's own (a PropagationPolicy) or any (a ClusterPropagationPolicy).
    """

    kind: str
    group: str = ""
    namespace: str = ""
    name: str = ""
    labels: LabelSelector | None = None


@dataclass(frozen=True, slots=True)
class Affinity:
    """Which members; all parts hold together, exclude wins. names: None for all.

    fields: on provider, region and zone, with In and NotIn.
    """

    names: tuple[str, ...] | None = None
    exclude: tuple[str, ...] = ()
    labels: LabelSelector | None = None
    fields: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Tier:
    """One entry of clusterAffinities, or the only clusterAffinity (name "")."""

    name: str = ""
    affinity: Affinity = Affinity()


@dataclass(frozen=True, slots=True)
class StaticWeight:
    affinity: Affinity
    weight: int


Division: TypeAlias = Literal["duplicated", "static", "dynamic", "aggregated"]


@dataclass(frozen=True, slots=True)
class Spread:
    """by: cluster, region, zone, provider or label (then `label` is its key). maximum: 0 for no limit."""

    by: Literal["cluster", "region", "zone", "provider", "label"]
    label: str = ""
    minimum: int = 1
    maximum: int = 0


@dataclass(frozen=True, slots=True)
class Policy:
    """A propagation policy, normalised. key: "PropagationPolicy test/web", as placements name it.

    namespace: None for a ClusterPropagationPolicy. weights: of the static division; none is weight 1 for all.
    suspend_on: members (clusterNames) where nothing is to be written now. failback: moves per hour back to an
    earlier tier, 0 for none. ceiling: as a workload's; the lower one counts.
    """

    key: str
    name: str
    namespace: str | None
    selectors: tuple[Selector, ...]
    tiers: tuple[Tier, ...] = (Tier(),)
    priority: int = 0
    tolerations: tuple[Toleration, ...] = ()
    division: Division = "duplicated"
    weights: tuple[StaticWeight, ...] = ()
    spread: tuple[Spread, ...] = ()
    ecs_provision: bool = False
    overwrite: bool = False
    suspend_scheduling: bool = False
    suspend_dispatching: bool = False
    suspend_on: tuple[str, ...] = ()
    preserve: bool = False
    failback: int = 0
    ceiling: float | None = None

    @property
    def fixed(self) -> bool:
        """The policy fixes the numbers: room does not cap them."""
        return self.division in ("duplicated", "static")


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """One cluster as policies see it. The app fills all but lost, silent and heard_of, which capacity events tell.

    wish: open, cordoned (no new replicas) or drained (and those there move away). lost: inventory says its
    replicas should go elsewhere. silent: it does not answer now. heard_of: its capacity is known and without a gap.
    """

    id: str
    alias: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    provider: str = ""
    region: str = ""
    zone: str = ""
    taints: tuple[Taint, ...] = ()
    wish: Literal["open", "cordoned", "drained"] = "open"
    lost: bool = False
    silent: bool = False
    heard_of: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    """A desired object that is no more. A workload that is to be deleted is a Workload with `deleted` instead."""

    kind: Literal["workload", "policy", "member"]
    key: WorkloadKey | str  # the workload's key, the policy's key, the member's id


@dataclass(frozen=True, slots=True)
class Room:
    """How many more replicas of a shape a member can take: on nodes that exist, on nodes that it can add or
    that are on their way, and on virtual nodes."""

    free: int = 0
    elastic: int = 0
    virtual: int = 0


@dataclass(frozen=True, slots=True)
class Gap:
    """Capacity messages of this member were missed: ask inventory for a snapshot."""

    member: str


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decisions depend on, in fleet seconds. See shared.settings.SchedulerSettings."""

    rest_base: float = 60.0
    rest_max: float = 1800.0
    elastic_deadline: float = 300.0
    failback: bool = True
    unknown_for: float = 60.0


@dataclass(frozen=True, slots=True)
class Decision:
    """What `decide` found, before it has an order. `changes(previous)` says whether it is worth publishing.

    due: Unix seconds at which to decide again whatever happens, None for no such time.
    """

    workload: Workload
    cause: Cause
    decided_at: float
    policy: str = ""
    whole: bool = False
    wanted: int = 0
    pending: int = 0
    shares: tuple[Share, ...] = ()
    rests: tuple[Rest, ...] = ()
    seen: Seen = field(default_factory=Seen)
    reasons: tuple[Reason, ...] = ()
    revision: int = 0
    suspended: bool = False
    overwrite: bool = False
    preserve: bool = False
    failbacks: tuple[Failback, ...] = ()
    before: int = 0
    waves: Waves | None = None
    due: float | None = None

    def placement(self, order: Order) -> Placement:
        """The contract's form, in the given order."""
        workload = self.workload
        return Placement(
            ref=workload.ref,
            uid=workload.uid,
            generation=workload.generation,
            order=order,
            whole=self.whole,
            policy=self.policy,
            revision=self.revision,
            wanted=self.wanted,
            pending=self.pending,
            shares=self.shares,
            rests=self.rests,
            seen=self.seen,
            reasons=self.reasons,
            cause=self.cause,
            decided_at=self.decided_at,
            suspended=self.suspended,
            overwrite=self.overwrite,
            deleted=workload.deleted is not None,
            preserve=self.preserve,
            failbacks=self.failbacks,
            before=self.before,
            waves=self.waves,
        )

    def changes(self, previous: Placement | None) -> bool:
        """Whether anything but what was merely seen differs from the placement in force."""
        if previous is None:
            return True
        workload = self.workload
        return (
            previous.uid != workload.uid
            or previous.generation != workload.generation
            or previous.deleted != (workload.deleted is not None)
            or _compared(previous) != _compared(self)
        )


_NUMBERS: Final = ("shares", "pending", "wanted", "whole", "rests", "failbacks", "reasons", "before", "waves")
_TERMS: Final = ("policy", "revision", "suspended", "overwrite", "preserve")
_compared: Final = attrgetter(*_NUMBERS, *_TERMS)
