"""Deployments, StatefulSets, DaemonSets and Jobs in a simulated member behave as in Kubernetes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.clock import Clock
from simulator.controllers.rollout import SetSize, fenceposts, proportional
from simulator.objects import Object
from tests.simulator.harness import Driver, cluster, deployment, is_ready, nodes, template

DEPLOYMENTS, SETS = "deployments.apps", "replicasets.apps"


# -- arithmetic


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        pytest.param("25%", "25%", 10, (3, 2), id="surge-up-unavailable-down"),
        pytest.param("25%", "25%", 1, (1, 0), id="one-replica"),
        pytest.param("25%", "25%", 4, (1, 1), id="exact"),
        pytest.param(0, "25%", 2, (0, 1), id="never-both-zero"),
        pytest.param(2, 1, 5, (2, 1), id="counts"),
        pytest.param("100%", "0%", 3, (3, 0), id="whole"),
    ],
)
def test_fenceposts(surge: int | str, unavailable: int | str, replicas: int, expected: tuple[int, int]) -> None:
    assert fenceposts(surge, unavailable, replicas) == expected


@given(
    sizes=st.lists(st.integers(1, 50), min_size=2, max_size=5),
    wanted=st.integers(0, 100),
    surge=st.integers(0, 10),
)
def test_proportional_scaling_never_exceeds_what_is_allowed(sizes: list[int], wanted: int, surge: int) -> None:
    sizes.sort(reverse=True)
    result = proportional([SetSize(size, sum(sizes)) for size in sizes], wanted, surge)
    allowed = wanted + surge if wanted else 0
    assert all(size >= 0 for size in result)
    assert sum(result) <= max(allowed, sum(sizes))
    growing = allowed >= sum(sizes)
    assert all((new >= old) if growing else (new <= old) for new, old in zip(result, sizes, strict=True))


# -- Deployment


def _status(driver: Driver, name: str = "web") -> Object:
    found = driver.get(DEPLOYMENTS, name)
    return (found or {}).get("status") or {}


def _done(driver: Driver, replicas: int) -> bool:
    found = driver.get(DEPLOYMENTS, "web")
    assert found is not None
    status = found.get("status") or {}
    return (
        status.get("observedGeneration") == found["metadata"]["generation"]
        and status.get("updatedReplicas", 0) == replicas == status.get("availableReplicas", 0)
        and status.get("replicas", 0) == replicas
    )


def _condition(driver: Driver, kind: str) -> Object:
    return next((c for c in _status(driver).get("conditions") or () if c["type"] == kind), {})


async def test_a_deployment_becomes_running_pods_on_nodes() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(DEPLOYMENTS, deployment(replicas=3))
        await driver.until(lambda: _done(driver, 3))
        pods = driver.ready_pods(app="web")
        assert len(pods) == 3
        assert {p["spec"]["nodeName"] for p in pods} == {"node-0", "node-1"}
        assert all(p["status"]["podIP"] for p in pods)
        assert _condition(driver, "Available")["status"] == "True"
        assert _condition(driver, "Progressing")["reason"] == "NewReplicaSetAvailable"
        (replicaset,) = driver.store.every(SETS)
        assert replicaset["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"


async def test_a_rolling_update_never_leaves_its_bounds() -> None:
    async with cluster(nodes(4)) as driver:
        driver.create(DEPLOYMENTS, deployment(replicas=4))
        await driver.until(lambda: _done(driver, 4))
        counts: list[tuple[int, int]] = []

        def note(_: object) -> None:
            alive = [p for p in driver.pods(app="web") if not p["metadata"].get("deletionTimestamp")]
            wanted = sum(rs["spec"]["replicas"] for rs in driver.store.every(SETS))
            counts.append((wanted, sum(map(is_ready, alive))))

        driver.store.subscribe(note)
        driver.patch(DEPLOYMENTS, "web", {"spec": {"template": template({"app": "web"}, "image:2")}})
        await driver.until(lambda: _done(driver, 4))
        assert max(total for total, _ in counts) <= 5
        assert min(ready for _, ready in counts) >= 3
        assert {p["spec"]["containers"][0]["image"] for p in driver.pods(app="web")} == {"image:2"}


async def test_a_bad_version_stops_with_the_old_pods_serving() -> None:
    async with cluster(nodes(4), clock=Clock(speed=100)) as driver:
        driver.create(DEPLOYMENTS, deployment(replicas=4, progressDeadlineSeconds=30))
        await driver.until(lambda: _done(driver, 4))
        bad = template({"app": "web"}, "image:2", annotations={"simulator.brim.dev/ready": "false"})
        driver.patch(DEPLOYMENTS, "web", {"spec": {"template": bad}})
        await driver.until(lambda: _condition(driver, "Progressing").get("reason") == "ProgressDeadlineExceeded")
        assert len(driver.ready_pods(app="web")) == 3
        assert _status(driver)["updatedReplicas"] == 2


async def test_recreate_ends_all_old_pods_before_the_first_new_one() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(DEPLOYMENTS, deployment(replicas=3, strategy={"type": "Recreate"}))
        await driver.until(lambda: _done(driver, 3))
        mixed: list[set[str]] = []
        driver.store.subscribe(
            lambda _: mixed.append({p["spec"]["containers"][0]["image"] for p in driver.pods(app="web")}),
            "pods",
        )
        driver.patch(DEPLOYMENTS, "web", {"spec": {"template": template({"app": "web"}, "image:2")}})
        await driver.until(lambda: _done(driver, 3))
        assert not any(images == {"image:1", "image:2"} for images in mixed)


async def test_a_paused_deployment_scales_but_does_not_roll() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(DEPLOYMENTS, deployment(replicas=2))
        await driver.until(lambda: _done(driver, 2))
        new = template({"app": "web"}, "image:2")
        driver.patch(DEPLOYMENTS, "web", {"spec": {"paused": True, "replicas": 4, "template": new}})
        await driver.until(lambda: len(driver.ready_pods(app="web")) == 4)
        assert {p["spec"]["containers"][0]["image"] for p in driver.pods(app="web")} == {"image:1"}
        driver.patch(DEPLOYMENTS, "web", {"spec": {"paused": False}})
        await driver.until(lambda: _done(driver, 4))
        assert {p["spec"]["containers"][0]["image"] for p in driver.pods(app="web")} == {"image:2"}


async def test_scaling_in_keeps_the_pods_that_stay() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(DEPLOYMENTS, deployment(replicas=4))
        await driver.until(lambda: _done(driver, 4))
        before = {p["metadata"]["uid"] for p in driver.pods(app="web")}
        driver.patch(DEPLOYMENTS, "web", {"spec": {"replicas": 2}})
        await driver.until(lambda: _done(driver, 2) and len(driver.pods(app="web")) == 2)
        assert {p["metadata"]["uid"] for p in driver.pods(app="web")} < before


async def test_a_deleted_deployment_takes_its_pods_along_or_orphans_them() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(DEPLOYMENTS, deployment())
        await driver.until(lambda: _done(driver, 2))
        driver.delete(DEPLOYMENTS, "web", propagation="Orphan")
        await driver.until(lambda: driver.get(DEPLOYMENTS, "web") is None)
        await driver.settled()
        assert len(driver.ready_pods(app="web")) == 2
        driver.create(DEPLOYMENTS, deployment())
        await driver.until(lambda: _done(driver, 2))
        assert len(driver.store.every(SETS)) == 1
        driver.delete(DEPLOYMENTS, "web", propagation="Foreground")
        await driver.until(lambda: not driver.pods() and driver.get(DEPLOYMENTS, "web") is None)


async def test_a_foreground_deletion_waits_for_the_pods() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(DEPLOYMENTS, deployment())
        await driver.until(lambda: _done(driver, 2))
        order: list[str] = []
        driver.store.subscribe(lambda c: order.append(c.object["kind"]) if c.type == "DELETED" else None)
        driver.delete(DEPLOYMENTS, "web", propagation="Foreground")
        await driver.until(lambda: driver.get(DEPLOYMENTS, "web") is None)
        assert [kind for kind in order if kind != "Event"] == ["Pod", "Pod", "ReplicaSet", "Deployment"]


async def test_old_replicasets_are_kept_up_to_the_limit() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(DEPLOYMENTS, deployment(replicas=1, revisionHistoryLimit=1))
        for number in range(2, 5):
            await driver.until(lambda: _done(driver, 1))
            new = template({"app": "web"}, f"image:{number}")
            driver.patch(DEPLOYMENTS, "web", {"spec": {"template": new}})
        await driver.until(lambda: _done(driver, 1) and len(driver.store.every(SETS)) == 2)


async def test_a_lost_pod_is_replaced() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create(DEPLOYMENTS, deployment())
        await driver.until(lambda: _done(driver, 2))
        victim = driver.pods()[0]["metadata"]["name"]
        driver.delete("pods", victim)
        await driver.until(lambda: driver.get("pods", victim) is None and len(driver.ready_pods()) == 2)


# -- StatefulSet


def _statefulset(replicas: int = 3, **spec: Any) -> Object:
    labels = {"app": "db"}
    return {
        "metadata": {"name": "db"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": template(labels),
            **spec,
        },
    }


async def test_ordered_pods_start_one_after_another_and_end_from_the_top() -> None:
    async with cluster(nodes(3)) as driver:
        order: list[tuple[str, str]] = []
        driver.store.subscribe(lambda c: order.append((c.type, c.object["metadata"]["name"])), "pods")
        driver.create("statefulsets.apps", _statefulset())
        await driver.until(lambda: len(driver.ready_pods(app="db")) == 3)
        assert [name for kind, name in order if kind == "ADDED"] == ["db-0", "db-1", "db-2"]
        driver.patch("statefulsets.apps", "db", {"spec": {"replicas": 1}})
        await driver.until(lambda: len(driver.pods(app="db")) == 1)
        assert [name for kind, name in order if kind == "DELETED"] == ["db-2", "db-1"]


async def test_an_ordered_set_waits_for_a_pod_that_is_stuck() -> None:
    async with cluster(nodes(1, cpu="1")) as driver:
        driver.create("statefulsets.apps", _statefulset())
        await driver.until(lambda: len(driver.pods(app="db")) == 2)
        await driver.settled()
        assert {p["metadata"]["name"] for p in driver.pods(app="db")} == {"db-0", "db-1"}


async def test_a_parallel_set_starts_all_at_once() -> None:
    async with cluster(nodes(1, cpu="1")) as driver:
        driver.create("statefulsets.apps", _statefulset(podManagementPolicy="Parallel"))
        await driver.until(lambda: len(driver.pods(app="db")) == 3)


async def test_a_partition_holds_lower_ordinals_back() -> None:
    async with cluster(nodes(3)) as driver:
        driver.create("statefulsets.apps", _statefulset())
        await driver.until(lambda: len(driver.ready_pods(app="db")) == 3)
        new = template({"app": "db"}, "image:2")
        strategy = {"rollingUpdate": {"partition": 2}}
        driver.patch("statefulsets.apps", "db", {"spec": {"template": new, "updateStrategy": strategy}})

        def images() -> dict[str, str]:
            return {p["metadata"]["name"]: p["spec"]["containers"][0]["image"] for p in driver.ready_pods(app="db")}

        await driver.until(lambda: images() == {"db-0": "image:1", "db-1": "image:1", "db-2": "image:2"})


# -- Job


def _job(name: str = "job", annotations: dict[str, str] | None = None, **spec: Any) -> Object:
    made = template({}, annotations=annotations or {}, restartPolicy="Never")
    return {"metadata": {"name": name}, "spec": {"template": made, **spec}}


def _job_status(driver: Driver) -> Object:
    return (driver.get("jobs.batch", "job") or {}).get("status") or {}


def _is(driver: Driver, kind: str) -> bool:
    return any(c["type"] == kind and c["status"] == "True" for c in _job_status(driver).get("conditions") or ())


async def test_a_job_completes_within_its_parallelism() -> None:
    async with cluster(nodes(3), clock=Clock(speed=100)) as driver:
        running: list[int] = []
        driver.store.subscribe(
            lambda _: running.append(sum(p["status"]["phase"] != "Succeeded" for p in driver.pods())), "pods"
        )
        driver.create("jobs.batch", _job(completions=5, parallelism=2))
        await driver.until(lambda: _is(driver, "Complete"))
        assert _job_status(driver)["succeeded"] == 5
        assert max(running) <= 2


async def test_an_indexed_job_runs_every_index_once() -> None:
    async with cluster(nodes(3), clock=Clock(speed=100)) as driver:
        driver.create("jobs.batch", _job(completions=4, parallelism=4, completionMode="Indexed"))
        await driver.until(lambda: _is(driver, "Complete"))
        assert _job_status(driver)["completedIndexes"] == "0-3"


async def test_a_job_fails_at_its_backoff_limit() -> None:
    async with cluster(nodes(3), clock=Clock(speed=1000)) as driver:
        failing = {"simulator.brim.dev/exit-code": "1", "simulator.brim.dev/run-seconds": "1"}
        driver.create("jobs.batch", _job(annotations=failing, backoffLimit=2))
        await driver.until(lambda: _is(driver, "Failed"))
        assert _job_status(driver)["failed"] == 3


async def test_a_finished_job_goes_after_its_ttl() -> None:
    async with cluster(nodes(1), clock=Clock(speed=1000)) as driver:
        driver.create("jobs.batch", _job(ttlSecondsAfterFinished=20))
        await driver.until(lambda: _is(driver, "Complete"))
        await driver.until(lambda: driver.get("jobs.batch", "job") is None and not driver.pods())


async def test_a_suspended_job_holds_no_pods() -> None:
    async with cluster(nodes(1)) as driver:
        driver.create("jobs.batch", _job(parallelism=2, completions=2))
        await driver.until(lambda: len(driver.ready_pods()) == 2)
        driver.patch("jobs.batch", "job", {"spec": {"suspend": True}})
        await driver.until(lambda: not driver.pods() and _is(driver, "Suspended"))
        driver.patch("jobs.batch", "job", {"spec": {"suspend": False}})
        await driver.until(lambda: len(driver.ready_pods()) == 2)


# -- DaemonSet, namespaces


async def test_a_daemonset_follows_nodes() -> None:
    async with cluster(nodes(2)) as driver:
        labels = {"app": "agent"}
        made = template(labels, cpu="10m")
        body = {
            "metadata": {"name": "agent"},
            "spec": {"selector": {"matchLabels": labels}, "template": made},
        }
        driver.create("daemonsets.apps", body)
        await driver.until(lambda: len(driver.ready_pods(app="agent")) == 2)
        taint = {"key": "keep", "value": "out", "effect": "NoExecute"}
        driver.patch("nodes", "node-0", {"spec": {"taints": [taint]}})
        await driver.until(lambda: {p["spec"]["nodeName"] for p in driver.pods(app="agent")} == {"node-1"})


async def test_a_deleted_namespace_takes_everything_along() -> None:
    async with cluster(nodes(1)) as driver:
        driver.create("namespaces", {"metadata": {"name": "team"}})
        driver.create(DEPLOYMENTS, deployment(), "team")
        await driver.until(lambda: len(driver.ready_pods()) == 2)
        driver.delete("namespaces", "team")
        await driver.until(lambda: driver.get("namespaces", "team") is None)
        assert not driver.pods()
        assert not driver.store.every(SETS)


async def test_no_annotations_are_none_however_they_are_written() -> None:
    """A template that goes back is the old one, whether or not an empty map was left of what was taken from it."""
    async with cluster(nodes(1)) as driver:
        driver.create("deployments.apps", deployment(replicas=1, annotations={}))
        await driver.until(lambda: len(driver.ready_pods(app="web")) == 1)
        for marks in ({"a": "b"}, {"a": None}):
            driver.patch("deployments.apps", "web", {"spec": {"template": {"metadata": {"annotations": marks}}}})
            await driver.settled()
        assert len(driver.store.every("replicasets.apps")) == 2
