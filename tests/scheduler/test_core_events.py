"""Events may be lost, doubled, late and reordered; a publish may fail; a process may die. Nothing of it shows."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.scheduler.core import engine
from services.scheduler.core.decision import decide
from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import Decision, Gone, MemberFacts, Workload
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.refs import Order
from shared.contracts.status import Status
from tests.scheduler.core_world import ONE_CPU, World, deployment, fleet, node, policy, slots, snapshot

MEMBERS = ("a", "b", "c")


def small_fleet(rooms: list[int], *tiers: Any, **options: Any) -> World:
    world = World()
    world.want(policy(*(tiers or (MEMBERS,)), **options))
    for name, room in zip(MEMBERS, rooms, strict=True):
        world.member(name, *[node(f"{name}{i}", 1) for i in range(room)])
    return world


# -- scaling, for any numbers --------------------------------------------------------------------------------------


ROOMS = st.lists(st.integers(0, 6), min_size=3, max_size=3)
SCALES = st.lists(st.integers(0, 14), min_size=1, max_size=6)
LAYOUTS = st.sampled_from([(MEMBERS,), MEMBERS, (("a", "b"), "c"), ("c", ("b", "a"))])
DIVISIONS = st.sampled_from(["dynamic", "aggregated"])
quick = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(ROOMS, SCALES, LAYOUTS, DIVISIONS)
def test_scaling_never_moves_a_replica(rooms: list[int], scales: list[int], tiers: Any, division: str) -> None:
    world = small_fleet(rooms, *tiers, division=division)
    web = deployment("web", 0)
    before: dict[str, int] = {}
    for generation, replicas in enumerate(scales, start=1):
        world.want(deployment("web", replicas, generation=generation))
        world.run()
        for member in world.leaving(web):
            world.outcome(web, member)
        world.run()
        after = {member: count for member, count in world.placed(web).items() if count}
        had, has = sum(before.values()), sum(after.values())
        assert has + world.placement(web).pending == replicas
        assert world.placement(web).pending == max(0, replicas - sum(rooms)), "pending beside room"
        members = before.keys() | after.keys()
        if has >= had:
            assert all(after.get(member, 0) >= before.get(member, 0) for member in members)
        else:
            assert all(after.get(member, 0) <= before.get(member, 0) for member in members)
        before = after


@quick
@given(ROOMS, st.integers(0, 14), st.data(), st.sampled_from([MEMBERS, (("a", "b"), "c"), ("c", ("b", "a"))]))
def test_scale_in_empties_tiers_in_reverse(rooms: list[int], replicas: int, data: st.DataObject, tiers: Any) -> None:
    world = small_fleet(rooms, *tiers)
    web = deployment("web", replicas)
    world.want(web)
    world.run()
    before = world.placed(web)
    fewer = data.draw(st.integers(0, replicas))
    world.want(deployment("web", fewer, generation=2))
    world.run()
    after = world.placed(web)
    listed = [(tier,) if isinstance(tier, str) else tier for tier in tiers]
    shrank = [index for index, names in enumerate(listed) if any(after.get(n, 0) < before.get(n, 0) for n in names)]
    for index in shrank:
        later = [name for names in listed[index + 1 :] for name in names]
        assert not any(after.get(name, 0) for name in later), "an earlier tier shrank before a later one was empty"


@quick
@given(ROOMS, st.lists(st.integers(1, 9), min_size=1, max_size=5), LAYOUTS)
def test_the_same_events_give_the_same_placements(rooms: list[int], replicas: list[int], tiers: Any) -> None:
    def play() -> list[Placement]:
        world = small_fleet(rooms, *tiers)
        for index, count in enumerate(replicas):
            world.want(deployment(f"w{index}", count))
        return world.run()

    assert play() == play()


# -- doubled, late, reordered --------------------------------------------------------------------------------------


def placed_once(replicas: int = 3) -> tuple[World, Workload]:
    world = small_fleet([2, 2, 2], *MEMBERS)
    web = deployment("web", replicas)
    world.want(web)
    world.run()
    return world, web


def test_a_late_status_does_not_displace_a_newer_one() -> None:
    world, web = placed_once()
    world.status(web, "a", replicas=2, ready=2)
    world.wish("a", wish="drained")
    world.run()
    assert world.placed(web) == {"a": 2, "b": 2, "c": 1}
    for member, ready, at in (("b", 0, 3), ("c", 1, 2), ("b", 1, 2)):
        world.state.on_status(
            Status(member=member, ref=web.ref, uid=web.uid, observed_at=world.now + at, replicas=2, ready=ready)
        )
    world.run()
    assert world.placed(web) == {"a": 2, "b": 2, "c": 1}, "three serve: two in a, one in c, none in b"


EVENTS = ("desired", "policy", "member", "status", "outcome", "placement", "rebalance", "gone")


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_twice_is_an_event_once(event: str) -> None:
    world, web = placed_once()
    order = world.placement(web).order
    events: dict[str, Callable[[], object]] = {
        "desired": lambda: world.want(deployment("web", 4, generation=2)),
        "policy": lambda: world.want(policy("b", "c")),
        "member": lambda: world.wish("a", wish="drained"),
        "status": lambda: world.status(web, "a", order=order, replicas=2, ready=1, autoscaler="hpa"),
        "outcome": lambda: world.outcome(web, "a"),
        "placement": lambda: world.state.on_placement(world.placement(web)),
        "rebalance": lambda: world.rebalance(web, order=order, a=(1, 1)),
        "gone": lambda: world.want(Gone("member", "a")),
    }
    events[event]()
    world.run()
    first = world.placement(web)
    events[event]()
    assert world.run() == []
    assert world.placement(web) == first


@quick
@given(st.randoms(use_true_random=False), st.lists(st.integers(1, 5), min_size=1, max_size=3))
def test_a_restart_rebuilds_the_same_state_in_whatever_order_the_streams_are_read(
    shuffle: random.Random, replicas: list[int]
) -> None:
    world = small_fleet([3, 2, 4], ("a", "b"), "c")
    workloads = [deployment(f"w{index}", count) for index, count in enumerate(replicas)]
    world.want(*workloads)
    world.run()
    messages: list[Callable[[SchedulerState], object]] = [lambda state: state.on_desired(policy(("a", "b"), "c"))]
    for workload in workloads:
        messages.append(lambda state, workload=workload: state.on_desired(workload))
        messages.append(lambda state, workload=workload: state.on_placement(world.placement(workload)))
    for name, room in zip(MEMBERS, (3, 2, 4), strict=True):
        nodes = [node(f"{name}{i}", 1) for i in range(room)]
        messages.append(lambda state, name=name: state.on_desired(MemberFacts(name)))
        messages.append(lambda state, name=name, nodes=nodes: state.on_capacity(snapshot(name, nodes)))
    messages = messages * 2
    shuffle.shuffle(messages)
    state = SchedulerState()
    for message in messages:
        message(state)
    while (decision := state.next_decision(world.now)) is not None:  # reasons at most: the room is another by now
        before = world.placement(decision.workload)
        assert (decision.shares, decision.pending, decision.rests) == (before.shares, before.pending, before.rests)
        state.assume(decision, Order(epoch=2, counter=0))
    for name in MEMBERS:
        assert state.room.room(ONE_CPU, name) == world.state.room.room(ONE_CPU, name)
        assert state.room.deficit(name) == 0


# -- whose turn it is ----------------------------------------------------------------------------------------------


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names in the order in which they are decided, whether or not anything changes."""
    order: list[str] = []

    def noting(workload: Workload, *others: Any) -> Decision:
        order.append(workload.ref.name)
        return decide(workload, *others)

    monkeypatch.setattr(engine, "decide", noting)
    return order


