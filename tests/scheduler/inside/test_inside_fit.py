"""Which node takes a pod, and which of several is the best: what one node says by itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from shared.contracts.capacity import Taint
from tests.scheduler.inside.inside_world import World

DB = Taint(key="dedicated", value="db", effect="NoSchedule")
TOLERATES_DB = {"tolerations": [{"key": "dedicated", "operator": "Equal", "value": "db", "effect": "NoSchedule"}]}


def required(*expressions: dict[str, Any], fields: Any = ()) -> dict[str, Any]:
    term = {"matchExpressions": list(expressions), "matchFields": list(fields)}
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}}
    }


@dataclass
class Case:
    """nodes: by name, as given to `World.node`. pod: as given to `World.pod`. on: the node it gets; None for none."""

    name: str
    nodes: dict[str, dict[str, Any]]
    pod: dict[str, Any] = field(default_factory=dict)
    on: str | None = None
    code: str = ""
    says: str = ""


CASES = [
    Case("a node with room", {"a": {}}, on="a"),
    Case("no node", {}, code="NoNodes", says="there is no node"),
    Case("no cpu", {"a": {"cpu": 1}}, {"cpu": 2}, None, "InsufficientResources", "needs 2, at most 1 free"),
    Case("no memory", {"a": {"memory": 1}}, {"memory": 2}, None, "InsufficientResources", "memory"),
    Case("no pod slot", {"a": {"pods": 0}}, {}, None, "InsufficientResources", "pod slot"),
    Case("a device that nobody has", {"a": {}}, {"extra": {"nvidia.com/gpu": 1}}, None, "InsufficientResources", "gpu"),
    Case(
        "a device that one node has",
        {"a": {}, "b": {"extra": {"nvidia.com/gpu": 1}}},
        {"extra": {"nvidia.com/gpu": 1}},
        "b",
    ),
    Case("a taint that is not tolerated", {"a": {"taints": (DB,)}}, {}, None, "TaintNotTolerated", "dedicated=db"),
    Case("a taint that is tolerated", {"a": {"taints": (DB,)}}, {"spec": TOLERATES_DB}, "a"),
    Case("a cordoned node", {"a": {"unschedulable": True}}, {}, None, "Unschedulable", "cordoned"),
    Case("a node that is not Ready", {"a": {"phase": "unready"}}, {}, None, "NotReady", "not Ready"),
    Case("a node on its way", {"a": {"phase": "upcoming"}}, {}, None, "NotReady", "not Ready"),
    Case("nodeSelector", {"a": {}, "b": {"labels": {"disk": "ssd"}}}, {"spec": {"nodeSelector": {"disk": "ssd"}}}, "b"),
    Case(
        "nodeSelector that nobody has",
        {"a": {}},
        {"spec": {"nodeSelector": {"disk": "ssd"}}},
        None,
        "NodeSelectorMismatch",
        "nodeSelector disk=ssd",
    ),
    Case(
        "required node affinity",
        {"a": {"labels": {"gen": "6"}}, "b": {"labels": {"gen": "8"}}},
        {"spec": required({"key": "gen", "operator": "Gt", "values": ["7"]})},
        "b",
    ),
    Case(
        "required node affinity that nobody matches",
        {"a": {}},
        {"spec": required({"key": "gen", "operator": "Exists"})},
        None,
        "NodeSelectorMismatch",
        "required node affinity",
    ),
    Case(
        "a node by name",
        {"a": {}, "b": {}},
        {"spec": required(fields=[{"key": "metadata.name", "operator": "In", "values": ["b"]}])},
        "b",
    ),
    Case("a hostname", {"a": {}, "b": {}}, {"spec": {"nodeSelector": {"kubernetes.io/hostname": "b"}}}, "b"),
    Case("virtual nodes are for those who ask", {"v": {"phase": "virtual", "labels": {"type": "virtual-kubelet"}}}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_filters(case: Case) -> None:
    world = World()
    for name, node in case.nodes.items():
        world.node(name, **node)
    world.pod("p", **case.pod)
    world.run()
    assert world.pods["p"].node == (case.on or "")
    if case.on is None:
        code, message = world.reason("p")
        assert case.code in ("", code)
        assert case.says in message
        assert world.pods["p"].unschedulable == message


def test_the_reason_counts_every_node_once() -> None:
    world = World()
    world.node("small", cpu=1)
    world.node("smaller", cpu=0.5)
    world.node("db", taints=(DB,))
    world.node("off", unschedulable=True)
    world.pod("p", cpu=4)
    world.run()
    assert world.reason("p")[1] == (
        "4 nodes: 2 lacking cpu (needs 4, at most 1 free), 1 with taint dedicated=db:NoSchedule that is not tolerated, "
        "1 cordoned"
    )


# -- host ports ----------------------------------------------------------------------------------------------


def port(number: int, protocol: str = "TCP", address: str = "") -> dict[str, Any]:
    return {"ports": [{"hostPort": number, "protocol": protocol, **({"hostIP": address} if address else {})}]}


@pytest.mark.parametrize(
    ("there", "asked", "fits"),
    [
        (port(80), port(80), False),
        (port(80), port(81), True),
        (port(80), port(80, "UDP"), True),
        (port(80, address="10.0.0.1"), port(80, address="10.0.0.2"), True),
        (port(80, address="10.0.0.1"), port(80, address="10.0.0.1"), False),
        (port(80, address="10.0.0.1"), port(80), False),
        (port(80), port(80, address="10.0.0.1"), False),
    ],
)
def test_host_ports(there: dict[str, Any], asked: dict[str, Any], *, fits: bool) -> None:
    world = World()
    world.node("a")
    world.pod("first", spec=there)
    world.run()
    world.pod("second", spec=asked)
    world.run()
    assert ("second" in world.bound) == fits
    if not fits:
        assert world.reason("second")[0] == "HostPortTaken"
        world.delete("first")
        world.pass_(1)
        world.run()
        assert "second" in world.bound


# -- the best node -------------------------------------------------------------------------------------------


def test_the_emptiest_node_is_the_best() -> None:
    world = World()
    world.node("a", cpu=8)
    world.node("b", cpu=8)
    world.pod("first", cpu=4)
    world.run()
    world.pod("second", cpu=2)
    world.run()
    assert world.bound == {"first": "a", "second": "b"}


def test_of_equally_empty_nodes_the_more_even_one_is_the_best() -> None:
    world = World()
    world.node("even", cpu=8, memory=8)
    world.node("odd", cpu=4, memory=16)
    world.pod("p", cpu=2, memory=2)
    world.run()
    assert world.bound == {"p": "even"}


def test_equal_nodes_are_taken_by_name_whatever_the_order_of_news() -> None:
    world = World()
    for name in ("c", "a", "b"):
        world.node(name)
    world.pod("first")
    world.run()
    assert world.bound == {"first": "a"}


def prefers(label: str, weight: int) -> dict[str, Any]:
    return {"weight": weight, "preference": {"matchExpressions": [{"key": label, "operator": "Exists"}]}}


def test_preferred_node_affinity_outweighs_a_little_more_room() -> None:
    world = World()
    world.node("ssd", labels={"ssd": ""})
    world.node("fast", labels={"fast": "", "ssd": ""})
    world.node("other")
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [prefers("ssd", 10), prefers("fast", 1)]}
    for name in ("first", "second"):
        world.pod(name, spec={"affinity": {"nodeAffinity": preferred}})
        world.run()
    assert world.bound == {"first": "fast", "second": "fast"}


def test_a_taint_to_be_avoided_is_avoided_while_there_is_another_node() -> None:
    world = World()
    world.node("avoid", cpu=16, taints=(Taint(key="old", effect="PreferNoSchedule"),))
    world.node("other", cpu=2)
    for number in range(3):
        world.pod(f"p{number}")
    world.run()
    assert world.bound == {"p0": "other", "p1": "other", "p2": "avoid"}
