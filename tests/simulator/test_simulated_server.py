"""The simulated API server as a server: faults, pauses, restarts, old watches, credentials, kubeconfigs."""

from __future__ import annotations

import asyncio
import io
import json
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
import yaml

from shared.clock import Clock
from shared.fleet import Fleet, Member, Simulated
from simulator import run_members, write_kubeconfig
from simulator.faults import Faults
from simulator.persistence import Disk
from simulator.server import Address
from simulator.store import Store
from tests.simulator.harness import INSTANT, NodePool, cluster, deployment, http, nodes, pod

PODS = "/api/v1/namespaces/default/pods"


@pytest.mark.parametrize("status", [403, 409, 410, 429, 500])
async def test_an_injected_status_hits_as_often_as_asked(status: int) -> None:
    async with cluster(nodes(1)) as driver, http(driver) as session:
        fault = driver.member.faults.answer(status, method="GET", path="/pods", times=2, retry_after=3)
        for _ in range(2):
            async with session.get(PODS) as response:
                body = await response.json()
                assert (response.status, body["code"], body["kind"]) == (status, status, "Status")
                assert response.headers["Retry-After"] == "3"
        async with session.get(PODS) as response:
            assert response.status == 200
        assert fault.hits == 2


@pytest.mark.parametrize(
    ("inject", "error"),
    [
        pytest.param(lambda faults: faults.reset(path="/pods"), aiohttp.ClientError, id="reset"),
        pytest.param(lambda faults: faults.rubbish(path="/pods"), ValueError, id="rubbish"),
        pytest.param(lambda faults: faults.hang(path="/pods"), TimeoutError, id="hang"),
    ],
)
async def test_broken_answers(inject: Callable[[Faults], object], error: type[Exception]) -> None:
    async with cluster(nodes(1)) as driver, http(driver) as session:
        inject(driver.member.faults)
        with pytest.raises(error):
            async with session.get(PODS, timeout=aiohttp.ClientTimeout(total=0.3)) as response:
                json.loads(await response.read())
        driver.member.faults.clear()
        async with session.get(PODS) as response:
            assert response.status == 200


async def test_a_paused_member_is_unreachable_while_its_cluster_lives_on() -> None:
    async with cluster(nodes(1)) as driver, http(driver) as session:
        url = driver.member.url
        await driver.member.pause()
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(PODS)
        driver.create("deployments.apps", deployment())
        await driver.until(lambda: len(driver.ready_pods()) == 2)
        await driver.member.resume()
        assert driver.member.url == url
        async with session.get(PODS) as response:
            assert len((await response.json())["items"]) == 2


async def test_a_pause_cuts_running_watches() -> None:
    query = {"watch": "1", "resourceVersion": "0"}
    async with (
        cluster(nodes(1)) as driver,
        http(driver) as session,
        session.get(PODS, params=query) as response,
    ):
        assert response.status == 200
        await driver.member.pause()
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            await response.content.read()


async def test_a_watch_from_a_forgotten_version_is_gone() -> None:
    async with cluster(nodes(1)) as driver, http(driver) as session:
        old = str(driver.store.version)
        driver.create("pods", pod("one"))
        driver.store.log("pods").forget()
        async with session.get(PODS, params={"watch": "1", "resourceVersion": old}) as response:
            event = json.loads(await response.content.readline())
        assert (event["type"], event["object"]["code"], event["object"]["reason"]) == ("ERROR", 410, "Expired")


async def test_initial_events_are_refused_so_that_clients_list_first() -> None:
    async with cluster(nodes(1)) as driver, http(driver) as session:
        query = {"watch": "1", "sendInitialEvents": "true", "allowWatchBookmarks": "true"}
        async with session.get(PODS, params=query) as response:
            assert response.status == 422


async def test_without_the_token_nothing_is_told() -> None:
    async with cluster(nodes(1)) as driver, aiohttp.ClientSession() as session:
        async with session.get(driver.member.url + PODS) as response:
            assert (response.status, (await response.json())["reason"]) == (401, "Unauthorized")
        async with session.get(driver.member.private_url + PODS) as response:
            assert response.status == 200
        async with session.get(driver.member.url + "/readyz") as response:
            assert response.status == 200


