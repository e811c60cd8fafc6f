"""Both levels together: a member's room counts the units that brim may bind a workload's pods to."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.scheduler.core import units
from services.scheduler.core.constraints import Expression, Term
from services.scheduler.core.inside.values import PolicyUnit, ResourcePolicy
from services.scheduler.core.spending import instance_price, pool_price
from services.scheduler.core.values import Room, Shape, Workload
from shared import eci
from shared.contracts.capacity import NodeClass, Surroundings, Taint, VirtualStock
from tests.scheduler.core_world import ONE_CPU, World, deployment, node, policy, pool

GIB = 1024**3
TWO_CPUS = Shape.of({"cpu": 2000})
CLASSES = {
    0: NodeClass(),
    1: NodeClass(labels={"alibabacloud.com/nodepool-id": "a", "team": "x"}),
    2: NodeClass(
        labels={"type": "virtual-kubelet"},
        taints=(Taint(key="virtual-kubelet.io/provider", value="alibabacloud", effect="NoSchedule"),),
    ),
}
PRICES = Surroundings(virtual=(VirtualStock(node="vk", vcpu=0.1, gib=0.01, types={"ecs.c6.xlarge": 0.5}),))


def virtual(name: str, cpu: int) -> Any:
    return node(name, cpu, phase="virtual", klass=2, memory=cpu * 4 * GIB)


def unit(resource: Any, **fields: Any) -> PolicyUnit:
    return PolicyUnit(resource, **fields)


def asking(name: str, replicas: int, *given: PolicyUnit, shape: Shape = ONE_CPU, **annotations: str) -> Workload:
    """A workload that follows a ResourcePolicy of these units."""
    found = units.of_policy(shape, annotations, ResourcePolicy("test", "rp", given))
    return units.with_units(deployment(name, replicas, shape=shape), found)


def world(*nodes: Any, **options: Any) -> World:
    made = World()
    made.want(policy("idc", ecs_provision=True, **options))
    made.member("idc", *nodes, classes=CLASSES)
    made.delta("idc", surroundings=PRICES)
    return made


@dataclass(frozen=True)
class Case:
    """free, elastic and virtual replicas of the one share, and what stays pending."""

    name: str
    units: tuple[PolicyUnit, ...]
    expected: tuple[int, int, int]
    pending: int = 0


CASES = [
    Case("idc alone", (unit("idc"),), (2, 0, 0), 8),
    Case("idc, then eci", (unit("idc"), unit("eci")), (2, 0, 8)),
    Case("all three", (unit("idc"), unit("ecs"), unit("eci")), (5, 0, 5)),
    Case("max on idc", (unit("idc", max=1), unit("eci")), (1, 0, 9)),
    Case("max on eci", (unit("idc"), unit("eci", max=4)), (2, 0, 4), 4),
    Case("max on each", (unit("idc", max=1), unit("ecs", max=2), unit("eci", max=3)), (3, 0, 3), 4),
    Case("ecs by label", (unit("ecs", node_selector=(("team", "x"),)),), (3, 0, 0), 7),
    Case("ecs of another label", (unit("ecs", node_selector=(("team", "y"),)),), (0, 0, 0), 10),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_room_counts_the_units_of_the_policy(case: Case) -> None:
    w = world(node("own", 2), node("cloud", 3, klass=1), virtual("vk", 20))
    workload = asking("web", 10, *case.units)
    w.want(workload)
    w.run()
    placement = w.placement(workload)
    shares = [share for share in placement.shares if share.present]
    given = tuple(sum(getattr(share, kind) for share in shares) for kind in ("free", "elastic", "virtual"))
    assert (given, placement.pending) == (case.expected, case.pending)


def test_max_counts_what_is_there_already() -> None:
    w = world(node("own", 9), virtual("vk", 20))
    workload = asking("web", 2, unit("idc", max=3), unit("eci"))
    w.want(workload)
    w.run()
    grown = asking("web", 5, unit("idc", max=3), unit("eci"))
    w.want(grown)
    w.run()
    (share,) = w.placement(grown).shares
    assert (share.free, share.virtual) == (3, 2)


def test_what_runs_on_machines_takes_nothing_of_the_next_units_maximum() -> None:
    units_of_it = (unit("idc"), unit("ecs", max=1), unit("eci"))
    w = World()
    w.want(policy("idc", ecs_provision=True))
    w.member(
        "idc", node("own", 1), virtual("vk", 20), pools=[pool("a", 1, 5, labels=CLASSES[1].labels)], classes=CLASSES
    )
    w.delta("idc", surroundings=PRICES)
    for replicas in (1, 3):
        workload = asking("web", replicas, *units_of_it)
        w.want(workload)
        w.run()
    (share,) = w.placement(workload).shares
    assert (share.free, share.elastic, share.virtual) == (1, 1, 1)


def test_units_that_hold_their_maximum_are_named() -> None:
    w = world(node("own", 3), virtual("vk", 20))
    for replicas in (4, 6):  # who was given something just now is not explained
        workload = asking("web", replicas, unit("idc", max=3), unit("eci", max=1))
        w.want(workload)
        w.run()
    assert w.reasons(workload, "idc") == [("UnitFull", "idc holds 3 of at most 3; eci holds 1 of at most 1")]
    for replicas in (40, 41):
        w.want(asking("web", replicas, unit("idc", max=3), unit("eci")))
        w.run()
    ((code, message),) = w.reasons(workload, "idc")
    assert code == "InsufficientResources"
    assert message == "idc holds 3 of at most 3; eci: 1 node: lacking cpu (needs 1, none free)"


def test_why_there_is_no_room_is_said_unit_by_unit_and_in_the_users_own_terms() -> None:
    w = World()
    w.want(policy("idc", ecs_provision=True))
    empty = pool("a", 1, 0, labels=CLASSES[1].labels)
    w.member("idc", node("own", 0), virtual("vk", 0), pools=[empty], classes=CLASSES)
    w.delta("idc", surroundings=PRICES)
    web = asking("web", 1, unit("idc"), unit("ecs"), unit("eci"))
    w.want(web)
    w.run()
    ((code, message),) = w.reasons(web, "idc")
    assert code == "InsufficientResources"
    assert message == (
        "idc: 1 node: lacking cpu (needs 1, none free); ecs: there are none; pool a is at its maximum of 0 nodes; "
        "eci: 1 node: lacking cpu (needs 1, none free)"
    )
    pinned = Shape.of({"cpu": 1000}, {}, (Term((Expression("zone", "In", ("a",)),)),))
    w.want(asking("pinned", 1, unit("idc"), shape=pinned))
    w.run()
    ((_, message),) = w.reasons(deployment("pinned", 1), "idc")
    assert message == "idc: 1 node: not matching the required node affinity"


def test_without_a_policy_virtual_nodes_are_no_room() -> None:
    w = world(node("own", 2), virtual("vk", 20))
    workload = deployment("web", 5)
    w.want(workload)
    w.run()
    assert (w.placed(workload), w.placement(workload).pending) == ({"idc": 2}, 3)


def test_pods_that_ask_for_eci_go_nowhere_else_whatever_they_select() -> None:
    w = world(node("own", 9), virtual("vk", 20))
    pinned = Shape.of({"cpu": 1000}, {"disk": "ssd"}, (Term((Expression("zone", "In", ("a",)),)),))
    workload = units.with_units(deployment("web", 3, shape=pinned), units.of_eci(pinned, {}))
    w.want(workload)
    w.run()
    (share,) = w.placement(workload).shares
    assert (share.free, share.virtual) == (0, 3)


def test_the_quota_is_taken_by_rounded_sizes() -> None:
    w = world(virtual("vk", 8))
    shape = Shape.of({"cpu": 1500, "memory": GIB})  # rounds up to 2 vCPU
    workload = asking("web", 9, unit("eci"), shape=shape)
    w.want(workload)
    w.run()
    assert (w.placed(workload), w.placement(workload).pending) == ({"idc": 4}, 5)


def test_a_gpu_comes_with_its_instance() -> None:
    w = world(virtual("vk", 8))
    shape = Shape.of({"cpu": 1000, eci.GPU: 1})
    specs = {eci.USE_SPECS: "ecs.gn6i-c4g1.xlarge"}
    found = units.of_policy(shape, specs, ResourcePolicy("test", "rp", (unit("idc"), unit("eci"))))
    workload = units.with_units(deployment("infer", 3, shape=shape), found)
    w.want(workload)
    w.run()
    (share,) = w.placement(workload).shares
    assert (share.virtual, w.placement(workload).pending) == (2, 1)  # 4 vCPUs each


def test_tiers_come_before_units_of_a_later_member() -> None:
    w = world(node("own", 1), virtual("vk", 2))
    w.want(policy("idc", "ack", ecs_provision=True))
    w.member("ack", node("theirs", 9), classes=CLASSES)
    workload = asking("web", 5, unit("idc"), unit("eci"))
    w.want(workload)
    w.run()
    assert w.placed(workload) == {"idc": 3, "ack": 2}


def test_what_waits_is_woken_by_room_of_a_unit() -> None:
    w = world(node("own", 1), virtual("vk", 1))
    workload = asking("web", 4, unit("idc"), unit("eci"))
    w.want(workload)
    w.run()
    assert w.placement(workload).pending == 2
    w.delta("idc", virtual("vk2", 5))
    w.run()
    assert w.placement(workload).pending == 0


class TestStock:
    def sells(self, w: World, **stock: int) -> None:
        sold = PRICES.virtual[0].model_copy(update={"stock": {name.replace("_", "-"): n for name, n in stock.items()}})
        w.delta("idc", surroundings=Surroundings(virtual=(sold,)))
        w.run()

    @pytest.mark.parametrize(
        ("stock", "placed"),
        [({"1_2Gi": 0}, 0), ({"1_2Gi": 3}, 3), ({"1_2Gi": 99}, 20), ({"2_4Gi": 0}, 20), ({}, 20)],
        ids=["sold out", "some left", "more than the quota", "another size", "nobody counts"],
    )
    def test_room_is_what_there_is_to_buy(self, stock: dict[str, int], placed: int) -> None:
        w = world(virtual("vk", 20))
        self.sells(w, **stock)
        web = asking("web", 30, unit("idc"), unit("eci"))
        w.want(web)
        w.run()
        assert (sum(w.placed(web).values()), w.placement(web).pending) == (placed, 30 - placed)

    def test_what_is_promised_is_not_sold_twice(self) -> None:
        w = world(virtual("vk", 20))
        self.sells(w, **{"1_2Gi": 3})
        for name, replicas in (("web", 2), ("db", 2)):
            w.want(asking(name, replicas, unit("eci")))
            w.run()
        assert w.placement(deployment("db", 2)).pending == 1

    def test_any_of_the_listed_specifications_will_do(self) -> None:
        w = world(virtual("vk", 20))
        self.sells(w, **{"1_2Gi": 1, "1_4Gi": 2})
        w.want(asking("web", 9, unit("eci"), **{eci.USE_SPECS: "1-2Gi,1-4Gi"}))
        w.run()
        assert w.placement(deployment("web", 9)).pending == 6

    def test_who_waits_is_placed_when_there_is_more_to_buy(self) -> None:
        w = world(virtual("vk", 20))
        self.sells(w, **{"1_2Gi": 0})
        web = asking("web", 5, unit("idc"), unit("eci"))
        w.want(web)
        w.run()
        assert w.placement(web).pending == 5
        assert w.reasons(web, "idc") == [("NoStock", "idc: there are none; eci: nothing is left of 1-2Gi")]
        self.sells(w, **{"1_2Gi": 2})
        assert w.placement(web).pending == 3


class TestCost:
    def test_a_share_says_what_it_costs(self) -> None:
        w = world(node("own", 1), virtual("vk", 20))
        workload = asking("web", 3, unit("idc"), unit("eci"))
        w.want(workload)
        w.run()
        (share,) = w.placement(workload).shares
        assert share.per_hour == pytest.approx(2 * (0.1 + 2 * 0.01))  # two instances of 1 vCPU and 2 GiB

    def test_an_elastic_replica_pays_its_share_of_a_node_also_when_that_is_there(self) -> None:
        w = World()
        w.want(policy("idc", ecs_provision=True))
        pools = [pool("a", 4, 5, price=2.0)]
        w.member("idc", pools=pools, classes=CLASSES)
        workload = deployment("web", 2)
        w.want(workload)
        w.run()
        (share,) = w.placement(workload).shares
        assert (share.elastic, share.per_hour) == (2, pytest.approx(1.0))
        w.delta("idc", node("a-1", 2, klass=1), bound={workload.uid: 2}, pools=[pool("a", 4, 5, nodes=1, price=2.0)])
        w.want(deployment("web", 3))
        w.run()
        (share,) = w.placement(workload).shares
        assert (share.free, share.added, share.per_hour) == (3, 2, pytest.approx(1.0))

    def test_prices(self) -> None:
        cheap, dear = pool("a", 4, 5, price=2.0), pool("b", 2, 5, price=1.5)
        assert pool_price(TWO_CPUS, [cheap, dear]) == pytest.approx(1.0)
        assert pool_price(Shape.of({"cpu": 8000}), [cheap, dear]) == 0.0
        assert pool_price(TWO_CPUS, [pool("c", 4, 5)]) == 0.0
        (room,) = units.of_eci(TWO_CPUS, {eci.USE_SPECS: "4-8Gi,ecs.c6.xlarge"})
        (stock,) = PRICES.virtual
        assert instance_price(room, (stock,)) == pytest.approx(0.48)
        sold_out = stock.model_copy(update={"stock": {"4-8Gi": 0}})
        assert instance_price(room, (sold_out,)) == pytest.approx(0.5)

    def test_a_ceiling_leaves_the_rest_pending_with_the_reason(self) -> None:
        w = world(node("own", 1), virtual("vk", 20), ceiling=0.25)
        workload = asking("web", 9, unit("idc"), unit("eci"))
        w.want(workload)
        w.run()
        placement = w.placement(workload)
        (share,) = placement.shares
        assert (share.free, share.virtual, placement.pending) == (1, 2, 6)
        assert "CostCeiling" in w.codes(workload)
        assert w.run() == []

    @pytest.mark.parametrize("division", ["static", "duplicated"])
    def test_where_the_policy_fixes_the_numbers_no_ceiling_holds_and_that_is_said(self, division: str) -> None:
        w = world(node("own", 1), virtual("vk", 20), ceiling=0.25, division=division)
        workload = asking("web", 9, unit("idc"), unit("eci"))
        w.want(workload)
        w.run()
        assert (w.placed(workload), w.placement(workload).pending) == ({"idc": 9}, 0)
        assert "FixedByPolicy" in w.codes(workload)

    def test_the_lower_ceiling_counts_and_free_room_costs_nothing(self) -> None:
        w = world(node("own", 5), virtual("vk", 20), ceiling=99.0)
        workload = replace(asking("web", 9, unit("idc"), unit("eci")), ceiling=0.0)
        w.want(workload)
        w.run()
        assert (w.placed(workload), w.placement(workload).pending) == ({"idc": 5}, 4)

    def test_what_burns_already_counts_towards_the_ceiling(self) -> None:
        w = world(virtual("vk", 20), ceiling=0.5)
        workload = asking("web", 2, unit("eci"))
        w.want(workload)
        w.run()
        grown = asking("web", 9, unit("eci"))
        w.want(grown)
        w.run()
        assert (w.placed(grown), w.placement(grown).pending) == ({"idc": 4}, 5)

    def test_instances_that_a_scale_in_has_not_taken_yet_are_paid_for_after_a_scale_out(self) -> None:
        w = world(node("own", 2), virtual("vk", 2))
        for replicas in (4, 2, 4):
            web = asking("web", replicas, unit("idc"), unit("eci"))
            w.want(web)
            w.run()
            w.delta("idc", node("own", 0), virtual("vk", 0), bound={web.uid: 4}, bound_virtual={web.uid: 2})
            w.status(web, "idc", replicas=4, ready=4)
        (share,) = w.placement(web).shares
        assert (share.free, share.virtual, w.placement(web).pending) == (2, 2, 0)
        assert share.per_hour == pytest.approx(2 * (0.1 + 2 * 0.01))

    def test_instances_that_stay_after_all_are_no_free_replicas_though_machines_have_room_now(self) -> None:
        w = world(node("own", 2), virtual("vk", 2))
        for replicas in (4, 2, 4):
            web = asking("web", replicas, unit("idc"), unit("eci"))
            w.want(web)
            w.run()
            w.delta("idc", node("own", 5), virtual("vk", 0), bound={web.uid: 4}, bound_virtual={web.uid: 2})
            w.status(web, "idc", replicas=4, ready=4)
        (share,) = w.placement(web).shares
        assert (share.free, share.virtual) == (2, 2)

    @pytest.mark.parametrize(("on_virtual", "costs"), [(0, 0.0), (1, 0.12), (3, 0.36)])
    def test_pods_cost_what_they_are_bound_to_whatever_was_planned(self, on_virtual: int, costs: float) -> None:
        w = world(node("own", 2), virtual("vk", 4))
        web = asking("web", 4, unit("idc"), unit("eci"))
        w.want(web)
        w.run()
        w.delta("idc", bound={web.uid: 4}, bound_virtual={web.uid: on_virtual})
        w.run()
        (share,) = w.placement(web).shares
        assert (share.free, share.virtual, share.per_hour) == (4 - on_virtual, on_virtual, pytest.approx(costs))
        assert w.run() == []

    def test_a_scale_in_that_is_not_carried_out_yet_is_no_way_around_the_ceiling(self) -> None:
        w = world(node("own", 1), virtual("vk", 20), ceiling=0.25)
        for replicas in (3, 1, 9):
            workload = asking("web", replicas, unit("idc"), unit("eci"))
            w.want(workload)
            w.run()
            w.delta("idc", node("own", 0), bound={workload.uid: 3}, bound_virtual={workload.uid: 2})
            w.status(workload, "idc", replicas=3, ready=3)
        (share,) = w.placement(workload).shares
        assert (share.free, share.virtual) == (1, 2)


class TestPromises:
    """What a placement promised in a unit is nobody else's, until the pods that it is for are bound."""

    def test_a_quota_is_promised_once_though_instances_are_larger_than_their_pods(self) -> None:
        w = world(virtual("vk", 8))
        shape = Shape.of({"cpu": 1500, "memory": GIB})  # rounds up to 2 vCPU
        for name, replicas in (("web", 4), ("db", 1)):
            w.want(asking(name, replicas, unit("idc"), unit("eci"), shape=shape))
            w.run()
        assert w.placement(deployment("db", 1)).pending == 1

    def test_a_quota_is_promised_once_though_machines_have_room_beyond_a_units_maximum(self) -> None:
        w = world(node("own", 9), virtual("vk", 4))
        for replicas in (2, 3):
            w.want(asking("web", replicas, unit("idc", max=1), unit("eci")))
            w.run()
        w.want(asking("db", 4, unit("eci")), asking("cache", 9, unit("idc")))
        w.run()
        assert (w.placed(deployment("db", 4)), w.placement(deployment("db", 4)).pending) == ({"idc": 2}, 2)
        assert (w.placed(deployment("cache", 9)), w.placement(deployment("cache", 9)).pending) == ({"idc": 8}, 1)

    def test_machines_beyond_a_units_maximum_are_promised_in_the_next_unit(self) -> None:
        w = world(node("own", 9), node("cloud", 2, klass=1))
        w.want(asking("web", 3, unit("idc", max=1), unit("ecs")))
        w.run()
        w.want(asking("db", 1, unit("ecs")), asking("cache", 9, unit("idc")))
        w.run()
        assert (w.placement(deployment("db", 1)).pending, w.placed(deployment("cache", 9))) == (1, {"idc": 8})

    @pytest.mark.parametrize("on_virtual", [0, 1, 2])
    def test_a_bound_pod_ends_the_promise_of_the_room_that_it_took(self, on_virtual: int) -> None:
        w = world(node("own", 2), virtual("vk", 2))
        web = asking("web", 4, unit("idc"), unit("eci"))
        w.want(web)
        w.run()
        told = [node("own", on_virtual), virtual("vk", 2 - on_virtual)]
        w.delta("idc", *told, bound={web.uid: 2}, bound_virtual={web.uid: on_virtual})
        assert w.state.room.reserved(web.uid, "idc") == 2
        assert w.state.room.deficit("idc") == 0
        for shape in (one.shape for one in web.units):
            assert w.state.room.room(shape, "idc") == Room()

    def test_fixed_numbers_are_promised_room_of_any_unit(self) -> None:
        w = world(node("own", 1), virtual("vk", 9), division="duplicated")
        web = asking("web", 4, unit("idc"), unit("eci"))
        w.want(web)
        w.run()
        assert (w.state.room.reserved(web.uid, "idc"), w.state.room.deficit("idc")) == (4, 0)
        assert w.codes(web) == set()

    def test_a_workload_that_is_rolled_out_beyond_its_share_takes_no_quota_from_others(self) -> None:
        w = world(virtual("vk", 3))
        web = asking("web", 2, unit("eci"))
        w.want(web)
        w.run()
        w.delta("idc", virtual("vk", 0), bound={web.uid: 3}, bound_virtual={web.uid: 3})  # one of its surge
        assert (w.state.room.reserved(web.uid, "idc"), w.state.room.deficit("idc")) == (0, 0)


