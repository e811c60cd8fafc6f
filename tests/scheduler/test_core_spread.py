"""Spread constraints: over how many clusters, regions or label values replicas go, when they grow, shrink and move."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.values import Spread, Workload
from tests.scheduler.core_world import World, decided, deployment, node, policy, slots

TWO = (Spread("cluster", minimum=2),)
ONE = (Spread("cluster", maximum=1),)


def kept(world: World, web: Workload) -> dict[str, int]:
    return {s.member: s.replicas - s.retiring for s in world.placement(web).shares if s.replicas > s.retiring}


def of_rooms(spread: tuple[Spread, ...], *tiers: tuple[str, ...], **rooms: int) -> World:
    world = World()
    world.want(policy(*(tiers or (tuple(rooms),)), spread=spread))
    for name, room in rooms.items():
        world.member(name, node("n", room))
    return world


SPREADS: list[tuple[str, tuple[Spread, ...], int, int | None]] = [
    ("at most one cluster", (Spread("cluster", maximum=1),), 3, 1),
    ("at most two clusters", (Spread("cluster", maximum=2),), 6, 2),
    ("at least three clusters", (Spread("cluster", minimum=3),), 3, 3),
    ("two regions", (Spread("region", minimum=2),), 2, 2),
    ("more regions than there are", (Spread("region", minimum=3),), 2, None),
    ("by a label", (Spread("label", label="rack", minimum=2, maximum=2),), 4, None),
]


@pytest.mark.parametrize(("case", "spread", "replicas", "used"), SPREADS, ids=[case for case, *_ in SPREADS])
def test_spread(case: str, spread: tuple[Spread, ...], replicas: int, used: int | None) -> None:
    world = World()
    names = ("a", "b", "c", "d")
    world.want(policy(names, spread=spread))
    for index, name in enumerate(names):
        world.member(name, node("n", 5), region="north" if index < 3 else "south", labels={"rack": "r1"})
    web = deployment("web", replicas)
    world.want(web)
    world.run()
    placed = {member: count for member, count in world.placed(web).items() if count}
    if used is None:
        assert (placed, "SpreadConstraint" in world.codes(web)) == ({}, True), case
        return
    assert sum(placed.values()) == replicas
    groups = {"south" if name == "d" else "north" for name in placed} if spread[0].by == "region" else set(placed)
    assert len(groups) == used


def test_an_empty_minimum_is_met_again_before_anything_else() -> None:
    world = of_rooms(TWO, a=9, b=9)
    web = decided(world, deployment("web", 1))
    decided(world, deployment("web", 2, generation=2))
    assert world.placed(web) == {"a": 1, "b": 1}


@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.integers(2, 9), min_size=1, max_size=4))
def test_scale_in_keeps_as_many_groups_as_are_asked_for(a: int, b: int, scales: list[int]) -> None:
    world = of_rooms(TWO, ("a",), ("b",), a=a, b=b)
    web = decided(world, deployment("web", a + b))
    for generation, replicas in enumerate(scales, start=2):
        decided(world, deployment("web", min(replicas, a + b), generation=generation))
        assert set(kept(world, web)) == {"a", "b"}
        assert sum(kept(world, web).values()) == min(replicas, a + b)


@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
@pytest.mark.parametrize("turned", [False, True])
def test_weights_leave_no_group_empty_that_is_asked_for(replicas: int, turned: bool) -> None:
    """Two replicas over three members of equal weight: by weight alone both might go to one region."""
    spread = (Spread("region", minimum=2), Spread("cluster", minimum=2, maximum=3))
    world = World()
    world.want(policy(("a", "c", "d"), division="static", spread=spread[::-1] if turned else spread))
    for name in ("a", "c", "d"):
        world.member(name, node("n", 5), region="north" if name == "a" else "south")
    for uid in range(20):  # who wins a tie differs from workload to workload
        web = decided(world, deployment(f"web{uid}", replicas))
        holding = {name for name, count in world.placed(web).items() if count}
        assert len({"north" if name == "a" else "south" for name in holding}) == min(2, replicas)
        assert len(holding) == min(3, replicas)


def test_below_the_minimum_there_are_as_many_groups_as_replicas() -> None:
    world = of_rooms((Spread("cluster", minimum=3),), a=3, b=3, c=3)
    web = decided(world, deployment("web", 6))
    decided(world, deployment("web", 2, generation=2))
    assert list(kept(world, web).values()) == [1, 1]


def test_replicas_beyond_the_groups_that_a_changed_policy_allows_move_replacements_first() -> None:
    world = of_rooms((), a=9, b=9)
    web = decided(world, deployment("web", 4))
    for name in "ab":
        world.status(web, name, replicas=2, ready=2)
    world.want(policy(("a", "b"), spread=ONE))
    world.run()
    (stays,) = kept(world, web)
    assert (kept(world, web), world.placement(web).cause) == ({stays: 4}, "policy")
    assert sum(world.placed(web).values()) == 6
    world.status(web, stays, replicas=4, ready=4)
    world.run()
    assert world.placed(web) == {stays: 4}


def test_where_a_changed_policy_asks_for_more_groups_replicas_move_there_replacements_first() -> None:
    world = of_rooms((), ("a",), ("b",), a=9, b=9)
    web = decided(world, deployment("web", 4))
    world.status(web, "a", replicas=4, ready=4)
    world.want(policy("a", "b", spread=TWO))
    world.run()
    assert (world.placed(web), kept(world, web)) == ({"a": 4, "b": 1}, {"a": 3, "b": 1})
    assert world.placement(web).cause == "policy"
    world.status(web, "b", replicas=1, ready=1)
    world.run()
    assert world.placed(web) == {"a": 3, "b": 1}


def test_where_there_is_no_room_in_more_groups_it_is_said_and_they_wait() -> None:
    world = of_rooms((), ("a",), ("b",), a=9, b=0)
    web = decided(world, deployment("web", 4))
    world.want(policy("a", "b", spread=TWO))
    world.run()
    assert (world.placed(web), "SpreadConstraint" in world.codes(web)) == ({"a": 4}, True)
    world.delta("b", *slots("new", 1))
    world.run()
    assert (kept(world, web), "SpreadConstraint" in world.codes(web)) == ({"a": 3, "b": 1}, False)


def test_the_group_with_the_most_replicas_stays() -> None:
    world = of_rooms((), a=9, b=3)
    web = decided(world, deployment("web", 8))
    world.want(policy(("a", "b"), spread=ONE))
    world.run()
    assert (set(kept(world, web)), kept(world, web)["a"]) == ({"a"}, 8)


def test_failback_does_not_open_a_group_too_many() -> None:
    world = World()
    world.want(policy("idc", "ack", failback=9, spread=ONE))
    world.member("idc")
    world.member("ack", node("n", 4))
    web = decided(world, deployment("web", 4))
    world.delta("idc", *slots("new", 9))
    world.run()
    assert world.placed(web) == {"ack": 4}


def test_a_manual_rebalance_keeps_to_the_groups() -> None:
    world = of_rooms(TWO, a=2, b=2)
    web = decided(world, deployment("web", 4))
    world.delta("a", *slots("new", 9))
    world.rebalance(web, "manual")
    world.run()
    assert set(kept(world, web)) == {"a", "b"}
    world.want(policy(("a", "b"), spread=(Spread("cluster", minimum=3),)))
    world.rebalance(web, "manual")
    world.run()
    assert ("SpreadConstraint" in world.codes(web), sum(kept(world, web).values())) == (True, 4)
