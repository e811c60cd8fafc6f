"""What holds whatever happens: any interleaving of pods, decisions, orders, and messages that are late or doubled."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.scheduler.core.inside.engine import InsideState
from shared.contracts.annotations import DELETION_COST
from shared.contracts.binding import Bind, Binding
from shared.contracts.capacity import Capacity
from shared.contracts.pod import Pod
from tests.scheduler.inside.inside_world import MEMBER, NAMESPACE, World

MAX = 3
WEB = {"app": "web"}
LABELS: tuple[dict[str, str], ...] = (WEB, WEB, {}, {"alibabacloud.com/eci": "true"})
VOID_AFTER = 600.0
SHARE = st.floats(0, 0.999)


class Lagging(World):
    """A world of which inventory sees only what it was shown: capacity is told from that."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, Pod] = {}

    def free(self, name: str) -> dict[str, int]:
        truth, self.pods = self.pods, self.seen
        try:
            return super().free(name)
        finally:
            self.pods = truth


class Interleaving(RuleBasedStateMachine):
    """Inventory sees a pod some time after it changed, tells of it and of the capacity independently, and all that is
    told arrives some time after that; orders are carried out in any order, or get lost."""

    def __init__(self) -> None:
        super().__init__()
        self.world = Lagging()
        self.count = 0
        self.pods: dict[str, Pod | None] = {}  # told and not arrived, the newest of each; None: it is gone
        self.published: dict[str, Pod] = {}
        self.capacity: list[Capacity] = []
        self.arrived: list[Capacity | Pod] = []
        self.known: dict[str, Pod] = {}
        self.orders: list[Binding] = []
        self.cordoned = False

    @initialize(cpus=st.lists(st.sampled_from([1, 2, 3]), min_size=1, max_size=3), quota=st.sampled_from([2, 4]))
    def begin(self, cpus: list[int], quota: int) -> None:
        world = self.world
        for number, cpu in enumerate(cpus):
            world.node(f"n{number}", cpu)
        world.virtual(cpu=quota, memory=64)
        self.policy()
        self.create(1, WEB)
        self.see_all()
        self.arrive_all()
        world.tell_capacity()

    def policy(self) -> None:
        unit = {"resource": "idc", "max": MAX}
        self.world.policy(unit, {"resource": "eci"}, selector=WEB, ignoreTerminatingPod=False)

    # -- the member ------------------------------------------------------------------------------------------

    @rule(cpus=st.lists(st.sampled_from([0.5, 1, 2]), min_size=1, max_size=3), labels=st.sampled_from(LABELS))
    def create_some(self, cpus: list[float], labels: dict[str, str]) -> None:
        for cpu in cpus:
            self.create(cpu, labels)

    def create(self, cpu: float, labels: dict[str, str]) -> None:
        self.count += 1
        name = f"p{self.count % 7}"  # names come again, with another uid
        if name not in self.world.pods:
            requests = {"cpu": int(cpu * 1000), "memory": 2**30, "pods": 1}
            self.world.pods[name] = Pod(
                member=MEMBER,
                namespace=NAMESPACE,
                name=name,
                uid=f"uid-{self.count}",
                scheduler="brim-scheduler",
                labels=labels,
                requests=requests,
                created_at=self.world.now,
                observed_at=self.world.now,
            )

    @precondition(lambda self: self.world.pods)
    @rule(which=SHARE)
    def delete(self, which: float) -> None:
        name = sorted(self.world.pods)[int(which * len(self.world.pods))]
        del self.world.pods[name]
        self.world.instances.pop(name, None)

    @precondition(lambda self: self.orders)
    @rule(which=SHARE, count=st.integers(1, 4), lost=st.sampled_from([False, False, False, True]))
    def carry_out_some(self, which: float, count: int, *, lost: bool) -> None:
        for _ in range(min(count, len(self.orders))):
            self.carry_out(which, lost=lost)

    def carry_out(self, which: float, *, lost: bool) -> None:
        order = self.orders.pop(int(which * len(self.orders)))
        pod = self.world.pods.get(order.name)
        if lost or self.world.now - order.at > VOID_AFTER:
            return
        if isinstance(order, Bind) and pod is not None and pod.uid == order.uid and pod.node:
            if pod.node != order.node:  # the API refuses to bind a pod twice; the executor looks where it is
                self.world.fail(order, "conflict")
        else:
            self.world.carry_out(order)

    # -- inventory -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.world.nodes)
    @rule(which=SHARE)
    def cordon(self, which: float) -> None:
        """Or the contrary. Who was given a node that is closed then is decided anew, though the order may come."""
        self.cordoned = True
        node = self.world.nodes[sorted(self.world.nodes)[int(which * len(self.world.nodes))]]
        node.unschedulable = not node.unschedulable

    @rule(which=SHARE, everything=st.booleans())
    def see(self, which: float, *, everything: bool) -> None:
        names = sorted(self.world.pods.keys() | self.world.seen.keys())
        if everything:
            self.see_all()
        elif names:
            self.see_one(names[int(which * len(names))])

    def see_one(self, name: str) -> None:
        pod = self.world.pods.get(name)
        self.world.now += 0.01
        if pod is None:
            self.world.seen.pop(name, None)
            self.published.pop(name, None)
        else:
            before = self.world.seen.get(name)
            is_new_there = bool(pod.node) and (before is None or before.uid != pod.uid or not before.node)
            counted_at = self.world.now if is_new_there else before and before.counted_at
            pod = pod.model_copy(update={"observed_at": self.world.now, "counted_at": counted_at})
            self.world.seen[name] = self.published[name] = pod
        self.pods[name] = pod

    def see_all(self) -> None:
        for name in sorted(self.world.pods.keys() | self.world.seen.keys()):
            self.see_one(name)

    @rule(whole=st.booleans())
    def tell_capacity(self, *, whole: bool) -> None:
        self.world.now += 0.01
        self.capacity.append(self.world.snapshot() if whole else self.world.delta(*self.world.nodes))

    @rule()
    def heartbeat(self) -> None:
        """It goes after all that there was to tell."""
        self.tell_capacity(whole=False)
        self.capacity.append(self.world.heartbeat())

    # -- messages --------------------------------------------------------------------------------------------

    @precondition(lambda self: self.pods)
    @rule(which=SHARE, everything=st.booleans())
    def arrive_some(self, which: float, *, everything: bool) -> None:
        for _ in range(len(self.pods) if everything else 1):
            self.arrive(which)

    def arrive(self, which: float) -> None:
        name = sorted(self.pods)[int(which * len(self.pods))]
        pod = self.pods.pop(name)
        if pod is None:
            self.known.pop(name, None)
            self.world.state.on_pod_gone(MEMBER, NAMESPACE, name)
        else:
            self.known[name] = pod
            self.arrived.append(pod)
            self.world.state.on_pod(pod)

    @precondition(lambda self: self.capacity)
    @rule()
    def arrive_capacity(self) -> None:
        message = self.capacity.pop(0)
        self.arrived.append(message)
        self.world.state.on_capacity(message)

    @precondition(lambda self: self.arrived)
    @rule(which=SHARE)
    def arrive_again(self, which: float) -> None:
        message = self.arrived[int(which * len(self.arrived))]
        if isinstance(message, Pod):
            self.world.state.on_pod(message)
        else:
            self.world.state.on_capacity(message)

    def arrive_all(self) -> None:
        while self.pods:
            self.arrive(0)
        while self.capacity:
            self.arrive_capacity()

    # -- the scheduler ---------------------------------------------------------------------------------------

    @rule()
    def decide(self) -> None:
        for decided in self.world.decide():
            for order in decided.orders:
                self.orders.append(order)
                if isinstance(order, Bind):
                    known = self.known.get(order.name)
                    assert known is not None
                    assert known.uid == order.uid
                    assert not known.node, "it is known to be bound"

    @rule(seconds=st.sampled_from([1, 10, 61, 300]))
    def wait(self, seconds: float) -> None:
        self.world.now += seconds

    @rule()
    def lead_anew(self) -> None:
        """A new leader reads the streams, and waits for a snapshot that is newer than its start."""
        self.pods, self.capacity, self.arrived, self.known = {}, [], [], {}
        self.world.state = InsideState()
        self.policy()
        self.see_all()
        for name, pod in sorted(self.published.items()):
            self.pods[name] = pod
        self.arrive_all()
        self.world.tell_capacity()
        for order in self.orders:
            if isinstance(order, Bind):
                self.world.state.on_order(order)

    # -- several at once: what usually happens ------------------------------------------------------------------

    @rule()
    def pods_are_told(self) -> None:
        self.see_all()
        while self.pods:
            self.arrive(0)

    @rule()
    def capacity_is_told(self) -> None:
        self.tell_capacity(whole=False)
        while self.capacity:
            self.arrive_capacity()

    @rule()
    def work(self) -> None:
        self.decide()
        while self.orders:
            self.carry_out(0, lost=False)

    # -- what holds ------------------------------------------------------------------------------------------

    @invariant()
    def no_node_is_over_committed(self) -> None:
        for name in self.world.nodes:
            left = World.free(self.world, name)
            assert min(left.values()) >= 0, f"{name}: {left}"

    @invariant()
    def max_is_never_exceeded(self) -> None:
        there = [pod for pod in self.world.pods.values() if pod.labels == WEB and pod.node.startswith("n")]
        assert self.cordoned or len(there) <= MAX

    def teardown(self) -> None:
        """When all has arrived, and time passes, nobody waits who would find a place."""
        if not self.world.nodes:
            return
        for _ in range(12):
            while self.orders:
                self.carry_out(0, lost=False)
            self.see_all()
            self.tell_capacity(whole=True)
            self.arrive_all()
            self.wait(61)
            self.decide()
        used = sum(pod.labels == WEB and pod.node.startswith("n") for pod in self.world.pods.values())
        for name, pod in self.world.pods.items():
            if not pod.node:
                assert not self._places(pod, used), f"{name} could run"
        self.no_node_is_over_committed()
        self.max_is_never_exceeded()

    def _places(self, pod: Pod, used: int) -> list[str]:
        instance = {"cpu": max(1000, pod.requests["cpu"]), "memory": 2**30, "pods": 1}
        found = []
        for name, node in self.world.nodes.items():
            virtual = name in self.world.sold
            asked = instance if virtual else pod.requests
            left = World.free(self.world, name)
            allowed = pod.labels != {} if virtual else pod.labels == {} or (pod.labels == WEB and used < MAX)
            if (
                not node.unschedulable
                and allowed
                and all(left.get(resource, 0) >= amount for resource, amount in asked.items())
            ):
                found.append(name)
        return found


