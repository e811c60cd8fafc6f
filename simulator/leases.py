"""The leases by which kubelets say that they live. They are written when somebody looks: nobody else needs them."""

from __future__ import annotations

from datetime import UTC, datetime

from simulator import objects
from simulator.objects import Object
from simulator.store import Store

NAMESPACE = "kube-node-lease"
SHELF = "leases.coordination.k8s.io"
RENEWED_EVERY = 10.0  # fleet seconds, as a kubelet does
DURATION = 40  # seconds, as a kubelet's lease


def renew(store: Store, now: float) -> None:
    """Every Ready node's lease is as young as its kubelet would keep it; that of another stays as old as it is."""
    renewed = datetime.fromtimestamp(now - now % RENEWED_EVERY, UTC).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    for node in store.every("nodes"):
        name = objects.name(node)
        known = store.get(SHELF, NAMESPACE, name)
        if known is None:
            store.create(SHELF, _lease(node, renewed))
        elif objects.ready(node) and known["spec"]["renewTime"] != renewed:
            store.update(SHELF, objects.with_spec(known, renewTime=renewed))


def _lease(node: Object, renewed: str) -> Object:
    name = objects.name(node)
    owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": objects.uid(node)}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": NAMESPACE, "ownerReferences": [owner]},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": DURATION, "renewTime": renewed},
    }