def settled(count: int, rooms: int) -> tuple[World, list[Workload]]:
    """So many workloads of one replica, of which `rooms` are placed and the others wait."""
    world = fleet("a", rooms={"a": rooms})
    workloads = [deployment(f"w{index}", 1) for index in range(count)]
    world.want(*workloads)
    world.run()
    return world, workloads


def test_a_new_workload_does_not_wait_behind_those_that_a_restart_looks_at_again(served: list[str]) -> None:
    world, workloads = settled(50, 50)
    again = World()
    again.want(policy("a"), *workloads)
    for workload in workloads:
        again.state.on_placement(world.placement(workload))
    again.member("a", *slots("a", 50))
    served.clear()
    again.want(deployment("new", 1))
    again.run()
    assert (served.index("new") < 4, len(set(served))) == (True, 51)


def test_looking_at_many_that_stay_as_they_are_can_be_interrupted() -> None:
    world, _ = settled(10, 10)
    world.want(policy("a", priority=3))
    rounds = 0
    while world.state.is_due:
        assert world.state.next_decision(world.now, looks=3) is None
        rounds += 1
    assert rounds == 4
    assert world.state.next_decision(world.now) is None


def test_nor_behind_those_that_a_policy_or_member_concerns(served: list[str]) -> None:
    world, _ = settled(50, 50)
    served.clear()
    world.want(policy("a", priority=3))
    world.wish("a", labels={"new": "label"})
    world.want(deployment("new", 1))
    world.run()
    assert (served.index("new") < 4, len(set(served))) == (True, 51)