Interleaving.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestInterleaving = Interleaving.TestCase


# -- scaling in ----------------------------------------------------------------------------------------------


def replica_set_removes(world: World) -> str:
    """The pod that a ReplicaSet deletes first, of Ready ones: the lowest cost, then the youngest."""
    return min(world.pods, key=lambda name: (int(world.cost(name) or 0), -world.pods[name].created_at))


@settings(max_examples=40)
@given(idc=st.integers(0, 4), ecs=st.integers(0, 4), count=st.integers(1, 12), changes=st.booleans())
def test_units_empty_from_the_last_to_the_first(idc: int, ecs: int, count: int, *, changes: bool) -> None:
    world = World()
    world.node("idc-1", idc)
    world.ecs("ecs-1", ecs)
    world.virtual()
    units = [{"resource": "idc"}, {"resource": "ecs"}, {"resource": "eci"}]
    world.policy(*units, selector=WEB)
    for number in range(count):
        world.pod(f"p{number}", labels=WEB)
    world.run()
    if changes:
        units.reverse()
        world.policy(*units, selector=WEB)
        world.run()
    nodes = {"idc": "idc-1", "ecs": "ecs-1", "eci": "virtual-kubelet-a"}
    order = [nodes[unit["resource"]] for unit in reversed(units)]
    removed = []
    while world.pods:
        name = replica_set_removes(world)
        removed.append(order.index(world.pods[name].node))
        world.delete(name)
        world.run()
    assert removed == sorted(removed)


