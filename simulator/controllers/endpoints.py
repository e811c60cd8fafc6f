"""Endpoints: every Service with a selector has one EndpointSlice, with the pods that it selects."""

from __future__ import annotations

from simulator import objects
from simulator.cluster import Cluster
from simulator.objects import Object
from simulator.store import Change

NAME = "endpoints"
SLICES = "endpointslices.discovery.k8s.io"
SERVICE = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"


def install(cluster: Cluster) -> None:
    def on_service(change: Change) -> None:
        cluster.queue.add(NAME, (objects.namespace(change.object), objects.name(change.object)))

    def on_pod(change: Change) -> None:
        space = objects.namespace(change.object)
        for record in cluster.store.records("services", space):
            if any(selects(record.object, pod) for pod in (change.object, change.previous) if pod is not None):
                cluster.queue.add(NAME, (space, objects.name(record.object)))

    cluster.store.subscribe(on_service, "services")
    cluster.store.subscribe(on_pod, "pods")
    cluster.queue.register(NAME, lambda key: reconcile(cluster, key))


def reconcile(cluster: Cluster, key: tuple[str, str]) -> None:
    service = cluster.store.get("services", *key)
    if service is None or objects.deleting(service) or not objects.spec(service).get("selector"):
        return  # the slice of a Service that is gone goes with its owner
    chosen = [pod for pod in cluster.store.every("pods", key[0]) if selects(service, pod)]
    wanted = slice_of(service, sorted(chosen, key=objects.name))
    known = cluster.store.get(SLICES, *key)
    if known is None:
        cluster.store.create(SLICES, wanted)
    elif any(known.get(part) != wanted[part] for part in ("endpoints", "ports")):
        cluster.store.update(SLICES, {**known, "endpoints": wanted["endpoints"], "ports": wanted["ports"]})


def selects(service: Object, pod: Object) -> bool:
    selector = objects.spec(service).get("selector") or {}
    return bool(selector) and selector.items() <= objects.labels(pod).items()


def slice_of(service: Object, pods: list[Object]) -> Object:
    """One slice of any length; a real controller would cut it at a hundred."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": objects.name(service),
            "namespace": objects.namespace(service),
            "labels": {SERVICE: objects.name(service), MANAGED_BY: "endpointslice-controller.k8s.io"},
            "ownerReferences": [objects.controller_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": [_endpoint(pod) for pod in pods if objects.status(pod).get("podIP") and not objects.finished(pod)],
        "ports": [_port(port, pods) for port in objects.spec(service).get("ports") or ()],
    }


def _endpoint(pod: Object) -> Object:
    ready, leaving = objects.ready(pod), objects.deleting(pod)
    return {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready and not leaving, "serving": ready, "terminating": leaving},
        "nodeName": objects.spec(pod).get("nodeName", ""),
        "targetRef": {
            "kind": "Pod",
            "namespace": objects.namespace(pod),
            "name": objects.name(pod),
            "uid": objects.uid(pod),
        },
    }


def _port(port: Object, pods: list[Object]) -> Object:
    """A port by number, or by the name that a container gives it."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, str):
        named = (
            entry["containerPort"]
            for pod in pods
            for container in objects.spec(pod)["containers"]
            for entry in container.get("ports") or ()
            if entry.get("name") == target
        )
        target = next(named, 0)
    return {"name": port.get("name", ""), "port": target, "protocol": port.get("protocol", "TCP")}
