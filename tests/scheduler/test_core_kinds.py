"""Kinds that are not simply so many equal replicas: ordered StatefulSets, several components, none at all; and counts
that somebody else owns. Jobs have a page of their own."""

from __future__ import annotations

from typing import Any

import pytest

from services.scheduler.core.values import Component, Gone, Selector, Shape, Spread, Workload
from shared.contracts.desired import Tombstone
from shared.contracts.refs import ObjectRef
from tests.scheduler.core_world import ONE_CPU, World, decided, deployment, fleet, node, policy, pool

# -- StatefulSets --------------------------------------------------------------------------------------------------


def test_in_an_ordered_set_all_from_the_stuck_ordinal_up_are_stuck() -> None:
    world = fleet("idc", "ack", rooms={"idc": 5, "ack": 5})
    db = decided(world, deployment("db", 5, kind="StatefulSet", ordered=True))
    world.status(db, "idc", replicas=5, ready=2, first_stuck_ordinal=2, pending=1)
    world.rebalance(db, idc=(1, 2))
    world.run()
    assert world.placed(db) == {"idc": 2, "ack": 3}


def test_an_ordered_set_shrinks_from_the_top_so_serving_ones_up_there_wait() -> None:
    world = fleet("idc", "ack", rooms={"idc": 4, "ack": 5})
    db = decided(world, deployment("db", 4, kind="StatefulSet", ordered=True))
    world.status(db, "idc", replicas=4, ready=3, first_stuck_ordinal=1, pending=1)  # 0, 2 and 3 serve
    world.rebalance(db, idc=(1, 3))
    world.run()
    assert world.placed(db) == {"idc": 4, "ack": 3}
    world.status(db, "ack", replicas=3, ready=3)
    world.run()
    assert world.placed(db) == {"idc": 1, "ack": 3}


# -- several components: whole, to one member ----------------------------------------------------------------------


HEAD, WORKER = Component("head", Shape.of({"cpu": 2000}), 1), Component("worker", ONE_CPU, 3)


def ray(name: str = "ray", **more: Any) -> Workload:
    ref = ObjectRef(group="ray.io", version="v1", kind="RayCluster", namespace="test", name=name)
    return Workload(ref, f"uid-{name}", revision=1, replicas=1, components=(HEAD, WORKER), divisible=False, **more)


def ray_world(rooms: dict[str, list[int]], *tiers: Any, **options: Any) -> World:
    world = World()
    world.want(policy(*tiers, selectors=(Selector("RayCluster", "ray.io"),), **options))
    for name, nodes in rooms.items():
        world.member(name, *[node(f"{name}{i}", cpu) for i, cpu in enumerate(nodes)])
    return world


@pytest.mark.parametrize(
    ("case", "rooms", "home"),
    [
        ("where all of it fits together", {"idc": [4], "ack": [2, 3]}, "ack"),
        ("the first tier that can", {"idc": [5], "ack": [9]}, "idc"),
        ("fits one by one, but not together", {"idc": [4], "ack": [2, 1]}, None),
    ],
)
def test_it_goes_whole(case: str, rooms: dict[str, list[int]], home: str | None) -> None:
    world = ray_world(rooms, "idc", "ack")
    whole = decided(world, ray())
    placement = world.placement(whole)
    assert (world.placed(whole), placement.pending) == (({home: 4}, 0) if home else ({}, 4)), case
    assert placement.whole
    if home is None:
        assert any("not together" in reason.message for reason in placement.reasons)


@pytest.mark.parametrize(
    ("case", "nodes", "pools", "ecs", "given"),
    [
        ("serverless nodes count", [("eci", 9, "virtual")], 0, False, (0, 0, 4)),
        ("together with those that exist", [("n", 2, "ready"), ("eci", 3, "virtual")], 0, False, (0, 0, 4)),
        ("nodes to be added only where the policy asks", [("n", 4, "ready")], 5, False, None),
        ("then they do, what exists included", [("n", 4, "ready")], 5, True, (0, 4, 0)),
        ("nodes to be added before serverless ones", [("eci", 9, "virtual")], 5, True, (0, 4, 0)),
    ],
)
def test_the_room_that_a_whole_object_may_use(
    case: str, nodes: list[tuple[str, int, str]], pools: int, ecs: bool, given: tuple[int, int, int] | None
) -> None:
    world = ray_world({}, "idc", ecs_provision=ecs)
    world.member(
        "idc",
        *[node(name, cpu, phase=phase) for name, cpu, phase in nodes],
        pools=[pool("p", 9, pools)] if pools else (),
    )
    whole = decided(world, ray())
    shares = [(s.free, s.elastic, s.virtual) for s in world.placement(whole).shares if s.present]
    assert shares == ([given] if given else []), case


