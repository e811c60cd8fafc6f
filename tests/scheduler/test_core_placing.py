"""Where replicas go: the rules of a placement, one by one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from services.scheduler.core.constraints import LabelSelector, Taint, Toleration
from services.scheduler.core.values import Affinity, Gone, MemberFacts, Policy, Selector, Shape, StaticWeight, Workload
from shared.contracts.capacity import NodeClass
from tests.scheduler.core_world import ONE_CPU, World, decided, deployment, fleet, node, policy, pool, slots, snapshot

BOTH = (("idc", "ack"),)
TIERS = ("idc", "ack")


@dataclass(frozen=True)
class Placing:
    """members: free slots. placed: per member after each number of replicas. pending: after the last."""

    name: str
    members: dict[str, int]
    placed: list[tuple[int, dict[str, int]]]
    tiers: tuple[Any, ...] = TIERS
    pools: dict[str, int] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    pending: int = 0


PLACINGS = [
    Placing("the first tier is filled first", {"idc": 3, "ack": 9}, [(2, {"idc": 2}), (5, {"idc": 3, "ack": 2})]),
    Placing("scale-in empties tiers in reverse", {"idc": 3, "ack": 9}, [(5, {"idc": 3, "ack": 2}), (2, {"idc": 2})]),
    Placing("a tier divides by room", {"idc": 6, "ack": 3}, [(3, {"idc": 2, "ack": 1})], BOTH),
    Placing(
        "growing adds to what is there",
        {"idc": 6, "ack": 3},
        [(3, {"idc": 2, "ack": 1}), (9, {"idc": 6, "ack": 3})],
        BOTH,
    ),
    Placing("what does not fit is pending", {"idc": 3, "ack": 2}, [(8, {"idc": 3, "ack": 2})], pending=3),
    Placing("elastic room only where the policy asks", {"idc": 1}, [(4, {"idc": 1})], ("idc",), {"idc": 2}, pending=3),
    Placing(
        "elastic room before the next tier",
        {"idc": 1, "ack": 5},
        [(4, {"idc": 3, "ack": 1})],
        pools={"idc": 2},
        options={"ecs_provision": True},
    ),
    Placing(
        "free room of all of a tier before its elastic room",
        {"idc": 1, "ack": 2},
        [(3, {"idc": 1, "ack": 2}), (4, {"idc": 2, "ack": 2})],
        BOTH,
        {"idc": 5},
        {"ecs_provision": True},
    ),
    Placing(
        "aggregated takes as few as can hold it",
        {"idc": 3, "ack": 5},
        [(4, {"ack": 4}), (7, {"ack": 5, "idc": 2})],
        BOTH,
        options={"division": "aggregated"},
    ),
    Placing(
        "duplicated gives each the whole",
        {"idc": 9, "ack": 9},
        [(2, {"idc": 2, "ack": 2})],
        BOTH,
        options={"division": "duplicated"},
    ),
    Placing(
        "static weights divide by weight alone",
        {"idc": 9, "ack": 1},
        [(6, {"idc": 2, "ack": 4}), (3, {"idc": 1, "ack": 2})],
        BOTH,
        options={
            "division": "static",
            "weights": (StaticWeight(Affinity(names=("idc",)), 1), StaticWeight(Affinity(names=("ack",)), 2)),
        },
    ),
    Placing(
        "scaled to zero and back", {"idc": 3, "ack": 3}, [(4, {"idc": 3, "ack": 1}), (0, {"idc": 0}), (2, {"idc": 2})]
    ),
]


@pytest.mark.parametrize("case", PLACINGS, ids=lambda case: case.name)
def test_replicas_go(case: Placing) -> None:
    world = World()
    world.want(policy(*case.tiers, **case.options))
    for name, free in case.members.items():
        slots = [node(f"{name}-{i}", 1) for i in range(free)]
        world.member(name, *slots, pools=[pool("p", 1, case.pools[name])] if name in case.pools else ())
    for generation, (replicas, placed) in enumerate(case.placed, start=1):
        web = deployment("web", replicas, generation=generation)
        world.want(web)
        world.run()
        for member in world.leaving(web):
            world.outcome(web, member)
        world.run()
        shown = {member: count for member, count in world.placed(web).items() if count or not replicas}
        assert {m: c for m, c in shown.items() if c} == {m: c for m, c in placed.items() if c}
    assert world.placement(web).pending == case.pending
    assert bool(world.codes(web) & {"Pending"}) == bool(case.pending)


def test_shares_say_what_room_they_were_given() -> None:
    world = World()
    world.want(policy("ack", ecs_provision=True))
    world.member("ack", node("a", 2), node("eci", 2, phase="virtual"), pools=[pool("p", 2, 1)])
    web = deployment("web", 5)
    world.want(web)
    world.run()
    (share,) = world.placement(web).shares
    assert (share.replicas, share.free, share.elastic, share.virtual) == (5, 2, 2, 1)
    assert share.deadline == world.now + 300


def test_a_decision_says_what_it_saw_and_gave() -> None:
    world = World()
    world.want(policy("idc", "ack"))
    world.member("idc", node("a", 2))
    world.member("ack", node("b", 3))
    web = deployment("web", 4)
    world.want(web)
    (decided,) = world.run()
    seen = decided.seen
    assert (seen.members, seen.tiers, seen.free, seen.given) == (["idc", "ack"], [0, 1], [2, 3], [2, 2])


# -- which members -------------------------------------------------------------------------------------------------


NO_SCHEDULE = Taint("special", "yes", "NoSchedule")
REJECTED: list[tuple[str, dict[str, Any], str]] = [
    ("cordoned", {"wish": "cordoned"}, "Cordoned"),
    ("drained", {"wish": "drained"}, "Drained"),
    ("tainted", {"taints": (NO_SCHEDULE,)}, "ClusterTaintNotTolerated"),
    ("tainted to leave", {"taints": (Taint("special", "yes", "NoExecute"),)}, "ClusterTaintNotTolerated"),
]


@pytest.mark.parametrize(("case", "facts", "code"), REJECTED, ids=[case for case, _, _ in REJECTED])
def test_a_member_that_may_not_be_used_is_named_with_the_reason(case: str, facts: dict[str, Any], code: str) -> None:
    world = World()
    world.want(policy(("idc", "ack")))
    world.member("idc", node("a", 9), **facts)
    world.member("ack", node("b", 2))
    web = deployment("web", 3)
    world.want(web)
    world.run()
    assert world.placed(web) == {"ack": 2}
    assert ("idc",) in [reason.members for reason in world.placement(web).reasons if reason.code == code], case


def test_a_member_that_does_not_answer_keeps_what_it_has_and_gets_nothing_until_it_does() -> None:
    world, web = two_tiers(1)
    world.heartbeat("idc", silent=True)
    assert world.run() == [], "nobody moves for it"
    web = decided(world, deployment("web", 3, generation=2))
    assert (world.placed(web), "MemberUnreachable" in world.codes(web)) == ({"idc": 1, "ack": 2}, True)
    world.heartbeat("idc")
    decided(world, deployment("web", 4, generation=3))
    assert world.placed(web) == {"idc": 2, "ack": 2}


@pytest.mark.parametrize("division", ["dynamic", "aggregated", "duplicated", "static"])
def test_a_tier_whose_room_is_only_not_known_yet_is_waited_for(division: str) -> None:
    world = World()
    world.want(policy("idc", "ack", division=division))
    world.want(MemberFacts("idc"))
    world.member("ack", node("a", 4))
    web = decided(world, deployment("web", 2))
    assert (world.placed(web), world.placement(web).pending) == ({}, 2)
    assert "LaterTiersWait" in world.codes(web)
    world.member("idc", node("i", 4))
    world.run()
    assert world.placed(web) == {"idc": 2}


def test_but_not_for_long() -> None:
    world = World()
    world.want(policy("idc", "ack"))
    world.want(MemberFacts("idc"))
    world.member("ack", node("a", 4))
    web = decided(world, deployment("web", 2))
    assert world.state.next_due() == world.now + 60
    world.now += 60
    world.run()
    assert world.placed(web) == {"ack": 2}


def test_a_gap_does_not_send_replicas_to_a_later_tier() -> None:
    world, web = two_tiers(1)
    world.heartbeat("idc", ahead=1)
    web = decided(world, deployment("web", 2, generation=2))
    assert (world.placed(web), world.placement(web).pending) == ({"idc": 1}, 1)
    world.state.on_capacity(snapshot("idc", [node("a", 2)], number=1))
    world.run()
    assert world.placed(web) == {"idc": 2}


@pytest.mark.parametrize("unusable", [{"silent": True}, {"ahead": 1}], ids=["silent", "gap"])
def test_room_that_came_while_a_member_could_not_be_used_is_used_afterwards(unusable: dict[str, Any]) -> None:
    world = fleet("idc", rooms={"idc": 2})
    decided(world, deployment("other", 1))
    web = decided(world, deployment("web", 2))
    assert world.placement(web).pending == 1
    world.heartbeat("idc", **unusable)
    decided(world, deployment("other", 0, generation=2))
    assert world.placement(web).pending == 1
    world.heartbeat("idc") if "silent" in unusable else world.state.on_capacity(
        snapshot("idc", slots("idc", 2), number=1)
    )
    world.run()
    assert (world.placed(web), world.placement(web).pending) == ({"idc": 2}, 0)


def test_a_toleration_lets_a_tainted_member_in() -> None:
    world = World()
    world.want(policy("idc", tolerations=(Toleration("special", value="yes"),)))
    world.member("idc", node("a", 2), taints=(NO_SCHEDULE,))
    web = deployment("web", 1)
    world.want(web)
    world.run()
    assert world.placed(web) == {"idc": 1}


def test_no_work_before_the_capacity_is_known_and_all_of_it_then() -> None:
    world = World()
    world.want(policy("idc"))
    web = deployment("web", 2)
    world.want(web)
    world.run()
    assert (world.placed(web), world.placement(web).pending) == ({}, 2)
    assert "UnknownMember" in world.codes(web)
    world.member("idc", node("a", 2))
    world.run()
    assert (world.placed(web), world.placement(web).pending) == ({"idc": 2}, 0)


def test_the_reason_names_what_the_nodes_lack() -> None:
    world = World()
    world.want(policy("idc"))
    world.member("idc", node("a", 9), node("b", 9))
    web = deployment("web", 1, shape=Shape.of({"cpu": 1000, "nvidia.com/gpu": 1}))
    world.want(web)
    world.run()
    messages = [r.message for r in world.placement(web).reasons if r.code == "InsufficientResources"]
    assert messages == ["2 nodes: lacking nvidia.com/gpu (needs 1, none free)"]


def test_node_classes_count_for_each_shape() -> None:
    classes = {0: NodeClass(), 1: NodeClass(labels={"disk": "ssd"})}
    world = World()
    world.want(policy("idc"))
    world.member("idc", node("a", 9), node("b", 2, klass=1), classes=classes)
    web = deployment("web", 4, shape=Shape.of({"cpu": 1000}, {"disk": "ssd"}))
    world.want(web)
    world.run()
    assert (world.placed(web), world.placement(web).pending) == ({"idc": 2}, 2)


# -- which policy --------------------------------------------------------------------------------------------------


def by(name: str, selector: Selector, priority: int = 0, member: str = "", cluster: bool = False) -> Policy:
    return Policy(
        key=f"{'Cluster' * cluster}PropagationPolicy {name}",
        name=name,
        namespace=None if cluster else "test",
        selectors=(selector,),
        priority=priority,
        division="dynamic",
        **policy_tiers(member or name),
    )


def policy_tiers(member: str) -> dict[str, Any]:
    return {"tiers": policy(member).tiers}


KIND = Selector("Deployment", "apps")
NAME = Selector("Deployment", "apps", name="web")
LABEL = Selector("Deployment", "apps", labels=LabelSelector())
OTHER = Selector("Deployment", "apps", name="other")
MATCHES: list[tuple[str, list[Policy], str]] = [
    ("name before label before kind", [by("a", KIND), by("b", LABEL), by("c", NAME)], "c"),
    ("label before kind", [by("a", KIND), by("b", LABEL)], "b"),
    ("priority before all", [by("a", KIND, 5), by("c", NAME)], "a"),
    ("then the policy's own name", [by("b", KIND), by("a", KIND)], "a"),
    ("cluster policies only where no other matches", [by("a", NAME, 9, cluster=True), by("b", KIND)], "b"),
    ("a cluster policy else", [by("a", KIND, cluster=True), by("b", OTHER)], "a"),
]


@pytest.mark.parametrize(("case", "policies", "winner"), MATCHES, ids=[case for case, _, _ in MATCHES])
def test_the_policy_that_wins(case: str, policies: list[Policy], winner: str) -> None:
    for listed in (policies, policies[::-1]):
        world = World()
        for name in "abc":
            world.member(name, node("n", 9))
        web = deployment("web", 1)
        world.want(web, *listed)
        world.run()
        assert world.placed(web) == {winner: 1}, case


def test_without_a_policy_nothing_is_placed_and_deleting_it_freezes() -> None:
    world = World()
    world.member("idc", node("a", 9))
    web = deployment("web", 2)
    world.want(web)
    world.run()
    assert (world.placed(web), world.codes(web)) == ({}, {"NoPolicy"})
    pp = policy("idc")
    world.want(pp)
    world.run()
    assert world.placed(web) == {"idc": 2}
    world.want(Gone("policy", pp.key))
    world.run()
    scaled = deployment("web", 5, generation=2)
    world.want(scaled)
    world.run()
    assert (world.placed(web), world.placement(web).policy) == ({"idc": 2}, "")
    world.want(pp)
    world.run()
    assert world.placed(web) == {"idc": 5}


# -- staying put, and waiting --------------------------------------------------------------------------------------


def test_room_in_an_earlier_tier_pulls_nothing_back() -> None:
    world, web = two_tiers(4)
    world.delta("idc", node("new", 5))
    world.run()
    assert world.placed(web) == {"idc": 2, "ack": 2}


def two_tiers(replicas: int, **options: Any) -> tuple[World, Workload]:
    """idc with 2 slots, ack with 4."""
    world = World()
    world.want(policy("idc", "ack", **options))
    world.member("idc", node("a", 2))
    world.member("ack", node("b", 4))
    web = deployment("web", replicas)
    world.want(web)
    world.run()
    return world, web


def test_scale_in_takes_replicas_that_wait_first() -> None:
    world, web = two_tiers(6)
    assert world.placed(web) == {"idc": 2, "ack": 4}
    world.status(web, "idc", replicas=2, ready=1, pending=1)
    world.status(web, "ack", replicas=4, ready=4)
    world.want(deployment("web", 5, generation=2))
    world.run()
    assert world.placed(web) == {"idc": 1, "ack": 4}


def test_a_replica_that_was_placed_and_has_no_node_yet_waits_too() -> None:
    world, web = two_tiers(4)
    for name, bound in (("idc", 2), ("ack", 2)):
        world.delta(name, bound={web.uid: bound})
        world.status(web, name, replicas=2, ready=2)
    world.delta("idc", node("new", 2))
    decided(world, deployment("web", 6, generation=2))
    assert world.placed(web) == {"idc": 4, "ack": 2}
    decided(world, deployment("web", 4, generation=3))
    assert world.placed(web) == {"idc": 2, "ack": 2}


def test_pods_that_a_scale_in_has_not_taken_yet_are_room_for_a_scale_out() -> None:
    world = fleet("idc", rooms={"idc": 4})
    web = decided(world, deployment("web", 2))
    world.delta("idc", node("idc0", 0), node("idc1", 0), bound={web.uid: 2})
    world.status(web, "idc", replicas=2, ready=2)
    decided(world, deployment("web", 0, generation=2))
    decided(world, deployment("web", 4, generation=3))
    assert (world.placed(web), world.placement(web).pending) == ({"idc": 4}, 0)
    assert world.state.room.room(ONE_CPU, "idc").free == 0


def test_pods_of_an_updates_surge_are_no_room() -> None:
    world = fleet("idc", rooms={"idc": 3})
    web = decided(world, deployment("web", 2))
    world.delta("idc", *[node(f"idc{number}", 0) for number in range(3)], bound={web.uid: 3})
    world.status(web, "idc", replicas=2, ready=2)
    decided(world, deployment("web", 3, generation=2))
    assert (world.placed(web), world.placement(web).pending) == ({"idc": 2}, 1)


def test_what_waits_is_not_guessed_while_a_member_is_not_heard_of() -> None:
    world, web = two_tiers(4)
    world.delta("ack", bound={web.uid: 2})
    world.heartbeat("idc", ahead=7)  # what is bound there is not known
    decided(world, deployment("web", 3, generation=2))
    assert world.placed(web) == {"idc": 2, "ack": 1}


def test_who_waits_is_served_by_priority_and_then_in_order() -> None:
    world = World()
    world.want(policy("idc"))
    world.member("idc")
    waiting = [deployment("first", 1), deployment("second", 1), deployment("urgent", 1, priority=5)]
    for workload in waiting:
        world.want(workload)
        world.run()
    assert [key[3] for key in world.state.pending()] == ["urgent", "first", "second"]
    world.delta("idc", node("a", 2))
    world.run()
    assert [sum(world.placed(workload).values()) for workload in waiting] == [1, 0, 1]


def test_room_wakes_only_who_can_use_it() -> None:
    world = World()
    world.want(policy("idc"))
    world.member("idc")
    big = deployment("big", 1, shape=Shape.of({"cpu": 8000}))
    world.want(big)
    world.run()
    before = world.placement(big).order
    world.delta("idc", node("a", 2))
    assert world.run() == []
    assert world.placement(big).order == before


def test_room_wakes_all_who_can_use_it_however_many_shapes_wait() -> None:
    world = World(shapes=3)
    world.want(policy("idc"))
    world.member("idc", node("a", 0, memory=0))
    waiting = [deployment(f"w{i}", 1, shape=Shape.of({"cpu": 1000, "memory": i + 1})) for i in range(12)]
    for workload in waiting:
        decided(world, workload)
    world.delta("idc", node("a", 12, memory=1000))
    world.run()
    assert [world.placed(workload) for workload in waiting] == [{"idc": 1}] * 12


def test_a_suspended_policy_freezes_what_is_placed() -> None:
    world, web = two_tiers(3)
    world.want(policy("idc", "ack", suspend_scheduling=True), deployment("web", 6, generation=2))
    world.run()
    assert world.placed(web) == {"idc": 2, "ack": 1}
    assert (world.codes(web), world.placement(web).pending) == ({"Suspended"}, 3)
    world.want(policy("idc", "ack"))
    world.run()
    assert world.placed(web) == {"idc": 2, "ack": 4}


def test_suspended_dispatching_is_told_to_the_executor() -> None:
    world, web = two_tiers(3, suspend_on=("ack",))
    assert {share.member: share.suspended for share in world.placement(web).shares} == {"idc": False, "ack": True}
    world.want(policy("idc", "ack", suspend_dispatching=True))
    world.run()
    assert world.placement(web).suspended


def test_scaled_to_zero_the_object_stays_in_one_place_with_none() -> None:
    world, web = two_tiers(3)
    world.want(deployment("web", 0, generation=2))
    world.run()
    assert (sum(world.placed(web).values()), world.placement(web).pending) == (0, 0)
    assert any(share.present for share in world.placement(web).shares)


def test_the_same_again_decides_nothing() -> None:
    world, web = two_tiers(3)
    order = world.placement(web).order
    world.want(web, policy("idc", "ack"))
    world.member("idc", node("a", 2))
    world.run()
    assert world.placement(web).order == order


def test_an_older_generation_is_ignored() -> None:
    world, web = two_tiers(3)
    world.want(deployment("web", 5, generation=7))
    world.want(deployment("web", 1, generation=6))
    world.run()
    assert sum(world.placed(web).values()) == 5
