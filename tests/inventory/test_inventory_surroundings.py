"""Surroundings and virtual nodes in CAPACITY over a real nats-server."""

from __future__ import annotations

import json
import random

import pytest

from shared.contracts.refs import ObjectRef
from shared.fleet import parse
from shared.quantities import amount

FLEET = parse(
    """
members:
- id: idc
  simulated:
    nodes: [{name: node, allocatable: {cpu: "8", memory: 16Gi}}]
    virtualNodes: [{zone: cn-a, allocatable: {cpu: "20", memory: 80Gi, pods: "10"}, prices: {vcpu: 0.05, gib: 0.01}}]
    delays: {start: 0.01, stop: 0.01, eciStart: 0.01, imagePull: 0.01}
- id: bare
  stock: {source: none, virtual: [{vcpu: 7}]}
  simulated: {nodes: [{name: bare, allocatable: {cpu: "2", memory: 4Gi}}]}
- id: third
  simulated: {nodes: [{name: third, allocatable: {cpu: "2", memory: 4Gi}}]}
"""
)
VIRTUAL = "virtual-kubelet-cn-a"
INSTANCES = "containergroups.eci.brim.dev"


def config_map(name: str, **data: object) -> dict[str, object]:
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in data.items()}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": text,
    }


def namespace(name: str, **labels: str) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def knows(side, member: str, holds):
    async def so() -> bool:
        known = (await side.replayed(member)).surroundings
        return known is not None and holds(known)

    return so


async def test_namespaces_profiles_and_stock_are_told_and_kept_up(fleetside, eventually) -> None:
    async with fleetside(FLEET) as side, side.inventory(), side.client("idc") as client:
        await eventually(knows(side, "idc", lambda known: [one.node for one in known.virtual] == [VIRTUAL]))
        await eventually(knows(side, "bare", lambda known: known.virtual == ()))
        await client.create(namespace("burst", team="a"))
        await eventually(knows(side, "idc", lambda known: known.namespaces == {"burst": {"team": "a"}}))
        profile = [{"name": "p", "namespaceSelector": {"matchLabels": {"team": "a"}}}]
        await client.create(config_map("eci-profile", selectors=profile))
        await eventually(knows(side, "idc", lambda known: [one.name for one in known.profiles] == ["p"]))
        await side.bus.request("brim.snapshot.idc", b"")
        known = (await side.replayed("idc")).surroundings
        assert known.namespaces == {"burst": {"team": "a"}}
        assert (known.virtual[0].vcpu, known.virtual[0].gib) == (0.05, 0.01)
        await client.delete(ObjectRef(version="v1", kind="Namespace", name="burst"))
        await eventually(knows(side, "idc", lambda known: known.namespaces == {}))


async def test_a_profile_that_cannot_be_read_changes_nothing_and_is_counted(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory() as context, side.client("idc") as client:
        good = [{"name": "p", "objectSelector": {"matchLabels": {"a": "b"}}}]
        await client.create(config_map("eci-profile", selectors=good))
        await eventually(knows(side, "idc", lambda known: [one.name for one in known.profiles] == ["p"]))
        ref = ObjectRef(version="v1", kind="ConfigMap", namespace="kube-system", name="eci-profile")
        await client.merge_patch(ref, {"data": {"selectors": "[{"}})
        counted = b'brim_inventory_malformed_total{member="idc",source="eci-profile"} 1.0'
        await eventually(lambda: counted in context.metrics.render())
        await client.create(namespace("other", a="b"))
        await eventually(knows(side, "idc", lambda known: "other" in known.namespaces))
        assert [one.name for one in (await side.replayed("idc")).surroundings.profiles] == ["p"]


def bound_pod(name: str, cpu: str, **annotations: str) -> dict[str, object]:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations},
        "spec": {"nodeName": VIRTUAL, "containers": [container]},
    }


