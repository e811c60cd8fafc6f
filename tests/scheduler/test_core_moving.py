"""Replicas that have to move: stuck, drained, deselected, lost, asked back. Never through those that serve."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.scheduler.core.constraints import Taint
from services.scheduler.core.values import Gone, Rules, Workload
from shared.contracts.status import Unschedulable
from tests.scheduler.core_world import World, deployment, node, policy, pool


def two_tiers(
    replicas: int, idc: int = 2, ack: int = 4, rules: Rules | None = None, **more: Any
) -> tuple[World, Workload]:
    world = World(rules)
    world.want(policy("idc", "ack", **more))
    world.member("idc", *[node(f"i{i}", 1) for i in range(idc)])
    world.member("ack", *[node(f"a{i}", 1) for i in range(ack)])
    web = deployment("web", replicas)
    world.want(web)
    world.run()
    return world, web


def retiring(world: World, web: Workload) -> dict[str, int]:
    return {share.member: share.retiring for share in world.placement(web).shares if share.retiring}


# -- stuck ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stuck:
    """Of `replicas` (idc has 2 of them), `count` are stuck in idc while `ready` serve there."""

    name: str
    count: int
    ready: int
    placed: dict[str, int]
    retiring: dict[str, int] = field(default_factory=dict)
    pending: int = 0
    replicas: int = 2
    ack: int = 4


STUCK = [
    Stuck("one that does not serve moves at once", 1, 1, {"idc": 1, "ack": 1}),
    Stuck("all of them", 2, 0, {"ack": 2}),
    Stuck("a surge pod beside serving ones: replacement first", 1, 2, {"idc": 2, "ack": 1}, {"idc": 1}),
    Stuck("two asked for, one serves", 2, 1, {"idc": 1, "ack": 2}, {"idc": 1}),
    Stuck("no more than there are", 5, 0, {"ack": 2}),
    Stuck("room for none elsewhere: they wait", 1, 1, {"idc": 1}, pending=1, ack=0),
    Stuck("room for none elsewhere: those that serve stay", 1, 2, {"idc": 2}, {"idc": 1}, pending=1, ack=0),
]


@pytest.mark.parametrize("case", STUCK, ids=lambda case: case.name)
def test_stuck(case: Stuck) -> None:
    world, web = two_tiers(case.replicas, ack=case.ack)
    world.status(web, "idc", replicas=2, ready=case.ready, pending=case.count)
    world.rebalance(web, idc=(case.count, case.ready))
    world.run()
    assert {m: c for m, c in world.placed(web).items() if c} == case.placed
    assert retiring(world, web) == case.retiring
    placement = world.placement(web)
    assert (placement.pending, placement.cause) == (case.pending, "rebalance")
    assert [(rest.member, rest.until, rest.step) for rest in placement.rests] == [("idc", world.now + 60, 1)]


def test_the_replaced_go_when_their_replacements_are_ready() -> None:
    world, web = two_tiers(2)
    world.rebalance(web, idc=(1, 2))
    world.run()
    world.status(web, "idc", replicas=2, ready=2)
    world.status(web, "ack", replicas=1, ready=0)
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 2, "ack": 1}, {"idc": 1})
    world.status(web, "ack", replicas=1, ready=1)
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 1, "ack": 1}, {})
    assert world.placement(web).cause == "settled"


def test_a_request_about_an_older_placement_is_void() -> None:
    world, web = two_tiers(2)
    old = world.placement(web).order
    world.want(deployment("web", 3, generation=2))
    world.run()
    world.rebalance(web, idc=(1, 0), order=old)
    assert world.run() == []


def test_a_request_counts_once() -> None:
    world, web = two_tiers(2)
    order = world.placement(web).order
    world.rebalance(web, idc=(1, 1), order=order)
    world.run()
    world.rebalance(web, idc=(1, 1), order=order)
    assert world.run() == []
    assert world.placed(web) == {"idc": 1, "ack": 1}


def test_a_resting_member_gets_nothing_and_after_its_rest_it_may() -> None:
    world, web = two_tiers(2)
    world.rebalance(web, idc=(1, 1))
    world.run()
    world.delta("idc", node("new", 5))
    world.want(deployment("web", 3, generation=2))
    world.run()
    assert world.placed(web) == {"idc": 1, "ack": 2}
    world.now += 61
    world.want(deployment("web", 4, generation=3))
    world.run()
    assert world.placed(web) == {"idc": 2, "ack": 2}


def test_a_pending_replica_gets_its_turn_when_the_rest_ends() -> None:
    world, web = two_tiers(2, ack=0)
    world.rebalance(web, idc=(1, 1))
    world.run()
    assert (world.placement(web).pending, world.codes(web) >= {"Pending", "Resting"}) == (1, True)
    assert world.state.next_due() == world.now + 60
    world.now += 60
    world.run()
    assert (world.placed(web), world.placement(web).pending) == ({"idc": 2}, 0)


def test_rests_double_up_to_a_maximum_and_are_forgotten_in_time() -> None:
    world, web = two_tiers(2, ack=0, rules=Rules(rest_base=60, rest_max=200))
    lengths = []
    for _ in range(4):
        world.rebalance(web, idc=(1, 1))
        world.run()
        (rest,) = world.placement(web).rests
        lengths.append(rest.until - world.now)
        world.now = rest.until
        world.run()
    assert lengths == [60, 120, 200, 200]
    world.now += 10_000
    world.rebalance(web, idc=(1, 1))
    world.run()
    (rest,) = world.placement(web).rests
    assert (rest.step, rest.until - world.now) == (1, 60)


def test_a_rest_is_of_one_workload() -> None:
    world, web = two_tiers(2)
    world.rebalance(web, idc=(1, 1))
    world.run()
    world.delta("idc", node("new", 5))
    other = deployment("other", 1)
    world.want(other)
    world.run()
    assert world.placed(other) == {"idc": 1}


def test_replicas_on_elastic_room_that_vanished_move_on() -> None:
    world = World()
    world.want(policy("idc", "ack", ecs_provision=True))
    world.member("idc", pools=[pool("p", 1, 3)])
    world.member("ack", node("a", 4))
    web = deployment("web", 2)
    world.want(web)
    world.run()
    (share,) = world.placement(web).shares
    assert (share.member, share.elastic, share.deadline) == ("idc", 2, world.now + 300)
    world.delta("idc", pools=(pool("p", 1, 3, stock=0),))
    world.run()
    assert world.state.room.deficit("idc") == 2
    world.rebalance(web, idc=(2, 0))
    world.run()
    assert (world.placed(web), world.state.room.deficit("idc")) == ({"ack": 2}, 0)


def test_what_arrived_has_no_deadline_any_more() -> None:
    world = World()
    world.want(policy("idc", ecs_provision=True))
    world.member("idc", pools=[pool("p", 1, 3)])
    web = deployment("web", 2)
    world.want(web)
    world.run()
    nodes = [node("n1", 0), node("n2", 0)]
    world.delta("idc", *nodes, pools=(pool("p", 1, 3, nodes=2),), bound={web.uid: 2})
    world.want(deployment("web", 2, generation=2))
    world.run()
    (share,) = world.placement(web).shares
    assert (share.free, share.elastic, share.deadline) == (2, 0, None)


# -- ready never falls below what is wanted ------------------------------------------------------------------------


@dataclass
class Cluster:
    """A Deployment in one member: `slots` pods can run, old pods serve until the replicas shrink."""

    slots: int
    replicas: int = 0
    running: int = 0
    surge: int = 0

    def step(self) -> None:
        if self.running > self.replicas:  # those that do not serve go first
            self.running = self.replicas
        if self.running < min(self.replicas, self.slots):
            self.running += 1


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(1, 5), st.lists(st.integers(0, 6), min_size=2, max_size=3), st.lists(st.integers(0, 3), max_size=40))
def test_a_restart_under_a_taint_never_costs_a_serving_replica(
    wanted: int, rooms: list[int], schedule: list[int]
) -> None:
    """All pods run in idc; a taint comes and the template changes, so that each surge pod there is Pending for ever.
    The old ones serve until they are shrunk away. Events come in any order."""
    world = World()
    names = tuple(f"m{i}" for i in range(len(rooms)))
    world.want(policy("idc", *names))
    world.member("idc", *[node(f"i{i}", 1) for i in range(wanted)])
    for name, room in zip(names, rooms, strict=True):
        world.member(name, *[node(f"n{i}", 1) for i in range(room)])
    web = deployment("web", wanted)
    world.want(web)
    world.run()
    clusters = {"idc": Cluster(0, wanted, wanted)} | {n: Cluster(r) for n, r in zip(names, rooms, strict=True)}

    def act(kind: int) -> None:
        for name, cluster in clusters.items():
            share = world.placement(web).share(name)
            if kind == 0 and share is not None:
                cluster.replicas = share.replicas
            elif kind == 1:
                cluster.step()
            elif kind == 2 and share is not None:
                world.status(web, name, replicas=cluster.replicas, ready=cluster.running)
        if kind == 3:
            share = world.placement(web).share("idc")
            if share is not None and share.replicas > share.retiring and share.present:
                world.rebalance(web, idc=(1, clusters["idc"].running))
        world.run()
        serving = sum(cluster.running for cluster in clusters.values())
        assert serving >= wanted, "a serving replica was the price"
        for name, cluster in clusters.items():
            assert cluster.running <= (wanted if name == "idc" else cluster.slots)

    for kind in schedule:
        act(kind)
    for _ in range(8 * wanted):
        for kind in (3, 0, 1, 2):
            act(kind)
    moved = min(wanted, sum(rooms))
    assert sum(clusters[name].running for name in names) == moved
    assert clusters["idc"].running == wanted - moved


# -- drains, cordons, policies, lost members -----------------------------------------------------------------------


def test_a_drain_moves_all_replacements_first() -> None:
    world, web = two_tiers(2)
    world.status(web, "idc", replicas=2, ready=2)
    world.wish("idc", wish="drained")
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 2, "ack": 2}, {"idc": 2})
    assert world.placement(web).cause == "drain"
    world.status(web, "ack", replicas=2, ready=1)
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 1, "ack": 2}, {"idc": 1})
    world.status(web, "idc", replicas=1, ready=1)
    world.status(web, "ack", replicas=2, ready=2)
    world.run()
    assert (world.placed(web), world.leaving(web)) == ({"ack": 2}, {"idc"})
    world.outcome(web, "idc")
    world.run()
    assert {share.member for share in world.placement(web).shares} == {"ack"}


def test_a_drain_without_room_elsewhere_keeps_what_serves() -> None:
    world, web = two_tiers(2, ack=1)
    world.status(web, "idc", replicas=2, ready=2)
    world.wish("idc", wish="drained")
    world.run()
    assert (world.placed(web), retiring(world, web), world.placement(web).pending) == (
        {"idc": 2, "ack": 1},
        {"idc": 2},
        1,
    )
    world.status(web, "ack", replicas=1, ready=1)
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 1, "ack": 1}, {"idc": 1})


def test_undrained_in_time_those_without_a_replacement_stay() -> None:
    world, web = two_tiers(2, ack=1)
    world.status(web, "idc", replicas=2, ready=2)
    world.wish("idc", wish="drained")
    world.run()
    world.wish("idc", wish="open")
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 2, "ack": 1}, {"idc": 1})
    assert world.placement(web).pending == 0


def test_a_cordoned_member_keeps_what_it_has_and_gets_no_more() -> None:
    world, web = two_tiers(1)
    world.wish("idc", wish="cordoned")
    world.want(deployment("web", 3, generation=2))
    world.run()
    assert world.placed(web) == {"idc": 1, "ack": 2}


def test_a_taint_that_evicts_is_a_drain() -> None:
    world, web = two_tiers(2)
    world.status(web, "idc", replicas=2, ready=2)
    world.wish("idc", taints=(Taint("broken", effect="NoExecute"),))
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 2, "ack": 2}, {"idc": 2})


def test_a_policy_that_selects_others_moves_them_replacements_first() -> None:
    world, web = two_tiers(2)
    world.status(web, "idc", replicas=2, ready=2)
    world.want(policy("ack"))
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"ack": 2, "idc": 2}, {"idc": 2})
    assert world.placement(web).cause == "policy"
    world.status(web, "ack", replicas=2, ready=2)
    world.run()
    assert (world.placed(web), world.leaving(web)) == ({"ack": 2}, {"idc"})


def test_a_lost_member_is_replaced_at_once_and_emptied_when_it_returns() -> None:
    world, web = two_tiers(2)
    world.status(web, "idc", replicas=2, ready=2)
    world.now += 10
    world.heartbeat("idc", lost=True)
    world.run()
    assert (world.placed(web), world.leaving(web)) == ({"ack": 2}, {"idc"})
    assert world.placement(web).cause == "lost"
    world.now += 10
    world.heartbeat("idc", lost=False)
    world.run()
    world.want(deployment("web", 3, generation=2))
    world.run()
    assert (world.placed(web), world.leaving(web)) == ({"ack": 3}, {"idc"}), "it converges before it gets work"
    world.outcome(web, "idc")
    world.run()
    world.want(deployment("web", 4, generation=3))
    world.run()
    assert world.placed(web) == {"ack": 3, "idc": 1}


def test_a_removed_member_is_replaced() -> None:
    world, web = two_tiers(3)
    world.want(Gone("member", "idc"))
    world.run()
    assert world.placed(web) == {"ack": 3}
    assert "MemberRemoved" in world.codes(web)


def test_an_outcome_from_before_the_leaving_does_not_end_it() -> None:
    world, web = two_tiers(2)
    world.outcome(web, "idc")  # about the placement in force, which does not ask for it
    world.heartbeat("idc", lost=True)
    world.run()
    assert world.leaving(web) == {"idc"}


# -- never ----------------------------------------------------------------------------------------------------------


def test_fixed_numbers_cannot_be_moved() -> None:
    world = World()
    world.want(policy(("idc", "ack"), division="duplicated"))
    world.member("idc", node("a", 2))
    world.member("ack", node("b", 2))
    web = deployment("web", 2)
    world.want(web)
    world.run()
    world.rebalance(web, idc=(1, 1))
    world.run()
    assert world.placed(web) == {"idc": 2, "ack": 2}
    assert "FixedByPolicy" in world.codes(web)


# -- the hybrid and the multi-region scenario ----------------------------------------------------------------------


def test_hybrid_up_to_the_cloud_and_back() -> None:
    world = World()
    world.want(policy("idc", "ack", ecs_provision=True))
    world.member("idc", node("gpu", 2))
    world.member("ack", pools=[pool("p", 1, 3)])
    web = deployment("web", 2)
    for generation, (replicas, placed, pending) in enumerate(
        [(2, {"idc": 2}, 0), (4, {"idc": 2, "ack": 2}, 0), (6, {"idc": 2, "ack": 3}, 1), (2, {"idc": 2}, 0)], start=1
    ):
        world.want(deployment("web", replicas, generation=generation))
        world.run()
        assert ({m: c for m, c in world.placed(web).items() if c}, world.placement(web).pending) == (placed, pending)


def test_multi_region_stuck_in_one_goes_to_the_next_with_room() -> None:
    world = World()
    world.want(policy(("beijing", "hangzhou"), "shanghai"))
    for name, slots in (("beijing", 2), ("hangzhou", 1), ("shanghai", 3)):
        world.member(name, *[node(f"n{i}", 1) for i in range(slots)])
    web = deployment("web", 3)
    world.want(web)
    world.run()
    assert world.placed(web) == {"beijing": 2, "hangzhou": 1}
    waiting = (Unschedulable(since=world.now, count=2),)
    world.status(web, "beijing", replicas=2, ready=0, pending=2, unschedulable=waiting)
    world.rebalance(web, beijing=(2, 0))
    world.run()
    assert {m: c for m, c in world.placed(web).items() if c} == {"hangzhou": 1, "shanghai": 2}
