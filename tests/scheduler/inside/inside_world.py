"""One member as inventory tells of it and the executor changes it, around the state that decides inside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from services.scheduler.core.inside.engine import InsideState
from services.scheduler.core.inside.policies import resource_policy_of
from services.scheduler.core.inside.values import Decided
from shared.contracts.annotations import DELETION_COST
from shared.contracts.binding import Annotate, Bind, Binding, Evict, Note, Pend, Release
from shared.contracts.capacity import (
    Delta,
    DisruptionBudget,
    EciProfile,
    Heartbeat,
    NodeClass,
    NodeColumns,
    Pool,
    Snapshot,
    Surroundings,
    Taint,
    VirtualStock,
)
from shared.contracts.outcome import Outcome
from shared.contracts.pod import Instance, Owner, Pod
from shared.contracts.refs import ObjectRef
from shared.contracts.resource_policy import ResourcePolicy
from shared.contracts.selectors import LabelSelector
from shared.eci import candidates, chosen
from shared.units import POOL_LABEL, VIRTUAL_LABEL, VIRTUAL_TAINT

GIB = 2**30
MEMBER = "idc"
NAMESPACE = "test"
DEPLOYMENT = Owner(kind="Deployment", group="apps", name="web")


@dataclass
class Node:
    allocatable: dict[str, int]
    labels: dict[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    phase: str = "ready"
    unschedulable: bool = False

    @property
    def klass(self) -> NodeClass:
        return NodeClass(labels=self.labels, taints=self.taints, unschedulable=self.unschedulable)


class World:
    """`now` moves by hand. Nodes and pods are the truth; `tell…` is what inventory says of it."""

    def __init__(self) -> None:
        self.state = InsideState()
        self.now = 10_000.0
        self.nodes: dict[str, Node] = {}
        self.pods: dict[str, Pod] = {}
        self.instances: dict[str, dict[str, int]] = {}  # pod → what its instance takes
        self.pools: tuple[Pool, ...] = ()
        self.namespaces: dict[str, dict[str, str]] = {}
        self.sold: dict[str, VirtualStock] = {}
        self.profiles: tuple[EciProfile, ...] = ()
        self.budgets: dict[str, DisruptionBudget] = {}
        self.sold_out: set[str] = set()  # virtual nodes that start nothing, and do not say so
        self.number = 0
        self.decided: list[Decided] = []
        self.counter = 0

    # -- the member ------------------------------------------------------------------------------------------

    def node(self, name: str, cpu: float = 8, memory: float = 64, pods: int = 110, **more: Any) -> Node:
        """cpu: cores. memory: GiB. Other amounts by `extra`."""
        extra = more.pop("extra", {})
        allocatable = {"cpu": int(cpu * 1000), "memory": int(memory * GIB), "pods": pods, **extra}
        self.nodes[name] = node = Node(allocatable, **more)
        return node

    def ecs(self, name: str, cpu: float = 8, pool: str = "pool", **more: Any) -> Node:
        labels = {POOL_LABEL: pool, **more.pop("labels", {})}
        return self.node(name, cpu, labels=labels, **more)

    def virtual(self, name: str = "virtual-kubelet-a", cpu: float = 1000, memory: float = 4000, **sold: Any) -> Node:
        """sold: stock, vcpu, gib, types, spot of what it sells."""
        labels = {VIRTUAL_LABEL[0]: VIRTUAL_LABEL[1], **sold.pop("labels", {})}
        key, value, effect = VIRTUAL_TAINT
        self.sold[name] = VirtualStock(node=name, **sold)
        taints = (Taint(key=key, value=value, effect=effect),)
        return self.node(name, cpu, memory, pods=1000, labels=labels, taints=taints, phase="virtual")

    def free(self, name: str) -> dict[str, int]:
        left = dict(self.nodes[name].allocatable)
        for key, pod in self.pods.items():
            if pod.node == name and pod.phase not in ("Succeeded", "Failed") and not pod.gone:
                for resource, amount in self.instances.get(key, pod.requests).items():
                    left[resource] = left.get(resource, 0) - amount
        return left

    def columns(self, names: Iterable[str]) -> tuple[dict[int, NodeClass], NodeColumns]:
        names = sorted(names)
        classes: list[NodeClass] = []
        numbers = []
        for name in names:
            klass = self.nodes[name].klass
            if klass not in classes:
                classes.append(klass)
            numbers.append(1000 * self.number + classes.index(klass))
        resources = sorted({resource for name in names for resource in self.nodes[name].allocatable})
        free = {name: self.free(name) for name in names}
        columns = NodeColumns(
            names=names,
            classes=numbers,
            phases=[self.nodes[name].phase for name in names],  # type: ignore[misc]
            allocatable={r: [self.nodes[name].allocatable.get(r, 0) for name in names] for r in resources},
            free={r: [free[name].get(r, 0) for name in names] for r in resources},
        )
        return {1000 * self.number + place: klass for place, klass in enumerate(classes)}, columns

    @property
    def around(self) -> Surroundings:
        sold = tuple(self.sold[name] for name in sorted(self.sold) if name in self.nodes)
        return Surroundings(namespaces=self.namespaces, virtual=sold, profiles=self.profiles)

    def snapshot(self) -> Snapshot:
        self.number += 1
        classes, columns = self.columns(self.nodes)
        return Snapshot(
            member=MEMBER,
            epoch=1,
            number=self.number,
            observed_at=self.now,
            classes=classes,
            nodes=columns,
            pools=self.pools,
            surroundings=self.around,
            budgets=self.budgets,
        )

    def delta(self, *names: str, removed: Iterable[str] = (), **more: Any) -> Delta:
        self.number += 1
        classes, columns = self.columns(names)
        return Delta(
            member=MEMBER,
            epoch=1,
            number=self.number,
            observed_at=self.now,
            classes=classes,
            nodes=columns,
            removed=list(removed),
            **more,
        )

    def heartbeat(self, **more: Any) -> Heartbeat:
        return Heartbeat(
            member=MEMBER, epoch=1, number=self.number, observed_at=self.now, reachable_at=self.now, **more
        )

    def tell_capacity(self) -> None:
        """All of it."""
        self.state.on_capacity(self.snapshot())

    def budget(self, allowed: int, name: str = "web", namespace: str = NAMESPACE, **told: Any) -> None:
        """A PodDisruptionBudget, told of: for pods that are labelled app=<its name>, or by `selector`."""
        budget = DisruptionBudget(**{"selector": LabelSelector(match_labels={"app": name}), "allowed": allowed, **told})
        self.budgets[f"{namespace}/{name}"] = budget
        self.state.on_capacity(self.delta(budgets={f"{namespace}/{name}": budget}))

    def drop_budget(self, name: str = "web") -> None:
        del self.budgets[f"{NAMESPACE}/{name}"]
        self.state.on_capacity(self.delta(budgets={f"{NAMESPACE}/{name}": None}))

    # -- pods ------------------------------------------------------------------------------------------------

    def pod(self, name: str, cpu: float = 1, memory: float = 0, **more: Any) -> Pod:
        """A new pod, told of. spec, labels, owner and so on as in the contract; extra: further requests."""
        extra = more.pop("extra", {})
        requests = {"cpu": int(cpu * 1000), "memory": int(memory * GIB), "pods": 1, **extra}
        defaults: dict[str, Any] = {
            "namespace": NAMESPACE,
            "uid": f"uid-{name}",
            "scheduler": "brim-scheduler",
            "created_at": self.now,
            "requests": {resource: amount for resource, amount in requests.items() if amount},
            "owner": DEPLOYMENT,
        }
        self.now += 0.001
        self.pods[name] = Pod(member=MEMBER, name=name, observed_at=self.now, **(defaults | more))
        self.tell_pod(name)
        return self.pods[name]

    def change(self, name: str, **more: Any) -> None:
        """The pod is otherwise now, and so it is told."""
        self.now += 0.001
        self.pods[name] = self.pods[name].model_copy(update={**more, "observed_at": self.now})
        self.tell_pod(name)

    def delete(self, name: str) -> None:
        """It is gone from the member; its room is told to be free."""
        pod = self.pods.pop(name)
        self.now += 0.001
        self.state.on_pod_gone(MEMBER, pod.namespace, name)
        if pod.node in self.nodes:
            self.state.on_capacity(self.delta(pod.node))

    def tell_pod(self, name: str) -> None:
        if self.state.on_pod(self.pods[name]) is not None:
            self.tell_capacity()  # as asked for

    def policy(self, *units: Mapping[str, Any], name: str = "policy", selector: Any = None, **spec: Any) -> None:
        annotations = spec.pop("annotations", {})
        created_at = spec.pop("created_at", self.now)
        manifest: dict[str, Any] = {
            "apiVersion": "scheduling.alibabacloud.com/v1alpha1",
            "kind": "ResourcePolicy",
            "metadata": {"name": name, "namespace": NAMESPACE, "annotations": annotations},
            "spec": {"selector": selector or {}, "units": [dict(unit) for unit in units], **spec},
        }
        self.state.on_policy(resource_policy_of(ResourcePolicy.read(manifest), created_at))

    # -- decisions -------------------------------------------------------------------------------------------

    def decide(self) -> list[Decided]:
        """Everything that is due, undone as yet."""
        made: list[Decided] = []
        while (decided := self.state.next_orders(self.now, epoch=1)) is not None:
            made.append(decided)
            assert len(made) < 100_000, "decisions come to no end"
        self.decided += made
        return made

    def carry_out(self, order: Binding) -> None:
        """As the executor would, against the truth."""
        pod = self.pods.get(order.name)
        if pod is None or pod.uid != order.uid:
            return
        match order:
            case Bind():
                assert not pod.node, f"{order.name} is bound twice"
                update = {
                    "node": order.node,
                    "bound_at": self.now,
                    "counted_at": self.now,
                    "labels": {**pod.labels, **order.labels},
                    "annotations": {**pod.annotations, **order.annotations},
                }
                self.pods[order.name] = pod.model_copy(update=update)
                if order.node in self.sold:
                    self.start_instance(order.name)
            case Pend():
                self.pods[order.name] = pod.model_copy(update={"unschedulable": order.message})
            case Annotate():
                annotations = {**pod.annotations, **order.annotations}
                kept = {key: value for key, value in annotations.items() if value is not None}
                self.pods[order.name] = pod.model_copy(update={"annotations": kept})
            case Evict():
                self.pods[order.name] = pod.model_copy(update={"terminating": True})
            case Note() | Release():
                return
        self.now += 0.001
        self.pods[order.name] = self.pods[order.name].model_copy(update={"observed_at": self.now})

    def start_instance(self, name: str) -> None:
        pod = self.pods[name]
        if pod.node in self.sold_out:
            self.pods[name] = pod.model_copy(update={"no_instance": "NoStock: sold out"})
            return
        sold = self.sold[pod.node]
        spec = next(chosen(candidates(pod.requests, pod.annotations, sold.own_types), sold.stock))
        self.instances[name] = {"cpu": spec.cpu, "memory": spec.memory, "pods": 1}
        instance = Instance(name=f"eci-{name}", size=spec.name, since=self.now, per_hour=sold.prices.hourly(spec))
        self.pods[name] = pod.model_copy(update={"instance": instance})
        if spec.name in sold.stock:
            left = {**sold.stock, spec.name: sold.stock[spec.name] - 1}
            self.sold[pod.node] = sold.model_copy(update={"stock": left})

    def run(self) -> list[Decided]:
        """Decides, carries out and tells, until nothing is due any more."""
        made: list[Decided] = []
        while new := self.decide():
            made += new
            for decided in new:
                for order in decided.orders:
                    self.carry_out(order)
            for decided in new:
                if decided.key[2] in self.pods:
                    self.tell_pod(decided.key[2])
            self.tell_capacity()
        return made

    def fail(self, order: Bind, result: str = "failed") -> None:
        self.state.on_outcome(
            Outcome(
                member=MEMBER,
                ref=ObjectRef(version="v1", kind="Pod", namespace=order.namespace, name=order.name),
                uid=order.uid,
                order=order.order,
                result=result,  # type: ignore[arg-type]
                code="Refused",
                message="no",
                at=self.now,
            )
        )

    # -- looking ---------------------------------------------------------------------------------------------

    def orders(self, kind: type[Any]) -> list[Any]:
        return [order for decided in self.decided for order in decided.orders if isinstance(order, kind)]

    @property
    def bound(self) -> dict[str, str]:
        """pod → node, as it is in the member."""
        return {name: pod.node for name, pod in sorted(self.pods.items()) if pod.node}

    def units(self) -> dict[str, int]:
        """How many pods run in each unit."""
        found: dict[str, int] = {}
        for bind in self.orders(Bind):
            if bind.name in self.bound:
                found[bind.unit] = found.get(bind.unit, 0) + 1
        return found

    def reason(self, name: str) -> tuple[str, str]:
        """(code, message) of the last decision about a pod."""
        return next((d.code, d.message) for d in reversed(self.decided) if d.key[2] == name)

    def cost(self, name: str) -> str | None:
        return self.pods[name].annotations.get(DELETION_COST)

    def pass_(self, seconds: float) -> None:
        self.now += seconds