# -- determinism ---------------------------------------------------------------------------------------------


def outcome(seed: int, sizes: list[tuple[float, int]], cpus: list[int]) -> dict[str, Any]:
    """What is decided about these pods on these nodes; the seed decides in which order they are told."""
    world = World()
    names = [f"n{number}" for number in range(len(cpus))]
    shuffled = random.Random(seed).sample(names, len(names))
    for name in shuffled:
        world.node(name, cpus[int(name[1:])])
    world.virtual()
    world.policy({"resource": "idc", "max": 4}, {"resource": "eci"}, selector=WEB)
    first = world.pod("first", 0.1, created_at=0.0)
    pods = [
        first.model_copy(
            update={
                "name": f"p{number}",
                "uid": f"uid-p{number}",
                "created_at": float(number // 2),
                "requests": {"cpu": int(cpu * 1000), "pods": 1},
                "priority": priority,
                "labels": WEB if number % 3 else {},
            }
        )
        for number, (cpu, priority) in enumerate(sizes)
    ]
    for pod in random.Random(seed).sample(pods, len(pods)):
        world.pods[pod.name] = pod
        world.state.on_pod(pod)
    decisions = {}
    for decided in world.decide():
        bind = next((order for order in decided.orders if isinstance(order, Bind)), None)
        decisions[decided.key[2]] = (bind.node, bind.annotations.get(DELETION_COST)) if bind else decided.code
    return decisions


@settings(max_examples=40)
@given(
    seed=st.integers(1, 1000),
    sizes=st.lists(st.tuples(st.sampled_from([0.5, 1, 2]), st.sampled_from([0, 5])), max_size=12),
    cpus=st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=5),
)
def test_the_order_of_news_decides_nothing(seed: int, sizes: list[tuple[float, int]], cpus: list[int]) -> None:
    assert outcome(0, sizes, cpus) == outcome(seed, sizes, cpus)


