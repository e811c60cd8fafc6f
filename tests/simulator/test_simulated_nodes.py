"""Scheduling, kubelets, taints, the node autoscaler and its stock in a simulated member."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from shared.clock import Clock
from simulator.events import EventLog
from simulator.fit import NodeTable, requests_of, shape_of
from simulator.objects import Object
from simulator.store import Store
from tests.simulator.harness import (
    Delays,
    Driver,
    HandClock,
    NodeGroup,
    NodePool,
    Taint,
    VirtualNode,
    cluster,
    deployment,
    is_ready,
    nodes,
    pod,
)


def _condition(pod: Object | None, kind: str = "PodScheduled") -> Object:
    conditions = ((pod or {}).get("status") or {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind), {})


def _events(driver: Driver, reason: str) -> list[Object]:
    return [event for event in driver.store.every("events") if event["reason"] == reason]


# -- scheduling


@pytest.mark.parametrize(
    ("features", "message"),
    [
        pytest.param({"cpu": "9"}, "2 Insufficient cpu", id="cpu"),
        pytest.param(
            {"nodeSelector": {"gpu": "a100"}},
            "2 node(s) didn't match Pod's node affinity/selector",
            id="selector",
        ),
        pytest.param(
            {
                "affinity": {
                    "nodeAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": {
                            "nodeSelectorTerms": [
                                {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}
                            ]
                        }
                    }
                }
            },
            "2 node(s) didn't match Pod's node affinity/selector",
            id="affinity",
        ),
    ],
)
async def test_a_pod_that_fits_nowhere_is_told_why(features: dict[str, Any], message: str) -> None:
    async with cluster(nodes(2, zone="a")) as driver:
        driver.create("pods", pod("one", **features))
        await driver.until(lambda: _condition(driver.get("pods", "one")))
        said = _condition(driver.get("pods", "one"))
        assert (said["status"], said["reason"]) == ("False", "Unschedulable")
        assert said["message"].startswith(f"0/2 nodes are available: {message}. preemption: 0/2 nodes")
        assert _events(driver, "FailedScheduling")[0]["message"] == said["message"]


async def test_taints_cordons_and_tolerations() -> None:
    tainted = NodeGroup(
        name="gpu",
        allocatable={"cpu": "8", "nvidia.com/gpu": "2"},
        taints=(Taint(key="gpu", value="yes", effect="NoSchedule"),),
    )
    async with cluster(nodes(1, name="plain"), tainted) as driver:
        driver.patch("nodes", "plain", {"spec": {"unschedulable": True}})
        driver.create("pods", pod("one"))
        await driver.until(lambda: _condition(driver.get("pods", "one")).get("status") == "False")
        message = _condition(driver.get("pods", "one"))["message"]
        assert "1 node(s) had untolerated taint {gpu: yes}" in message
        assert "1 node(s) were unschedulable" in message
        driver.create("pods", pod("two", tolerations=[{"key": "gpu", "operator": "Exists"}]))
        await driver.until(lambda: _condition(driver.get("pods", "two")).get("status") == "True")
        driver.patch("nodes", "plain", {"spec": {"unschedulable": None}})
        await driver.until(lambda: _condition(driver.get("pods", "one")).get("status") == "True")


async def test_nodes_are_never_over_committed_and_room_is_used_again() -> None:
    async with cluster(nodes(3, cpu="4")) as driver:
        driver.create("deployments.apps", deployment(replicas=20, cpu="1"))
        await driver.until(lambda: len(driver.ready_pods()) == 12)
        await driver.settled()
        on: dict[str, int] = {}
        for one in driver.ready_pods():
            on[one["spec"]["nodeName"]] = on.get(one["spec"]["nodeName"], 0) + 1
        assert on == {"node-0": 4, "node-1": 4, "node-2": 4}
        driver.patch("deployments.apps", "web", {"spec": {"replicas": 12}})
        await driver.until(lambda: len(driver.pods()) == 12 and len(driver.ready_pods()) == 12)


async def test_a_higher_priority_goes_first() -> None:
    async with cluster(nodes(1, cpu="1")) as driver:
        driver.patch("nodes", "node", {"spec": {"unschedulable": True}})
        driver.create("pods", pod("low"))
        driver.create("priorityclasses.scheduling.k8s.io", {"metadata": {"name": "urgent"}, "value": 10})
        driver.create("pods", pod("high", priorityClassName="urgent"))
        await driver.until(lambda: len(_events(driver, "FailedScheduling")) == 2)
        driver.patch("nodes", "node", {"spec": {"unschedulable": None}})
        await driver.until(lambda: driver.ready_pods(app="high"))
        assert not driver.ready_pods(app="low")


async def test_another_schedulers_pods_are_left_alone_until_bound() -> None:
    async with cluster(nodes(1)) as driver:
        driver.create("pods", pod("one", schedulerName="brim-scheduler"))
        driver.create("pods", pod("two"))
        await driver.until(lambda: driver.ready_pods(app="two"))
        assert _condition(driver.get("pods", "one")) == {}


def test_a_node_table_counts_extended_resources_it_meets_later() -> None:
    table = NodeTable()
    node = {
        "metadata": {"name": "n"},
        "spec": {},
        "status": {"allocatable": {"cpu": "4", "pods": "10", "example.com/x": "1"}},
    }
    table.set_node(node)
    asks = {"containers": [{"name": "c", "resources": {"requests": {"example.com/x": "1"}}}]}
    amounts = requests_of(asks)
    assert table.place(shape_of(asks), amounts) == "n"
    table.take("n", amounts)
    assert table.place(shape_of(asks), amounts) is None
    table.release("n", amounts)
    assert table.place(shape_of(asks), amounts) == "n"


# -- kubelets and node life


async def test_what_is_reserved_for_a_nodes_system_is_not_for_pods() -> None:
    group = NodeGroup(name="own", allocatable={"cpu": "5500m"}, capacity={"cpu": "6"})
    async with cluster(group) as driver:
        node = driver.get("nodes", "own")
        assert node is not None
        assert (node["status"]["capacity"]["cpu"], node["status"]["allocatable"]["cpu"]) == ("6", "5500m")
        driver.create("deployments.apps", deployment(replicas=3, cpu="2"))
        await driver.until(lambda: len(driver.ready_pods()) == 2 and _events(driver, "FailedScheduling"))


async def test_a_pod_starts_and_stops_after_the_members_delays() -> None:
    delays = Delays(start=20, stop=10)
    clock = Clock(speed=100)
    async with cluster(nodes(1), delays=delays, clock=clock) as driver:
        driver.create("pods", pod("one"))
        creating = await driver.until(lambda: [p for p in driver.pods() if p["status"].get("containerStatuses")])
        state = creating[0]["status"]["containerStatuses"][0]["state"]
        assert state == {"waiting": {"reason": "ContainerCreating"}}
        began = clock.now()
        await driver.until(lambda: driver.ready_pods())
        assert clock.now() - began > 15
        driver.delete("pods", "one")
        await driver.until(lambda: driver.get("pods", "one") is None)
        assert clock.now() - began > 28


async def test_a_failed_node_is_tainted_and_its_pods_go_after_their_patience() -> None:
    async with cluster(nodes(2), clock=Clock(speed=1000)) as driver:
        driver.create("deployments.apps", deployment(replicas=2))
        await driver.until(lambda: len(driver.ready_pods()) == 2)
        driver.member.set_node_ready("node-0", False)
        await driver.until(
            lambda: [p for p in driver.ready_pods() if p["spec"]["nodeName"] == "node-1"].__len__() == 2,
            "both on the healthy node",
        )
        stuck = [p for p in driver.pods() if p["spec"]["nodeName"] == "node-0"]
        assert all(p["metadata"]["deletionTimestamp"] for p in stuck)
        driver.member.set_node_ready("node-0", True)
        await driver.until(lambda: len(driver.pods()) == 2)


async def test_a_no_execute_taint_evicts_at_once() -> None:
    async with cluster(nodes(2)) as driver:
        driver.create("deployments.apps", deployment(replicas=4))
        await driver.until(lambda: len(driver.ready_pods()) == 4)
        taint = {"key": "away", "effect": "NoExecute"}
        driver.patch("nodes", "node-0", {"spec": {"taints": [taint]}})
        await driver.until(
            lambda: len(driver.ready_pods()) == 4 and {p["spec"]["nodeName"] for p in driver.pods()} == {"node-1"}
        )


async def test_a_container_that_exits_is_restarted_with_a_backoff() -> None:
    async with cluster(nodes(1), clock=Clock(speed=1000)) as driver:
        crash = {"simulator.brim.dev/run-seconds": "5", "simulator.brim.dev/exit-code": "1"}
        driver.create("pods", pod("one", annotations=crash))
        await driver.until(
            lambda: any(
                s["restartCount"] >= 2 for p in driver.pods() for s in p["status"].get("containerStatuses") or ()
            )
        )


async def test_a_virtual_node_takes_what_tolerates_it() -> None:
    async with cluster(virtual=(VirtualNode(zone="z1"),)) as driver:
        node = driver.get("nodes", "virtual-kubelet-z1")
        assert node is not None
        assert node["metadata"]["labels"]["type"] == "virtual-kubelet"
        taint = {"key": "virtual-kubelet.io/provider", "effect": "NoSchedule", "value": "alibabacloud"}
        assert node["spec"]["taints"] == [taint]
        driver.create("pods", pod("one"))
        driver.create("pods", pod("two", tolerations=[{"key": taint["key"], "operator": "Exists"}]))
        await driver.until(lambda: driver.ready_pods(app="two"))
        assert not driver.ready_pods(app="one")


# -- autoscaler


def _pool(**more: Any) -> NodePool:
    values: dict[str, Any] = {
        "id": "np1",
        "instance_type": "ecs.g7",
        "allocatable": {"cpu": "4", "memory": "16Gi", "pods": "20"},
        "max": 10,
        **more,
    }
    return NodePool(**values)


def _pool_nodes(driver: Driver) -> list[Object]:
    return [
        node
        for node in driver.store.every("nodes")
        if node["metadata"]["labels"].get("alibabacloud.com/nodepool-id") == "np1"
    ]


def _stock_map(driver: Driver) -> Object:
    found = driver.get("configmaps", "np1-inventory-status", "kube-system")
    assert found is not None
    return found


def _state(driver: Driver) -> str:
    return str(json.loads(_stock_map(driver)["data"]["status"])["SupplySeqs"][0]["State"])


async def test_nodes_come_in_steps_and_leave_when_idle() -> None:
    delays = Delays(start=0, stop=0, scale_up_trigger=4, node_create=16, node_ready=35, node_idle=600)
    clock = Clock(speed=500)
    async with cluster(nodes(1, cpu="2"), pools=(_pool(stock=5),), delays=delays, clock=clock) as driver:
        seen: list[tuple[float, str]] = []
        began = clock.now()

        def note(change: Any) -> None:
            ready = _condition(change.object, "Ready").get("status")
            if change.object["metadata"]["name"].startswith("np1-"):
                seen.append((clock.now() - began, "gone" if change.type == "DELETED" else ready))

        driver.store.subscribe(note, "nodes")
        driver.create("deployments.apps", deployment(replicas=6, cpu="1"))
        await driver.until(lambda: len(driver.ready_pods()) == 6)
        (node,) = _pool_nodes(driver)
        labels = node["metadata"]["labels"]
        assert labels["goatscaler.io/managed"] == "true"
        assert labels["node.kubernetes.io/instance-type"] == "ecs.g7"
        assert labels["topology.kubernetes.io/zone"] == "r1-a"
        appeared = next(at for at, what in seen if what == "False")
        ready = next(at for at, what in seen if what == "True")
        assert 20 <= appeared < ready
        assert ready - appeared >= 34
        assert len(_events(driver, "ProvisionNode")) == 4
        assert _stock_map(driver)["metadata"]["annotations"] == {"simulator.brim.dev/stock": "4"}
        driver.patch("deployments.apps", "web", {"spec": {"replicas": 2}})
        await driver.until(lambda: len(driver.pods()) == 2)
        on_pool = [p for p in driver.pods() if p["spec"]["nodeName"].startswith("np1-")]
        for one in on_pool:
            driver.patch("nodes", one["spec"]["nodeName"], {"spec": {"unschedulable": True}})
            driver.delete("pods", one["metadata"]["name"])
        await driver.until(lambda: not _pool_nodes(driver), "idle node removed")
        assert _stock_map(driver)["metadata"]["annotations"] == {"simulator.brim.dev/stock": "5"}


async def test_no_pod_is_bound_to_a_node_that_is_still_coming_up() -> None:
    delays = Delays(start=0, scale_up_trigger=0, node_create=1, node_ready=20)
    async with cluster(pools=(_pool(),), delays=delays, clock=Clock(speed=100)) as driver:
        early: list[str] = []

        def note(change: Any) -> None:
            node = driver.get("nodes", change.object["spec"].get("nodeName", ""))
            if node is not None and not is_ready(node):
                early.append(change.object["metadata"]["name"])

        driver.store.subscribe(note, "pods")
        driver.create("deployments.apps", deployment(replicas=6, cpu="3"))
        await driver.until(lambda: len(driver.ready_pods()) == 6)
        assert len(_pool_nodes(driver)) == 6
        assert early == []


async def test_pods_are_packed_into_as_few_nodes_as_hold_them() -> None:
    async with cluster(pools=(_pool(),)) as driver:
        driver.create("deployments.apps", deployment(replicas=10, cpu="1"))
        await driver.until(lambda: len(driver.ready_pods()) == 10)
        await driver.settled()
        assert len(_pool_nodes(driver)) == 3


async def test_a_pool_without_stock_adds_nothing_and_says_so() -> None:
    async with cluster(pools=(_pool(stock=0),), clock=Clock(speed=100)) as driver:
        assert _state(driver) == "WithoutStock"
        driver.create("deployments.apps", deployment(replicas=1))
        await driver.until(lambda: _events(driver, "NotTriggerScaleUp"))
        assert "NodePool NoStock" in _events(driver, "NotTriggerScaleUp")[0]["message"]
        assert _events(driver, "NotTriggerScaleUp")[0]["source"]["component"] == "GOATScaler"
        driver.member.set_stock("np1", 2)
        await driver.until(lambda: driver.ready_pods())
        assert _state(driver) == "WithStock"


@pytest.mark.parametrize(
    ("patch", "left"),
    [
        pytest.param({"metadata": {"annotations": {"simulator.brim.dev/stock": "3"}}}, 3, id="annotation"),
        pytest.param({"data": {"status": '{"SupplySeqs": [{"State": "WithStock"}]}'}}, None, id="state"),
    ],
)
async def test_stock_can_be_changed_through_its_configmap(patch: Object, left: int | None) -> None:
    async with cluster(pools=(_pool(stock=0),)) as driver:
        driver.patch("configmaps", "np1-inventory-status", patch, "kube-system")
        await driver.settled()
        assert driver.member.autoscaler.stock.left("np1") == left
        assert _state(driver) == "WithStock"
        sold_out = {"data": {"status": '{"SupplySeqs": [{"State": "WithoutStock"}]}'}}
        driver.patch("configmaps", "np1-inventory-status", sold_out, "kube-system")
        await driver.settled()
        assert driver.member.autoscaler.stock.left("np1") == 0
        assert _stock_map(driver)["metadata"]["annotations"]["simulator.brim.dev/stock"] == "0"


async def test_a_pool_never_grows_beyond_its_maximum_or_its_stock() -> None:
    async with cluster(pools=(_pool(max=2, stock=9),)) as driver:
        driver.create("deployments.apps", deployment(replicas=20, cpu="2"))
        await driver.until(lambda: len(driver.ready_pods()) == 4)
        await driver.settled()
        assert len(_pool_nodes(driver)) == 2
        assert driver.member.autoscaler.stock.left("np1") == 7
        assert any("max node group size" in e["message"] for e in _events(driver, "NotTriggerScaleUp"))


async def test_a_failed_order_is_reported_and_tried_again() -> None:
    async with cluster(pools=(_pool(stock=3),), clock=Clock(speed=1000)) as driver:
        driver.member.autoscaler.fail_next("np1")
        driver.create("deployments.apps", deployment(replicas=1))
        await driver.until(lambda: _events(driver, "ProvisionNodeFailed"))
        await driver.until(lambda: driver.ready_pods())
        assert driver.member.autoscaler.stock.left("np1") == 2


async def test_the_pools_are_published() -> None:
    async with cluster(pools=(_pool(labels={"a": "b"}),)) as driver:
        meta = driver.get("configmaps", "autoscaler-meta", "kube-system")
        assert meta is not None
        assert meta["data"]["scaler-type"] == "goatscaler"
        (pool,) = json.loads(meta["data"]["scaling_configurations"])
        assert (pool["id"], pool["instanceTypes"], pool["max"]) == ("np1", ["ecs.g7"], 10)
        assert pool["resources"]["cpu"] == "4"
        assert pool["labels"] == {
            "a": "b",
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "alibabacloud.com/nodepool-id": "np1",
            "goatscaler.io/managed": "true",
            "node.kubernetes.io/instance-type": "ecs.g7",
            "topology.kubernetes.io/region": "r1",
            "topology.kubernetes.io/zone": "r1-a",
        }


async def test_a_thousand_nodes_do_not_slow_one_pod_down() -> None:
    """A guard against scheduling that walks all nodes in Python, not a benchmark."""
    async with cluster(nodes(1000)) as driver:
        began = time.perf_counter()
        driver.create("deployments.apps", deployment(replicas=100, cpu="10m"))
        await driver.until(lambda: len(driver.ready_pods()) == 100)
        assert time.perf_counter() - began < 5


def test_events_count_up_and_are_forgotten_in_time() -> None:
    clock = HandClock()
    store = Store(clock)
    log = EventLog(store, clock, random.Random(1))
    log.install()
    about = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "namespace": "default", "uid": "u"}}
    for _ in range(3):
        log.record(about, "test", "Said", "the same", warning=False)
        clock.move(10)
    assert [event["count"] for event in store.every("events")] == [3]
    clock.move(3000)
    log.record(about, "test", "Later", "", warning=True)
    assert len(store.every("events")) == 2
    clock.move(1000)
    log.record(about, "test", "Latest", "", warning=True)
    assert {event["reason"] for event in store.every("events")} == {"Later", "Latest"}
