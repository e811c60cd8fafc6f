"""What a real member holds at the start, nodes as the fleet file describes them, which KWOK brings to life; and its way
back to nothing."""

from __future__ import annotations

from collections.abc import Callable

from shared.contracts.base import JsonObject
from shared.described import DescribedNode, standing_nodes
from shared.fleet import Member
from tests.real.control_plane import ControlPlane, call
from tests.real.waiting import until

BOOTS = "brim.test/boots"  # an annotation that kwok.yaml reads
OWN_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
WORKLOADS = (
    *(("apps/v1", plural) for plural in ("deployments", "statefulsets", "daemonsets", "replicasets")),
    ("batch/v1", "jobs"),
)
CLEARED = 120.0  # seconds; namespaces go slowly where much else runs


def populate(plane: ControlPlane, member: Member) -> None:
    """Create the standing nodes of a simulated member's description."""
    for described in standing_nodes(member):
        add(plane, described)


def add(plane: ControlPlane, described: DescribedNode) -> None:
    call(plane, "POST", "/api/v1/nodes", node(described))


def node(described: DescribedNode, *, boots: str = "") -> JsonObject:
    """As a kubelet registers it. boots: how long it takes until it is Ready ("3s")."""
    taints: list[JsonObject] = [
        {"key": taint.key, "effect": taint.effect, "value": taint.value} for taint in described.taints
    ]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": described.name,
            "labels": {"kubernetes.io/hostname": described.name, **described.labels},
            "annotations": {BOOTS: boots} if boots else {},
        },
        "spec": {"taints": list(taints)},
        "status": {"capacity": dict(described.capacity), "allocatable": dict(described.allocatable)},
    }


def clear(plane: ControlPlane) -> None:
    """Remove what a test left: workloads with their pods; then namespaces, which would wait for each pod's grace; then
    the nodes."""
    background: JsonObject = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    for space in ("default", *_namespaces(plane)):
        for group, plural in WORKLOADS:
            call(plane, "DELETE", f"/apis/{group}/namespaces/{space}/{plural}", background)
        call(plane, "DELETE", f"/api/v1/namespaces/{space}/pods", {**background, "gracePeriodSeconds": 0})
    for name in _names(plane, "/api/v1/namespaces/default/services"):
        if name != "kubernetes":
            call(plane, "DELETE", f"/api/v1/namespaces/default/services/{name}")
    _until_empty(plane, lambda: _names(plane, "/api/v1/pods"))
    for name in _namespaces(plane):
        call(plane, "DELETE", f"/api/v1/namespaces/{name}")
    _until_empty(plane, lambda: _namespaces(plane))
    call(plane, "DELETE", "/api/v1/nodes", background)


def _until_empty(plane: ControlPlane, left: Callable[[], list[str]]) -> None:
    until(lambda: not left(), CLEARED, lambda: f"member {plane.name} still has {', '.join(left())}")


def _namespaces(plane: ControlPlane) -> list[str]:
    return [name for name in _names(plane, "/api/v1/namespaces") if name not in OWN_NAMESPACES]


def _names(plane: ControlPlane, path: str) -> list[str]:
    return [item["metadata"]["name"] for item in call(plane, "GET", path)["items"]]