def test_a_second_one_does_not_get_the_same_room_and_is_tried_again() -> None:
    world = ray_world({"idc": [5], "ack": [4]}, ("idc", "ack"))
    decided(world, ray())
    second = decided(world, ray("second"))
    assert (world.placed(second), world.placement(second).pending) == ({}, 4)
    world.delta("ack", node("new", 2))
    world.run()
    assert world.placed(second) == {"ack": 4}


def test_it_is_not_spread_and_goes_to_a_member_of_a_group() -> None:
    world = ray_world({}, ("a", "b"), spread=(Spread("label", label="rack", minimum=2),))
    world.member("a", node("n", 9))
    world.member("b", node("n", 5), labels={"rack": "r1"})
    whole = decided(world, ray())
    assert (world.placed(whole), "StaysWhole" in world.codes(whole)) == ({"b": 4}, True)


def test_stuck_it_moves_whole_and_the_old_one_goes_when_the_new_one_serves() -> None:
    world = ray_world({"idc": [5], "ack": [5]}, "idc", "ack")
    whole = decided(world, ray())
    world.status(whole, "idc", replicas=4, ready=3, pending=1)
    world.rebalance(whole, idc=(1, 3))
    world.run()
    assert world.placed(whole) == {"idc": 4, "ack": 4}
    world.status(whole, "ack", replicas=4, ready=4)
    world.run()
    assert (world.placed(whole), world.leaving(whole)) == ({"ack": 4}, {"idc"})


def duplicated(*tiers: Any, **rooms: list[int]) -> tuple[World, Workload]:
    world = ray_world(rooms, *tiers, division="duplicated")
    return world, decided(world, ray())


def test_duplicated_every_member_of_the_tier_in_force_gets_a_copy() -> None:
    world, whole = duplicated(("a", "b"), "c", a=[5], b=[4], c=[5])
    assert world.placed(whole) == {"a": 4, "b": 4}
    (told,) = [reason for reason in world.placement(whole).reasons if reason.code == "Shortfall"]
    assert told.members == ("b",)
    world.want(policy(("a", "b"), division="duplicated", selectors=(Selector("RayCluster", "ray.io"),), priority=1))
    world.run()
    assert "Shortfall" in world.codes(whole), "as long as it lasts"


def test_copies_go_when_others_serve_and_stay_in_a_lost_member() -> None:
    world, whole = duplicated(("a", "b"), a=[5], b=[5], c=[5])
    for name in "ab":
        world.status(whole, name, replicas=4, ready=4)
    world.heartbeat("b", lost=True)
    world.run()
    assert world.placed(whole) == {"a": 4, "b": 4}
    world.want(policy("c", division="duplicated", selectors=(Selector("RayCluster", "ray.io"),)))
    world.run()
    assert world.placed(whole) == {"a": 4, "c": 4}
    world.status(whole, "c", replicas=4, ready=4)
    world.run()
    assert world.placed(whole) == {"c": 4}


# -- no pods at all: to every member selected ----------------------------------------------------------------------


def service() -> Workload:
    ref = ObjectRef(group="", version="v1", kind="Service", namespace="test", name="web")
    return Workload(ref, "uid-service", revision=1)


def service_world(**options: Any) -> World:
    world = World()
    world.want(policy(("a", "b", "c"), selectors=(Selector("Service"),), **options))
    for name in "abc":
        world.member(name)
    return world


def test_an_object_without_pods_goes_everywhere() -> None:
    world = service_world()
    web = decided(world, service())
    assert set(world.placed(web)) == {"a", "b", "c"}
    world.wish("a", wish="drained")
    world.run()
    assert set(world.placed(web)) == {"a", "b", "c"}, "nothing of it serves by itself: a drain leaves it"
    world.want(policy("b", selectors=(Selector("Service"),)))
    world.run()
    assert (set(world.placed(web)), world.leaving(web)) == ({"b"}, {"a", "c"})


