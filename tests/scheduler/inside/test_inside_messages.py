"""Messages get lost, doubled, late and reordered, orders fail, processes start anew: what is decided stays right."""

from __future__ import annotations

import pytest

from services.scheduler.core.inside.engine import InsideState
from services.scheduler.core.values import Gap
from shared.contracts.binding import Bind, Pend
from tests.scheduler.inside.inside_world import MEMBER, NAMESPACE, World


def member(cpu: float = 2) -> World:
    world = World()
    world.node("n0", cpu)
    return world


def binds(world: World) -> list[Bind]:
    """What is decided now, not carried out."""
    return [order for decided in world.decide() for order in decided.orders if isinstance(order, Bind)]


# -- capacity ------------------------------------------------------------------------------------------------


def test_a_member_is_wanted_from_its_first_pod_on() -> None:
    world = member()
    assert not world.state.wants(MEMBER)
    assert world.state.on_capacity(world.snapshot()) is None
    world.pods["p"] = world.pod("p")
    assert world.state.wants(MEMBER)


def test_nothing_is_decided_before_the_capacity_and_surroundings_are_known() -> None:
    world = member()
    pod = world.pod("p")
    state = InsideState()
    assert state.on_pod(pod) == Gap(MEMBER)
    assert state.next_orders(world.now, 1) is None
    state.on_capacity(world.snapshot().model_copy(update={"surroundings": None}))
    assert state.next_orders(world.now, 1) is None
    state.on_capacity(world.delta(surroundings=world.around))
    assert state.next_orders(world.now, 1) is not None


def test_after_a_gap_nothing_is_decided_until_a_snapshot_closes_it() -> None:
    world = member()
    world.pod("first")
    world.run()
    world.delta("n0")  # lost
    assert world.state.on_capacity(world.delta("n0")) == Gap(MEMBER)
    world.pod("second")
    assert binds(world) == []
    world.tell_capacity()
    assert [bind.name for bind in binds(world)] == ["second"]


def test_a_heartbeat_shows_that_the_last_delta_was_lost() -> None:
    world = member()
    world.pod("first")
    world.run()
    world.delta("n0")
    assert world.state.on_capacity(world.heartbeat()) == Gap(MEMBER)


def test_a_member_that_is_lost_gets_no_pods() -> None:
    world = member()
    world.pod("first")
    world.run()
    world.state.on_capacity(world.heartbeat(lost=True))
    world.pod("second")
    assert binds(world) == []
    world.state.on_capacity(world.heartbeat())
    assert [bind.name for bind in binds(world)] == ["second"]


def test_a_snapshot_in_chunks() -> None:
    world = World()
    for number in range(3):
        world.node(f"n{number}", 1)
    whole = world.snapshot()
    world.pods["p"] = world.pod("p")
    state = InsideState()
    state.on_pod(world.pods["p"])
    names = sorted(world.nodes)
    for chunk, name in enumerate(names):
        classes, columns = world.columns([name])
        update = {"chunk": chunk, "chunks": 3, "classes": classes, "nodes": columns}
        if chunk:
            update["surroundings"] = None
        assert state.next_orders(world.now, 1) is None
        state.on_capacity(whole.model_copy(update=update))
    assert state.next_orders(world.now, 1) is not None


def test_old_and_doubled_capacity_changes_nothing() -> None:
    world = member(2)
    old = world.snapshot()
    world.pod("first", cpu=2)
    world.run()
    delta = world.delta("n0")
    for message in (delta, delta, old, delta):
        world.state.on_capacity(message)
    world.pod("second")
    assert binds(world) == []


# -- what is not shown yet -----------------------------------------------------------------------------------


def test_what_was_decided_counts_at_once() -> None:
    world = member(2)
    for number in range(5):
        world.pod(f"p{number}")
    assert len(binds(world)) == 2


def test_it_counts_until_the_pod_is_seen_and_the_capacity_contains_it() -> None:
    world = member(2)
    before = world.snapshot()
    world.pod("first", cpu=2)
    (bind,) = binds(world)
    world.state.on_capacity(before.model_copy(update={"number": world.number + 1}))
    world.number += 1
    world.pod("second")
    assert binds(world) == [], "the capacity does not contain it"
    world.carry_out(bind)
    world.tell_pod("first")
    assert binds(world) == [], "nor when the pod is seen"
    late = before.model_copy(update={"number": world.number + 1})
    world.number += 1
    world.state.on_capacity(late)
    world.pass_(10)
    assert binds(world) == [], "nor by news that is older than that"
    world.delete("first")
    world.pass_(10)
    assert [bind.name for bind in binds(world)] == ["second"]


