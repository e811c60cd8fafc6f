"""What a simulated member does to new pods: priorities, and pods that ask for ECI go to brim's scheduler."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator.objects import Object
from simulator.statuses import ApiError
from tests.simulator.harness import Driver, cluster, deployment, nodes, pod

ECI = "alibabacloud.com/eci"


def classes(driver: Driver, **values: Any) -> None:
    for name, body in values.items():
        driver.create("priorityclasses.scheduling.k8s.io", {"metadata": {"name": name}, **body})


def spec(driver: Driver, name: str, **fields: Any) -> Object:
    made: Object = driver.create("pods", pod(name, **fields))
    return dict(made["spec"])


# -- priority


async def test_a_pods_class_sets_its_priority_and_whether_it_preempts() -> None:
    async with cluster() as driver:
        classes(driver, batch={"value": -5, "preemptionPolicy": "Never"}, urgent={"value": 1000})
        got = {name: spec(driver, name, priorityClassName=name) for name in ("batch", "urgent")}
        got["critical"] = spec(driver, "critical", priorityClassName="system-node-critical")
        got["plain"] = spec(driver, "plain")
        assert {name: (one["priority"], one["preemptionPolicy"]) for name, one in got.items()} == {
            "batch": (-5, "Never"),
            "urgent": (1000, "PreemptLowerPriority"),
            "critical": (2_000_001_000, "PreemptLowerPriority"),
            "plain": (0, "PreemptLowerPriority"),
        }


async def test_the_default_class_is_everyones() -> None:
    async with cluster() as driver:
        classes(driver, usual={"value": 7, "globalDefault": True})
        made = spec(driver, "one")
        assert (made["priorityClassName"], made["priority"]) == ("usual", 7)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        pytest.param({"priorityClassName": "none"}, "no PriorityClass with name none was found", id="no such class"),
        pytest.param({"priority": 9}, r"the integer value of priority \(9\) must not be provided", id="a number"),
        pytest.param(
            {"priorityClassName": "quiet", "preemptionPolicy": "PreemptLowerPriority"},
            "the string value of PreemptionPolicy",
            id="another preemption than the class's",
        ),
    ],
)
async def test_a_priority_that_cannot_be_is_forbidden(fields: Object, says: str) -> None:
    async with cluster() as driver:
        classes(driver, quiet={"value": 1, "preemptionPolicy": "Never"})
        with pytest.raises(ApiError, match=says) as caught:
            driver.create("pods", pod("one", **fields))
        assert caught.value.http_status == 403


async def test_pods_of_a_controller_get_their_priority_too_or_an_event() -> None:
    async with cluster(nodes(1)) as driver:
        driver.create("deployments.apps", deployment(replicas=1, priorityClassName="later"))
        await driver.until(lambda: any(e["reason"] == "FailedCreate" for e in driver.store.every("events")))
        assert not driver.pods()


# -- ECI


async def labelled(driver: Driver, **labels: str) -> None:
    driver.patch("namespaces", "default", {"metadata": {"labels": labels}})


def profile(driver: Driver, *selectors: Object | str) -> None:
    data = {"selectors": json.dumps(selectors)}
    driver.create("configmaps", {"metadata": {"name": "eci-profile"}, "data": data}, "kube-system")


def made(driver: Driver, labels: dict[str, str] | None = None, **fields: Any) -> Object:
    body = pod("one", **fields)
    body["metadata"]["labels"] = labels or {}
    return driver.create("pods", body)


@pytest.mark.parametrize(
    ("own", "namespace", "scheduler", "got"),
    [
        pytest.param("true", None, None, "brim-scheduler", id="by the pod's label"),
        pytest.param("true", None, "default-scheduler", "brim-scheduler", id="in spite of the default's name"),
        pytest.param("true", None, "ack-co-scheduler", "ack-co-scheduler", id="one that knows ECI stays"),
        pytest.param("true", None, "volcano", "volcano", id="another one stays"),
        pytest.param(None, "true", None, "brim-scheduler", id="by the namespace's label"),
        pytest.param("false", "true", None, "default-scheduler", id="the pod's own no wins"),
        pytest.param("yes", None, None, "default-scheduler", id="only true counts"),
        pytest.param(None, None, None, "default-scheduler", id="nobody asks"),
    ],
)
async def test_who_schedules_a_pod_that_asks_for_eci(
    own: str | None, namespace: str | None, scheduler: str | None, got: str
) -> None:
    async with cluster() as driver:
        if namespace:
            await labelled(driver, **{ECI: namespace})
        named = {"schedulerName": scheduler} if scheduler else {}
        assert made(driver, {ECI: own} if own else {}, **named)["spec"]["schedulerName"] == got


async def test_only_new_pods_are_sent_to_eci() -> None:
    async with cluster(nodes(1)) as driver:
        before = driver.create("pods", pod("one"))
        await labelled(driver, **{ECI: "true"})
        driver.patch("pods", "one", {"metadata": {"labels": {ECI: "true"}}})
        after = driver.get("pods", "one")
        assert after is not None
        assert after["spec"]["schedulerName"] == before["spec"]["schedulerName"] == "default-scheduler"


async def test_pods_that_a_controller_creates_are_sent_too_but_a_daemonsets_are_not() -> None:
    async with cluster(nodes(1)) as driver:
        await labelled(driver, **{ECI: "true"})
        driver.create("deployments.apps", deployment(replicas=1))
        body = deployment("agent")
        driver.create("daemonsets.apps", {**body, "spec": {k: v for k, v in body["spec"].items() if k != "replicas"}})
        await driver.until(lambda: driver.ready_pods(app="agent") and driver.pods(app="web"))
        assert [p["spec"]["schedulerName"] for p in driver.pods(app="web")] == ["brim-scheduler"]


BATCH = {"matchLabels": {"kind": "batch"}}
TEAM = {"matchLabels": {"team": "ai"}}
OTHER = {"matchLabels": {"kind": "x", "team": "x"}}
EXISTS = {"key": "kind", "operator": "Exists"}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        pytest.param({"objectSelector": BATCH}, True, id="the pod's labels"),
        pytest.param({"namespaceSelector": TEAM}, True, id="the namespace's labels"),
        pytest.param({"objectSelector": BATCH, "namespaceSelector": TEAM}, True, id="both"),
        pytest.param({"objectSelector": OTHER, "namespaceSelector": TEAM}, False, id="one of two"),
        pytest.param({"objectSelector": BATCH, "namespaceSelector": OTHER}, False, id="the other"),
        pytest.param({"objectSelector": {"matchExpressions": [EXISTS]}}, True, id="expressions"),
        pytest.param({}, False, id="no selector selects nothing"),
    ],
)
async def test_a_profile_selects_pods(selector: Object, matches: bool) -> None:
    async with cluster() as driver:
        await labelled(driver, team="ai")
        profile(driver, {"name": "one", **selector})
        scheduler = made(driver, {"kind": "batch"})["spec"]["schedulerName"]
        assert scheduler == ("brim-scheduler" if matches else "default-scheduler")


async def test_a_profiles_effect_is_merged_and_the_pods_own_wins() -> None:
    async with cluster() as driver:
        first = {"annotations": {"a": "first", "b": "first"}, "labels": {"added": "yes", "kind": "other"}}
        profile(
            driver,
            {"objectSelector": BATCH, "effect": first},
            {"objectSelector": BATCH, "effect": {"annotations": {"b": "second", "c": "second"}}},
        )
        metadata = made(driver, {"kind": "batch"}, annotations={"a": "own"})["metadata"]
        assert metadata["annotations"] == {"a": "own", "b": "first", "c": "second"}
        assert metadata["labels"] == {"kind": "batch", "added": "yes", ECI: "true"}


@pytest.mark.parametrize("text", ["no json", '{"a": 1}', '["a", 3]'])
async def test_a_profile_that_cannot_be_read_changes_nothing(text: str) -> None:
    async with cluster() as driver:
        body = {"metadata": {"name": "eci-profile"}, "data": {"selectors": text}}
        driver.create("configmaps", body, "kube-system")
        assert made(driver)["spec"]["schedulerName"] == "default-scheduler"
