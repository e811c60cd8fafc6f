"""PodDisruptionBudgets and who has to go: the pods under one stay as long as others can go."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.core.inside import preemption
from shared.contracts.binding import Evict
from shared.contracts.selectors import LabelSelector
from tests.scheduler.inside.inside_world import World
from tests.scheduler.inside.test_inside_preemption import fill, gone, member, urgent

WEB, OTHER = {"app": "web"}, {"app": "other"}


def put(world: World, name: str, node: str, priority: int, labels: dict[str, str], **more: Any) -> None:
    world.pod(name, priority=priority, node=node, labels=labels, **more)
    world.tell_capacity()
    world.run()


# -- whom --------------------------------------------------------------------------------------------------------


def test_on_a_node_the_pods_under_a_budget_stay_though_they_are_less_important() -> None:
    world = member(2)
    put(world, "web-0", "n0", 1, WEB)
    put(world, "other-0", "n0", 50, OTHER)
    world.budget(0)
    assert urgent(world) == ["other-0"]


def test_a_node_where_no_budget_is_violated_wins_over_less_important_victims() -> None:
    world = member(1, 1)
    put(world, "web-0", "n0", 1, WEB)
    put(world, "other-0", "n1", 90, OTHER)
    world.budget(0)
    assert urgent(world) == ["other-0"]


def test_the_node_where_fewer_budgets_are_violated_wins() -> None:
    world = member(2, 2)
    fill(world, "n0", 1, 1, labels=WEB)
    put(world, "web-0", "n1", 50, WEB)
    put(world, "other-0", "n1", 60, OTHER)
    world.budget(0)
    assert urgent(world, cpu=2) == ["other-0", "web-0"]


def test_of_nodes_without_a_violation_the_one_with_the_least_important_victims_wins() -> None:
    """Though it is found later than one where the unimportant may not go, and the important have to."""
    world = member(2, 1)
    put(world, "web-0", "n0", 1, WEB)
    put(world, "other-0", "n0", 90, OTHER)
    put(world, "other-1", "n1", 50, OTHER)
    world.budget(0)
    assert urgent(world) == ["other-1"]


def test_a_budget_is_violated_where_nothing_else_helps() -> None:
    world = member(1)
    put(world, "web-0", "n0", 1, WEB)
    world.budget(0)
    assert urgent(world) == ["web-0"]
    (order,) = world.orders(Evict)
    assert order.message == "Preempted by pod test/urgent on node n0; that violates PodDisruptionBudget test/web"
    says = "room is being made on node n0, which violates PodDisruptionBudget test/web: no place can be had without"
    assert says in world.reason("urgent")[1]
    gone(world, "web-0")
    assert world.bound["urgent"] == "n0"


def test_as_few_as_possible_violate_one() -> None:
    world = member(3)
    fill(world, "n0", 9, 8, labels=WEB)
    put(world, "other-0", "n0", 90, OTHER)
    world.budget(0)
    assert urgent(world, cpu=2) == ["n0-1", "other-0"]


# -- how many ----------------------------------------------------------------------------------------------------


def test_a_budget_of_two_is_used_up_by_the_first_two() -> None:
    """The most important take of it first: those are the ones who may go."""
    world = member(4)
    fill(world, "n0", 9, 8, 7, labels=WEB)
    put(world, "other-0", "n0", 50, OTHER)
    world.budget(2)
    assert urgent(world, cpu=3) == ["n0-0", "n0-1", "other-0"]


def test_whoever_was_told_to_go_and_is_still_there_has_taken_of_the_budget() -> None:
    world = member(1, 1, 1)
    for number in range(2):
        put(world, f"web-{number}", f"n{number}", 1, WEB)
    put(world, "other-0", "n2", 50, OTHER)
    world.budget(1)
    world.pod("first", priority=100)
    world.pod("second", priority=100)
    world.decide()  # nothing of it is carried out as yet
    assert sorted(order.name for order in world.orders(Evict)) == ["other-0", "web-0"]


def test_once_the_member_shows_that_it_goes_the_budgets_status_has_counted_it() -> None:
    world = member(1, 1, 1)
    for number in range(2):
        put(world, f"web-{number}", f"n{number}", 1, WEB)
    put(world, "other-0", "n2", 50, OTHER)
    world.budget(2)
    assert urgent(world, "first") == ["web-0"]
    assert world.pods["web-0"].terminating
    world.tell_pod("web-0")
    world.budget(1)
    assert urgent(world, "second") == ["web-1"]


def test_a_pod_whose_eviction_is_counted_already_takes_nothing_more() -> None:
    world = member(1, 1)
    put(world, "web-0", "n0", 1, WEB)
    put(world, "other-0", "n1", 50, OTHER)
    world.budget(0, evicted=("web-0",))
    assert urgent(world) == ["web-0"]


def test_a_pod_under_two_budgets_needs_the_leave_of_both() -> None:
    world = member(1, 1)
    put(world, "web-0", "n0", 1, WEB)
    put(world, "other-0", "n1", 50, OTHER)
    world.budget(5)
    world.budget(0, "all", selector=LabelSelector(match_labels=WEB))
    assert urgent(world) == ["other-0"]


# -- what a budget selects ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("told", "victim"),
    [
        pytest.param({}, "other-0", id="its selector"),
        pytest.param({"selector": LabelSelector()}, "elsewhere", id="an empty one, every pod of its namespace"),
        pytest.param({"selector": None}, "web-0", id="an absent one, none"),
        pytest.param({"namespace": "elsewhere"}, "web-0", id="no pod of another namespace"),
        pytest.param({"allowed": 1}, "web-0", id="it allows one"),
    ],
)
def test_which_pods_a_budget_keeps(told: dict[str, Any], victim: str) -> None:
    world = member(1, 1, 1)
    put(world, "web-0", "n0", 1, WEB)
    put(world, "other-0", "n1", 50, OTHER)
    put(world, "elsewhere", "n2", 60, WEB, namespace="elsewhere")
    world.budget(**{"allowed": 0, **told})
    assert urgent(world) == [victim]


def test_a_budget_that_is_no_more_keeps_nobody() -> None:
    world = member(1, 1)
    put(world, "web-0", "n0", 1, WEB)
    put(world, "other-0", "n1", 50, OTHER)
    world.budget(0)
    world.drop_budget()
    assert urgent(world) == ["web-0"]


def test_a_snapshot_tells_of_all_budgets_there_are() -> None:
    world = member(1, 1)
    put(world, "web-0", "n0", 1, WEB)
    put(world, "other-0", "n1", 50, OTHER)
    world.budget(0)
    world.budgets.clear()
    world.tell_capacity()
    assert urgent(world) == ["web-0"]


# -- units -------------------------------------------------------------------------------------------------------


def two_units(**policy: Any) -> World:
    world = member(1)
    world.ecs("e0", 1)
    world.policy({"resource": "idc"}, {"resource": "ecs"}, selector={"now": "yes"}, **policy)
    put(world, "web-0", "n0", 1, WEB)
    world.budget(0)
    return world


def test_a_unit_where_no_budget_is_violated_comes_before_the_first() -> None:
    world = two_units()
    put(world, "other-0", "e0", 50, OTHER)
    assert urgent(world, labels={"now": "yes"}) == ["other-0"]


def test_before_the_next_unit_nobody_goes_whose_going_violates_a_budget() -> None:
    world = two_units(preemptPolicy="BeforeNextUnit")
    assert urgent(world, labels={"now": "yes"}) == []
    assert world.bound["urgent"] == "e0"


def test_a_unit_violates_one_where_no_other_has_a_place() -> None:
    world = two_units(preemptPolicy="BeforeNextUnit")
    put(world, "king", "e0", 1000, OTHER)
    assert urgent(world, labels={"now": "yes"}) == ["web-0"]


# -- many nodes --------------------------------------------------------------------------------------------------


def test_a_node_without_a_violation_is_looked_for_beyond_the_first_hundred() -> None:
    count = preemption.LOOKED_AT + 20
    world = member(*[1] * count)
    for number in range(count):
        labels = OTHER if f"n{number}" == max(world.nodes) else WEB  # which comes last
        world.pod(f"p{number}", node=f"n{number}", priority=1, labels=labels)
    world.tell_capacity()
    world.budget(0)
    (victim,) = urgent(world)
    assert world.pods[victim].labels == OTHER


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of nodes where a budget is violated only the first is looked at, as of thousands only some are."""
    monkeypatch.setattr(preemption, "LOOKED_AT", 1)