def test_spread_bounds_it() -> None:
    world = service_world(spread=(Spread("cluster", maximum=2),))
    assert len(world.placed(decided(world, service()))) == 2


# -- counts that a HorizontalPodAutoscaler owns --------------------------------------------------------------------


def test_what_an_autoscaler_owns_counts_as_placed_and_is_left_alone() -> None:
    world = fleet("idc", "ack", rooms={"idc": 3, "ack": 5})
    web = decided(world, deployment("web", 4))
    assert world.placed(web) == {"idc": 3, "ack": 1}
    world.status(web, "idc", replicas=2, ready=2, autoscaler="hpa")
    world.run()
    (share, _) = world.placement(web).shares
    assert (share.member, share.autoscaled, share.replicas) == ("idc", True, 2)
    assert (world.placed(web), "Autoscaled" in world.codes(web)) == ({"idc": 2, "ack": 2}, True)
    world.want(deployment("web", 1, generation=2))
    world.run()
    assert world.placed(web)["idc"] == 2
    world.status(web, "idc", replicas=2, ready=2, autoscaler=None)
    world.run()
    assert sum(world.placed(web).values()) == 1


# -- deletion ------------------------------------------------------------------------------------------------------


def test_a_deleted_workload_leaves_everywhere_and_is_done_when_all_say_so() -> None:
    world = fleet(("idc", "ack"), rooms={"idc": 2, "ack": 2})
    web = decided(world, deployment("web", 4))
    gone = decided(world, deployment("web", 4, generation=2, deleted=Tombstone(at=world.now, preserve=True)))
    placement = world.placement(web)
    assert (world.leaving(gone), placement.deleted, placement.preserve) == ({"idc", "ack"}, True, True)
    assert world.state.room.room(ONE_CPU, "idc").free == 2
    world.outcome(gone, "idc", "released")
    world.run()
    assert (world.leaving(gone), list(world.state.done())) == ({"ack"}, [])
    world.outcome(gone, "ack", "retrying")
    world.run()
    assert world.leaving(gone) == {"ack"}
    world.outcome(gone, "ack", "released")
    world.run()
    assert [done.ref for done in world.state.done()] == [gone.ref]


@pytest.mark.parametrize("asked", [True, False])
def test_what_the_tombstone_says_of_preserving_counts_whatever_the_policy_says(asked: bool) -> None:
    world = fleet("idc", rooms={"idc": 2}, preserve=not asked)
    decided(world, deployment("web", 2))
    gone = decided(world, deployment("web", 2, generation=2, deleted=Tombstone(at=world.now, preserve=asked)))
    assert world.placement(gone).preserve is asked


def test_a_deletion_does_not_wait_for_a_member_that_left_the_fleet() -> None:
    world = fleet(("idc", "ack"), rooms={"idc": 1, "ack": 4})
    decided(world, deployment("web", 3))
    gone = decided(world, deployment("web", 3, generation=2, deleted=Tombstone(at=world.now)))
    world.outcome(gone, "idc")
    world.want(Gone("member", "ack"))
    world.run()
    assert [done.ref for done in world.state.done()] == [gone.ref]


def test_a_frozen_placement_may_name_a_member_that_left_and_is_deleted_all_the_same() -> None:
    world = fleet("idc", rooms={"idc": 4})
    decided(world, deployment("web", 3))
    world.want(Gone("policy", policy("idc").key), Gone("member", "idc"))
    world.run()
    gone = decided(world, deployment("web", 3, generation=2, deleted=Tombstone(at=world.now)))
    assert [done.ref for done in world.state.done()] == [gone.ref]


def test_a_namesake_is_another_workload() -> None:
    world = fleet("idc", rooms={"idc": 4})
    decided(world, deployment("web", 3))
    again = decided(world, deployment("web", 4, uid="another", generation=9))
    assert (world.placed(again), world.placement(again).uid) == ({"idc": 4}, "another")
    assert world.state.room.reserved("uid-web", "idc") == 0


def test_another_template_is_reserved_anew() -> None:
    world = fleet("idc", rooms={})
    world.member("idc", node("a", 4))
    web = decided(world, deployment("web", 2))
    assert world.state.room.room(ONE_CPU, "idc").free == 2
    decided(world, deployment("web", 2, shape=Shape.of({"cpu": 2000}), generation=2))
    assert world.state.room.room(ONE_CPU, "idc").free == 0
    assert world.placed(web) == {"idc": 2}
