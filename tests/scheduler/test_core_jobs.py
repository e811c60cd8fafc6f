"""Jobs: completions are immutable, so that a Job moves by delete and create, and only before its first success."""

from __future__ import annotations

from typing import Any

import pytest

from services.scheduler.core.values import Affinity, Gone, StaticWeight, Workload
from tests.scheduler.core_world import World, decided, deployment, fleet, node, policy, slots


def job(parallelism: int, completions: int | None, **more: Any) -> Workload:
    return deployment("train", parallelism, kind="Job", is_job=True, completions=completions, **more)


def completions(world: World, workload: Workload) -> dict[str, int | None]:
    return {share.member: share.completions for share in world.placement(workload).shares if share.present}


@pytest.mark.parametrize(
    ("case", "parallelism", "wanted", "placed", "parts", "pending"),
    [
        ("in proportion to its parallelism", 6, 12, {"idc": 4, "ack": 2}, {"idc": 8, "ack": 4}, 0),
        ("all are given out though not all fits", 9, 18, {"idc": 4, "ack": 2}, {"idc": 12, "ack": 6}, 3),
        ("a work queue has none", 6, None, {"idc": 4, "ack": 2}, {"idc": None, "ack": None}, 0),
    ],
)
def test_completions_are_divided(
    case: str, parallelism: int, wanted: int | None, placed: Any, parts: Any, pending: int
) -> None:
    world = fleet(("idc", "ack"), rooms={"idc": 4, "ack": 2})
    train = decided(world, job(parallelism, wanted))
    assert (world.placed(train), completions(world, train)) == (placed, parts), case
    assert world.placement(train).pending == pending


def test_parallelism_grows_where_the_job_is_and_completions_stay() -> None:
    world = fleet(("idc", "ack"), rooms={"idc": 1, "ack": 0})
    train = decided(world, job(3, 6))
    world.delta("ack", *slots("new", 5))
    world.run()
    assert (world.placed(train), world.placement(train).pending) == ({"idc": 1}, 2)
    world.delta("idc", *slots("more", 1))
    world.run()
    assert (world.placed(train), completions(world, train)) == ({"idc": 2}, {"idc": 6})


def test_a_job_that_is_halted_keeps_its_parts_and_goes_on_with_each_of_them() -> None:
    world = fleet(("a", "b"), rooms={"a": 2, "b": 2})
    decided(world, job(4, 8))
    train = decided(world, job(0, 8, generation=2))
    world.status(train, "b", succeeded=1)
    world.wish("b", wish="drained")
    world.run()
    assert (world.placed(train), completions(world, train)) == ({"a": 0, "b": 0}, {"a": 4, "b": 4})
    world.wish("b")
    decided(world, job(1, 8, generation=3))
    assert (world.placed(train), completions(world, train)) == ({"a": 1, "b": 1}, {"a": 4, "b": 4})


def test_a_stuck_job_moves_by_delete_and_create() -> None:
    world = fleet("idc", "ack", rooms={"idc": 2, "ack": 2})
    train = decided(world, job(2, 4))
    world.rebalance(train, idc=(2, 0))
    world.run()
    assert (world.placed(train), world.leaving(train)) == ({"ack": 2}, {"idc"})
    assert completions(world, train) == {"ack": 4}


@pytest.mark.parametrize("why", ["stuck", "drained", "deselected"])
def test_a_job_with_a_success_stays_with_the_reason(why: str) -> None:
    world = fleet("idc", "ack", rooms={"idc": 2, "ack": 2})
    train = decided(world, job(2, 4))
    world.status(train, "idc", replicas=2, succeeded=1)
    if why == "stuck":
        world.rebalance(train, idc=(1, 0))
    elif why == "drained":
        world.wish("idc", wish="drained")
    else:
        world.want(policy("ack"))
    world.run()
    assert world.placed(train) == {"idc": 2}
    assert "JobHasSucceeded" in world.codes(train)