def test_nor_behind_those_that_wait_for_room_which_are_served_all_the_same(served: list[str]) -> None:
    world, _ = settled(50, 0)
    served.clear()
    world.delta("a", *slots("new", 60))
    world.want(*[deployment(f"new{i}", 1) for i in range(20)])
    world.run()
    assert served.index("new0") < 4
    assert served.index("new19") < 40
    assert served.index("w4") < 40, "each of the lanes moves on"


# -- publishing ----------------------------------------------------------------------------------------------------


def test_a_placement_that_was_not_stored_gives_its_room_back_and_is_decided_again() -> None:
    world = small_fleet([2, 0, 0])
    web, other = deployment("web", 2), deployment("other", 1)
    world.want(web, other)
    decision = world.state.next_decision(world.now)
    assert decision is not None
    placement = world.state.assume(decision, Order(epoch=1, counter=1))
    assert world.state.room.room(ONE_CPU, "a").free == 0
    world.counter = 1
    world.state.forget(placement)
    assert (world.state.room.room(ONE_CPU, "a").free, world.state.explain(web.key)) == (2, None)
    world.run()
    assert sum(sum(world.placed(workload).values()) for workload in (web, other)) == 2


def test_back_to_the_one_that_is_stored() -> None:
    world, web = placed_once(2)
    stored = world.placement(web)
    world.want(deployment("web", 5, generation=2))
    decision = world.state.next_decision(world.now)
    assert decision is not None
    later = world.state.assume(decision, Order(epoch=1, counter=99))
    world.state.forget(later)
    world.state.forget(later)
    assert (world.placement(web), world.state.room.room(ONE_CPU, "b").free) == (stored, 2)
    world.counter = 99
    world.run()
    assert sum(world.placed(web).values()) == 5


def test_what_is_stored_counts_and_not_one_of_the_same_order_that_was_on_its_way() -> None:
    world, web = placed_once(2)
    former = world.placement(web).model_copy(update={"order": Order(epoch=1, counter=99), "wanted": 77})
    world.want(deployment("web", 5, generation=2))
    decision = world.state.next_decision(world.now)
    assert decision is not None
    later = world.state.assume(decision, former.order)
    world.state.on_placement(former)
    world.state.forget(later)
    assert world.placement(web).wanted == 77
    world.counter = 99
    world.run()
    assert sum(world.placed(web).values()) == 5


