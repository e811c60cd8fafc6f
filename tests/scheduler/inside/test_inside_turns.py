"""Whose turn it is, who is told what, and when those that wait are tried again."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.binding import Bind, Note, Pend
from tests.scheduler.inside.inside_world import World


def member(cpu: float = 1, *, nodes: int = 1) -> World:
    world = World()
    for number in range(nodes):
        world.node(f"n{number}", cpu)
    return world


# -- order ---------------------------------------------------------------------------------------------------


def test_the_more_important_first_then_the_older() -> None:
    world = member(3)
    world.pod("young", created_at=3.0)
    world.pod("old", created_at=1.0)
    world.pod("urgent", created_at=9.0, priority=10)
    world.pod("last", created_at=4.0)
    binds = [order.name for decided in world.decide() for order in decided.orders if isinstance(order, Bind)]
    assert binds == ["urgent", "old", "young"]


def test_a_small_pod_does_not_wait_behind_a_large_one_that_fits_nowhere() -> None:
    world = member(2)
    world.pod("large", cpu=4, created_at=1.0)
    world.pod("small", cpu=1, created_at=2.0)
    world.run()
    assert list(world.bound) == ["small"]


# -- who is brim's to bind -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "binds"),
    [
        ({}, True),
        ({"scheduler": "ack-co-scheduler"}, True),
        ({"scheduler": "default-scheduler"}, False),
        ({"spec": {"schedulingGates": [{"name": "wait"}]}}, False),
        ({"terminating": True}, False),
        ({"phase": "Failed"}, False),
        ({"gone": True}, False),
        ({"node": "elsewhere"}, False),
    ],
)
def test_whose_pods(more: dict[str, Any], *, binds: bool) -> None:
    world = member()
    world.pod("p", **more)
    world.run()
    assert bool(world.orders(Bind)) == binds


def test_a_gate_that_opens_lets_the_pod_in() -> None:
    world = member()
    world.pod("p", spec={"schedulingGates": [{"name": "wait"}]})
    world.run()
    world.change("p", spec={})
    world.run()
    assert world.bound == {"p": "n0"}


@pytest.mark.parametrize(
    ("spec", "names"),
    [
        ({"volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "big"}}]}, "PersistentVolumeClaim big"),
        ({"volumes": [{"name": "scratch", "ephemeral": {}}]}, "volume scratch"),
        ({"resourceClaims": [{"name": "gpu"}]}, "resource claim gpu"),
    ],
)
def test_a_constraint_that_brim_does_not_implement_is_named_once_and_the_pod_left_alone(
    spec: dict[str, Any], names: str
) -> None:
    world = member()
    world.pod("p", spec=spec)
    world.run()
    world.change("p", labels={"new": "label"})
    world.run()
    assert world.bound == {}
    assert [note.reason for note in world.orders(Note)] == ["UnsupportedConstraint"]
    assert names in world.orders(Note)[0].message
    assert world.orders(Pend) == []


# -- being told ----------------------------------------------------------------------------------------------


def test_equal_pods_are_tried_once_and_all_told() -> None:
    world = member()
    for number in range(50):
        world.pod(f"p{number}", cpu=2)
    world.run()
    assert sorted(order.name for order in world.orders(Pend)) == sorted(world.pods)
    assert {order.message for order in world.orders(Pend)} == {"1 node: lacking cpu (needs 2, at most 1 free)"}


def test_one_more_of_them_is_told_without_being_tried() -> None:
    world = member()
    world.pod("first", cpu=2)
    world.run()
    world.pod("second", cpu=2)
    world.run()
    assert [order.name for order in world.orders(Pend)] == ["first", "second"]


def test_nobody_is_told_twice_what_he_says_already() -> None:
    world = member()
    world.pod("p", cpu=2, unschedulable="1 node: lacking cpu (needs 2, at most 1 free)")
    world.run()
    world.pass_(120)
    world.run()
    assert world.orders(Pend) == []


def test_numbers_that_change_are_told_now_and_then() -> None:
    world = member(1)
    world.pod("p", cpu=8)
    world.run()
    for cpu in (2, 3, 4):
        world.node("n0", cpu)
        world.tell_capacity()
        world.pass_(10)
        world.run()
    assert [order.message for order in world.orders(Pend)] == [
        "1 node: lacking cpu (needs 8, at most 1 free)",
        "1 node: lacking cpu (needs 8, at most 4 free)",
    ]


# -- waiting -------------------------------------------------------------------------------------------------


def tries(world: World) -> int:
    """How often the pod is decided on now; a node without any room sees to it that it stays."""
    line = world.state._turns.queue.lines("idc")[0]
    before = line.attempts
    world.decide()
    return line.attempts - before


def test_back_off_doubles_from_one_second_to_ten() -> None:
    world = member(1)
    world.pod("p", cpu=8)
    world.run()
    waits = []
    for _ in range(6):
        world.node("n0", 1.5 if world.nodes["n0"].allocatable["cpu"] == 1000 else 1)
        world.node("more", 0.1 * (len(waits) + 1))
        world.tell_capacity()
        waited = 0
        while not tries(world):
            world.pass_(0.5)
            waited += 1
        waits.append(waited / 2)
    assert waits == [1, 2, 4, 8, 10, 10]


def test_nothing_that_could_help_means_no_try() -> None:
    world = member(1)
    world.pod("p", cpu=8)
    world.run()
    world.pass_(30)
    world.node("n0", 0.5)
    world.tell_capacity()
    assert tries(world) == 0, "a node that shrinks helps nobody"


def test_a_missed_event_costs_a_minute() -> None:
    world = member(1)
    world.pod("p", cpu=8)
    world.run()
    world.pass_(60)
    assert tries(world) == 1


def test_success_ends_the_back_off_of_equal_pods() -> None:
    world = member(1)
    for number in range(3):
        world.pod(f"p{number}", cpu=1)
    world.run()
    for number in range(1, 3):
        world.node(f"n{number}", 1)
        world.tell_capacity()
        world.pass_(1)
        world.run()
        assert len(world.bound) == number + 1


def test_the_state_says_when_time_alone_matters() -> None:
    world = member(1)
    assert world.state.next_due() is None
    world.pod("p", cpu=8)
    world.run()
    due = world.state.next_due()
    assert due is not None
    assert world.now < due <= world.now + 60
    assert world.state.waiting == 1
    world.delete("p")
    assert world.state.waiting == 0
