"""What DaemonSets take of a node that is still to be added."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inventory.core.daemons import Daemons
from services.inventory.core.facts import NodeFacts, PodFacts
from services.inventory.core.stock import PoolFacts, pools_of

POOL = {"alibabacloud.com/nodepool-id": "p"}


def daemon(of: str, on: str, cpu: int = 100, **fields: object) -> PodFacts:
    return PodFacts("kube-system", f"{of}-{on}", node=on, daemon=of, requests={"cpu": cpu}, **fields)  # type: ignore[arg-type]


def daemons(nodes: list[NodeFacts], pods: list[PodFacts]) -> Daemons:
    found = Daemons()
    for pod in pods:
        found.put_pod(pod)
    for node in nodes:
        found.put_node(node)
    return found


OWN = [NodeFacts(name) for name in "ab"]
POOLED = [NodeFacts(name, labels=POOL) for name in "xyz"]


@pytest.mark.parametrize(
    ("nodes", "pods", "takes"),
    [
        pytest.param(OWN, [], (0, {}), id="none"),
        pytest.param(OWN, [daemon("log", on) for on in "ab"], (1, {"cpu": 100}), id="on all nodes of a member"),
        pytest.param(OWN, [daemon("log", "a")], (0, {}), id="on half of them only"),
        pytest.param(
            [*OWN, *POOLED], [daemon("gpu", on, 300) for on in "xy"], (1, {"cpu": 300}), id="on most of the pool's own"
        ),
        pytest.param([*OWN, *POOLED], [daemon("gpu", on) for on in "ab"], (0, {}), id="on others, none of the pool's"),
        pytest.param(
            OWN, [daemon(of, on) for of in ("log", "net") for on in "ab"], (2, {"cpu": 200}), id="several add up"
        ),
        pytest.param(OWN, [daemon("log", on, phase="Failed") for on in "ab"], (0, {}), id="ended"),
        pytest.param(
            [*OWN, NodeFacts("v", labels={"type": "virtual-kubelet"})],
            [daemon("log", on) for on in "ab"],
            (1, {"cpu": 100}),
            id="virtual nodes run none",
        ),
        pytest.param(
            OWN, [PodFacts("n", on, node=on, requests={"cpu": 9}) for on in "ab"], (0, {}), id="pods of no DaemonSet"
        ),
    ],
)
def test_what_they_take_of_a_new_node(nodes: list[NodeFacts], pods: list[PodFacts], takes: object) -> None:
    assert daemons(nodes, pods).takes("p") == takes


def test_a_pools_node_is_promised_without_what_they_take() -> None:
    running = daemons(OWN, [daemon(of, on, 300) for of in ("log", "net") for on in "ab"])
    facts = PoolFacts("p", "t", max=5, stock=None, allocatable={"cpu": 4000, "memory": 8})
    (pool,) = pools_of([facts], {}, running)
    assert pool.allocatable == {"cpu": 3400, "memory": 8, "pods": 108}


def test_they_take_no_more_than_there_is() -> None:
    (pool,) = pools_of(
        [PoolFacts("p", "t", max=1, allocatable={"cpu": 50})], {}, daemons(OWN, [daemon("log", on) for on in "ab"])
    )
    assert pool.allocatable["cpu"] == 0


NAMES = st.sampled_from("abxy")
NODES = st.builds(lambda name, pooled: NodeFacts(name, labels=POOL if pooled else {}), NAMES, st.booleans())
PODS = st.builds(
    lambda of, on, place, phase: replace(daemon(of or "", on, phase=phase), node=place),
    st.sampled_from(["log", "net", ""]),
    NAMES,
    st.sampled_from(["a", "b", "x", "y", ""]),
    st.sampled_from(["Running", "Failed"]),
)
STEPS = st.lists(NODES | PODS | st.tuples(st.just("node"), NAMES) | st.tuples(st.just("pod"), PODS), max_size=40)


@given(STEPS)
def test_any_history_leads_to_the_same_counts(steps: list[object]) -> None:
    found, nodes, pods = Daemons(), {}, {}
    for step in steps:
        match step:
            case NodeFacts():
                nodes[step.name] = step
                found.put_node(step)
            case PodFacts():
                pods[step.key] = step
                found.put_pod(step)
            case ("node", str(name)):
                nodes.pop(name, None)
                found.drop_node(name)
            case ("pod", PodFacts() as pod):
                pods.pop(pod.key, None)
                found.drop_pod(pod.key)
    fresh = daemons(list(nodes.values()), list(pods.values()))
    for pool in ("p", "q"):
        assert found.takes(pool) == fresh.takes(pool)
    assert found._requests.keys() == fresh._requests.keys()
