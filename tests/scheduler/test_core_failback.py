"""Back to earlier tiers where a policy asks for it, and everything afresh where a person does."""

from __future__ import annotations

import pytest

from services.scheduler.core.values import Rules, Selector, Workload
from tests.scheduler.core_world import World, decided, deployment, node, policy
from tests.scheduler.test_core_jobs import job
from tests.scheduler.test_core_kinds import ray
from tests.scheduler.test_core_moving import retiring, two_tiers


def test_failback_is_bounded_an_hour_and_never_costs_a_serving_replica() -> None:
    world, web = two_tiers(6, idc=2, ack=4, failback=2)
    world.status(web, "idc", replicas=2, ready=2)
    world.status(web, "ack", replicas=4, ready=4)
    world.delta("idc", *[node(f"new{i}", 1) for i in range(4)])
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 4, "ack": 4}, {"ack": 2})
    assert (world.placement(web).cause, [past.count for past in world.placement(web).failbacks]) == ("failback", [2])
    world.status(web, "idc", replicas=4, ready=4)
    world.run()
    assert world.placed(web) == {"idc": 4, "ack": 2}
    world.status(web, "ack", replicas=2, ready=2)
    world.now += 3599
    world.run()
    assert world.placed(web) == {"idc": 4, "ack": 2}
    world.now += 2
    world.run()
    assert world.placed(web) == {"idc": 6, "ack": 2}


def test_no_failback_where_the_operator_forbids_it() -> None:
    world, web = two_tiers(4, rules=Rules(failback=False), failback=2)
    world.delta("idc", node("new", 4))
    world.run()
    assert world.placed(web) == {"idc": 2, "ack": 2}


def test_a_manual_rebalance_divides_afresh() -> None:
    world, web = two_tiers(4)
    world.delta("idc", node("new", 4))
    world.status(web, "idc", replicas=2, ready=2)
    world.status(web, "ack", replicas=2, ready=2)
    world.rebalance(web, "manual")
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 4, "ack": 2}, {"ack": 2})
    world.status(web, "idc", replicas=4, ready=4)
    world.run()
    assert world.placed(web) == {"idc": 4}


@pytest.mark.parametrize(
    ("workload", "code"),
    [(job(2, 4), "JobStays"), (deployment("web", 2), "FixedByPolicy"), (ray(), "StaysWhole")],
    ids=lambda value: getattr(value, "ref", value) if isinstance(value, str) else value.ref.kind,
)
def test_what_is_not_divided_afresh_says_so(workload: Workload, code: str) -> None:
    selectors = tuple(
        Selector(kind, group) for kind, group in (("Deployment", "apps"), ("Job", "batch"), ("RayCluster", "ray.io"))
    )
    world = World()
    world.want(policy("a", "b", division="static" if code == "FixedByPolicy" else "dynamic", selectors=selectors))
    for name in "ab":
        world.member(name, node("n", 9))
    decided(world, workload)
    world.rebalance(workload, "manual")
    world.run()
    assert code in world.codes(workload)


def test_replicas_go_back_when_the_rest_of_the_member_they_were_stuck_in_ends() -> None:
    world, web = two_tiers(2, failback=9)
    world.status(web, "idc", replicas=2, ready=1, pending=1)
    world.rebalance(web, idc=(1, 1))
    world.run()
    assert world.placed(web) == {"idc": 1, "ack": 1}
    world.status(web, "ack", replicas=1, ready=1)
    world.now += 61
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 2, "ack": 1}, {"ack": 1})


def test_pods_that_have_not_left_yet_are_no_room_to_go_back_to() -> None:
    world, web = two_tiers(2, failback=9)
    for name, count in (("idc", 2), ("ack", 0)):
        world.delta(name, *([node("i0", 0), node("i1", 0)] if name == "idc" else []), bound={web.uid: count})
    world.status(web, "idc", replicas=2, ready=2)
    world.rebalance(web, idc=(1, 2))
    world.run()
    world.now += 61
    world.status(web, "ack", replicas=1, ready=1)
    world.run()
    assert world.placed(web) == {"idc": 1, "ack": 1}


def test_room_that_came_while_replicas_moved_back_is_used_when_they_are_there() -> None:
    world, web = two_tiers(6, failback=9)
    world.status(web, "idc", replicas=2, ready=2)
    world.status(web, "ack", replicas=4, ready=4)
    world.delta("idc", node("new", 1))
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 3, "ack": 4}, {"ack": 1})
    world.delta("idc", node("newer", 1))
    world.run()
    assert world.placed(web) == {"idc": 3, "ack": 4}, "one move after the other"
    world.status(web, "idc", replicas=3, ready=3)
    world.run()
    assert (world.placed(web), retiring(world, web)) == ({"idc": 4, "ack": 3}, {"ack": 1})