@pytest.mark.usefixtures("hasty")
def test_what_is_known_of_nodes_that_need_no_look_follows_the_pods() -> None:
    world = member(1, 1)
    put(world, "web-0", "n0", 5, WEB)
    put(world, "web-1", "n1", 1, WEB)
    world.budget(0)
    assert urgent(world, "first") == ["web-1"]
    gone(world, "web-1")
    world.delete("first")
    put(world, "other-1", "n1", 5, OTHER)
    assert urgent(world, "second") == ["other-1"]


@pytest.mark.usefixtures("hasty")
def test_what_is_known_of_nodes_that_need_no_look_follows_the_budgets() -> None:
    world = member(1, 1, 1)
    for number, labels in enumerate((WEB, WEB, OTHER)):
        put(world, f"p{number}", f"n{number}", 5, labels)
    world.budget(0)
    world.budget(0, "other")
    world.pod("first", priority=100)
    world.decide()
    assert [order.name for order in world.orders(Evict)] == ["p0"]
    world.budget(1, "other")
    world.pod("second", priority=100)
    world.decide()
    assert [order.name for order in world.orders(Evict)] == ["p0", "p2"]
    world.budget(1)  # and one is on its way
    world.pod("third", priority=100)
    world.decide()
    assert world.orders(Evict)[-1].message.endswith("that violates PodDisruptionBudget test/web")


