"""Serverless instances: who asks for them, which one it is, and what it costs."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.binding import Bind, Pend
from shared.contracts.capacity import EciProfile
from shared.contracts.selectors import LabelSelector
from shared.eci import SPOT_PRICE_LIMIT, SPOT_STRATEGY, USE_SPECS
from tests.scheduler.inside.inside_world import GIB, World

ECI = {"alibabacloud.com/eci": "true"}
VIRTUAL = "virtual-kubelet-a"
GPU = "nvidia.com/gpu"


def member(**sold: Any) -> World:
    """An idle machine, and a virtual node."""
    world = World()
    world.node("idc-1")
    world.virtual(**sold)
    return world


def selector(*expressions: tuple[str, ...], **labels: str) -> LabelSelector:
    """expressions: key, operator and values each."""
    listed = [{"key": key, "operator": operator, "values": values} for key, operator, *values in expressions]
    return LabelSelector.model_validate({"matchLabels": labels, "matchExpressions": listed})


def place(world: World, name: str = "p", **more: Any) -> str:
    """The node that it gets, empty for none."""
    world.pod(name, **more)
    world.run()
    return world.pods[name].node


# -- who asks for it -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "namespace", "on"),
    [
        ({}, {}, "idc-1"),
        (ECI, {}, VIRTUAL),
        ({}, ECI, VIRTUAL),
        ({"alibabacloud.com/eci": "false"}, ECI, "idc-1"),
    ],
    ids=["nobody", "the pod", "its namespace", "its namespace, but not the pod"],
)
def test_by_label(labels: dict[str, str], namespace: dict[str, str], on: str) -> None:
    world = member()
    world.namespaces = {"test": namespace}
    assert place(world, labels=labels) == on


def test_a_namespace_whose_label_the_capacity_does_not_tell_yet() -> None:
    world = member()
    assert place(world, eci=True) == VIRTUAL


def test_a_label_overrides_node_selector_affinity_and_policy() -> None:
    world = member()
    world.policy({"resource": "idc"})
    hostname = {"labelSelector": {}, "topologyKey": "kubernetes.io/hostname"}
    spec = {
        "nodeSelector": {"disk": "ssd"},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "gen", "operator": "Exists"}]}]
                }
            },
            "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [hostname]},
        },
    }
    assert [place(world, name, labels=ECI, spec=spec) for name in ("first", "second")] == [VIRTUAL, VIRTUAL]
    assert "pod-deletion-cost" not in str(world.orders(Bind)[0].annotations), "no policy has a say"


@pytest.mark.parametrize(
    ("profile", "on"),
    [
        ({"object_selector": selector(app="web")}, VIRTUAL),
        ({"object_selector": selector(app="db")}, "idc-1"),
        ({"namespace_selector": selector(team="blue")}, VIRTUAL),
        ({"object_selector": selector(app="web"), "namespace_selector": selector(team="blue")}, VIRTUAL),
        ({"object_selector": selector(app="web"), "namespace_selector": selector(team="red")}, "idc-1"),
        ({"object_selector": selector(("app", "In", "db", "web"))}, VIRTUAL),
        ({"object_selector": selector(("app", "In", "db"))}, "idc-1"),
        ({"object_selector": selector(("app", "NotIn", "db"))}, VIRTUAL),
        ({"object_selector": selector(("app", "NotIn", "web"))}, "idc-1"),
        ({"object_selector": selector(("app", "Exists"))}, VIRTUAL),
        ({"object_selector": selector(("gpu", "Exists"))}, "idc-1"),
        ({"object_selector": selector(("gpu", "DoesNotExist"))}, VIRTUAL),
        ({"object_selector": selector(("app", "DoesNotExist"))}, "idc-1"),
        ({"object_selector": selector(("app", "Exists"), app="db")}, "idc-1"),
        ({"namespace_selector": selector(("team", "In", "blue"), ("old", "DoesNotExist"))}, VIRTUAL),
        ({"object_selector": selector()}, VIRTUAL),
        ({}, "idc-1"),
    ],
)
def test_by_profile(profile: dict[str, Any], on: str) -> None:
    world = member()
    world.namespaces = {"test": {"team": "blue"}}
    world.profiles = (EciProfile(name="x", **profile),)
    assert place(world, labels={"app": "web"}) == on


def test_a_profiles_effect_goes_with_the_pod_and_overrides_nothing_of_it() -> None:
    world = member()
    effect = {"labels": {"app": "other", "cost": "eci"}, "annotations": {USE_SPECS: "4-8Gi", "mine": "no"}}
    world.profiles = (EciProfile(name="x", object_selector=selector(app="web"), **effect),)
    assert place(world, labels={"app": "web"}, annotations={"mine": "yes"}) == VIRTUAL
    bind = world.orders(Bind)[0]
    assert bind.labels == {"cost": "eci"}
    assert bind.annotations == {USE_SPECS: "4-8Gi", "brim.dev/unit": "eci"}
    instance = world.pods["p"].instance
    assert instance is not None
    assert instance.size == "4-8Gi"


def test_pods_that_run_already_stay_where_they_are() -> None:
    world = member()
    assert place(world) == "idc-1"
    world.namespaces = {"test": ECI}
    world.tell_capacity()
    world.run()
    assert world.bound == {"p": "idc-1"}


def test_without_a_virtual_node_it_waits_for_one() -> None:
    world = World()
    world.node("idc-1")
    assert place(world, labels=ECI) == ""
    assert world.reason("p") == ("NoVirtualNode", "eci: there is no virtual node")
    world.virtual()
    world.tell_capacity()
    world.pass_(1)
    world.run()
    assert world.bound == {"p": VIRTUAL}


# -- which instance ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "annotations", "per_hour"),
    [
        ({"cpu": 1}, {}, 1 * 0.1 + 2 * 0.01),
        ({"cpu": 1.5, "memory": 3}, {}, 2 * 0.1 + 4 * 0.01),
        ({"cpu": 0}, {}, 2 * 0.1 + 4 * 0.01),
        ({"cpu": 1}, {USE_SPECS: "4-8Gi,2-4Gi"}, 4 * 0.1 + 8 * 0.01),
        ({"cpu": 3}, {USE_SPECS: "2-4Gi,4-8Gi"}, 4 * 0.1 + 8 * 0.01),
        ({"cpu": 1}, {USE_SPECS: "ecs.c6.xlarge"}, 0.7),
        ({"cpu": 1}, {SPOT_STRATEGY: "SpotAsPriceGo"}, (1 * 0.1 + 2 * 0.01) * 0.25),
    ],
)
def test_the_price_is_that_of_the_rounded_size(
    asked: dict[str, float], annotations: dict[str, str], per_hour: float
) -> None:
    world = member(vcpu=0.1, gib=0.01, types={"ecs.c6.xlarge": 0.7}, spot=0.25)
    assert place(world, labels=ECI, annotations=annotations, **asked) == VIRTUAL
    assert world.orders(Bind)[0].per_hour == pytest.approx(per_hour)


def test_a_gpu_comes_with_an_instance_type_that_has_one() -> None:
    world = member()
    gpu = {"labels": ECI, "extra": {GPU: 1}}
    assert place(world, "with", annotations={USE_SPECS: "ecs.gn5-c4g1.xlarge"}, **gpu) == VIRTUAL
    assert place(world, "without", **gpu) == ""
    assert world.reason("without")[0] == "NoInstance"


@pytest.mark.parametrize(
    ("specs", "says"),
    [
        ("2-5Gi", "'2-5Gi' is no size of ECI"),
        ("ecs.unheard.of", "'ecs.unheard.of' is no instance type that brim knows"),
        ("big", "'big' is neither a size such as 2-4Gi nor an instance type such as ecs.c6.xlarge"),
    ],
)
def test_a_size_that_does_not_exist_is_told(specs: str, says: str) -> None:
    world = member()
    assert place(world, labels=ECI, annotations={USE_SPECS: specs}) == ""
    code, message = world.reason("p")
    assert code == "BadInstanceSpec"
    assert says in message
    assert world.orders(Pend)[0].message == message


# -- stock and quota -----------------------------------------------------------------------------------------


def test_the_first_specification_in_stock_is_taken() -> None:
    world = member(stock={"4-8Gi": 0}, vcpu=0.1)
    assert place(world, labels=ECI, annotations={USE_SPECS: "4-8Gi,2-4Gi"}) == VIRTUAL
    assert world.orders(Bind)[0].per_hour == pytest.approx(0.2)


def test_stock_that_was_promised_is_not_promised_again() -> None:
    world = member(stock={"2-4Gi": 1})
    for name in ("first", "second"):
        world.pod(name, cpu=2, memory=4, labels=ECI)
    world.decide()
    assert [bind.name for bind in world.orders(Bind)] == ["first"]
    assert world.reason("second") == ("NoStock", "eci: 1 virtual node: 2-4Gi is out of stock")


def test_new_stock_wakes_who_waits_for_it() -> None:
    world = member(stock={"2-4Gi": 0})
    assert place(world, cpu=2, memory=4, labels=ECI) == ""
    world.sold[VIRTUAL] = world.sold[VIRTUAL].model_copy(update={"stock": {"2-4Gi": 1}})
    world.tell_capacity()
    world.pass_(1)
    world.run()
    assert world.bound == {"p": VIRTUAL}


def test_the_node_with_the_preferred_specification_wins_then_the_cheaper_one() -> None:
    world = World()
    world.virtual("virtual-kubelet-a", stock={"4-8Gi": 0}, vcpu=0.1)
    world.virtual("virtual-kubelet-b", vcpu=0.3)
    world.virtual("virtual-kubelet-c", vcpu=0.2)
    assert place(world, "listed", labels=ECI, annotations={USE_SPECS: "4-8Gi,2-4Gi"}) == "virtual-kubelet-c"
    assert place(world, "plain", labels=ECI) == "virtual-kubelet-a"


def test_quota_is_taken_by_the_rounded_size() -> None:
    world = World()
    world.virtual(cpu=4, memory=8)
    for name in ("first", "second", "third"):
        place(world, name, cpu=1.5, memory=3, labels=ECI)  # 2-4Gi each
    assert list(world.bound) == ["first", "second"]
    assert world.free(VIRTUAL)["cpu"] == 0
    assert world.reason("third") == (
        "QuotaExceeded",
        "eci: 1 virtual node: 2-4Gi: 0 cpu of the quota left, needs 2",
    )


def test_quota_is_taken_by_assumed_pods_too() -> None:
    world = World()
    world.virtual(cpu=4, memory=100)
    for number in range(3):
        world.pod(f"p{number}", cpu=1.5, memory=3, labels=ECI)
    world.decide()
    assert len(world.orders(Bind)) == 2


def test_a_spot_instance_above_the_limit_is_not_bought() -> None:
    world = member(vcpu=0.1, spot=0.5)
    spot = {SPOT_STRATEGY: "SpotWithPriceLimit", SPOT_PRICE_LIMIT: "0.05"}
    assert place(world, cpu=1, labels=ECI, annotations=spot) == VIRTUAL
    assert place(world, "large", cpu=2, labels=ECI, annotations=spot) == ""
    assert world.reason("large")[0] == "SpotPriceLimit"


def test_own_instance_types_of_the_fleet_can_be_asked_for() -> None:
    own = {"name": "ecs.own.large", "cpu": 2000, "memory": 4 * GIB}
    world = member(instance_types=[own], types={"ecs.own.large": 0.4})
    assert place(world, labels=ECI, annotations={USE_SPECS: "ecs.own.large"}) == VIRTUAL
    assert world.orders(Bind)[0].per_hour == pytest.approx(0.4)


def test_in_a_unit_the_marks_choose_the_instance() -> None:
    world = member(vcpu=0.1)
    world.policy({"resource": "eci", "podAnnotations": {USE_SPECS: "4-8Gi"}})
    assert place(world, cpu=1, annotations={USE_SPECS: "1-2Gi"}) == VIRTUAL
    assert world.orders(Bind)[0].per_hour == pytest.approx(0.4)
    assert world.pods["p"].instance is not None
    assert world.pods["p"].instance.size == "4-8Gi"
