"""The room of a member: what counts, kept up to date change by change."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inventory.core.capacity import Capacity, Changes, phase_of
from services.inventory.core.facts import NodeFacts, PodFacts
from shared.contracts.capacity import NodeClass, Taint

NOT_READY = (("node.kubernetes.io/not-ready", "", "NoSchedule"),)


def node(name: str = "a", cpu: int = 4000, **fields: object) -> NodeFacts:
    return NodeFacts(name=name, allocatable={"cpu": cpu, "pods": 110}, **fields)  # type: ignore[arg-type]


def pod(name: str = "p", on: str = "a", cpu: int = 1000, **fields: object) -> PodFacts:
    return PodFacts("default", name, node=on, requests={"cpu": cpu}, **fields)  # type: ignore[arg-type]


POOLED = {"alibabacloud.com/nodepool-id": "p1"}


@pytest.mark.parametrize(
    ("facts", "phase"),
    [
        pytest.param(node(), "ready", id="ready"),
        pytest.param(node(ready=False), "unready", id="not ready, of no pool"),
        pytest.param(node(ready=False, labels=POOLED, created_at=500.0), "upcoming", id="young node of a pool"),
        pytest.param(node(ready=False, labels=POOLED, created_at=399.0), "unready", id="too old to be on its way"),
        pytest.param(node(labels=POOLED, created_at=500.0), "ready", id="arrived"),
        pytest.param(node(labels={"type": "virtual-kubelet"}), "virtual", id="virtual"),
        pytest.param(node(labels={"type": "virtual-kubelet"}, ready=False), "unready", id="virtual, not ready"),
        pytest.param(node(leaving=True), "unready", id="being deleted"),
    ],
)
def test_phases(facts: NodeFacts, phase: str) -> None:
    assert phase_of(facts, now=1000.0) == phase


@pytest.mark.parametrize(
    ("facts", "free", "bound"),
    [
        pytest.param(pod(workload="w", phase="Running"), 3000, 1, id="running"),
        pytest.param(pod(workload="w", phase="Pending"), 3000, 1, id="bound, not started"),
        pytest.param(pod(workload="w", phase="Running", terminating=True), 3000, 0, id="terminating holds its room"),
        pytest.param(pod(workload="w", phase="Succeeded"), 4000, 1, id="succeeded counts as bound"),
        pytest.param(pod(workload="w", phase="Failed"), 4000, 0, id="failed"),
        pytest.param(pod(workload="w", on=""), 4000, 0, id="without a node"),
        pytest.param(pod(), 3000, 0, id="not brim's"),
        pytest.param(pod(cpu=5000), -1000, 0, id="more than there is"),
        pytest.param(pod(on="", nominated="a"), 3000, 0, id="others are evicted for it"),
        pytest.param(pod(on="b", nominated="a"), 4000, 0, id="nominated once, bound elsewhere"),
        pytest.param(pod(on="", nominated="a", terminating=True), 4000, 0, id="nominated, but it goes"),
        pytest.param(pod(on="", nominated="a", workload="w"), 4000, 0, id="nominated, and reserved by its placement"),
    ],
)
def test_what_a_pod_takes(facts: PodFacts, free: int, bound: int) -> None:
    capacity = Capacity()
    capacity.put_pod(facts)  # pods may be known before their node
    capacity.put_node(node(), now=0.0)
    whole = capacity.whole()
    assert whole.rows[0].free["cpu"] == free
    assert whole.bound.get("w", 0) == bound


def test_an_upcoming_node_is_judged_without_the_taints_it_starts_with() -> None:
    capacity = Capacity()
    capacity.put_node(node(ready=False, labels=POOLED, taints=(*NOT_READY, ("gpu", "", "NoSchedule"))), now=1.0)
    assert capacity.whole().classes == {0: NodeClass(labels=POOLED, taints=(Taint(key="gpu", effect="NoSchedule"),))}


def test_a_node_that_does_not_arrive_is_no_room() -> None:
    capacity = Capacity()
    capacity.put_node(node(ready=False, labels=POOLED), now=1.0)
    assert capacity.take().rows[0].phase == "upcoming"
    capacity.age(599.0)
    assert not capacity.changed
    capacity.age(600.0)
    assert capacity.take().rows[0].phase == "unready"


def test_equal_nodes_share_a_class_whatever_their_hostname() -> None:
    capacity = Capacity()
    for name in ("a", "b"):
        capacity.put_node(node(name, labels={"kubernetes.io/hostname": name, "zone": "z"}), now=0.0)
    whole = capacity.whole()
    assert whole.classes == {0: NodeClass(labels={"zone": "z"})}
    assert [row.class_id for row in whole.rows] == [0, 0]


def test_a_kubelets_heartbeat_changes_nothing() -> None:
    capacity = Capacity()
    capacity.put_node(node(), now=0.0)
    capacity.take()
    capacity.put_node(node(), now=10.0)
    assert not capacity.changed


def test_a_class_is_told_once_and_again_after_it_was_forgotten() -> None:
    capacity = Capacity()
    capacity.put_node(node("a"), now=0.0)
    assert len(capacity.take().classes) == 1
    capacity.put_node(node("b"), now=0.0)
    assert not capacity.take().classes
    for name in ("a", "b"):
        capacity.drop_node(name)
    assert not capacity.take().classes
    capacity.put_node(node("c"), now=0.0)
    assert len(capacity.take().classes) == 1


# -- any history leads to the same state -----------------------------------------------------------------------

NAMES = st.sampled_from("abcd")
NODES = st.builds(
    lambda name, cpu, ready, labels: node(name, cpu, ready=ready, labels=labels),
    NAMES,
    st.integers(0, 4000),
    st.booleans(),
    st.sampled_from([{"zone": "x"}, {"zone": "y"}, {"type": "virtual-kubelet"}]),
)
PODS = st.builds(
    lambda name, on, cpu, phase, terminating, workload: pod(
        name, on, cpu, phase=phase, terminating=terminating, workload=workload
    ),
    st.sampled_from("pqrs"),
    st.sampled_from(["", "a", "b", "c"]),
    st.integers(1, 3000),
    st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
    st.booleans(),
    st.sampled_from(["", "w", "v"]),
)
NOMINATED = st.builds(lambda found, on: replace(found, nominated=on), PODS, st.sampled_from(["", "a", "d"]))
STEPS = st.lists(
    st.one_of(
        NODES,
        NOMINATED,
        st.tuples(st.just("node"), NAMES),
        st.tuples(st.just("pod"), st.sampled_from("pqrs")),
        st.just("take"),
    ),
    max_size=40,
)


def _is_on(p: PodFacts, node: str) -> bool:
    """Bound there; or, for a pod that no placement reserves room for, promised the room of others that go."""
    waits = not p.node and not p.workload and not p.terminating
    return p.node == node or (waits and p.nominated == node)


def _scratch(nodes: dict[str, NodeFacts], pods: dict[str, PodFacts]) -> tuple[object, object, object]:
    """Free room, bound replicas and those on virtual nodes, computed from nothing but what is there."""
    free = {
        name: facts.allocatable["cpu"]
        - sum(p.requests["cpu"] for p in pods.values() if _is_on(p, name) and p.phase not in ("Succeeded", "Failed"))
        for name, facts in nodes.items()
    }
    bound = [p for p in pods.values() if p.workload and p.node and not p.terminating and p.phase != "Failed"]
    virtual = [p for p in bound if p.node in nodes and nodes[p.node].virtual]
    return free, *(dict(Counter(p.workload for p in found)) for found in (bound, virtual))


class _Reader:
    def __init__(self) -> None:
        self.free: dict[str, int] = {}
        self.bound: dict[str, int] = {}
        self.bound_virtual: dict[str, int] = {}
        self.classes: dict[int, NodeClass] = {}
        self.class_of: dict[str, NodeClass] = {}

    def take(self, changes: Changes) -> None:
        self.classes |= changes.classes
        for name in changes.removed:
            del self.free[name]
        for row in changes.rows:
            self.free[row.name] = row.free.get("cpu", 0)
            self.class_of[row.name] = self.classes[row.class_id]
        self.bound = {uid: count for uid, count in (self.bound | changes.bound).items() if count}
        virtual = self.bound_virtual | changes.bound_virtual
        self.bound_virtual = {uid: count for uid, count in virtual.items() if count}


@given(STEPS)
def test_deltas_add_up_to_the_truth(steps: list[object]) -> None:
    capacity, reader = Capacity(), _Reader()
    nodes: dict[str, NodeFacts] = {}
    pods: dict[str, PodFacts] = {}
    for step in steps:
        match step:
            case NodeFacts():
                nodes[step.name] = step
                capacity.put_node(step, now=0.0)
            case PodFacts():
                pods[step.name] = step
                capacity.put_pod(step)
            case ("node", str(name)):
                nodes.pop(name, None)
                capacity.drop_node(name)
            case ("pod", str(name)):
                pods.pop(name, None)
                capacity.drop_pod(("default", name))
            case "take":
                reader.take(capacity.take())
    reader.take(capacity.take())
    free, bound, virtual = _scratch(nodes, pods)
    assert (reader.free, reader.bound, reader.bound_virtual) == (free, bound, virtual)
    assert {name: reader.class_of[name].labels for name in nodes} == {n: dict(f.labels) for n, f in nodes.items()}
    whole = capacity.whole()
    assert {row.name: row.free.get("cpu", 0) for row in whole.rows} == free
    assert (whole.bound, whole.bound_virtual) == (bound, virtual)
