"""Pods of a scheduler outside the member: left alone by the member's own, helped by its node autoscaler."""

from __future__ import annotations

from typing import Any

import pytest

from shared.clock import Clock
from simulator.objects import Object
from tests.simulator.harness import Driver, NodePool, cluster, is_ready, nodes, pod

POOL = NodePool(id="np1", instance_type="ecs.g7", allocatable={"cpu": "4", "memory": "16Gi"}, max=3)
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes: no room"}


def pend(driver: Driver, name: str) -> None:
    """What brim's executor writes for a pod that fits nowhere."""
    found = driver.get("pods", name)
    assert found is not None
    kept = [c for c in found["status"].get("conditions") or () if c["type"] != "PodScheduled"]
    status = {**found["status"], "conditions": [*kept, UNSCHEDULABLE]}
    driver.store.update("pods", {**found, "status": status})


def pool_nodes(driver: Driver) -> list[Object]:
    return [n for n in driver.store.every("nodes") if n["metadata"]["name"].startswith("np1-")]


@pytest.mark.parametrize("scheduler", ["brim-scheduler", "ack-co-scheduler", "volcano"])
async def test_a_pod_of_another_scheduler_is_neither_bound_nor_judged(scheduler: str) -> None:
    async with cluster(nodes(1)) as driver:
        driver.create("pods", pod("one", schedulerName=scheduler))
        driver.create("pods", pod("two"))
        await driver.until(lambda: driver.ready_pods(app="two"))
        one = driver.get("pods", "one")
        assert one is not None
        assert "nodeName" not in one["spec"]
        assert not one["status"].get("conditions")


@pytest.mark.parametrize("scheduler", ["brim-scheduler", "ack-co-scheduler"])
async def test_a_node_is_added_for_a_pod_that_another_scheduler_could_not_place(scheduler: str) -> None:
    """There is room on node: the other scheduler has its reasons, such as the `max` of a unit."""
    async with cluster(nodes(1), pools=(POOL,)) as driver:
        driver.create("pods", pod("one", schedulerName=scheduler))
        await driver.settled()
        assert not pool_nodes(driver)
        pend(driver, "one")
        await driver.until(lambda: pool_nodes(driver))
        assert [e["reason"] for e in driver.store.every("events") if e["reason"] == "ProvisionNode"]


async def test_a_node_that_came_for_a_pod_is_not_followed_by_another_while_the_pod_waits() -> None:
    async with cluster(nodes(1), pools=(POOL,)) as driver:
        for name in ("one", "two"):
            driver.create("pods", pod(name, cpu="2", schedulerName="brim-scheduler"))
        pend(driver, "one")
        await driver.until(lambda: any(is_ready(node) for node in pool_nodes(driver)))
        pend(driver, "two")
        await driver.settled()
        assert len(pool_nodes(driver)) == 1


async def test_a_pod_left_over_when_others_took_the_room_is_looked_at_again() -> None:
    async with cluster(pools=(POOL,), clock=Clock(speed=200)) as driver:
        for name in ("one", "two"):
            driver.create("pods", pod(name, cpu="4", schedulerName="brim-scheduler"))
        pend(driver, "one")
        await driver.until(lambda: any(is_ready(node) for node in pool_nodes(driver)))
        pend(driver, "two")
        await driver.settled()
        node = pool_nodes(driver)[0]["metadata"]["name"]
        found: Any = driver.get("pods", "one")
        driver.store.update("pods", {**found, "spec": {**found["spec"], "nodeName": node}})
        await driver.until(lambda: len(pool_nodes(driver)) == 2)


@pytest.mark.parametrize(
    "affinity",
    [
        pytest.param({"nodeSelector": {"alibabacloud.com/nodepool-id": "np2"}}, id="selector"),
        pytest.param(
            {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]},
                                {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]},
                            ]
                        }
                    }
                }
            },
            id="affinity",
        ),
    ],
)
async def test_no_node_is_added_that_would_not_help(affinity: Object) -> None:
    async with cluster(nodes(1), pools=(POOL,)) as driver:
        driver.create("pods", pod("one", schedulerName="brim-scheduler", **affinity))
        pend(driver, "one")
        await driver.until(lambda: any(e["reason"] == "NotTriggerScaleUp" for e in driver.store.every("events")))
        assert not pool_nodes(driver)