def test_capacity_that_contains_the_pod_before_it_is_seen_counts_it_once_from_then_on() -> None:
    world = member(3)
    world.pod("first", cpu=1)
    (bind,) = binds(world)
    world.carry_out(bind)
    world.tell_capacity()
    world.pod("second", cpu=2)
    assert binds(world) == [], "twice, for a moment"
    world.tell_pod("first")
    world.pass_(10)
    world.tell_capacity()
    assert [bind.name for bind in binds(world)] == ["second"]


def test_where_nobody_knows_since_when_a_pod_is_counted_a_heartbeat_ends_the_doubt() -> None:
    world = member(3)
    world.pod("first", cpu=1)
    (bind,) = binds(world)
    world.carry_out(bind)
    delta = world.delta("n0")
    world.now += 1
    world.change("first", phase="Running", counted_at=None)  # inventory began anew
    world.state.on_capacity(delta)
    world.pod("second", cpu=2)
    assert binds(world) == []
    world.pass_(10)
    world.state.on_capacity(world.heartbeat())
    assert [bind.name for bind in binds(world)] == ["second"]


def test_what_others_bind_is_counted_by_the_capacity_alone() -> None:
    world = member(3)
    world.pod("theirs", cpu=1, scheduler="default-scheduler")
    world.change("theirs", node="n0")
    world.tell_capacity()
    world.pod("mine", cpu=2)
    assert [bind.name for bind in binds(world)] == ["mine"]


# -- pods ----------------------------------------------------------------------------------------------------


def test_a_doubled_or_old_message_binds_nobody_twice() -> None:
    world = member()
    first = world.pod("p")
    world.run()
    for _ in range(2):
        world.state.on_pod(first)
    assert binds(world) == []


def test_the_pod_of_another_name_holder_comes_and_the_old_ones_messages_are_late() -> None:
    world = member(2)
    old = world.pod("web-0", cpu=2, uid="old")
    world.run()
    world.delete("web-0")
    world.pod("web-0", cpu=2, uid="new")
    world.state.on_pod(old)
    world.pass_(1)
    world.run()
    assert [bind.uid for bind in world.orders(Bind)] == ["old", "new"]
    assert world.pods["web-0"].node == "n0"


def test_a_successor_that_is_told_before_the_end_of_the_former_one_takes_its_place() -> None:
    world = member(2)
    world.pod("web-0", cpu=2, uid="old")
    world.run()
    world.pods.pop("web-0")
    world.pod("web-0", cpu=2, uid="new")
    world.tell_capacity()
    world.pass_(1)
    world.run()
    assert [bind.uid for bind in world.orders(Bind)] == ["old", "new"]


def test_a_late_message_about_a_pod_that_is_gone_does_not_bring_it_back() -> None:
    world = member()
    pod = world.pod("p", cpu=8)
    world.run()
    world.delete("p")
    world.state.on_pod(pod)
    assert world.state.waiting == 0
    world.state.on_pod(pod.model_copy(update={"observed_at": world.now + 1}))
    assert world.state.waiting == 1, "unless it is told anew: then its end was told too early"


def test_the_end_of_an_unknown_pod_is_nothing() -> None:
    world = member()
    world.state.on_pod_gone(MEMBER, NAMESPACE, "nobody")
    world.pod("p")
    world.state.on_pod_gone(MEMBER, NAMESPACE, "nobody")
    assert len(binds(world)) == 1


def test_a_pod_that_goes_while_it_is_being_bound_gives_its_room_back() -> None:
    world = member(2)
    world.pod("first", cpu=2)
    assert len(binds(world)) == 1
    world.pod("second", cpu=2)
    world.delete("first")
    world.pass_(1)
    assert [bind.name for bind in binds(world)] == ["second"]
    world.pass_(60)
    assert [bind.name for bind in binds(world)] == ["second"], "again; but not one that is gone"


def test_a_pod_that_finished_gives_its_room_back() -> None:
    world = member(2)
    world.pod("first", cpu=2)
    world.run()
    world.change("first", phase="Succeeded")
    world.tell_capacity()
    world.pod("second", cpu=2)
    world.run()
    assert world.bound["second"] == "n0"


# -- orders --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("result", ["failed", "conflict"])
def test_an_order_that_failed_is_decided_anew_after_a_while(result: str) -> None:
    world = member()
    world.pod("p")
    (first,) = binds(world)
    world.fail(first, result)
    world.fail(first, result)
    assert binds(world) == []
    world.pass_(1)
    (second,) = binds(world)
    assert first.order < second.order
    world.fail(first, result)
    assert binds(world) == [], "the old failure says nothing about the new order"
    world.fail(second, result)
    world.pass_(1)
    assert binds(world) == [], "longer after each"
    world.pass_(1)
    assert len(binds(world)) == 1


def test_one_pods_failure_does_not_hold_up_its_equals() -> None:
    world = member(4)
    for number in range(3):
        world.pod(f"p{number}")
    first = binds(world)[0]
    world.fail(first)
    world.pod("p3")
    assert [bind.name for bind in binds(world)] == ["p3"]


