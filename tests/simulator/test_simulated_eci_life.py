"""A simulated instance's life: what it costs, how the cloud takes it back, how it ends, what people see of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from shared import eci
from shared.clock import parse_rfc3339
from shared.fleet import Delays
from simulator.instances import SHELF, lives
from simulator.objects import Object
from simulator.statuses import ApiError
from tests.simulator.eci import (
    GPU_TYPE,
    NODE,
    RUN,
    SPOT,
    USE_SPECS,
    found,
    instance,
    instances,
    start,
    stock,
    virtual,
)
from tests.simulator.harness import Driver, cluster, deployment, http, is_ready, pod

# -- what is paid


async def _billed(driver: Driver, seconds: float, **fields: Any) -> Object:
    marks = {RUN: f"{seconds}", **fields.pop("annotations", {})}
    start(driver, annotations=marks, restartPolicy="Never", **fields)
    await driver.until(lambda: instances(driver) and not lives(instance(driver)))
    return dict(instance(driver)["status"])


@pytest.mark.parametrize(
    ("fields", "hourly", "ends"),
    [
        pytest.param({"cpu": "1900m"}, 7.56, "Succeeded", id="vCPU and GiB of the rounded size"),
        pytest.param({"annotations": {USE_SPECS: GPU_TYPE}}, 36, "Succeeded", id="a type's own price"),
        pytest.param({"cpu": "1900m", "annotations": SPOT}, 1.89, "Succeeded", id="a spot instance's share"),
        pytest.param({"annotations": {"simulator.brim.dev/exit-code": "3"}}, 4.32, "Failed", id="until it fails"),
    ],
)
async def test_an_instance_is_billed_by_the_second(fields: dict[str, Any], hourly: float, ends: str) -> None:
    async with virtual(speed=1000) as driver:
        status = await _billed(driver, 600, **fields)
        assert status["phase"] == ends
        assert status["billedSeconds"] == parse_rfc3339(status["finishedAt"]) - parse_rfc3339(status["startedAt"])
        assert status["billedSeconds"] >= 599
        assert status["cost"] == pytest.approx(status["billedSeconds"] * hourly / 3600, abs=1e-6)


async def test_a_deleted_pods_instance_is_billed_until_it_has_stopped() -> None:
    async with virtual(speed=100) as driver:
        last: list[Object] = []
        driver.store.subscribe(lambda c: last.append(c.object["status"]) if c.type == "DELETED" else None, SHELF)
        start(driver)
        await driver.until(driver.ready_pods)
        driver.delete("pods", "one")
        await driver.until(lambda: last)
        assert last[0]["phase"] == "Terminated"
        assert last[0]["billedSeconds"] == parse_rfc3339(last[0]["finishedAt"]) - parse_rfc3339(last[0]["startedAt"])


async def test_nothing_is_paid_for_what_never_pulled_its_image() -> None:
    async with virtual(delays=Delays(eci_start=500, image_pull=1, stop=0)) as driver:
        last: list[Object] = []
        driver.store.subscribe(lambda c: last.append(c.object["status"]) if c.type == "DELETED" else None, SHELF)
        start(driver)
        await driver.until(lambda: instances(driver))
        driver.delete("pods", "one")
        await driver.until(lambda: last)
        assert (last[0]["billedSeconds"], last[0]["cost"]) == (0, 0.0)


# -- spot


async def test_a_spot_instance_is_taken_back_after_its_hour_and_a_notice() -> None:
    async with virtual(speed=3000) as driver:
        start(driver, annotations=SPOT)
        await driver.until(driver.ready_pods)
        assert instance(driver)["spec"]["spot"]
        driver.member.reclaim_spot("default", "one")
        (message,) = await driver.until(lambda: driver.events("SpotToBeReleased"))
        assert instance(driver)["metadata"]["name"] in message
        await driver.until(lambda: found(driver)["status"]["phase"] == "Failed")
        its = instance(driver)
        times = {key: parse_rfc3339(its["status"][key]) for key in ("noticedAt", "releaseAt", "finishedAt")}
        assert times["releaseAt"] - parse_rfc3339(its["metadata"]["creationTimestamp"]) >= eci.SPOT_PROTECTION
        assert times["releaseAt"] - times["noticedAt"] >= eci.SPOT_NOTICE
        assert times["finishedAt"] >= times["releaseAt"]
        status = found(driver)["status"]
        assert status["reason"] == status["containerStatuses"][0]["state"]["terminated"]["reason"] == "Expired"
        assert instance(driver)["status"]["phase"] == "Expired"


async def test_a_deployment_replaces_a_replica_that_expired() -> None:
    async with virtual(speed=20000) as driver:
        tolerates = [{"key": "virtual-kubelet.io/provider", "operator": "Exists"}]
        driver.create("deployments.apps", deployment(replicas=1, annotations=SPOT, tolerations=tolerates))
        (first,) = await driver.until(driver.ready_pods)
        driver.member.reclaim_spot("default", first["metadata"]["name"])
        await driver.until(lambda: [p for p in driver.ready_pods() if p["metadata"]["uid"] != first["metadata"]["uid"]])
        assert found(driver, first["metadata"]["name"])["status"]["reason"] == "Expired"


async def test_only_spot_instances_are_taken_back() -> None:
    async with virtual(speed=20000) as driver:
        start(driver)
        await driver.until(driver.ready_pods)
        driver.member.reclaim_spot("default", "one")
        await driver.settled()
        assert not driver.events("SpotToBeReleased")
        assert "releaseAt" not in instance(driver)["status"]


# -- ends, and leaks on purpose


async def test_the_pod_of_an_instance_that_somebody_deletes_fails() -> None:
    async with virtual(stock={"2-4Gi": 1}) as driver:
        start(driver, annotations={USE_SPECS: "2-4Gi"})
        await driver.until(driver.ready_pods)
        driver.delete(SHELF, instance(driver)["metadata"]["name"])
        await driver.until(lambda: found(driver)["status"]["phase"] == "Failed")
        assert found(driver)["status"]["reason"] == "NotFound"
        assert stock(driver) == {"2-4Gi": 1}


async def test_a_forced_deletion_ends_the_instance_too() -> None:
    async with virtual() as driver:
        start(driver)
        await driver.until(driver.ready_pods)
        driver.delete("pods", "one", grace=0)
        await driver.until(lambda: not instances(driver))


async def test_an_instance_can_be_made_to_outlive_its_pod_until_somebody_releases_it() -> None:
    async with virtual(stock={"2-4Gi": 1}) as driver:
        start(driver, annotations={USE_SPECS: "2-4Gi", "simulator.brim.dev/outlives-pod": "true"})
        await driver.until(driver.ready_pods)
        driver.delete("pods", "one")
        await driver.until(lambda: driver.get("pods", "one") is None)
        await driver.settled()
        assert lives(instance(driver))
        assert stock(driver) == {"2-4Gi": 0}
        driver.delete(SHELF, instance(driver)["metadata"]["name"])
        assert stock(driver) == {"2-4Gi": 1}


async def test_an_instance_whose_pod_goes_while_its_node_is_away_stays_until_the_node_is_back() -> None:
    async with virtual() as driver:
        start(driver)
        await driver.until(driver.ready_pods)
        driver.member.set_node_ready(NODE, False)
        driver.delete("pods", "one", grace=0)
        await driver.settled()
        assert driver.get("pods", "one") is None
        assert lives(instance(driver))
        driver.member.set_node_ready(NODE, True)
        await driver.until(lambda: not instances(driver))


async def test_a_lost_virtual_node_leaves_its_pods_and_their_instances_behind() -> None:
    async with virtual(speed=1000) as driver:
        start(driver, terminationGracePeriodSeconds=30)
        await driver.until(driver.ready_pods)
        driver.member.lose_node(NODE)
        await driver.settled()
        assert driver.get("nodes", NODE) is None
        assert is_ready(found(driver))
        driver.delete("pods", "one")
        await driver.until(lambda: driver.get("pods", "one") is None, "gone after its grace period")
        assert lives(instance(driver))


async def test_pods_of_a_deleted_node_are_collected_after_a_while() -> None:
    async with virtual(speed=100) as driver:
        start(driver)
        await driver.until(driver.ready_pods)
        driver.delete("nodes", NODE)
        went = driver.member.clock.now()
        await driver.until(lambda: driver.get("pods", "one") is None)
        assert driver.member.clock.now() - went >= 40
        assert lives(instance(driver))


async def test_instances_are_made_for_pods_alone_and_do_not_change() -> None:
    async with virtual() as driver:
        start(driver)
        await driver.until(driver.ready_pods)
        its = instance(driver)
        with pytest.raises(ApiError, match="made by the virtual kubelet"):
            driver.create(SHELF, {**its, "metadata": {"name": "mine"}})
        with pytest.raises(ApiError, match="spec: Invalid value"):
            driver.patch(SHELF, its["metadata"]["name"], {"spec": {"size": "4-8Gi"}})


# -- what people see


SEED = """\
Using CUDA Device [0]: Tesla P100-PCIE-16GB
GPU Device has SM 6.0 compute capability
[Vector addition of 50000 elements]
Copy input data from the host memory to the CUDA device
CUDA kernel launch with 196 blocks of 256 threads
Copy output data from the CUDA device to the host memory
Test PASSED
Done
"""


async def _log(driver: Driver, name: str = "gpu-pod") -> str:
    async with http(driver) as session, session.get(f"/api/v1/namespaces/default/pods/{name}/log") as response:
        return await response.text()


@pytest.mark.parametrize(
    ("instance_type", "log"),
    [
        pytest.param(GPU_TYPE, SEED, id="P100"),
        pytest.param(
            "ecs.gn6i-c4g1.xlarge",
            SEED.replace("Tesla P100-PCIE-16GB", "Tesla T4").replace("6.0", "7.5"),
            id="T4",
        ),
    ],
)
async def test_the_cuda_sample_completes_and_writes_its_log(instance_type: str, log: str) -> None:
    async with virtual(speed=100) as driver:
        image = "registry.example/samples/cuda10.2-vectoradd"
        body = pod("gpu-pod", image=image, restartPolicy="Never", annotations={USE_SPECS: instance_type})
        body["metadata"]["labels"] = {"alibabacloud.com/eci": "true"}
        body["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": 1}}
        assert driver.create("pods", body)["spec"]["schedulerName"] == "brim-scheduler"
        driver.bind("gpu-pod", NODE)
        await driver.until(lambda: found(driver, "gpu-pod")["status"]["phase"] == "Succeeded")
        assert await _log(driver) == log
        state = found(driver, "gpu-pod")["status"]["containerStatuses"][0]["state"]
        assert state["terminated"]["reason"] == "Completed"


async def test_the_cuda_sample_fails_without_a_gpu() -> None:
    async with virtual(speed=100) as driver:
        start(driver, "gpu-pod", image="cuda-vectoradd", restartPolicy="Never")
        await driver.until(lambda: found(driver, "gpu-pod")["status"]["phase"] == "Failed")
        assert "no CUDA-capable device is detected" in await _log(driver)


async def test_instances_are_listed_as_a_table() -> None:
    async with virtual() as driver, http(driver) as session:
        start(driver, annotations=SPOT)
        await driver.until(driver.ready_pods)
        path = "/apis/eci.brim.dev/v1alpha1/namespaces/default/containergroups"
        accept = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        async with session.get(path, headers=accept) as response:
            table = await response.json()
        shown = [column["name"] for column in table["columnDefinitions"] if not column["priority"]]
        assert shown == ["Name", "Pod", "Size", "Status", "Spot", "Billed", "Cost", "Age"]
        (row,) = table["rows"]
        assert row["cells"][1:5] == ["one", "1-2Gi", "Running", "true"]


async def test_a_member_without_virtual_nodes_serves_no_instances() -> None:
    async with cluster() as driver, http(driver) as session, session.get("/apis/eci.brim.dev/v1alpha1") as response:
        assert response.status == 404


async def test_instances_survive_a_restart(tmp_path: Path) -> None:
    async with virtual(stock={"2-4Gi": 2}, data=tmp_path) as driver:
        start(driver, annotations={USE_SPECS: "2-4Gi"})
        await driver.until(driver.ready_pods)
        before = instance(driver)
    async with virtual(stock={"2-4Gi": 2}, data=tmp_path) as driver:
        await driver.settled()
        assert instance(driver) == before
        assert stock(driver) == {"2-4Gi": 1}
        driver.delete("pods", "one")
        await driver.until(lambda: not instances(driver) and stock(driver) == {"2-4Gi": 2})