async def test_pods_take_their_rounded_size_of_a_virtual_nodes_quota(fleetside, eventually) -> None:
    """Whichever is known first, the node or its pods."""
    async with fleetside(FLEET, join=["idc"]) as side, side.client("idc") as client:
        await client.create(bound_pod("small", "1500m"))

        async def free(cpu: int, gib: int, slots: int) -> bool:
            nodes = (await side.replayed("idc")).nodes
            if VIRTUAL not in nodes:
                return False
            _, phase, _, left = nodes[VIRTUAL]
            return (phase, left["cpu"], left["memory"] / 1024**3, left["pods"]) == ("virtual", cpu, gib, slots)

        async with side.inventory():
            await eventually(lambda: free(18_000, 79, 9))  # 2 vCPU, and the least memory that goes with them
            await client.create(bound_pod("listed", "1", **{"k8s.aliyun.com/eci-use-specs": "8-16Gi"}))
            await eventually(lambda: free(10_000, 63, 8))
            await client.delete(ObjectRef(version="v1", kind="Pod", namespace="default", name="small"))
            await eventually(lambda: free(12_000, 64, 9))


async def test_random_churn_leaves_of_the_quota_what_the_cloud_has_not_sold(fleetside, eventually) -> None:
    """Pods come, end, go, and leave instances behind: the room is the quota less what every instance takes."""
    dice = random.Random(7)
    sizes = ["", "2-4Gi", "4-8Gi", "1-2Gi,2-4Gi"]
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        names: list[str] = []
        for step in range(60):
            if len(names) < 6 and dice.random() < 0.6:
                marks = {"k8s.aliyun.com/eci-use-specs": size} if (size := dice.choice(sizes)) else {}
                if dice.random() < 0.3:
                    marks["simulator.brim.dev/outlives-pod"] = "true"
                if dice.random() < 0.3:
                    marks["simulator.brim.dev/run-seconds"] = "0.05"
                names.append(f"p-{step}")
                await client.create(bound_pod(names[-1], "500m", **marks))
            elif names:
                name = names.pop(dice.randrange(len(names)))
                await client.delete(ObjectRef(version="v1", kind="Pod", namespace="default", name=name))

        async def agrees() -> bool:
            lives = [one for one in side.members["idc"].store.every(INSTANCES) if "finishedAt" not in one["status"]]
            taken = {
                "cpu": sum(amount("cpu", one["spec"]["cpu"]) for one in lives),
                "memory": sum(amount("memory", one["spec"]["memory"]) for one in lives),
                "pods": len(lives),
            }
            _, _, allocatable, free = (await side.replayed("idc")).nodes[VIRTUAL]
            return all(free[name] == allocatable[name] - of_it for name, of_it in taken.items())

        await eventually(agrees)


async def test_a_virtual_node_that_is_not_ready_is_no_room(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory():

        async def phase(expected: str) -> bool:
            nodes = (await side.replayed("idc")).nodes
            return VIRTUAL in nodes and nodes[VIRTUAL][1] == expected

        await eventually(lambda: phase("virtual"))
        side.members["idc"].set_node_ready(VIRTUAL, False)
        await eventually(lambda: phase("unready"))
        side.members["idc"].set_node_ready(VIRTUAL, True)
        await eventually(lambda: phase("virtual"))


@pytest.mark.parametrize("denied", ["namespaces", "configmaps"])
async def test_what_a_member_does_not_let_be_seen_leaves_its_room_known(fleetside, eventually, denied: str) -> None:
    """Nothing is decided inside it then: whoever reads cannot know who asks for ECI."""
    async with fleetside(FLEET, heartbeat=0.1, lost_after=1.0) as side:
        side.members["bare"].faults.answer(403, method="GET", path=f"/{denied}[?]")
        async with side.inventory():

            async def is_lost(lost: bool) -> bool:
                beat = (await side.replayed("bare")).heartbeat
                return beat is not None and beat.lost is lost

            known = await side.replayed("bare")
            assert known.free_cpu == {"bare": 2000}
            assert known.surroundings is None
            await side.members["bare"].pause()
            await eventually(lambda: is_lost(True))
            await side.members["bare"].resume()
            await eventually(lambda: is_lost(False))