# -- the rule ----------------------------------------------------------------------------------------------------

PODS = st.lists(
    st.tuples(st.sampled_from([WEB, OTHER]), st.sampled_from([1, 5, 9, 200]), st.sampled_from([0.5, 1])), max_size=4
)
ALLOWED = st.fixed_dictionaries({"web": st.integers(0, 2), "other": st.integers(0, 2)})


@settings(max_examples=150)
@given(
    nodes=st.lists(PODS, min_size=1, max_size=4),
    urgents=st.lists(st.tuples(st.sampled_from([1, 2]), ALLOWED), min_size=1, max_size=3),
    looked_at=st.sampled_from([1, preemption.LOOKED_AT]),
)
def test_a_budget_is_violated_only_where_every_place_violates_one(
    nodes: list[list[tuple[dict[str, str], int, float]]], urgents: list[tuple[int, dict[str, int]]], looked_at: int
) -> None:
    world = member(*[2.0] * len(nodes))
    for row, pods in enumerate(nodes):
        for place, (labels, priority, takes) in enumerate(pods):
            if takes * 1000 <= world.free(f"n{row}")["cpu"]:
                world.pod(f"p{row}-{place}", cpu=takes, priority=priority, node=f"n{row}", labels=labels)
    world.tell_capacity()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preemption, "LOOKED_AT", looked_at)
        for number, (cpu, allowed) in enumerate(urgents):
            for name, count in allowed.items():
                world.budget(count, name)
            may = {node: may_go(world, node, allowed) for node in world.nodes}
            places = [node for node, pods in may.items() if world.free(node)["cpu"] / 1000 + sum(pods.values()) >= cpu]
            victims = urgent(world, f"urgent-{number}", cpu=cpu)
            if places and victims:
                assert any(set(victims) <= may[node].keys() for node in places)
            gone(world, *victims)


def may_go(world: World, node: str, allowed: dict[str, int]) -> dict[str, float]:
    """Less important pods of a node with the cores they hold: as many of each budget as it allows, the most important
    first."""
    here = [pod for pod in world.pods.values() if pod.node == node and pod.priority < 100]
    here.sort(key=lambda pod: (-pod.priority, pod.created_at, pod.uid))
    mine = {name: [pod for pod in here if pod.labels["app"] == name][:count] for name, count in allowed.items()}
    return {pod.name: pod.requests["cpu"] / 1000 for pods in mine.values() for pod in pods}
