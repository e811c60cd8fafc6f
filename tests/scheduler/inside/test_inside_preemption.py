"""A pod of higher priority gets the place of others: who has to go, and when nobody does."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.binding import Evict, Pend
from tests.scheduler.inside.inside_world import World

HOST = "kubernetes.io/hostname"
APP = {"app": "nginx"}


def member(*cpus: float) -> World:
    world = World()
    for number, cpu in enumerate(cpus):
        world.node(f"n{number}", cpu)
    return world


def fill(world: World, node: str, *priorities: int, cpu: float = 1, **more: Any) -> None:
    """Pods that run there, named by node and place."""
    for number, priority in enumerate(priorities):
        name = f"{node}-{number}"
        world.pod(name, cpu=cpu, priority=priority, node=node, **more)
    world.tell_capacity()
    world.run()


def urgent(world: World, name: str = "urgent", **more: Any) -> list[str]:
    """Who is told to go for this one."""
    before = len(world.orders(Evict))
    world.pod(name, **{"priority": 100, **more})
    world.run()
    return sorted(order.name for order in world.orders(Evict)[before:])


def gone(world: World, *names: str) -> None:
    for name in names:
        world.delete(name)
    world.pass_(1)
    world.run()


def test_the_least_important_goes_and_the_pod_takes_its_place() -> None:
    world = member(2)
    fill(world, "n0", 5, 3)
    assert urgent(world) == ["n0-1"]
    evict = world.orders(Evict)[0]
    assert (evict.reason, evict.message) == ("Preempted", "Preempted by pod test/urgent on node n0")
    pend = world.orders(Pend)[-1]
    assert (pend.name, pend.nominated) == ("urgent", "n0")
    assert pend.message.endswith("room is being made on node n0")
    assert world.bound.get("urgent") is None, "the victim is still there"
    gone(world, "n0-1")
    assert world.bound["urgent"] == "n0"


@pytest.mark.parametrize(
    ("there", "pod"),
    [
        ((100, 100), {}),
        ((200, 150), {}),
        ((5, 3), {"preemption": "Never"}),
        ((5, 3), {"cpu": 4}),
        ((5, 3), {"spec": {"nodeSelector": {"disk": "ssd"}}}),
    ],
    ids=["equally important", "more important", "it never preempts", "it would not help", "the node does not match"],
)
def test_nobody_has_to_go(there: tuple[int, ...], pod: dict[str, Any]) -> None:
    world = member(2)
    fill(world, "n0", *there)
    assert urgent(world, **pod) == []
    assert world.bound.get("urgent") is None
    assert world.orders(Pend)[-1].nominated == ""


def test_no_more_go_than_have_to_and_the_important_ones_stay() -> None:
    world = member(4)
    fill(world, "n0", 1, 9, 5, 2)
    assert urgent(world, cpu=2) == ["n0-0", "n0-3"]


def test_the_node_with_the_least_important_victims_wins() -> None:
    world = member(1, 1, 1)
    fill(world, "n0", 50)
    fill(world, "n1", 10)
    fill(world, "n2", 30)
    assert urgent(world) == ["n1-0"]


def test_of_equally_important_victims_fewer_are_better() -> None:
    world = member(2, 2)
    fill(world, "n0", 10, 10)
    fill(world, "n1", 10, cpu=2)
    assert urgent(world, cpu=2) == ["n1-0"]


def test_room_that_comes_anyway_costs_nobody_his_place() -> None:
    world = member(1, 1)
    fill(world, "n0", 1)
    fill(world, "n1", 50)
    world.change("n1-0", terminating=True)
    assert urgent(world) == []
    assert world.orders(Pend)[-1].nominated == "n1"
    gone(world, "n1-0")
    assert world.bound["urgent"] == "n1"


def test_while_the_victim_goes_nobody_else_has_to() -> None:
    world = member(1, 1)
    fill(world, "n0", 1)
    fill(world, "n1", 2)
    assert urgent(world) == ["n0-0"]
    for _ in range(5):
        world.pass_(11)
        world.node("tiny", 0.1)
        world.tell_capacity()
        assert not [order for decided in world.decide() for order in decided.orders if isinstance(order, Evict)]


@pytest.mark.parametrize("leaves_anyway", [False, True])
def test_nobody_else_has_to_go_before_the_room_shows_of_one_who_is_gone(leaves_anyway: bool) -> None:
    """Pods and capacity are told one by one, and in any order."""
    world = member(2)
    fill(world, "n0", 5, 3)
    if leaves_anyway:
        world.change("n0-1", terminating=True)
    urgent(world)
    leave_untold(world, "n0-1")
    assert evicted(world) == []
    assert world.reason("urgent")[1].endswith("room is being made on node n0")
    world.state.on_capacity(world.delta("n0"))
    world.pass_(2)
    world.run()
    assert world.bound["urgent"] == "n0"


def test_others_have_to_go_where_the_room_went_to_somebody_else() -> None:
    world = member(2)
    fill(world, "n0", 5, 3)
    urgent(world)
    leave_untold(world, "n0-1")
    world.pod("foreign", node="n0", priority=500, scheduler="default-scheduler")
    assert evicted(world) == []
    world.tell_capacity()
    world.pass_(12)
    world.state.on_capacity(world.heartbeat())
    assert evicted(world) == ["n0-0"]


def leave_untold(world: World, name: str) -> None:
    """It is gone, and its room is not told of."""
    pod = world.pods.pop(name)
    world.pass_(2)
    world.state.on_pod_gone(pod.member, pod.namespace, name)


def evicted(world: World) -> list[str]:
    return [order.name for decided in world.decide() for order in decided.orders if isinstance(order, Evict)]


def test_a_victim_that_does_not_go_is_told_again() -> None:
    world = member(1)
    fill(world, "n0", 1)
    world.pod("urgent", priority=100)
    world.decide()  # and nobody carries it out
    world.pass_(130)
    evicted = [order.name for decided in world.decide() for order in decided.orders if isinstance(order, Evict)]
    world.pass_(20)
    evicted += [order.name for decided in world.decide() for order in decided.orders if isinstance(order, Evict)]
    assert evicted == ["n0-0"]


def test_the_room_is_kept_for_the_one_for_whom_it_is_made() -> None:
    world = member(1)
    fill(world, "n0", 1)
    urgent(world)
    world.pod("late", priority=50)
    world.delete("n0-0")
    world.pass_(0.5)
    world.run()
    assert world.bound == {}, "not for the less important one that came meanwhile"
    assert "set aside for pods of higher priority" in world.reason("late")[1]
    world.pass_(1)
    world.run()
    assert list(world.bound) == ["urgent"]


def test_a_still_more_important_pod_may_take_it() -> None:
    world = member(1)
    fill(world, "n0", 1)
    urgent(world)
    world.delete("n0-0")
    world.pod("king", priority=1000)
    world.run()
    assert list(world.bound) == ["king"]


def test_several_make_room_side_by_side() -> None:
    world = member(1, 1, 1)
    for number in range(3):
        fill(world, f"n{number}", 1)
    for number in range(3):
        world.pod(f"urgent{number}", priority=100)
    world.run()
    assert sorted(order.name for order in world.orders(Evict)) == ["n0-0", "n1-0", "n2-0"]
    gone(world, "n0-0", "n1-0", "n2-0")
    assert sorted(world.bound) == ["urgent0", "urgent1", "urgent2"]


# -- beside amounts ------------------------------------------------------------------------------------------


def test_a_host_port_is_freed() -> None:
    world = member(8)
    port = {"ports": [{"hostPort": 80, "protocol": "TCP"}]}
    world.pod("other", priority=1, node="n0")
    fill(world, "n0", 1, spec=port)
    assert urgent(world, spec=port) == ["n0-0"]


def test_anti_affinity_is_resolved() -> None:
    world = member(8, 8)
    away = {"labelSelector": {"matchLabels": APP}, "topologyKey": HOST}
    spec = {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [away]}}}
    fill(world, "n0", 1, labels=APP)
    fill(world, "n1", 1, 1, labels=APP)
    assert urgent(world, spec=spec) == ["n0-0"]


@pytest.mark.parametrize(("priority", "victims"), [(200, ["n0-0"]), (1, [])])
def test_who_is_needed_near_must_not_be_one_that_might_go(priority: int, victims: list[str]) -> None:
    """As kube-scheduler has it: affinity to less important pods is no way to a node."""
    world = member(2)
    near = {"labelSelector": {"matchLabels": APP}, "topologyKey": HOST}
    spec = {"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [near]}}}
    world.pod("friend", priority=priority, node="n0", labels=APP)
    fill(world, "n0", 1)
    assert urgent(world, spec=spec) == victims


# -- units ---------------------------------------------------------------------------------------------------


def burst(early: bool) -> World:
    world = member(1)
    world.virtual()
    policy = {"preemptPolicy": "BeforeNextUnit"} if early else {}
    world.policy({"resource": "idc"}, {"resource": "eci"}, selector=APP, **policy)
    fill(world, "n0", 1)
    return world


def test_after_all_units_the_next_unit_comes_before_preemption() -> None:
    world = burst(early=False)
    assert urgent(world, labels=APP) == []
    assert world.bound["urgent"] == "virtual-kubelet-a"


def test_before_next_unit_preemption_comes_first() -> None:
    world = burst(early=True)
    assert urgent(world, labels=APP) == ["n0-0"]
    gone(world, "n0-0")
    assert world.bound["urgent"] == "n0"


def test_in_a_unit_that_is_full_one_of_its_own_pods_has_to_go() -> None:
    world = member(4)
    world.policy({"resource": "idc", "max": 1}, selector=APP)
    fill(world, "n0", 1)
    world.pod("mine", priority=2, labels=APP)
    world.run()
    assert urgent(world, labels=APP) == ["mine"]
    gone(world, "mine")
    assert world.bound["urgent"] == "n0"


def test_an_instance_is_nobody_elses_room() -> None:
    world = World()
    world.virtual(cpu=2, memory=4)
    eci = {"alibabacloud.com/eci": "true"}
    world.pod("there", cpu=2, memory=4, labels=eci)
    world.run()
    assert urgent(world, cpu=2, memory=4, labels=eci) == []