NAMES = {"web": (unit("idc", max=2), unit("eci")), "db": (unit("idc"), unit("eci", max=3)), "fn": (unit("eci"),)}
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.sampled_from(list(NAMES)), st.integers(0, 5)),
        st.tuples(st.just("want"), st.sampled_from(list(NAMES)), st.integers(0, 5)),
        st.tuples(st.just("bind"), st.sampled_from(list(NAMES)), st.booleans()),
        st.tuples(st.just("end"), st.sampled_from(list(NAMES)), st.booleans()),
    ),
    max_size=25,
)


class Told:
    """One member of 4 cores and a quota of 6 vCPUs; a replica takes 1 core, or an instance of 2 vCPUs."""

    def __init__(self) -> None:
        self.w = world(node("own", 4), virtual("vk", 6))
        self.bound: Counter[tuple[str, bool]] = Counter()

    def free(self, on_virtual: bool) -> int:
        """Replicas that still fit there."""
        return (3 if on_virtual else 4) - sum(count for (_, where), count in self.bound.items() if where is on_virtual)

    def owed(self, name: str) -> tuple[int, int]:
        """Replicas of the placement that are not bound: on machines, on virtual nodes."""
        shares = [share for share in self.w.placement(deployment(name, 0)).shares if share.present]
        replicas, virtual = sum(share.replicas for share in shares), sum(share.virtual for share in shares)
        unbound = max(0, replicas - self.bound[name, False] - self.bound[name, True])
        on_virtual = min(unbound, max(0, virtual - self.bound[name, True]))
        return unbound - on_virtual, on_virtual

    def take(self, event: tuple[str, str, int]) -> None:
        verb, name, number = event
        if verb == "want":
            self.w.want(asking(name, number, *NAMES[name], shape=Shape.of({"cpu": 1000, "memory": 6 * GIB})))
            return
        key = (name, bool(number))
        known = self.w.state.is_known(deployment(name, 0).key)
        if verb == "bind" and known and self.owed(name)[number]:
            self.bound[key] += 1
        elif verb == "end" and self.bound[key]:
            self.bound[key] -= 1
        uid = f"uid-{name}"
        told = node("own", self.free(False), memory=64 * GIB), virtual("vk", 2 * self.free(True))
        counts = {uid: self.bound[name, False] + self.bound[name, True]}
        self.w.delta("idc", *told, bound=counts, bound_virtual={uid: self.bound[name, True]})


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(EVENTS)
def test_each_units_room_is_promised_once_whatever_comes_between(events: list[tuple[str, str, int]]) -> None:
    told = Told()
    told.w.delta("idc", node("own", 4, memory=64 * GIB))
    for event in events:
        told.take(event)
        told.w.run()
        known = [name for name in NAMES if told.w.state.is_known(deployment(name, 0).key)]
        owed = [told.owed(name) for name in known]
        assert sum(one for one, _ in owed) <= told.free(False)
        assert sum(one for _, one in owed) <= told.free(True)
