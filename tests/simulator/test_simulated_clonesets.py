"""CloneSets and Kruise's DaemonSets in simulated members: which pods are made, kept, replaced and ended."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from simulator import objects
from simulator.controllers import scale_in
from simulator.controllers.cloneset import INSTANCE, SHELF
from simulator.kruise import marks
from simulator.kruise.clonesets import Bounds, Plan, Pods, bounds_of, plan, replaceable
from simulator.objects import Object
from tests.simulator.harness import Driver, cluster, deployment, nodes, template

PLANS: dict[str, tuple[Bounds, Pods, Pods, Plan]] = {
    "new": (Bounds(3), Pods(), Pods(), Plan(create=3)),
    "complete": (Bounds(3), Pods(), Pods(3, 3), Plan()),
    "an update without surge": (Bounds(10, unavailable=2), Pods(10, 10), Pods(), Plan(replace=10, replace_limit=2)),
    "replaced ones come again as new ones": (Bounds(10, unavailable=2), Pods(8, 8), Pods(), Plan(create=2)),
    "a partition": (Bounds(10, 7, unavailable=2), Pods(10, 10), Pods(), Plan(replace=3, replace_limit=2)),
    "a partition that is reached": (Bounds(10, 7), Pods(7, 7), Pods(3, 3), Plan()),
    "a partition that rises takes nothing back": (Bounds(10, 9), Pods(7, 7), Pods(3, 3), Plan()),
    "a lost pod of the old ones comes again as one": (Bounds(10, 7), Pods(6, 6), Pods(3, 3), Plan(1, 1)),
    "surge comes first": (Bounds(10, surge=3, unavailable=0), Pods(10, 10), Pods(), Plan(create=3)),
    "then as many are replaced": (
        Bounds(10, surge=3, unavailable=0),
        Pods(10, 10),
        Pods(3, 3),
        Plan(replace=7, replace_limit=3),
    ),
    "surge ends with the update": (
        Bounds(10, surge=3, unavailable=0),
        Pods(1, 1),
        Pods(10, 10),
        Plan(delete=1, delete_old=1, ready_limit=1),
    ),
    "scaling in": (Bounds(2), Pods(), Pods(5, 5), Plan(delete=3, ready_limit=4)),
    "scaling in amid an update takes old ones first": (
        Bounds(4, 1),
        Pods(4, 4),
        Pods(3, 3),
        Plan(delete=3, delete_old=3, ready_limit=4),
    ),
    "paused": (Bounds(10, paused=True), Pods(10, 10), Pods(), Plan()),
    "paused, but scaled": (Bounds(10, paused=True), Pods(8, 8), Pods(), Plan(create=2)),
    "ready pods stay where none may be unavailable": (
        Bounds(10, surge=10, unavailable=0),
        Pods(10, 0),
        Pods(10, 0),
        Plan(delete=10, delete_old=10, ready_limit=0),
    ),
}


@pytest.mark.parametrize("name", PLANS)
def test_plan(name: str) -> None:
    bounds, old, new, expected = PLANS[name]
    assert plan(bounds, old, new) == expected


REPLACEABLE = {
    "as many as may be unavailable": ((2, 0, 0, [True] * 5), 2),
    "less those that are": ((3, 0, 2, [True] * 5), 1),
    "unavailable ones cost nothing": ((2, 0, 2, [False, False, True]), 2),
    "not while new ones are not ready": ((2, 2, 2, [False, True]), 0),
    "none": ((0, 0, 0, [True]), 0),
}


@pytest.mark.parametrize("name", REPLACEABLE)
def test_replaceable(name: str) -> None:
    (limit, new_unavailable, unavailable, candidates), expected = REPLACEABLE[name]
    assert replaceable(limit, new_unavailable, unavailable, candidates) == expected


WRITTEN: dict[str, tuple[dict[str, Any], Bounds]] = {
    "nothing": ({}, Bounds(10, 0, 0, 2)),
    "counts": ({"partition": 3, "maxSurge": 2, "maxUnavailable": 1}, Bounds(10, 3, 2, 1)),
    "percentages round up": ({"partition": "25%", "maxSurge": "25%"}, Bounds(10, 3, 3, 2)),
    "unavailable rounds down beside surge": ({"maxSurge": 1, "maxUnavailable": "25%"}, Bounds(10, 0, 1, 2)),
    "unavailable rounds up without surge": ({"maxUnavailable": "25%"}, Bounds(10, 0, 0, 3)),
    "paused does not surge": ({"maxSurge": 2, "paused": True}, Bounds(10, 0, 0, 2, paused=True)),
    "a partition beyond the replicas": ({"partition": 99}, Bounds(10, 10, 0, 2)),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_bounds(name: str) -> None:
    strategy, expected = WRITTEN[name]
    assert bounds_of({"replicas": 10, "updateStrategy": strategy}) == expected


def cloneset(replicas: int, **strategy: Any) -> Object:
    body = deployment(replicas=replicas, cpu="100m")
    return {**body, "spec": {**body["spec"], "updateStrategy": strategy}}


def images(driver: Driver) -> Counter[str]:
    return Counter(pod["spec"]["containers"][0]["image"] for pod in driver.ready_pods(app="web"))


def update(driver: Driver, shelf: str = SHELF) -> None:
    driver.patch(shelf, "web", {"spec": {"template": template({"app": "web"}, image="new", cpu="100m")}})


async def settled_with(driver: Driver, **expected: int) -> None:
    await driver.until(lambda: images(driver) == Counter(expected), f"{expected}")
    await driver.settled()
    assert images(driver) == Counter(expected)


async def test_pods_are_straight_under_it() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(SHELF, cloneset(3))
        await driver.until(lambda: len(driver.ready_pods(app="web")) == 3)
        live = driver.get(SHELF, "web")
        assert live is not None
        for pod in driver.pods(app="web"):
            owner = objects.controller(pod)
            assert owner is not None
            assert (owner["apiVersion"], owner["kind"]) == ("apps.kruise.io/v1alpha1", "CloneSet")
            labels = objects.labels(pod)
            assert objects.name(pod) == f"web-{labels[INSTANCE]}"
            assert labels["controller-revision-hash"] == live["status"]["updateRevision"]
            assert labels["controller-revision-hash"] == f"web-{labels['pod-template-hash']}"
        assert driver.store.every("replicasets.apps") == []


async def test_a_partition_keeps_pods_and_the_status_counts_both() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(SHELF, cloneset(5, partition=3))
        await settled_with(driver, **{"image:1": 5})
        update(driver)
        await settled_with(driver, **{"image:1": 3, "new": 2})
        live = driver.get(SHELF, "web")
        assert live is not None
        status = live["status"]
        counted = ("replicas", "readyReplicas", "updatedReplicas", "updatedReadyReplicas", "expectedUpdatedReplicas")
        assert [status[key] for key in counted] == [5, 5, 2, 2, 2]
        assert status["currentRevision"] != status["updateRevision"]
        driver.patch(SHELF, "web", {"spec": {"updateStrategy": {"partition": 0}}})
        await settled_with(driver, new=5)
        live = driver.get(SHELF, "web")
        assert live is not None
        assert live["status"]["currentRevision"] == live["status"]["updateRevision"]


async def test_a_pod_that_is_lost_amid_an_update_comes_again_in_its_own_version() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(SHELF, cloneset(4, partition=3))
        await settled_with(driver, **{"image:1": 4})
        update(driver)
        await settled_with(driver, **{"image:1": 3, "new": 1})
        lost = next(p for p in driver.pods(app="web") if p["spec"]["containers"][0]["image"] == "image:1")
        driver.delete("pods", objects.name(lost))
        await driver.until(lambda: driver.get("pods", objects.name(lost)) is None)
        await settled_with(driver, **{"image:1": 3, "new": 1})


LIMITS: dict[str, tuple[dict[str, Any], int, int]] = {
    "one by one": ({"maxUnavailable": 1}, 4, 5),
    "never fewer than wanted": ({"maxUnavailable": 0, "maxSurge": 1}, 5, 6),
    "both": ({"maxUnavailable": 1, "maxSurge": 2}, 4, 7),
}


@pytest.mark.parametrize("name", LIMITS)
async def test_an_update_stays_within_its_bounds(name: str) -> None:
    strategy, lowest, highest = LIMITS[name]
    ready, total = [5], [5]
    async with cluster(nodes(2)) as driver:
        driver.create(SHELF, cloneset(5, **strategy))
        await settled_with(driver, **{"image:1": 5})

        def look(_: object) -> None:
            ready.append(len(driver.ready_pods(app="web")))
            total.append(sum(not objects.deleting(pod) for pod in driver.pods(app="web")))

        driver.store.subscribe(look, "pods")
        update(driver)
        await settled_with(driver, new=5)
        assert (min(ready), max(total)) >= (lowest, 5)
        assert max(total) <= highest


async def test_the_cheapest_pods_go_first() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(SHELF, cloneset(3))
        await settled_with(driver, **{"image:1": 3})
        cheap = objects.name(driver.pods(app="web")[1])
        driver.patch("pods", cheap, {"metadata": {"annotations": {scale_in.DELETION_COST: "-5"}}})
        driver.patch(SHELF, "web", {"spec": {"replicas": 2}})
        await settled_with(driver, **{"image:1": 2})
        assert driver.get("pods", cheap) is None


async def test_named_pods_go_and_are_replaced() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(SHELF, cloneset(3))
        await settled_with(driver, **{"image:1": 3})
        name = objects.name(driver.pods(app="web")[0])
        driver.patch(SHELF, "web", {"spec": {"scaleStrategy": {"podsToDelete": [name]}}})
        await driver.until(lambda: driver.get("pods", name) is None)
        await settled_with(driver, **{"image:1": 3})


async def test_its_pods_go_with_it() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(SHELF, cloneset(3))
        await settled_with(driver, **{"image:1": 3})
        driver.delete(SHELF, "web")
        await driver.until(lambda: driver.pods(app="web") == [])


class TestAdvancedDaemonSet:
    shelf = marks.ADVANCED_DAEMONSETS

    def body(self, **rolling: Any) -> Object:
        spec = deployment(cpu="100m")["spec"]
        del spec["replicas"]
        strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 5, **rolling}}
        return {"metadata": {"name": "web"}, "spec": {**spec, "updateStrategy": strategy}}

    @pytest.mark.parametrize(
        ("rolling", "new"), [({"partition": 2}, 2), ({"partition": "50%"}, 2), ({"paused": True}, 0)]
    )
    async def test_so_many_pods_stay_as_they_are(self, rolling: dict[str, Any], new: int) -> None:
        async with cluster(nodes(4)) as driver:
            driver.create(self.shelf, self.body(**rolling))
            await settled_with(driver, **{"image:1": 4})
            update(driver, self.shelf)
            await settled_with(driver, **{key: n for key, n in {"image:1": 4 - new, "new": new}.items() if n})
            live = driver.get(self.shelf, "web")
            assert live is not None
            assert live["status"]["updatedNumberScheduled"] == new
            assert live["status"]["daemonSetHash"]

    async def test_it_stands_beside_kubernetes_own(self) -> None:
        async with cluster(nodes(2)) as driver:
            driver.create(self.shelf, self.body())
            other = deployment("other", cpu="100m")["spec"]
            del other["replicas"]
            driver.create(marks.DAEMONSETS, {"metadata": {"name": "web"}, "spec": other})
            await driver.until(lambda: len(driver.ready_pods(app="web")) == 2 == len(driver.ready_pods(app="other")))