async def test_logs_tell_of_the_containers_life_and_can_be_followed() -> None:
    async with cluster(nodes(1)) as driver, http(driver) as session:
        driver.create("pods", pod("one"))
        await driver.until(lambda: driver.ready_pods())
        async with session.get(f"{PODS}/one/log") as response:
            assert "image:1 started on node" in await response.text()
        async with session.get(f"{PODS}/one/log", params={"follow": "true", "tailLines": "1"}) as response:
            first = await response.content.readline()
            assert b"started" in first
            driver.delete("pods", "one")
            assert b"stopped" in await response.content.read()


async def test_an_eviction_ends_a_pod() -> None:
    async with cluster(nodes(1)) as driver, http(driver) as session:
        driver.create("pods", pod("one"))
        await driver.until(lambda: driver.ready_pods())
        async with session.post(f"{PODS}/one/eviction", json={"metadata": {"name": "one"}}) as response:
            assert response.status == 201
        await driver.until(lambda: driver.get("pods", "one") is None)


async def test_a_too_large_body_is_refused() -> None:
    async with cluster(nodes(1)) as driver, http(driver) as session:
        body = io.BytesIO(b"x" * (4 << 20))
        async with session.post("/api/v1/namespaces/default/configmaps", data=body) as response:
            assert response.status == 413


async def test_many_writers_at_once_never_lose_an_update() -> None:
    async with cluster(nodes(1)) as driver, http(driver) as session:
        path = "/api/v1/namespaces/default/configmaps"
        await session.post(path, json={"metadata": {"name": "count"}, "data": {"n": "0"}})

        async def add_one() -> None:
            while True:
                async with session.get(f"{path}/count") as response:
                    current = await response.json()
                current["data"]["n"] = str(int(current["data"]["n"]) + 1)
                async with session.put(f"{path}/count", json=current) as response:
                    if response.status == 200:
                        return
                    assert response.status == 409

        await asyncio.gather(*(add_one() for _ in range(10)))
        async with session.get(f"{path}/count") as response:
            assert (await response.json())["data"]["n"] == "10"


# -- restarts


async def test_state_survives_a_restart(tmp_path: Path) -> None:
    async with cluster(nodes(2), data=tmp_path) as driver:
        driver.create("deployments.apps", deployment(replicas=3))
        await driver.until(lambda: len(driver.ready_pods()) == 3)
        await driver.settled()
        before = {p["metadata"]["name"]: p for p in driver.pods()}
        version, url, token = driver.store.version, driver.member.url, driver.member.token
    async with cluster(nodes(2), data=tmp_path) as driver:
        await driver.settled()
        assert {p["metadata"]["name"]: p for p in driver.pods()} == before
        assert driver.store.version >= version
        assert (driver.member.url, driver.member.token) == (url, token)
        driver.patch("deployments.apps", "web", {"spec": {"replicas": 4}})
        await driver.until(lambda: len(driver.ready_pods()) == 4)
        assert set(before) < {p["metadata"]["name"] for p in driver.pods()}


async def test_after_a_crash_no_version_is_given_twice(tmp_path: Path) -> None:
    disk, store = Disk(tmp_path), Store(Clock())
    disk.load(store)
    disk.follow(store)
    store.create("configmaps", {"metadata": {"name": "kept", "namespace": "default"}})
    await disk.flush()
    store.create("configmaps", {"metadata": {"name": "lost", "namespace": "default"}})
    after = Store(Clock())
    assert Disk(tmp_path).load(after)
    assert [obj["metadata"]["name"] for obj in after.every("configmaps")] == ["kept"]
    assert after.version > store.version


