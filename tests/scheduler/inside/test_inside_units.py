"""ResourcePolicy: units are filled from the first to the last, each up to its bounds."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.binding import Bind, Note
from tests.scheduler.inside.inside_world import NAMESPACE, World

APP = {"app": "nginx"}
IDC, ECS, ECI = {"resource": "idc"}, {"resource": "ecs"}, {"resource": "eci"}


def member(*, idc: float = 4, ecs: float = 4) -> World:
    """One node of each unit; 0 cores for none."""
    world = World()
    if idc:
        world.node("idc-1", idc)
    if ecs:
        world.ecs("ecs-1", ecs)
    world.virtual()
    return world


def pods(world: World, count: int, *, first: int = 0, **more: Any) -> dict[str, int]:
    """So many more pods of one core each; how many run in each unit then."""
    for number in range(first, first + count):
        world.pod(f"p{number}", **{"labels": APP, **more})
    world.run()
    return world.units()


# -- order ---------------------------------------------------------------------------------------------------


def test_units_are_filled_from_the_first_to_the_last() -> None:
    world = member(idc=2, ecs=3)
    world.policy(IDC, ECS, ECI, selector=APP)
    assert pods(world, 2) == {"idc": 2}
    assert pods(world, 3, first=2) == {"idc": 2, "ecs": 3}
    assert pods(world, 2, first=5) == {"idc": 2, "ecs": 3, "eci": 2}


def test_the_order_is_the_policys_not_the_price() -> None:
    world = member()
    world.policy(ECI, IDC, selector=APP)
    assert pods(world, 2) == {"eci": 2}


def test_what_is_not_named_is_not_used() -> None:
    world = member(idc=1)
    world.policy(IDC, selector=APP)
    assert pods(world, 2) == {"idc": 1}
    assert world.reason("p1")[1].startswith("unit 1 (idc): 1 idc node: lacking cpu")


def test_without_a_policy_all_nodes_but_virtual_ones_are_used() -> None:
    world = member(idc=1, ecs=1)
    assert pods(world, 3) == {"idc": 1, "ecs": 1}


def test_without_a_policy_a_pod_that_tolerates_virtual_nodes_uses_them_last() -> None:
    world = member(idc=1, ecs=0)
    spec = {"tolerations": [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}]}
    assert pods(world, 2, spec=spec) == {"idc": 1, "eci": 1}


def test_a_policy_holds_for_the_pods_that_it_selects() -> None:
    world = member()
    world.policy(ECI, selector=APP)
    world.pod("other", labels={"app": "other"})
    world.pod("elsewhere", labels=APP, namespace="elsewhere")
    pods(world, 1)
    assert world.bound["p0"] == "virtual-kubelet-a"
    assert {world.bound["other"], world.bound["elsewhere"]} == {"idc-1", "ecs-1"}


def test_an_empty_selector_selects_the_namespace() -> None:
    world = member()
    world.policy(ECI)
    assert pods(world, 1, labels={}) == {"eci": 1}


def test_ecs_units_are_told_apart_by_node_selector_and_other_units_ignore_it() -> None:
    world = World()
    world.ecs("old-1", 1, labels={"gen": "6"})
    world.ecs("new-1", 1, labels={"gen": "8"})
    world.node("idc-1", 1)
    world.policy(
        {**ECS, "nodeSelector": {"gen": "8"}},
        {**ECS, "nodeSelector": {"gen": "6"}},
        {**IDC, "nodeSelector": {"no": "node has it"}},
        selector=APP,
    )
    pods(world, 3)
    assert world.bound == {"p0": "new-1", "p1": "old-1", "p2": "idc-1"}


def test_a_pods_own_demands_hold_inside_every_unit() -> None:
    world = member()
    world.policy(IDC, ECI, selector=APP)
    assert pods(world, 1, spec={"nodeSelector": {"disk": "ssd"}}) == {}
    message = world.reason("p0")[1]
    assert "unit 1 (idc): 1 idc node: not matching nodeSelector disk=ssd" in message
    assert "unit 2 (eci): 1 virtual node: not matching nodeSelector disk=ssd" in message


# -- bounds --------------------------------------------------------------------------------------------------


def test_max_sends_pods_on_though_there_is_room() -> None:
    world = member()
    world.policy({**IDC, "max": 3}, ECI, selector=APP)
    assert pods(world, 5) == {"idc": 3, "eci": 2}


def test_max_zero_uses_the_unit_not_at_all() -> None:
    world = member()
    world.policy({**IDC, "max": 0}, ECI, selector=APP)
    assert pods(world, 1) == {"eci": 1}


def test_all_units_full_is_told_and_ends_when_a_pod_goes() -> None:
    world = member()
    world.policy({**IDC, "max": 1}, {**ECI, "max": 1}, selector=APP)
    assert pods(world, 3) == {"idc": 1, "eci": 1}
    assert world.reason("p2") == (
        "UnitFull",
        "unit 1 (idc): full, 1 of at most 1 pods; unit 2 (eci): full, 1 of at most 1 pods",
    )
    world.delete("p0")
    world.pass_(1)
    world.run()
    assert world.bound["p2"] == "idc-1"


def test_max_counts_assumed_pods() -> None:
    world = member()
    world.policy({**IDC, "max": 2}, ECI, selector=APP)
    for number in range(4):
        world.pod(f"p{number}", labels=APP)
    units = [bind.unit for decided in world.decide() for bind in decided.orders if isinstance(bind, Bind)]
    assert units == ["idc", "idc", "eci", "eci"], "no message about any of them came in between"


def test_max_resources() -> None:
    world = member(idc=8)
    world.policy({**IDC, "maxResources": {"cpu": "3"}}, ECI, selector=APP)
    assert pods(world, 1, cpu=2) == {"idc": 1}
    assert pods(world, 1, first=1, cpu=1.5) == {"idc": 1, "eci": 1}
    assert pods(world, 1, first=2, cpu=1) == {"idc": 2, "eci": 1}


def test_a_pod_that_other_schedulers_placed_counts_too() -> None:
    world = member()
    world.policy({**IDC, "max": 1}, ECI, selector=APP)
    world.pod("theirs", labels=APP, scheduler="default-scheduler", node="idc-1")
    assert pods(world, 1) == {"eci": 1}


@pytest.mark.parametrize(("ignore", "unit"), [(True, "idc"), (False, "eci")])
def test_terminating_pods(*, ignore: bool, unit: str) -> None:
    world = member()
    world.policy({**IDC, "max": 1}, ECI, selector=APP, ignoreTerminatingPod=ignore)
    pods(world, 1)
    world.change("p0", terminating=True)
    pods(world, 1, first=1)
    assert world.orders(Bind)[-1].unit == unit


@pytest.mark.parametrize(("ignore", "unit"), [(True, "idc"), (False, "eci")])
def test_pods_from_before_the_policy(*, ignore: bool, unit: str) -> None:
    world = member(ecs=0)
    pods(world, 1)
    world.pass_(60)
    world.policy({**IDC, "max": 1}, ECI, selector=APP, ignorePreviousPod=ignore)
    pods(world, 1, first=1)
    assert world.orders(Bind)[-1].unit == unit
    world.policy({**IDC, "max": 1}, ECI, selector=APP, ignorePreviousPod=ignore, created_at=world.now - 10)
    pods(world, 1, first=2)
    assert world.orders(Bind)[-1].unit == "eci", "one that came later counts"


def test_match_label_keys_bound_each_group_by_itself() -> None:
    world = member(idc=8)
    world.policy({**IDC, "max": 1}, ECI, selector=APP, matchLabelKeys=["pod-template-hash"])
    pods(world, 2, labels={**APP, "pod-template-hash": "1"})
    assert pods(world, 2, first=2, labels={**APP, "pod-template-hash": "2"}) == {"idc": 2, "eci": 2}


def test_a_pod_without_the_label_that_is_counted_by_is_rejected() -> None:
    world = member()
    world.policy(IDC, selector=APP, matchLabelKeys=["pod-template-hash"])
    assert pods(world, 1) == {}
    code, message = world.reason("p0")
    assert code == "LabelMissing"
    assert "pod-template-hash" in message
    world.change("p0", labels={**APP, "pod-template-hash": "1"})
    assert world.run()
    assert world.bound


# -- marks ---------------------------------------------------------------------------------------------------


def test_a_units_marks_are_written_with_the_node_and_only_pods_that_carry_them_count() -> None:
    world = member()
    marked = {**IDC, "max": 1, "podLabels": {"tier": "own"}, "podAnnotations": {"note": "x"}}
    world.pod("plain", labels=APP, scheduler="default-scheduler", node="idc-1")
    world.policy(marked, ECI, selector=APP)
    assert pods(world, 2) == {"idc": 1, "eci": 1}
    bind = world.orders(Bind)[0]
    assert bind.labels == {"tier": "own"}
    assert bind.annotations["note"] == "x"
    assert bind.annotations["brim.dev/unit"] == "idc"


def test_the_wish_to_wait_for_nodes_is_no_mark() -> None:
    world = member()
    world.policy({**IDC, "podLabels": {"k8s.aliyun.com/resource-policy-wait-for-ecs-scaling": "true"}}, selector=APP)
    pods(world, 1)
    assert world.orders(Bind)[0].labels == {}


# -- when the next unit may be used --------------------------------------------------------------------------


def test_lacking_room_or_full_goes_on_by_default() -> None:
    world = member(idc=1, ecs=0)
    world.policy({**IDC, "max": 5}, ECI, selector=APP)
    assert pods(world, 2) == {"idc": 1, "eci": 1}


def test_exceed_max_waits_for_room_in_a_bounded_unit_that_is_not_full() -> None:
    world = member(idc=1, ecs=0)
    world.policy({**IDC, "max": 2}, ECI, selector=APP, whenTryNextUnits={"policy": "ExceedMax"})
    assert pods(world, 2) == {"idc": 1}
    code, message = world.reason("p1")
    assert code == "WaitingForUnit"
    assert message.endswith("it waits for unit 1 (idc) as the policy's whenTryNextUnits says")
    world.node("idc-2", 1)
    world.tell_capacity()
    world.pass_(10)
    assert pods(world, 1, first=2) == {"idc": 2, "eci": 1}, "the first came late, the next one found the unit full"


def test_exceed_max_goes_on_where_the_unit_has_no_bounds() -> None:
    world = member(idc=1, ecs=0)
    world.policy(IDC, ECI, selector=APP, whenTryNextUnits={"policy": "ExceedMax"})
    assert pods(world, 2) == {"idc": 1, "eci": 1}


def test_no_terminating_waits_for_those_that_are_on_their_way_out() -> None:
    world = member(idc=1, ecs=0)
    world.policy(IDC, ECI, selector=APP, whenTryNextUnits={"policy": "LackResourceAndNoTerminating"})
    pods(world, 1)
    world.change("p0", terminating=True)
    assert pods(world, 1, first=1) == {"idc": 1}
    assert world.reason("p1")[0] == "WaitingForUnit"
    world.delete("p0")
    world.pass_(1)
    world.run()
    assert world.bound == {"p1": "idc-1"}
    assert pods(world, 1, first=2) == {"idc": 1, "eci": 1}, "nobody terminates: it goes on at once"


def test_timeout_waits_so_long_and_then_goes_on() -> None:
    world = member(idc=1, ecs=0)
    world.policy(IDC, ECI, selector=APP, whenTryNextUnits={"policy": "TimeoutOrExceedMax", "timeout": "2m"})
    assert pods(world, 2) == {"idc": 1}
    due = world.state.next_due()
    assert due is not None
    world.pass_(119)
    assert world.run() == [] or world.units() == {"idc": 1}
    world.pass_(1)
    world.run()
    assert world.units() == {"idc": 1, "eci": 1}


def test_timeout_does_not_wait_where_the_unit_is_full() -> None:
    world = member()
    world.policy({**IDC, "max": 1}, ECI, selector=APP, whenTryNextUnits={"policy": "TimeoutOrExceedMax"})
    assert pods(world, 2) == {"idc": 1, "eci": 1}


def test_timeout_counts_for_each_unit_in_turn_from_the_pods_creation() -> None:
    world = member(idc=0, ecs=0)
    waiting = {"policy": "TimeoutOrExceedMax", "timeout": "60s"}
    world.policy(IDC, ECS, ECI, selector=APP, whenTryNextUnits=waiting)
    pods(world, 1)
    world.pass_(61)
    world.ecs("ecs-1", 1)
    world.tell_capacity()
    world.run()
    assert world.units() == {"ecs": 1}, "the first unit's time is over"
    pods(world, 1, first=1, created_at=world.now - 121)
    assert world.units() == {"ecs": 1, "eci": 1}, "so old that both are over"


# -- which policy, and whose pods ----------------------------------------------------------------------------


def test_of_two_policies_that_select_a_pod_the_more_precise_one_wins_and_it_is_told_once() -> None:
    world = member()
    world.policy(IDC, name="broad")
    world.policy(ECI, name="narrow", selector=APP)
    assert pods(world, 1) == {"eci": 1}
    world.change("p0", ready=True)
    world.run()
    notes = world.orders(Note)
    assert [(note.reason, note.name) for note in notes] == [("SeveralPolicies", "p0")]
    assert notes[0].message.startswith(f"ResourcePolicy {NAMESPACE}/narrow holds for it")


def test_equally_precise_policies_go_by_name() -> None:
    world = member()
    world.policy(ECI, name="b", selector=APP)
    world.policy(IDC, name="a", selector=APP)
    assert pods(world, 1) == {"idc": 1}


def test_a_pod_of_another_scheduler_is_left_alone_and_told_so_once() -> None:
    world = member()
    world.policy(IDC, selector=APP)
    world.pod("theirs", labels=APP, scheduler="default-scheduler")
    world.run()
    world.change("theirs", node="idc-1")
    world.run()
    assert world.orders(Bind) == []
    assert [(note.reason, note.name) for note in world.orders(Note)] == [("OtherScheduler", "theirs")]


def test_a_pod_of_another_scheduler_that_no_policy_selects_is_no_business_of_ours() -> None:
    world = member()
    world.policy(IDC, selector=APP)
    world.pod("theirs", scheduler="default-scheduler")
    world.run()
    assert world.decided == []


def test_old_pods_of_other_schedulers_are_not_told_when_a_policy_comes() -> None:
    world = member()
    world.pod("theirs", labels=APP, scheduler="default-scheduler", node="idc-1")
    world.pass_(3600)
    world.policy(IDC, selector=APP)
    world.run()
    assert world.orders(Note) == []


def test_a_policy_that_changes_is_tried_at_once() -> None:
    world = member(idc=0, ecs=0)
    world.policy(IDC, selector=APP)
    assert pods(world, 1) == {}
    world.policy(IDC, ECI, selector=APP)
    world.run()
    assert world.units() == {"eci": 1}


def test_a_policy_that_is_deleted_holds_no_more() -> None:
    world = member(idc=1, ecs=0)
    world.policy({**IDC, "max": 0}, selector=APP)
    assert pods(world, 1) == {}
    world.state.on_policy_gone(NAMESPACE, "policy")
    world.run()
    assert world.units() == {"idc": 1}