# -- anything at all -----------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text("aT*-=", max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "key", "operator"]), inner),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["nodeSelector", "affinity", "tolerations", "topologySpreadConstraints", "ports", "volumes", "resourceClaims"]
)
TERM = ["topologyKey", "labelSelector", "namespaces", "namespaceSelector", "matchLabelKeys", "maxSkew", "weight"]
TERMS = st.dictionaries(st.sampled_from([*TERM, "podAffinityTerm", "matchExpressions"]), JSON)
KINDS = ["requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"]
AFFINITY = st.dictionaries(
    st.sampled_from(["podAffinity", "podAntiAffinity", "nodeAffinity"]),
    st.dictionaries(st.sampled_from(KINDS), st.lists(TERMS, max_size=2) | JSON),
)
ANNOTATIONS = ["k8s.aliyun.com/eci-use-specs", "brim.dev/max-hourly-cost", "k8s.aliyun.com/eci-spot-strategy"]


@settings(max_examples=150)
@given(
    spec=st.dictionaries(FIELDS, JSON | AFFINITY | st.lists(TERMS, max_size=2)),
    annotations=st.dictionaries(st.sampled_from(ANNOTATIONS), st.text("2-4Gi,.x", max_size=8)),
    eci=st.booleans(),
)
def test_whatever_a_pod_says_nobody_else_waits_for_it(
    spec: dict[str, Any], annotations: dict[str, str], *, eci: bool
) -> None:
    world = World()
    world.node("n0")
    world.virtual()
    labels = {"alibabacloud.com/eci": "true"} if eci else {}
    world.pod("odd", spec=spec, annotations=annotations, labels=labels)
    world.run()
    world.pod("plain")
    world.run()
    assert world.bound["plain"] == "n0"
