"""PodDisruptionBudgets where a real cluster cannot be made to show it: pods that do not become Ready, time that passes.

What both show stands in the contract suite.
"""

from __future__ import annotations

from typing import Any

import pytest

from shared.clock import rfc3339
from simulator import eviction
from simulator.objects import Object
from simulator.statuses import ApiError
from tests.simulator.harness import Driver, HandClock, cluster, deployment, nodes, pod

SHELF = "poddisruptionbudgets.policy"
WEB = {"matchLabels": {"app": "web"}}


def budget(driver: Driver, **spec: Any) -> None:
    body = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {"selector": WEB, **spec},
    }
    driver.create(SHELF, body)


def status(driver: Driver) -> Object:
    found = driver.get(SHELF, "web")
    assert found is not None
    return found.get("status") or {}


def allowed(driver: Driver) -> int:
    return int(status(driver).get("disruptionsAllowed", -1))


def evict(driver: Driver, name: str) -> None:
    eviction.evict(driver.member.registry, "default", name, {"metadata": {"name": name}})


def labelled(name: str, **annotations: str) -> Object:
    body = pod(name)
    body["metadata"] |= {"labels": {"app": "web"}, "annotations": annotations}
    return body


@pytest.mark.parametrize(
    ("healthy", "spec", "goes"),
    [
        pytest.param(1, {"minAvailable": 1}, True, id="the others are enough"),
        pytest.param(0, {"minAvailable": 1}, False, id="the others are too few"),
        pytest.param(
            0, {"minAvailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}, True, id="the budget lets them go"
        ),
    ],
)
async def test_a_pod_that_is_not_ready_may_go_where_the_others_are_enough(
    healthy: int, spec: dict[str, Any], goes: bool
) -> None:
    async with cluster(nodes(1)) as driver:
        driver.create("pods", labelled("ill", **{"simulator.brim.dev/ready": "false"}))
        for number in range(healthy):
            driver.create("pods", labelled(f"well-{number}"))
        budget(driver, **spec)
        await driver.until(lambda: len(driver.ready_pods()) == healthy and status(driver).get("expectedPods"))
        await driver.until(lambda: status(driver)["currentHealthy"] == healthy)
        await driver.until(lambda: (driver.get("pods", "ill") or {})["status"]["phase"] == "Running")
        assert allowed(driver) == 0
        if goes:
            evict(driver, "ill")
            await driver.until(lambda: driver.get("pods", "ill") is None)
        else:
            with pytest.raises(ApiError) as refused:
                evict(driver, "ill")
            assert refused.value.http_status == 429


async def test_shares_follow_the_scale_of_the_deployment_as_its_pods_do() -> None:
    async with cluster(nodes(1)) as driver:
        driver.create("deployments.apps", deployment("web", 2))
        budget(driver, maxUnavailable="50%")
        await driver.until(lambda: allowed(driver) == 1)
        driver.patch("deployments.apps", "web", {"spec": {"replicas": 6}})
        await driver.until(lambda: allowed(driver) == 3)
        assert (status(driver)["expectedPods"], status(driver)["desiredHealthy"]) == (6, 3)


async def test_a_pod_that_is_being_deleted_is_not_healthy() -> None:
    async with cluster(nodes(1)) as driver:
        for name in ("one", "two"):
            driver.create("pods", labelled(name))
        driver.patch("pods", "one", {"metadata": {"finalizers": ["example.com/wait"]}})
        budget(driver, minAvailable=1)
        await driver.until(lambda: allowed(driver) == 1)
        driver.delete("pods", "one")
        await driver.until(lambda: allowed(driver) == 0)
        assert (status(driver)["expectedPods"], status(driver)["currentHealthy"]) == (2, 1)


async def test_an_evicted_pod_that_stays_counts_again_after_a_while() -> None:
    clock = HandClock()
    async with cluster(nodes(1), clock=clock) as driver:
        for name in ("one", "two"):
            driver.create("pods", labelled(name))
        budget(driver, minAvailable=1)
        await driver.until(lambda: allowed(driver) == 1)
        found = driver.get(SHELF, "web")
        assert found is not None
        taken = {**found["status"], "disruptedPods": {"one": rfc3339(clock.now())}}
        driver.store.update(SHELF, {**found, "status": taken})
        await driver.until(lambda: allowed(driver) == 0)
        clock.move(121)
        driver.patch("pods", "two", {"metadata": {"annotations": {"looked": "at"}}})
        await driver.until(lambda: allowed(driver) == 1)
        assert "disruptedPods" not in status(driver)