async def test_what_was_half_done_is_finished_after_a_restart(tmp_path: Path) -> None:
    pool = NodePool(id="np1", instance_type="t", allocatable={"cpu": "4"}, max=3, stock=3)
    async with cluster(pools=(pool,), data=tmp_path) as driver:
        driver.create("deployments.apps", deployment(replicas=5))
        driver.create("namespaces", {"metadata": {"name": "team"}})
        driver.create("deployments.apps", deployment(), "team")
        driver.delete("namespaces", "team")
    async with cluster(pools=(pool,), data=tmp_path) as driver:
        await driver.until(lambda: len(driver.ready_pods()) == 5)
        await driver.until(lambda: driver.get("namespaces", "team") is None)
        left = driver.member.autoscaler.stock.left("np1")
        pool_nodes = [n for n in driver.store.every("nodes") if n["metadata"]["name"].startswith("np1-")]
        assert left == 3 - len(pool_nodes)


async def test_custom_resources_are_served_again_after_a_restart(tmp_path: Path) -> None:
    names = {"plural": "widgets", "kind": "Widget"}
    versions = [{"name": "v1", "served": True, "storage": True}]
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    crd = {"metadata": {"name": "widgets.example.com"}, "spec": spec}
    path = "/apis/example.com/v1/namespaces/default/widgets"
    async with cluster(data=tmp_path) as driver, http(driver) as session:
        driver.create("customresourcedefinitions.apiextensions.k8s.io", crd)
        async with session.post(path, json={"metadata": {"name": "w"}, "spec": {"a": 1}}) as response:
            assert response.status == 201
    async with cluster(data=tmp_path) as driver, http(driver) as session, session.get(f"{path}/w") as response:
        assert (await response.json())["spec"] == {"a": 1}


# -- a fleet


async def test_a_fleet_has_one_kubeconfig_with_a_context_per_member(tmp_path: Path) -> None:
    simulated = Simulated(nodes=(nodes(1),), delays=INSTANT)
    fleet = Fleet(
        members=(
            Member(id="idc", alias="home", simulated=simulated),
            Member(id="cloud", simulated=simulated),
        )
    )
    async with run_members(fleet, Clock()) as running:
        path = tmp_path / "kubeconfig"
        write_kubeconfig(running, path)
        document = yaml.safe_load(path.read_text())
        assert [c["name"] for c in document["contexts"]] == ["idc", "home", "cloud"]
        assert all(c["context"]["namespace"] == "default" for c in document["contexts"])
        assert path.stat().st_mode & 0o077 == 0
        assert running["idc"].url != running["cloud"].url


def free_pair() -> int:
    """The first of two free ports that follow one another."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


async def test_members_are_found_by_name_on_ports_that_follow_one_another(tmp_path: Path) -> None:
    simulated = Simulated(nodes=(nodes(1),), delays=INSTANT)
    fleet = Fleet(members=(Member(id="idc", simulated=simulated), Member(id="cloud", simulated=simulated)))
    port = free_pair()
    async with run_members(fleet, Clock(), first=Address(name="localhost", port=port)) as running:
        write_kubeconfig(running, tmp_path / "kubeconfig")
        document = yaml.safe_load((tmp_path / "kubeconfig").read_text())
        servers = [one["cluster"]["server"].rpartition("/")[0] for one in document["clusters"]]
        assert servers == [f"http://localhost:{port}", f"http://localhost:{port + 1}"]
        async with aiohttp.ClientSession() as session, session.get(f"{servers[1]}/readyz") as response:
            assert response.status == 200


async def test_the_simulator_runs_alone_until_it_is_told_to_stop(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text("members: [{id: idc, simulated: {nodes: [{allocatable: {cpu: '4'}}]}}]")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "simulator",
        "--fleet",
        str(fleet),
        "--kubeconfig",
        str(tmp_path / "config"),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        name, url = (await process.stdout.readline()).decode().split()
        async with aiohttp.ClientSession() as session, session.get(f"{url}/readyz") as response:
            assert response.status == 200
        process.send_signal(signal.SIGTERM)
        await process.communicate()
    assert (name, process.returncode) == ("idc", 0)
    assert (tmp_path / "config").exists()
