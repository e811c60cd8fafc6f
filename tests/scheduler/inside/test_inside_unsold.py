"""Pods whose virtual node has no instance for them: they move where there is room, and only there."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.binding import Evict
from shared.contracts.pod import Owner
from tests.scheduler.inside.inside_world import World

ECI = {"alibabacloud.com/eci": "true"}
A, B = "virtual-kubelet-a", "virtual-kubelet-b"


def member(*nodes: str, **sold: Any) -> World:
    """The first of the virtual nodes is the cheaper one, and starts nothing."""
    world = World()
    for price, name in enumerate(nodes, start=1):
        world.virtual(name, vcpu=price, **sold)
    world.sold_out = {A}
    return world


def bound(world: World, name: str, on: str, **more: Any) -> None:
    world.pod(name, **({"labels": ECI} | more))
    world.run()
    assert world.bound[name] == on


def evicted(world: World, after: float = 16) -> list[str]:
    """Pods that were told to go, in the end."""
    world.pass_(after)
    world.run()
    return [order.name for order in world.orders(Evict)]


def replace(world: World, name: str, by: str, **more: Any) -> str:
    """As the pod's controller does it; where the new one is."""
    world.delete(name)
    world.pod(by, **({"labels": ECI} | more))
    world.run()
    return world.bound.get(by, "")


def test_it_moves_where_an_instance_can_be_had() -> None:
    world = member(A, B)
    bound(world, "p", A)
    assert evicted(world, 14) == [], "its node asks again first"
    assert evicted(world, 2) == ["p"]
    (order,) = world.orders(Evict)
    assert order.reason == "NoInstance"
    assert order.message == f"{A} has no instance for it (NoStock: sold out): node {B} has room"
    assert replace(world, "p", "q") == B
    assert evicted(world, 600) == ["p"]


def test_it_moves_to_a_machine_that_has_room_again() -> None:
    world = member(A)
    world.node("idc-1", 1)
    world.policy({"resource": "idc"}, {"resource": "eci"})
    bound(world, "first", "idc-1", labels={})
    bound(world, "p", A, labels={})
    assert evicted(world) == []
    world.delete("first")
    assert evicted(world) == ["p"]
    assert replace(world, "p", "q", labels={}) == "idc-1"


@pytest.mark.parametrize(
    "more",
    [
        pytest.param({"owner": None}, id="nobody would make it again"),
        pytest.param({"owner": Owner(kind="Job", group="batch", name="batch")}, id="a Job counts it as failed"),
    ],
)
def test_who_is_left_alone(more: dict[str, Any]) -> None:
    world = member(A, B)
    bound(world, "p", A, **more)
    assert evicted(world, 600) == []


def test_where_nothing_else_has_room_it_waits_for_stock() -> None:
    world = member(A)
    world.node("idc-1", 0.5)
    bound(world, "p", A)
    for _ in range(20):
        assert evicted(world, 60) == []
    world.change("p", no_instance=None, ready=True)
    world.virtual(B)
    world.tell_capacity()
    assert evicted(world, 600) == [], "it has its instance now"


def test_one_that_would_have_to_wait_elsewhere_stays() -> None:
    world = member(A)
    world.node("idc-1", 1)
    rule = {"policy": "TimeoutOrExceedMax", "timeout": "5m"}
    world.policy({"resource": "idc"}, {"resource": "eci"}, whenTryNextUnits=rule)
    bound(world, "first", "idc-1", labels={})
    world.pod("p")
    world.run()
    world.pass_(301)
    world.run()
    assert world.bound["p"] == A
    world.virtual(B, vcpu=9)
    world.tell_capacity()
    assert evicted(world) == [], "a new pod would wait for the machine first"


def test_a_workload_moves_one_pod_after_the_other_and_none_beyond_the_room() -> None:
    world = member(A, B)
    for name in "pqr":
        bound(world, name, A)
    world.nodes[B].allocatable["cpu"] = 1000  # a quota of one instance
    world.tell_capacity()
    (first,) = evicted(world)
    assert evicted(world) == [first], "the one that goes has not gone"
    assert replace(world, first, "s") == B
    assert evicted(world, 600) == [first]


def test_other_workloads_try_the_node_themselves() -> None:
    world = member(A, B)
    bound(world, "p", A)
    assert evicted(world) == ["p"]
    bound(world, "db", A, owner=Owner(kind="Deployment", group="apps", name="db"))


def test_where_no_node_has_anything_they_do_not_go_round() -> None:
    world = member(A, B)
    world.sold_out = {A, B}
    bound(world, "p0", A)
    number = 0
    for _ in range(3600 // 5):
        world.pass_(5)
        world.run()
        if world.pods[f"p{number}"].terminating:
            replace(world, f"p{number}", f"p{number + 1}")
            number += 1
    assert 1 < number < 15


def test_a_node_that_tells_of_new_stock_is_used_at_once() -> None:
    world = member(A, B, stock={"2-4Gi": 0, "1-2Gi": 5})
    world.sold[A] = world.sold[A].model_copy(update={"stock": {}})
    bound(world, "p", A)
    assert evicted(world) == ["p"]
    world.sold[A] = world.sold[A].model_copy(update={"stock": {"1-2Gi": 0}})
    world.tell_capacity()
    assert replace(world, "p", "q") == B
    world.sold_out = set()
    world.sold[A] = world.sold[A].model_copy(update={"stock": {"1-2Gi": 3}})
    world.tell_capacity()
    bound(world, "r", A)


def test_while_a_node_rests_and_nothing_else_is_there_the_pod_says_so() -> None:
    world = member(A, B)
    bound(world, "p", A)
    evicted(world)
    del world.nodes[B]
    world.tell_capacity()
    assert replace(world, "p", "q") == ""
    assert f"{A} had no instance for its like, and is avoided for a while" in world.reason("q")[1]
    world.sold_out = set()
    world.pass_(60)
    world.run()
    assert world.bound["q"] == A
