"""A fleet, and what the members' own APIs say of it."""

from __future__ import annotations

from shared import quantities
from shared.contracts.refs import ObjectRef
from shared.fleet import parse

FLEET = parse(
    """
members:
- id: idc
  simulated:
    nodes: [{name: node, count: 4, allocatable: {cpu: "8", memory: 16Gi}}]
    pools: [{id: p1, instanceType: t.x, allocatable: {cpu: "4", memory: 8Gi}, max: 5, stock: 3}]
    delays: {start: 0.01, stop: 0.01, scaleUpTrigger: 0.01, nodeCreate: 0.05, nodeReady: 0.1}
- id: cloud
  simulated: {nodes: [{name: cloud, allocatable: {cpu: "2", memory: 4Gi}}]}
- id: third
  simulated: {nodes: [{name: third, allocatable: {cpu: "2", memory: 4Gi}}]}
"""
)


def pod(name: str, cpu: int, workload: str = "") -> dict[str, object]:
    labels = {"brim.dev/workload": workload} if workload else {}
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": f"{cpu}m", "memory": "1Mi"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"containers": [container]},
    }


def truth(member) -> tuple[dict[str, int], dict[str, int]]:
    """Free CPU per node and bound replicas per workload, from the member's own store."""
    pods = [one for one in member.store.every("pods") if one["spec"].get("nodeName")]
    free = {}
    for node in member.store.every("nodes"):
        name = node["metadata"]["name"]
        taken = [
            quantities.amount("cpu", one["spec"]["containers"][0]["resources"]["requests"]["cpu"])
            for one in pods
            if one["spec"]["nodeName"] == name and one["status"]["phase"] not in ("Succeeded", "Failed")
        ]
        free[name] = quantities.amount("cpu", node["status"]["allocatable"]["cpu"]) - sum(taken)
    bound: dict[str, int] = {}
    for one in pods:
        workload = one["metadata"].get("labels", {}).get("brim.dev/workload")
        if workload and "deletionTimestamp" not in one["metadata"] and one["status"]["phase"] != "Failed":
            bound[workload] = bound.get(workload, 0) + 1
    return free, bound


async def agrees(side, member: str) -> bool:
    known = await side.replayed(member)
    return (known.free_cpu, known.bound) == truth(side.members[member])


def ref_of(kind: str, name: str, namespace: str = ""):

    return ObjectRef(version="v1", kind=kind, namespace=namespace, name=name)
