"""Pods on a simulated virtual node: which instance each runs on, and what happens when there is none."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import eci, quantities
from shared.clock import parse_rfc3339
from shared.described import standing_nodes
from shared.fleet import Delays, InstanceType, Member, Simulated, VirtualNode
from simulator import cloud
from simulator.cluster import Cluster
from simulator.instances import SHELF, Instances, Refusal, lives
from simulator.store import Store
from simulator.workqueue import WorkQueue
from tests.simulator.eci import (
    FAIL,
    GPU_TYPE,
    NODE,
    RUN,
    SPEC,
    USE_SPECS,
    ZONE,
    found,
    instance,
    instances,
    start,
    stock,
    virtual,
)
from tests.simulator.harness import INSTANT, HandClock, pod

# -- what runs


async def test_a_pod_becomes_an_instance_and_runs() -> None:
    async with virtual() as driver:
        made = start(driver, cpu="2")
        await driver.until(driver.ready_pods)
        one, its = found(driver), instance(driver)
        assert its["apiVersion"] == "eci.brim.dev/v1alpha1"
        assert its["spec"] == {
            "podName": "one",
            "podUid": made["metadata"]["uid"],
            "nodeName": NODE,
            "size": "2-1Gi",
            "cpu": "2",
            "memory": "1Gi",
            "spot": False,
            "hourlyPrice": 7.56,
        }
        assert its["status"]["phase"] == "Running"
        assert one["status"]["podIP"].startswith("172.16.")
        assert one["metadata"]["annotations"][SPEC] == "2-1Gi"
        assert one["metadata"]["annotations"]["k8s.aliyun.com/eci-instance-id"] == its["metadata"]["name"]
        driver.delete("pods", "one")
        await driver.until(lambda: not instances(driver) and driver.get("pods", "one") is None)


async def test_the_virtual_node_looks_as_in_ack_and_its_quota_is_its_size() -> None:
    async with virtual(allocatable={"cpu": "8"}) as driver:
        node = driver.get("nodes", NODE)
        assert node is not None
        labels = {"type": "virtual-kubelet", "kubernetes.io/role": "agent", "topology.kubernetes.io/zone": ZONE}
        assert labels.items() <= node["metadata"]["labels"].items()
        taint = {"key": "virtual-kubelet.io/provider", "value": "alibabacloud", "effect": "NoSchedule"}
        assert node["spec"]["taints"] == [taint]
        assert node["status"]["allocatable"]["cpu"] == "8"
        assert node["status"]["allocatable"]["nvidia.com/gpu"] == "1000"


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        pytest.param({"resources": {}}, "2-4Gi", id="nothing asked for"),
        pytest.param({"resources": {"requests": {"cpu": "1500m", "memory": "3Gi"}}}, "2-4Gi", id="rounded up"),
        pytest.param({"resources": {"limits": {"cpu": "8"}}}, "8-4Gi", id="limits are requests"),
        pytest.param({"annotations": {USE_SPECS: "4-8Gi,2-4Gi"}}, "4-8Gi", id="the first that is listed"),
        pytest.param({"annotations": {USE_SPECS: "0.25-1,2-4Gi"}}, "2-4Gi", id="the first that holds the pod"),
        pytest.param({"annotations": {USE_SPECS: "ecs.own.large,2-4Gi"}}, "ecs.own.large", id="an own type"),
        pytest.param(
            {"resources": {"limits": {eci.GPU: "1"}}, "annotations": {USE_SPECS: f"4-8Gi,{GPU_TYPE}"}},
            GPU_TYPE,
            id="a GPU",
        ),
    ],
)
async def test_what_an_instance_is_made_of(fields: dict[str, Any], size: str) -> None:
    own = InstanceType(name="ecs.own.large", vcpu=3, memory="7Gi")
    async with virtual(instance_types=(own,)) as driver:
        body = pod("one", annotations=fields.get("annotations", {}))
        if "resources" in fields:
            body["spec"]["containers"][0]["resources"] = fields["resources"]
        driver.create("pods", {**body, "spec": {**body["spec"], "nodeName": NODE}})
        await driver.until(driver.ready_pods)
        assert instance(driver)["spec"]["size"] == found(driver)["metadata"]["annotations"][SPEC] == size


async def test_an_instance_starts_sooner_than_a_node_and_is_billed_from_its_image_pull() -> None:
    delays = Delays()
    async with virtual(speed=100, delays=delays) as driver:
        phases: list[tuple[str, float]] = []
        clock = driver.member.clock
        driver.store.subscribe(lambda c: phases.append((c.object["status"]["phase"], clock.now())), SHELF)
        start(driver)
        await driver.until(driver.ready_pods)
        (created, pulls, runs) = phases
        assert (created[0], pulls[0], runs[0]) == ("Scheduling", "Pending", "Running")
        assert pulls[1] - created[1] >= delays.eci_start - delays.image_pull
        assert delays.eci_start <= runs[1] - created[1] < delays.node_create
        assert abs(parse_rfc3339(instance(driver)["status"]["startedAt"]) - pulls[1]) <= 1
        state = next(
            c.object["status"]["containerStatuses"][0]["state"]
            for c in driver.store.log("pods").since(0)
            if c.object["status"].get("containerStatuses")
        )
        assert state == {"waiting": {"reason": "ContainerCreating"}}


# -- what is sold


async def test_stock_goes_down_and_up_with_instances_and_the_first_in_stock_wins() -> None:
    async with virtual(stock={"2-4Gi": 1, "4-8Gi": 2}) as driver:
        listed = {USE_SPECS: "2-4Gi,4-8Gi,8-16Gi"}
        for name in ("one", "two", "three", "four"):
            start(driver, name, annotations=listed)
        await driver.until(lambda: len(driver.ready_pods()) == 4)
        sizes = {its["spec"]["podName"]: its["spec"]["size"] for its in instances(driver)}
        assert sizes == {"one": "2-4Gi", "two": "4-8Gi", "three": "4-8Gi", "four": "8-16Gi"}
        assert stock(driver) == {"2-4Gi": 0, "4-8Gi": 0}
        driver.delete("pods", "two")
        await driver.until(lambda: stock(driver) == {"2-4Gi": 0, "4-8Gi": 1})


async def test_an_instance_whose_pod_is_done_is_given_back_though_the_pod_stays() -> None:
    async with virtual(speed=1000, stock={"2-4Gi": 1}) as driver:
        start(driver, annotations={USE_SPECS: "2-4Gi", RUN: "5"}, restartPolicy="Never")
        await driver.until(lambda: found(driver)["status"]["phase"] == "Succeeded" and stock(driver) == {"2-4Gi": 1})
        assert instance(driver)["status"]["phase"] == "Succeeded"


STRATEGY, LIMIT = "k8s.aliyun.com/eci-spot-strategy", "k8s.aliyun.com/eci-spot-price-limit"


def listing(specs: str) -> dict[str, Any]:
    return {"annotations": {USE_SPECS: specs}}


def spot(strategy: str, **marks: str) -> dict[str, Any]:
    return {"cpu": "2", "annotations": {STRATEGY: strategy, **marks}}


# what the virtual node is, what the pod is, what is said
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "sold out": ({"stock": {"1-2Gi": 0}}, listing("1-2Gi"), f"NoStock: 1-2Gi is sold out in {ZONE}"),
    "no such size": ({}, listing("3-5Gi"), "InvalidParameter: '3-5Gi' is no size of ECI"),
    "an unknown type": ({}, listing("ecs.none"), "InvalidParameter: 'ecs.none' is no instance type"),
    "too many listed": ({}, listing(",".join(["1-2"] * 6)), f"InvalidParameter: {USE_SPECS} lists 6"),
    "beyond the largest": ({}, {"cpu": "65"}, "InvalidParameter: no size and no instance type that the pod lists"),
    "too many containers": (
        {},
        {"containers": [{"name": f"c{number}", "image": "image:1"} for number in range(21)]},
        "InvalidParameter: an instance runs at most 20 containers, the pod has 21",
    ),
    "beyond the quota": (
        {"allocatable": {"cpu": "4"}},
        {"cpu": "8"},
        f"QuotaExceeded: 8-4Gi does not fit the quota of {NODE}",
    ),
    "a spot price above the limit": (
        {},
        spot("SpotWithPriceLimit", **{LIMIT: "1.8"}),
        "SpotPriceAboveLimit: 2-1Gi costs more than 1.8 per hour",
    ),
    "no spot price limit": ({}, spot("SpotWithPriceLimit"), f"InvalidParameter: {LIMIT} is ''"),
    "a limit of no number": ({}, spot("SpotWithPriceLimit", **{LIMIT: "low"}), f"InvalidParameter: {LIMIT} is 'low'"),
    "an unknown spot strategy": ({}, spot("Cheap"), f"InvalidParameter: {STRATEGY} is 'Cheap'"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_cannot_be_had_is_told_and_the_pod_waits(case: str) -> None:
    node, fields, says = REFUSED[case]
    async with virtual(**node) as driver:
        start(driver, **fields)
        (message,) = await driver.until(lambda: driver.events("ProviderCreateFailed"))
        assert message.startswith(says)
        status = found(driver)["status"]
        assert (status["phase"], status["reason"], status["message"]) == ("Pending", "ProviderFailed", message)
        assert not instances(driver)


async def test_a_spot_price_within_the_limit_is_paid() -> None:
    async with virtual() as driver:
        start(driver, **spot("SpotWithPriceLimit", **{LIMIT: "1.89"}))
        await driver.until(driver.ready_pods)
        assert instance(driver)["spec"]["spot"]


async def test_a_pod_may_want_to_fail_instead() -> None:
    async with virtual(stock={"1-2Gi": 0}) as driver:
        start(driver, annotations={USE_SPECS: "1-2Gi", FAIL: "true"})
        await driver.until(lambda: found(driver)["status"]["phase"] == "Failed")
        assert found(driver)["status"]["reason"] == "ProviderFailed"


async def test_a_pod_that_waits_for_stock_runs_as_soon_as_there_is_some() -> None:
    async with virtual(stock={"1-2Gi": 0}) as driver:
        start(driver, annotations={USE_SPECS: "1-2Gi"})
        await driver.until(lambda: driver.events("ProviderCreateFailed"))
        driver.member.set_eci_stock(ZONE, "1-2Gi", 1)
        await driver.until(driver.ready_pods)
        assert "reason" not in found(driver)["status"]


async def test_a_pod_takes_the_room_that_another_leaves() -> None:
    async with virtual(allocatable={"cpu": "2"}) as driver:
        start(driver, "one", cpu="2")
        await driver.until(driver.ready_pods)
        start(driver, "two", cpu="2")
        await driver.until(lambda: driver.events("ProviderCreateFailed"))
        driver.delete("pods", "one")
        await driver.until(lambda: driver.ready_pods(app="two"))


async def test_what_cannot_be_had_is_asked_for_again_in_time() -> None:
    """Nothing tells the simulator that somebody mended the pod's annotation."""
    async with virtual(speed=100) as driver:
        start(driver, annotations={USE_SPECS: "3-5Gi"})
        await driver.until(lambda: driver.events("ProviderCreateFailed"))
        driver.patch("pods", "one", {"metadata": {"annotations": {USE_SPECS: "2-4Gi"}}})
        await driver.until(driver.ready_pods)