def test_an_unknown_end_is_told_by_what_is_stored() -> None:
    world, web = placed_once(2)
    stored = world.placement(web)
    world.want(deployment("web", 5, generation=2))
    decision = world.state.next_decision(world.now)
    assert decision is not None
    later = world.state.assume(decision, Order(epoch=1, counter=99))
    world.state.on_placement(stored)
    assert world.placement(web).order == later.order
    world.state.on_placement(later)
    world.state.forget(decision.placement(Order(epoch=1, counter=98)))
    assert world.placement(web).order == later.order


def test_another_leaders_newer_placement_counts() -> None:
    world, web = placed_once(2)
    newer = world.placement(web).model_copy(update={"order": Order(epoch=2, counter=1), "shares": ()})
    world.state.on_placement(newer)
    assert world.state.room.room(ONE_CPU, "a").free == 2
    world.run()
    assert sum(world.placed(web).values()) == 2


# -- plans ---------------------------------------------------------------------------------------------------------


def test_a_plan_shows_what_would_be_decided_one_after_the_other_and_reserves_nothing() -> None:
    world, web = placed_once(3)
    before = world.placement(web)
    bigger, new = deployment("web", 5, generation=2), deployment("new", 2)
    planned = world.state.plan([bigger, new], world.now)
    assert [decision.pending for decision in planned] == [0, 1]
    assert world.placement(web) == before
    assert world.state.explain(new.key) is None
    assert world.run() == []
    world.want(bigger, new)
    made = {placement.ref.name: placement.shares for placement in world.run()}
    assert made == {decision.workload.ref.name: decision.shares for decision in planned}


# -- nothing is kept for ever --------------------------------------------------------------------------------------


def test_what_is_gone_leaves_nothing_behind() -> None:
    world, web = placed_once(3)
    world.status(web, "a", replicas=2, ready=2)
    world.want(Gone("workload", web.key))
    assert world.run() == []
    assert world.state.explain(web.key) is None
    assert [world.state.room.room(ONE_CPU, name).free for name in MEMBERS] == [2, 2, 2]
    assert world.state.pending() == []
    for member in MEMBERS:
        world.state.on_status_gone(member, web.ref)
    assert list(world.state._records._all) == []


def test_a_status_of_what_nobody_wants_is_kept_only_while_it_is_there() -> None:
    world, web = placed_once(3)
    world.want(Gone("workload", web.key))
    world.state.on_status(Status(member="a", ref=web.ref, uid=web.uid, observed_at=world.now, replicas=2, ready=2))
    assert list(world.state._records._all) == [web.key]
    world.state.on_status_gone("a", web.ref)
    assert list(world.state._records._all) == []


def test_an_outcome_about_another_workload_of_the_name_is_no_answer() -> None:
    world, web = placed_once(2)
    world.heartbeat("a", lost=True)
    world.run()
    world.state.on_outcome(
        Outcome(member="a", ref=web.ref, uid="older", order=Order(epoch=9, counter=9), result="deleted", at=world.now)
    )
    world.run()
    assert world.leaving(web) == {"a"}
    world.outcome(web, "a")
    world.run()
    assert world.leaving(web) == set(), "nor does it stand against the right one"


def test_an_outcome_that_came_late_does_not_stand_against_those_of_a_namesake() -> None:
    world = World()
    web = deployment("web", 2)
    late = Outcome(
        member="a", ref=web.ref, uid="older", order=Order(epoch=9, counter=9), result="deleted", at=world.now
    )
    world.state.on_outcome(late)
    world.want(policy("a", "b"), web)
    for name in "ab":
        world.member(name, *slots(name, 2))
    world.run()
    world.want(policy("b"))
    world.run()
    world.outcome(web, "a")
    world.run()
    assert (world.placed(web), world.leaving(web)) == ({"b": 2}, set())
