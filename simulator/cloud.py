"""What a member is made of before anyone uses it: its nodes, virtual nodes and namespaces, from the fleet file."""

from __future__ import annotations

import uuid
import zlib

from shared.clock import rfc3339
from shared.described import DescribedNode, standing_nodes
from shared.fleet import Member
from simulator import objects
from simulator.admission import PRIORITY_CLASSES
from simulator.cluster import Cluster
from simulator.objects import Object

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
OS_IMAGE = "Simulated Linux"
PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}


def populate(cluster: Cluster, member: Member) -> None:
    """Create what is missing of the member's standing objects; what is there stays as it is."""
    assert member.simulated is not None
    for name in NAMESPACES:
        if cluster.store.get("namespaces", "", name) is None:
            cluster.store.create("namespaces", namespace(name))
    for name, value in PRIORITIES.items():
        if cluster.store.get(PRIORITY_CLASSES, "", name) is None:
            cluster.store.create(PRIORITY_CLASSES, priority_class(name, value))
    for one in standing_nodes(member):
        if cluster.store.get("nodes", "", one.name) is None:
            cluster.store.create("nodes", node(cluster, one))


def namespace(name: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def priority_class(name: str, value: int) -> Object:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name, "generation": 1},
        "value": value,
        "preemptionPolicy": "PreemptLowerPriority",
        "description": "Used for system critical pods that must not be moved from their current node.",
    }


def node(cluster: Cluster, described: DescribedNode, *, ready: bool = True) -> Object:
    """A Node object."""
    name = described.name
    number = zlib.crc32(name.encode())
    machine = uuid.uuid5(uuid.NAMESPACE_DNS, name)
    address = f"192.168.{number >> 8 & 255}.{number & 255}"
    spec: Object = {}
    if described.taints:
        spec["taints"] = [
            {"key": taint.key, "effect": taint.effect, **({"value": taint.value} if taint.value else {})}
            for taint in described.taints
        ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, **described.labels},
        },
        "spec": spec,
        "status": {
            "capacity": dict(described.capacity),
            "allocatable": dict(described.allocatable),
            "conditions": conditions([], cluster.now(), ready=ready),
            "addresses": [
                {"type": "InternalIP", "address": address},
                {"type": "Hostname", "address": name},
            ],
            "nodeInfo": {
                "kubeletVersion": cluster.version,
                "osImage": OS_IMAGE,
                "kernelVersion": "6.6.0",
                "containerRuntimeVersion": "containerd://2.1.0",
                "operatingSystem": "linux",
                "architecture": "amd64",
                "machineID": machine.hex,
                "systemUUID": str(machine),
                "bootID": str(machine),
                "kubeProxyVersion": cluster.version,
            },
        },
    }


def conditions(before: list[Object], now: float, *, ready: bool) -> list[Object]:
    """A node's conditions, ready or not."""
    stamp = rfc3339(now)
    for kind, reason, told in (
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    ):
        before = objects.set_condition(before, kind, "False", now, reason, told, lastHeartbeatTime=stamp)
    value, reason, told = (
        ("True", "KubeletReady", "kubelet is posting ready status")
        if ready
        else ("False", "KubeletNotReady", "container runtime is down")
    )
    return objects.set_condition(before, "Ready", value, now, reason, told, lastHeartbeatTime=stamp)
