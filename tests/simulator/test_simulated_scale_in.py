"""Which pods go first when a workload shrinks: Kubernetes' order for ReplicaSets, Jobs and StatefulSets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.controllers import scale_in
from simulator.controllers.scale_in import DELETION_COST
from simulator.objects import Object
from tests.simulator.harness import Driver, cluster, deployment, nodes, template

NOW = 1767265200.0  # 2026-01-01T11:00:00Z


def pod(name: str, **features: Any) -> Object:
    ready = features.get("ready", True)
    born = features.get("born", "2026-01-01T00:00:00Z")
    since = {"lastTransitionTime": features.get("since", born)}
    return {
        "metadata": {
            "name": name,
            "uid": name,
            "creationTimestamp": born,
            "annotations": {DELETION_COST: str(features.get("cost", 0))},
        },
        "spec": {"nodeName": features.get("node", "n1")},
        "status": {
            "phase": features.get("phase", "Running"),
            "conditions": [{"type": "Ready", "status": "True" if ready else "False", **since}],
            "containerStatuses": [{"name": f"c{i}", "restartCount": n} for i, n in enumerate(features.get("by", [0]))],
        },
    }


def names(pods: list[Object]) -> list[str]:
    return [one["metadata"]["name"] for one in pods]


PAIRS = [
    pytest.param({"node": ""}, {}, id="unassigned first"),
    pytest.param({"phase": "Pending"}, {}, id="pending first"),
    pytest.param({"ready": False}, {}, id="unready first"),
    pytest.param({"ready": False, "by": [9]}, {"ready": False}, id="more restarts first"),
    pytest.param({"ready": False, "by": [0, 5]}, {"ready": False, "by": [4, 4]}, id="the container that restarts most"),
    pytest.param({"born": "2026-01-01T09:00:00Z"}, {}, id="younger first"),
    pytest.param(
        {"since": "2026-01-01T09:00:00Z", "born": "2025-01-01T00:00:00Z"}, {}, id="ready for a shorter time first"
    ),
]
OF_REPLICASETS = [
    pytest.param({"cost": -5}, {"cost": 3}, id="cheaper first"),
    pytest.param({"ready": False, "cost": 9}, {"cost": 0}, id="unready before cost"),
    pytest.param({"phase": "Pending", "cost": 9}, {"cost": 0}, id="pending before cost"),
    pytest.param(
        {"cost": 1, "born": "2025-01-01T00:00:00Z"}, {"cost": 2, "by": [9]}, id="cost before age and restarts"
    ),
]


@pytest.mark.parametrize(("first", "second"), [*PAIRS, *OF_REPLICASETS])
def test_a_replicaset_drops(first: dict[str, Any], second: dict[str, Any]) -> None:
    pods = [pod("b", **second), pod("a", **first)]
    assert names(scale_in.of_replicaset(pods, pods, NOW)) == ["a", "b"]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_job_drops(first: dict[str, Any], second: dict[str, Any]) -> None:
    pods = [pod("b", **second), pod("a", **first)]
    assert names(scale_in.of_job(pods)) == ["a", "b"]


def test_a_job_heeds_no_deletion_cost() -> None:
    older, younger = pod("a", cost=-9), pod("b", cost=9, born="2026-01-01T09:00:00Z")
    assert names(scale_in.of_job([older, younger])) == ["b", "a"]


def test_pods_on_nodes_with_more_of_the_same_deployment_go_first() -> None:
    pods = [pod("a", node="n1"), pod("b", node="n2"), pod("c", node="n2")]
    assert names(scale_in.of_replicaset(pods, pods, NOW))[-1] == "a"
    siblings = [pod(f"s{n}", node="n1", ready=False) for n in range(2)]
    assert names(scale_in.of_replicaset(pods, [*pods, *siblings], NOW))[0] == "a"


def test_ages_that_differ_by_less_than_a_power_of_two_are_alike() -> None:
    pods = [pod("b", born="2026-01-01T00:00:09Z"), pod("a", born="2026-01-01T00:00:00Z")]
    assert names(scale_in.of_replicaset(pods, pods, NOW)) == ["a", "b"]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=8), st.data())
def test_ready_pods_leave_in_the_order_of_their_costs(costs: list[int], data: st.DataObject) -> None:
    pods = [pod(f"p{i}", cost=cost, born=f"2026-01-0{1 + i}T00:00:00Z") for i, cost in enumerate(costs)]
    shuffled = data.draw(st.permutations(pods))
    left = [scale_in.deletion_cost(one) for one in scale_in.of_replicaset(shuffled, shuffled, NOW + 1e6)]
    assert left == sorted(costs)


@pytest.mark.parametrize(
    ("text", "cost"),
    [
        pytest.param("-7", -7, id="negative"),
        pytest.param("2147483647", 2147483647, id="the largest"),
        pytest.param("2147483648", 0, id="too large"),
        pytest.param("+1", 0, id="a plus"),
        pytest.param("007", 0, id="leading zeros"),
        pytest.param("1.5", 0, id="a fraction"),
        pytest.param("", 0, id="nothing"),
    ],
)
def test_what_is_no_deletion_cost_counts_as_zero(text: str, cost: int) -> None:
    assert scale_in.deletion_cost(pod("a", cost=text)) == cost


# -- in a member


async def _dropped(driver: Driver, shelf: str, name: str, replicas: int, field: str = "replicas") -> set[str]:
    """The pods that go when a workload is scaled to so many."""
    before = set(names(driver.pods()))
    driver.patch(shelf, name, {"spec": {field: replicas}})
    await driver.until(lambda: len(driver.pods()) == replicas)
    return before - set(names(driver.pods()))


async def test_a_deployment_drops_the_cheapest_ready_pods() -> None:
    async with cluster(nodes(4)) as driver:
        driver.create("deployments.apps", deployment(replicas=4))
        await driver.until(lambda: len(driver.ready_pods()) == 4)
        cheap = set(names(driver.pods())[1:3])
        for one in cheap:
            driver.patch("pods", one, {"metadata": {"annotations": {DELETION_COST: "-100"}}})
        assert await _dropped(driver, "deployments.apps", "web", 2) == cheap


async def test_a_statefulset_drops_its_highest_ordinal_whatever_it_costs() -> None:
    async with cluster(nodes(3)) as driver:
        labels = {"app": "db"}
        spec = {"replicas": 3, "selector": {"matchLabels": labels}, "template": template(labels)}
        driver.create("statefulsets.apps", {"metadata": {"name": "db"}, "spec": spec})
        await driver.until(lambda: len(driver.ready_pods()) == 3)
        driver.patch("pods", "db-0", {"metadata": {"annotations": {DELETION_COST: "-100"}}})
        assert await _dropped(driver, "statefulsets.apps", "db", 2) == {"db-2"}


async def test_a_job_drops_pods_whatever_they_cost() -> None:
    async with cluster(nodes(3, cpu="1")) as driver:
        job = {"parallelism": 2, "completions": 4, "template": template({}, restartPolicy="Never")}
        driver.create("jobs.batch", {"metadata": {"name": "job"}, "spec": job})
        await driver.until(lambda: len(driver.ready_pods()) == 2)
        (cheap, *_) = names(driver.pods())
        driver.patch("pods", cheap, {"metadata": {"annotations": {DELETION_COST: "-100"}}})
        driver.patch("nodes", "node-2", {"spec": {"unschedulable": True}})
        driver.patch("jobs.batch", "job", {"spec": {"parallelism": 3}})
        await driver.until(lambda: len(driver.pods()) == 3)
        pending = {p["metadata"]["name"] for p in driver.pods() if not p["spec"].get("nodeName")}
        assert await _dropped(driver, "jobs.batch", "job", 2, "parallelism") == pending


async def test_a_deletion_cost_that_is_no_number_is_refused() -> None:
    async with cluster(nodes(1)) as driver:
        driver.create("deployments.apps", deployment(replicas=1))
        (one,) = await driver.until(lambda: driver.ready_pods())
        with pytest.raises(Exception, match=r"pod-deletion-cost\]: Invalid value: \"low\": must be a 32bit integer"):
            driver.patch("pods", one["metadata"]["name"], {"metadata": {"annotations": {DELETION_COST: "low"}}})
