"""The nodes of a member that the fleet file describes: the same for the simulator, which runs them, and for a plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from shared.fleet import Member, NodePool, Taint, VirtualNode
from shared.units import POOL_LABEL

MANAGED_LABEL: Final = "goatscaler.io/managed"
TYPE_LABEL: Final = "node.kubernetes.io/instance-type"
REGION_LABEL: Final = "topology.kubernetes.io/region"
ZONE_LABEL: Final = "topology.kubernetes.io/zone"

PODS: Final = {"pods": "110"}  # a usual kubelet's, where nothing else is said
VIRTUAL_TAINT: Final = Taint(key="virtual-kubelet.io/provider", value="alibabacloud", effect="NoSchedule")

_PLATFORM: Final = {"kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
_VIRTUAL: Final = {
    "type": "virtual-kubelet",
    "kubernetes.io/role": "agent",
    "alpha.service-controller.kubernetes.io/exclude-balancer": "true",
}


@dataclass(frozen=True, slots=True)
class DescribedNode:
    """labels: without kubernetes.io/hostname, which is the name. capacity: with what the system keeps for itself.
    virtual: backed by serverless instances."""

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, str]
    capacity: Mapping[str, str]
    taints: tuple[Taint, ...] = ()
    virtual: bool = False


def standing_nodes(member: Member) -> list[DescribedNode]:
    """Nodes that are there from the start: those of the groups, and the virtual ones as ACK registers them."""
    simulated = member.simulated
    if simulated is None:
        return []
    groups = [(group, name) for group in simulated.nodes for name in group.node_names]
    return [
        *(_node(name, member, group.allocatable, group.labels, group.taints, group.capacity) for group, name in groups),
        *(_virtual(member, one) for one in simulated.virtual_nodes),
    ]


def _node(
    name: str,
    member: Member,
    allocatable: Mapping[str, str],
    labels: Mapping[str, str],
    taints: tuple[Taint, ...],
    capacity: Mapping[str, str],
) -> DescribedNode:
    given = {**PODS, **allocatable}
    return DescribedNode(name, {**_placed(member), **labels}, given, {**given, **capacity}, taints)


def _virtual(member: Member, one: VirtualNode) -> DescribedNode:
    labels, quota = {**_placed(member, one.zone), **_VIRTUAL}, {**PODS, **one.allocatable}
    return DescribedNode(one.node_name, labels, quota, quota, (VIRTUAL_TAINT,), virtual=True)


def pool_node(member: Member, pool: NodePool, name: str) -> DescribedNode:
    """A node as the member's autoscaler adds it."""
    return _node(name, member, pool.allocatable, pool_labels(member, pool), pool.taints, {})


def pool_labels(member: Member, pool: NodePool) -> dict[str, str]:
    """What every node of a pool has, before there is one."""
    own = {POOL_LABEL: pool.id, MANAGED_LABEL: "true", TYPE_LABEL: pool.instance_type}
    return {**_placed(member), **pool.labels, **own}


def _placed(member: Member, zone: str = "") -> dict[str, str]:
    labels = dict(_PLATFORM)
    if member.region:
        labels[REGION_LABEL] = member.region
    if zone or member.zone:
        labels[ZONE_LABEL] = zone or member.zone
    return labels