def test_a_job_that_has_to_leave_without_room_elsewhere_waits_there() -> None:
    world = fleet("idc", "ack", rooms={"idc": 2, "ack": 0})
    train = decided(world, job(2, 4))
    world.wish("idc", wish="drained")
    world.run()
    assert (world.placed(train), "NoRoomElsewhere" in world.codes(train)) == ({"idc": 2}, True)
    world.delta("ack", *slots("new", 2))
    world.run()
    assert (world.placed(train), completions(world, train)) == ({"ack": 2}, {"ack": 4})


def test_a_finished_job_does_not_wait_for_room() -> None:
    world = fleet("idc", rooms={"idc": 1})
    train = decided(world, job(3, 3))
    assert world.placement(train).pending == 2
    world.status(train, "idc", replicas=1, succeeded=3, finished=True)
    world.run()
    assert world.placement(train).pending == 0


def test_an_indexed_job_goes_whole_to_one_member() -> None:
    world = fleet(("idc", "ack"), rooms={"idc": 3, "ack": 4})
    train = decided(world, job(4, 8, indexed=True))
    assert (world.placed(train), completions(world, train)) == ({"ack": 4}, {"ack": 8})
    big = decided(world, deployment("big", 5, kind="Job", is_job=True, completions=5, indexed=True))
    assert (world.placed(big), "IndexedJob" in world.codes(big)) == ({}, True)


# -- what it has reserved ------------------------------------------------------------------------------------------


def test_the_pod_that_follows_one_that_succeeded_has_its_room_kept() -> None:
    world = fleet("idc", rooms={"idc": 2})
    train = decided(world, job(2, 9))
    world.delta("idc", node("idc0", 0), node("idc1", 0), bound={train.uid: 2})
    world.delta("idc", node("idc0", 1))  # one succeeded: it stays bound, and its node is free again
    world.status(train, "idc", replicas=2, succeeded=1)
    assert world.state.room.reserved(train.uid, "idc") == 1
    assert world.placed(decided(world, deployment("web", 1))) == {}
    world.delta("idc", node("idc0", 0), bound={train.uid: 3})
    assert world.state.room.reserved(train.uid, "idc") == 0


def test_more_parallelism_after_successes_reserves_what_it_adds() -> None:
    world = fleet("idc", rooms={"idc": 4})
    decided(world, job(2, 9))
    world.delta("idc", node("idc0", 0), node("idc1", 0), bound={"uid-train": 7})
    train = job(4, 9, generation=2)
    world.status(train, "idc", replicas=2, succeeded=5)
    decided(world, train)
    assert (world.placed(train), world.state.room.reserved(train.uid, "idc")) == ({"idc": 4}, 2)


def test_at_its_end_a_job_reserves_no_more_than_completions_are_left() -> None:
    world = fleet("idc", rooms={"idc": 3})
    train = decided(world, job(3, 4))
    world.delta("idc", bound={train.uid: 3})
    world.status(train, "idc", replicas=3, succeeded=3)
    assert world.state.room.reserved(train.uid, "idc") == 1


# -- what ended, and members that left ------------------------------------------------------------------------------


def test_a_finished_job_holds_no_room_whatever_becomes_of_its_pods() -> None:
    world = fleet("idc", rooms={"idc": 2})
    train = decided(world, job(2, 2))
    world.delta("idc", bound={train.uid: 2})
    world.status(train, "idc", replicas=2, succeeded=2, finished=True)
    world.run()
    assert world.placement(train).share("idc").finished
    world.delta("idc", bound={train.uid: 0})
    assert world.state.room.reserved(train.uid, "idc") == 0
    world.state.on_status_gone("idc", train.ref)  # it had a time to live
    world.want(policy("idc", priority=1))
    world.run()
    assert (world.placement(train).share("idc").finished, world.state.room.reserved(train.uid, "idc")) == (True, 0)


