"""How long promised room has waited for its pods."""

from __future__ import annotations

import pytest

from services.scheduler.core.values import Gone
from shared.contracts.placement import Placement
from shared.contracts.refs import Order
from shared.contracts.status import Status
from tests.scheduler.core_world import World, deployment, fleet, node, slots


def promised(replicas: int = 2) -> World:
    """A workload in member a, decided at 1000; member b is there too."""
    world = fleet("a", "b", rooms={"a": 8, "b": 8})
    world.want(deployment("web", replicas))
    world.run()
    assert world.now == 1000.0
    return world


def ages(world: World, later: float) -> dict[str, float]:
    return world.state.reservation_ages(world.now + later)


def bound(world: World, count: int, member: str = "a") -> None:
    world.delta(member, node("n", 8 - count), bound={"uid-web": count})


def test_a_reservation_grows_old_until_its_pods_are_bound() -> None:
    world = promised()
    assert ages(world, 0) == {"a": 0, "b": 0}
    assert ages(world, 90) == {"a": 90, "b": 0}
    bound(world, 2)
    assert ages(world, 90) == {"a": 0, "b": 0}


def test_as_long_as_some_pods_are_missing_the_first_of_them_counts() -> None:
    world = promised()
    world.now += 60
    bound(world, 1)
    assert ages(world, 0)["a"] == 60
    world.want(deployment("web", 5, generation=2))
    world.run()
    assert ages(world, 0)["a"] == 60


def test_a_pod_that_went_is_awaited_from_then_on() -> None:
    world = promised()
    bound(world, 2)
    world.now += 500
    bound(world, 1)
    assert ages(world, 7)["a"] == 7


def test_a_placement_that_takes_replicas_away_ends_their_reservation() -> None:
    world = promised()
    world.now += 60
    world.want(deployment("web", 0, generation=2))
    world.run()
    assert ages(world, 60)["a"] == 0


def test_no_room_is_held_in_a_member_that_was_removed_though_a_frozen_placement_names_it() -> None:
    world = promised()
    world.state.on_desired(Gone("policy", "PropagationPolicy test/pp"))
    world.state.on_desired(Gone("member", "a"))
    world.run()
    assert world.placed(deployment("web", 2)) == {"a": 2}
    assert ages(world, 60) == {"b": 0}
    world.member("a", *slots("a", 8))
    assert ages(world, 60) == {"a": 60, "b": 0}


def test_the_oldest_of_several_workloads_counts() -> None:
    world = promised()
    world.now += 60
    world.want(deployment("late", 1))
    world.run()
    assert ages(world, 1)["a"] == 61
    bound(world, 2)
    assert ages(world, 1)["a"] == 1


def test_asking_what_would_be_decided_reserves_nothing() -> None:
    world = fleet("a", rooms={"a": 8})
    assert world.state.plan([deployment("web", 2)], world.now)[0].shares
    assert ages(world, 60) == {"a": 0}


def test_a_decision_that_could_not_be_stored_leaves_no_reservation_behind() -> None:
    world = fleet("a", rooms={"a": 8})
    world.want(deployment("web", 2))
    decision = world.state.next_decision(world.now)
    assert decision is not None
    placement = world.state.assume(decision, Order(epoch=1, counter=1))
    assert ages(world, 60) == {"a": 60}
    world.state.forget(placement)
    assert ages(world, 60) == {"a": 0}


@pytest.mark.parametrize("first", ["placement", "workload"])
def test_after_a_restart_the_decision_in_force_says_since_when(first: str) -> None:
    before = promised()
    placement: Placement = before.placement(("Deployment", "apps", "test", "web"))
    world = fleet("a", "b", rooms={"a": 8, "b": 8})
    world.now = 1300.0
    if first == "placement":
        world.state.on_placement(placement)
        world.want(deployment("web", 2))
    else:
        world.want(deployment("web", 2))
        world.state.on_placement(placement)
    assert ages(world, 0)["a"] == 300


def test_what_members_hold_without_a_placement_is_no_older_than_its_discovery() -> None:
    world = fleet("a", rooms={"a": 8})
    web = deployment("web", 2)
    held = Status(member="a", ref=web.ref, uid=web.uid, order=Order(epoch=1, counter=4), observed_at=900.0, replicas=2)
    world.state.on_status(held)
    world.want(web)
    world.run()
    assert world.placed(web) == {"a": 2}
    assert ages(world, 5)["a"] == 5
