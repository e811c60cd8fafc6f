"""The sweep: what nobody owns any more is found, told, counted and mended."""

from __future__ import annotations

from shared.contracts.annotations import UNIT_ANNOTATION
from shared.contracts.binding import Evict, Release
from shared.contracts.pod import Instance
from tests.scheduler.inside.inside_world import World

ECI = {"alibabacloud.com/eci": "true"}
VIRTUAL = "virtual-kubelet-a"


def member() -> World:
    world = World()
    world.node("idc-1", 2)
    world.virtual()
    return world


def found(world: World) -> dict[str, int]:
    """Since it was last asked."""
    return dict(world.state.take_leaks())


def on_eci(world: World, name: str = "p") -> None:
    world.pod(name, labels=ECI)
    world.run()
    assert world.bound[name] == VIRTUAL


def test_an_instance_without_its_pod_is_given_back() -> None:
    world = member()
    on_eci(world)
    world.change("p", gone=True)
    world.pass_(119)
    world.run()
    assert world.orders(Release) == [], "it may only be late"
    world.pass_(121)
    world.run()
    (order,) = world.orders(Release)
    assert (order.instance, order.name, order.uid) == ("eci-p", "p", "uid-p")
    world.pass_(121)
    world.run()
    assert len(world.orders(Release)) == 2, "again until it is so"
    assert found(world) == {"instance": 1}
    world.delete("p")
    world.pass_(121)
    world.run()
    assert len(world.orders(Release)) == 2


def test_a_new_leader_finds_it_at_once() -> None:
    world = member()
    instance = Instance(name="eci-lost", size="2-4Gi", since=world.now)
    world.pod("lost", node=VIRTUAL, gone=True, instance=instance)
    world.pass_(300)
    world.tell_pod("lost")
    world.decide()
    assert [order.instance for order in world.orders(Release)] == ["eci-lost"]


def test_a_pod_on_a_virtual_node_that_is_gone_is_evicted() -> None:
    world = member()
    on_eci(world)
    del world.nodes[VIRTUAL]
    world.tell_capacity()
    world.run()
    assert world.orders(Evict) == []
    world.pass_(121)
    world.run()
    (order,) = world.orders(Evict)
    assert (order.name, order.reason) == ("p", "VirtualNodeGone")
    assert order.message == f"its virtual node {VIRTUAL} is gone"
    assert found(world) == {"pod": 1}


def test_a_virtual_node_that_comes_back_loses_nobody() -> None:
    world = member()
    on_eci(world)
    node = world.nodes.pop(VIRTUAL)
    world.tell_capacity()
    world.pass_(60)
    world.nodes[VIRTUAL] = node
    world.tell_capacity()
    world.pass_(300)
    world.run()
    assert world.orders(Evict) == []


def test_pods_on_a_real_node_that_is_gone_are_the_members_own_business() -> None:
    world = member()
    world.pod("p", node="idc-1", annotations={UNIT_ANNOTATION: "idc"})
    del world.nodes["idc-1"]
    world.tell_capacity()
    for _ in range(3):
        world.pass_(121)
        world.run()
    assert world.orders(Evict) == []


def test_while_the_capacity_is_not_known_no_node_is_missed() -> None:
    world = member()
    on_eci(world)
    world.delta("idc-1")  # lost
    world.state.on_capacity(world.delta(removed=[VIRTUAL]))
    for _ in range(3):
        world.pass_(121)
        world.decide()
    assert world.orders(Evict) == []


def test_an_order_that_is_void_holds_nothing_and_is_counted() -> None:
    world = member()
    world.pod("p", cpu=2)
    world.decide()
    world.nodes["idc-1"].unschedulable = True
    world.tell_capacity()
    world.pass_(60)
    world.decide()
    world.pass_(600)
    world.decide()
    assert found(world) == {"reservation": 1}


def test_a_sound_member_has_no_leaks() -> None:
    world = member()
    on_eci(world)
    world.pod("idc", cpu=1)
    world.run()
    for _ in range(5):
        world.pass_(121)
        world.run()
    assert found(world) == {}