@pytest.mark.parametrize("why", ["drained", "lost", "deselected"])
def test_a_finished_job_is_not_run_again_elsewhere(why: str) -> None:
    world = fleet("idc", "ack", rooms={"idc": 2, "ack": 2})
    train = decided(world, job(2, 2))
    world.status(train, "idc", replicas=2, succeeded=2, finished=True)
    world.run()
    world.state.on_status_gone("idc", train.ref)
    if why == "drained":
        world.wish("idc", wish="drained")
    elif why == "lost":
        world.heartbeat("idc", lost=True)
    else:
        world.want(policy("ack"))
    world.run()
    assert (world.placed(train), world.leaving(train)) == ({"idc": 2}, set())


def test_completions_of_a_member_that_left_the_fleet_go_to_another() -> None:
    world = fleet(("a", "b", "c"), rooms={"a": 2, "b": 2, "c": 0})
    train = decided(world, job(4, 8))
    assert completions(world, train) == {"a": 4, "b": 4}
    world.delta("c", *slots("c", 2))
    world.want(Gone("member", "b"))
    world.run()
    assert (world.placed(train), completions(world, train)) == ({"a": 2, "c": 2}, {"a": 4, "c": 4})


def test_where_every_other_member_has_the_job_one_takes_them_over_before_its_first_success() -> None:
    world = fleet(("a", "b"), rooms={"a": 4, "b": 4})
    train = decided(world, job(4, 8))
    world.status(train, "a", replicas=2)
    world.want(Gone("member", "b"))
    world.run()
    assert (world.placed(train), completions(world, train)) == ({"a": 4}, {"a": 8})


def test_after_a_success_missing_completions_wait_for_a_member_without_the_job() -> None:
    world = fleet(("a", "b"), rooms={"a": 4, "b": 4})
    train = decided(world, job(4, 8))
    world.status(train, "a", replicas=2, succeeded=1)
    world.want(Gone("member", "b"))
    world.run()
    assert (completions(world, train), "CompletionsMissing" in world.codes(train)) == ({"a": 4}, True)
    assert world.placement(train).pending == 2
    world.member("b", *slots("new", 4))
    world.run()
    assert completions(world, train) == {"a": 4, "b": 4}


# -- numbers that the policy fixes ----------------------------------------------------------------------------------


def fixed(division: str = "static", **rooms: int) -> World:
    weights = (StaticWeight(Affinity(names=("a",)), 1), StaticWeight(Affinity(), 2)) if division == "static" else ()
    return fleet(tuple(rooms), rooms=rooms, division=division, weights=weights)


def test_a_fixed_job_gets_its_completions_once() -> None:
    world = fixed(a=9, b=9)
    train = decided(world, job(3, 9))
    assert (world.placed(train), completions(world, train)) == ({"a": 1, "b": 2}, {"a": 3, "b": 6})


def test_then_only_its_parallelism_changes() -> None:
    world = fixed(a=9, b=9)
    decided(world, job(3, 9))
    train = decided(world, job(6, 9, generation=2))
    assert (world.placed(train), completions(world, train)) == ({"a": 2, "b": 4}, {"a": 3, "b": 6})
    world.member("c", *slots("c", 9))
    world.run()
    assert set(world.placed(train)) == {"a", "b"}


def test_a_fixed_job_without_successes_leaves_a_drained_member() -> None:
    world = fixed(a=9, b=9, c=9)
    train = decided(world, job(5, 10))
    world.wish("c", wish="drained")
    world.run()
    assert (completions(world, train), world.leaving(train)) == ({"a": 2, "b": 8}, {"c"})


def test_a_fixed_job_with_successes_stays() -> None:
    world = fixed(a=9, b=9)
    train = decided(world, job(3, 9))
    world.status(train, "b", replicas=2, succeeded=1)
    world.wish("b", wish="drained")
    world.run()
    assert (completions(world, train), "JobHasSucceeded" in world.codes(train)) == ({"a": 3, "b": 6}, True)


def test_a_duplicated_job_is_whole_in_every_member_those_that_come_later_too() -> None:
    world = fixed("duplicated", a=9)
    train = decided(world, job(2, 4))
    world.want(policy(("a", "b"), division="duplicated"))
    world.member("b", *slots("b", 9))
    world.run()
    assert (world.placed(train), completions(world, train)) == ({"a": 2, "b": 2}, {"a": 4, "b": 4})
