"""What a member is made of before anyone uses it: its nodes, virtual nodes and namespaces, from the fleet file."""

from __future__ import annotations

import uuid
import zlib

from shared.clock import rfc3339
from shared.fleet import Member, NodeGroup, NodePool, Taint, VirtualNode
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
    nodes = [node for group in member.simulated.nodes for node in group_nodes(cluster, member, group)]
    nodes += [virtual_node(cluster, member, one) for one in member.simulated.virtual_nodes]
    for node in nodes:
        if cluster.store.get("nodes", "", objects.name(node)) is None:
            cluster.store.create("nodes", node)


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


def _place_labels(member: Member, zone: str = "") -> dict[str, str]:
    labels = {}
    if member.region:
        labels["topology.kubernetes.io/region"] = member.region
    if zone or member.zone:
        labels["topology.kubernetes.io/zone"] = zone or member.zone
    return labels


def group_nodes(cluster: Cluster, member: Member, group: NodeGroup) -> list[Object]:
    names = [group.name] if group.count == 1 else [f"{group.name}-{index}" for index in range(group.count)]
    labels = {**_place_labels(member), **group.labels}
    made = [node(cluster, name, group.allocatable, labels, group.taints) for name in names]
    return [objects.with_status(one, capacity={**one["status"]["capacity"], **group.capacity}) for one in made]


def virtual_node(cluster: Cluster, member: Member, one: VirtualNode) -> Object:
    """A virtual node as ACK's virtual-kubelet registers it."""
    labels = {
        **_place_labels(member, one.zone),
        "type": "virtual-kubelet",
        "kubernetes.io/role": "agent",
        "alpha.service-controller.kubernetes.io/exclude-balancer": "true",
    }
    taint = Taint(key="virtual-kubelet.io/provider", value="alibabacloud", effect="NoSchedule")
    return node(cluster, one.node_name, one.allocatable, labels, (taint,))


def pool_node(cluster: Cluster, member: Member, pool: NodePool, name: str, *, ready: bool) -> Object:
    """A node as the autoscaler adds it."""
    labels = {
        **_place_labels(member),
        **pool.labels,
        "alibabacloud.com/nodepool-id": pool.id,
        "goatscaler.io/managed": "true",
        "node.kubernetes.io/instance-type": pool.instance_type,
    }
    return node(cluster, name, pool.allocatable, labels, pool.taints, ready=ready)


def node(
    cluster: Cluster,
    name: str,
    allocatable: dict[str, str],
    labels: dict[str, str],
    taints: tuple[Taint, ...],
    *,
    ready: bool = True,
) -> Object:
    """A Node object. Resources that the fleet file leaves out get a usual size: 110 pods."""
    resources = {"pods": "110", **allocatable}
    number = zlib.crc32(name.encode())
    machine = uuid.uuid5(uuid.NAMESPACE_DNS, name)
    address = f"192.168.{number >> 8 & 255}.{number & 255}"
    spec: Object = {}
    if taints:
        spec["taints"] = [
            {"key": taint.key, "effect": taint.effect, **({"value": taint.value} if taint.value else {})}
            for taint in taints
        ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                **labels,
            },
        },
        "spec": spec,
        "status": {
            "capacity": resources,
            "allocatable": resources,
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
