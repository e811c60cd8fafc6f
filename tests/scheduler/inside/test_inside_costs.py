"""Deletion costs, prices, and what a workload may cost per hour."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.annotations import CEILING_ANNOTATION, DELETION_COST, UNIT_ANNOTATION
from shared.contracts.binding import Annotate, Bind
from shared.contracts.capacity import Pool
from shared.contracts.pod import Owner
from tests.scheduler.inside.inside_world import NAMESPACE, World

APP = {"app": "nginx"}
IDC, ECS, ECI = {"resource": "idc"}, {"resource": "ecs"}, {"resource": "eci"}


def member(**sold: Any) -> World:
    world = World()
    world.node("idc-1", 2)
    world.ecs("ecs-1", 2)
    world.virtual(**sold)
    return world


def pods(world: World, count: int, *, first: int = 0, **more: Any) -> None:
    for number in range(first, first + count):
        world.pod(f"p{number}", **{"labels": APP, **more})
    world.run()


def costs(world: World) -> dict[str, str | None]:
    return {name: world.cost(name) for name in sorted(world.pods)}


# -- deletion costs ------------------------------------------------------------------------------------------


def test_later_units_go_first() -> None:
    world = member()
    world.policy(IDC, ECS, ECI, selector=APP)
    pods(world, 5)
    assert costs(world) == {"p0": "300", "p1": "300", "p2": "200", "p3": "200", "p4": "100"}
    assert world.orders(Annotate) == [], "they are written with the node"


@pytest.mark.parametrize(
    ("owner", "honours"),
    [
        (Owner(kind="Deployment", group="apps", name="web"), True),
        (Owner(kind="ReplicaSet", group="apps", name="web"), True),
        (Owner(kind="CloneSet", group="apps.kruise.io", name="web"), True),
        (Owner(kind="StatefulSet", group="apps", name="web"), False),
        (Owner(kind="Job", group="batch", name="web"), False),
        (None, False),
    ],
)
def test_only_where_the_controller_honours_them(owner: Owner | None, *, honours: bool) -> None:
    world = member()
    world.policy(IDC, selector=APP)
    pods(world, 1, owner=owner)
    assert (world.cost("p0") is not None) == honours


def test_a_changed_policy_corrects_only_what_differs() -> None:
    world = member()
    world.policy(IDC, ECI, selector=APP)
    pods(world, 3)
    assert costs(world) == {"p0": "200", "p1": "200", "p2": "100"}
    world.policy(IDC, ECS, ECI, selector=APP)
    world.run()
    assert costs(world) == {"p0": "300", "p1": "300", "p2": "100"}
    assert sorted(order.name for order in world.orders(Annotate)) == ["p0", "p1"]
    world.policy(ECI, IDC, selector=APP)
    world.run()
    assert costs(world) == {"p0": "100", "p1": "100", "p2": "200"}


def test_a_policy_that_comes_later_marks_pods_that_run_and_one_that_goes_unmarks_them() -> None:
    world = member()
    pods(world, 2)
    assert set(costs(world).values()) == {None}
    world.policy(IDC, ECS, selector=APP)
    world.run()
    assert sorted(costs(world).values(), key=str) == ["100", "200"]
    world.state.on_policy_gone(NAMESPACE, "policy")
    world.run()
    assert set(costs(world).values()) == {None}


def test_a_cost_that_people_wrote_stays_where_no_policy_holds() -> None:
    world = member()
    pods(world, 1, annotations={DELETION_COST: "7"})
    world.run()
    assert world.cost("p0") == "7"
    assert world.orders(Annotate) == []


def test_pods_of_other_schedulers_are_not_annotated() -> None:
    world = member()
    world.policy(IDC, selector=APP)
    world.pod("theirs", labels=APP, scheduler="default-scheduler", node="idc-1")
    world.run()
    assert world.orders(Annotate) == []


def test_a_pod_on_a_node_of_no_unit_goes_before_all_others() -> None:
    world = member()
    world.policy(IDC, ECS, selector=APP)
    pods(world, 3)
    world.policy(IDC, selector=APP)
    world.run()
    assert costs(world) == {"p0": "100", "p1": "100", "p2": None}


def test_somebody_who_changes_a_cost_is_corrected() -> None:
    world = member()
    world.policy(IDC, ECI, selector=APP)
    pods(world, 1)
    world.change("p0", annotations={UNIT_ANNOTATION: "idc", DELETION_COST: "5"})
    world.run()
    assert world.cost("p0") == "200"


def test_an_annotation_that_got_lost_is_ordered_again_at_the_next_sweep() -> None:
    world = member()
    pods(world, 1)
    world.policy(ECS, selector=APP)
    assert len(world.decide()) == 1
    assert world.decide() == [], "once is enough for now"
    world.pass_(121)
    assert [order.annotations for decided in world.decide() for order in decided.orders] == [{DELETION_COST: "100"}]


# -- prices --------------------------------------------------------------------------------------------------


def priced(price: float) -> tuple[Pool, ...]:
    return (Pool(id="pool", instance_type="x", allocatable={}, max=5, nodes=1, price=price),)


def test_a_pod_on_a_pools_node_pays_its_dominant_share() -> None:
    world = World()
    world.ecs("ecs-1", 4, memory=16)
    world.pools = priced(2.0)
    pods(world, 1, cpu=1, memory=2)
    pods(world, 1, first=1, cpu=1, memory=8)
    assert [bind.per_hour for bind in world.orders(Bind)] == [pytest.approx(0.5), pytest.approx(1.0)]


def test_machines_that_are_simply_there_cost_nothing() -> None:
    world = member()
    world.pools = priced(2.0)
    world.policy(IDC, selector=APP)
    pods(world, 1)
    assert world.orders(Bind)[0].per_hour == 0


# -- ceilings ------------------------------------------------------------------------------------------------


def ceiling(amount: str) -> dict[str, str]:
    return {CEILING_ANNOTATION: amount}


def test_a_policys_ceiling_bounds_what_each_workload_costs_on_elastic_and_virtual_room() -> None:
    world = member(vcpu=0.1)
    world.policy(IDC, ECI, selector=APP, annotations=ceiling("0.25"))
    pods(world, 6)
    assert world.units() == {"idc": 2, "eci": 2}
    code, message = world.reason("p4")
    assert code == "CostCeiling"
    assert "it would cost 0.1 more per hour, 0.2 of at most 0.25 are spent" in message
    pods(world, 1, first=6, owner=Owner(kind="Deployment", group="apps", name="other"))
    assert world.units() == {"idc": 2, "eci": 3}, "another workload has its own"


def test_a_pod_that_goes_makes_room_below_the_ceiling() -> None:
    world = member(vcpu=0.1)
    world.policy(ECI, selector=APP, annotations=ceiling("0.1"))
    pods(world, 2)
    assert world.units() == {"eci": 1}
    world.delete("p0")
    world.pass_(1)
    world.run()
    assert list(world.bound) == ["p1"]


def test_a_ceiling_passes_over_dear_nodes_and_uses_the_next_unit() -> None:
    world = member(vcpu=0.1)
    world.pools = priced(10.0)
    world.policy(ECS, ECI, selector=APP, annotations=ceiling("1"))
    pods(world, 1)
    assert world.units() == {"eci": 1}


def test_without_a_policy_the_pods_own_annotation_bounds_it() -> None:
    world = World()
    world.ecs("ecs-1", 4)
    world.pools = priced(4.0)
    pods(world, 2, annotations=ceiling("1.5"))
    assert len(world.bound) == 1
    assert world.reason("p1")[0] == "CostCeiling"


def test_of_two_ceilings_the_lower_one_counts() -> None:
    world = member(vcpu=0.1)
    world.policy(ECI, selector=APP, annotations=ceiling("10"))
    pods(world, 2, annotations=ceiling("0.1"))
    assert len(world.bound) == 1


def test_assumed_pods_count_below_the_ceiling() -> None:
    world = member(vcpu=0.1)
    world.policy(ECI, selector=APP, annotations=ceiling("0.2"))
    for number in range(4):
        world.pod(f"p{number}", labels=APP)
    world.decide()
    assert len(world.orders(Bind)) == 2