def test_an_order_of_which_nothing_is_heard_is_given_again() -> None:
    world = member()
    world.pod("p")
    (first,) = binds(world)
    world.node("better", 100)
    world.tell_capacity()
    world.pass_(59)
    assert binds(world) == []
    world.pass_(1)
    (second,) = binds(world)
    assert (second.node, second.uid) == (first.node, first.uid), "both may be carried out, so that both are the same"
    assert first.order < second.order
    world.pass_(60)
    assert len(binds(world)) == 1


def test_where_the_node_is_gone_it_is_decided_anew() -> None:
    world = member()
    world.pod("p")
    binds(world)
    del world.nodes["n0"]
    world.node("n1")
    world.tell_capacity()
    world.pass_(60)
    assert [bind.node for bind in binds(world)] == ["n1"]


def test_its_room_is_kept_as_long_as_the_first_order_may_be_carried_out() -> None:
    world = member(2)
    world.pod("p", cpu=2)
    binds(world)
    world.nodes["n0"].unschedulable = True
    world.node("n1", 2)
    world.tell_capacity()
    world.pass_(60)
    assert [bind.node for bind in binds(world)] == ["n1"]
    world.nodes["n0"].unschedulable = False
    world.tell_capacity()
    world.pod("other")
    assert binds(world) == [], "the first order may still come through"
    for _ in range(6):
        world.pass_(120)
        world.decide()
    assert "other" in {bind.name for bind in world.orders(Bind)}


def test_an_executor_that_goes_on_trying_is_given_time() -> None:
    world = member()
    world.pod("p")
    (first,) = binds(world)
    for _ in range(5):
        world.pass_(40)
        world.fail(first, "retrying")
        assert binds(world) == []


def test_what_became_of_other_orders_and_other_pods_is_passed_over() -> None:
    world = member()
    world.pod("p")
    (first,) = binds(world)
    world.fail(first.model_copy(update={"uid": "other"}))
    world.fail(first.model_copy(update={"name": "other"}))
    world.fail(first.model_copy(update={"order": first.order.model_copy(update={"counter": 99})}))
    world.pass_(5)
    assert binds(world) == []


# -- starting anew -------------------------------------------------------------------------------------------


def test_a_new_leader_knows_all_from_the_streams_and_numbers_its_orders_higher() -> None:
    world = member(3)
    world.virtual()
    world.policy({"resource": "idc", "max": 2}, {"resource": "eci"}, selector={"app": "web"})
    for number in range(3):
        world.pod(f"p{number}", labels={"app": "web"})
    world.run()
    old = world.orders(Bind)[-1].order
    world.state = InsideState()
    world.policy({"resource": "idc", "max": 2}, {"resource": "eci"}, selector={"app": "web"})
    for name in sorted(world.pods):
        world.state.on_pod(world.pods[name])
    world.tell_capacity()
    world.pod("p3", labels={"app": "web"})
    decided = world.state.next_orders(world.now, 2)
    assert decided is not None
    assert decided.unit == "eci"
    assert old < decided.orders[0].order
    assert world.state.next_orders(world.now, 2) is None


def test_orders_of_a_former_leader_that_may_still_be_carried_out_count() -> None:
    world = member(2)
    for name in ("first", "second"):
        world.pod(name, cpu=2)
    (pending,) = binds(world)
    world.state = InsideState()
    for name in ("first", "second"):
        world.tell_pod(name)
    world.tell_capacity()
    world.state.on_order(pending)
    world.state.on_order(pending)
    assert binds(world) == [], "second does not get what first was given"
    world.pass_(60)
    assert [(bind.name, bind.node) for bind in binds(world)] == [(pending.name, pending.node)], "again, as one's own"


def test_a_pod_that_says_already_why_it_waits_is_not_told_again() -> None:
    world = member()
    world.pod("p", cpu=8)
    world.run()
    world.state = InsideState()
    world.tell_pod("p")
    world.run()
    assert len(world.orders(Pend)) == 1


def test_a_new_leader_decides_nothing_by_capacity_from_before_its_time() -> None:
    world = member()
    pod = world.pod("p")
    state = InsideState(replaying=True)
    state.on_pod(pod)
    snapshot = world.snapshot()
    state.on_capacity(snapshot)
    state.replaying = False
    assert state.next_orders(world.now, 2) is None
    assert state.unready() == [MEMBER]
    state.on_capacity(snapshot.model_copy(update={"number": snapshot.number - 1}))
    assert state.next_orders(world.now, 2) is None, "an old message says nothing new"
    state.on_capacity(world.heartbeat())
    assert state.next_orders(world.now, 2) is not None
    assert state.unready() == []
