"""Namespaces: one that is deleted takes everything in it along."""

from __future__ import annotations

from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import garbage
from simulator.store import Change

NAME = "namespace"


def install(cluster: Cluster) -> None:
    def on_namespace(change: Change) -> None:
        cluster.queue.add(NAME, objects.name(change.object))

    def on_change(change: Change) -> None:
        space = objects.namespace(change.object)
        if change.type == "DELETED" and space:
            found = cluster.store.get("namespaces", "", space)
            if found is not None and objects.deleting(found):
                cluster.queue.add(NAME, space)

    cluster.store.subscribe(on_namespace, "namespaces")
    cluster.store.subscribe(on_change)
    cluster.queue.register(NAME, lambda name: reconcile(cluster, name))


def reconcile(cluster: Cluster, name: str) -> None:
    namespace = cluster.store.get("namespaces", "", name)
    if namespace is None or not objects.deleting(namespace):
        return
    left = 0
    for shelf in cluster.store.shelves():
        for obj in cluster.store.every(shelf, name):
            garbage.end(cluster, shelf, obj)
            left += cluster.store.get(shelf, name, objects.name(obj)) is not None
    if not left:
        cluster.store.update("namespaces", objects.with_spec(namespace, finalizers=[]))