@given(st.data())
def test_stock_and_quota_are_kept_whatever_comes_and_goes(data: st.DataObject) -> None:
    clock = HandClock()
    store = Store(clock)
    room = Cluster(store, WorkQueue(clock), clock, INSTANT, random=random.Random(1))
    node = VirtualNode(zone=ZONE, stock={"2-4Gi": 2, "4-8Gi": 3}, allocatable={"cpu": "14", "pods": "4"})
    member = Member(id="idc", simulated=Simulated(virtual_nodes=(node,)))
    sold = Instances(room, member)
    sold.install(lambda: None)
    (described,) = standing_nodes(member)
    machine = cloud.node(room, described)
    for number in range(data.draw(st.integers(1, 15))):
        living = [one for one in store.every(SHELF) if lives(one)]
        if living and data.draw(st.booleans()):
            end = data.draw(st.sampled_from([sold.remove, lambda one: sold.finish(one, "Succeeded"), _delete(store)]))
            end(data.draw(st.sampled_from(living)))
        else:
            body = pod(
                str(number), annotations={USE_SPECS: data.draw(st.sampled_from(["2-4Gi,4-8Gi", "4-8Gi", "1-2"]))}
            )
            body["metadata"] |= {"uid": str(number), "namespace": "default"}
            bought = sold.create(body, machine)
            assert not isinstance(bought, Refusal) or bought.code in ("NoStock", "QuotaExceeded")
        living = [one for one in store.every(SHELF) if lives(one)]
        for size, first in node.stock.items():
            assert sold.stock.left(ZONE)[size] == (first or 0) - sum(one["spec"]["size"] == size for one in living)
        assert sum(quantities.amount("cpu", one["spec"]["cpu"]) for one in living) <= 14_000
        assert len(living) <= 4


def _delete(store: Store) -> Any:
    return lambda one: store.remove(SHELF, "default", one["metadata"]["name"])
