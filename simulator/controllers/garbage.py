"""Garbage collection by ownerReferences: background, foreground and orphaning."""

from __future__ import annotations

from shared.clock import rfc3339
from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import pods
from simulator.objects import Object
from simulator.store import Change

NAME = "garbage"
FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


def install(cluster: Cluster) -> None:
    def on_change(change: Change) -> None:
        obj, key = change.object, (change.shelf, objects.namespace(change.object), objects.name(change.object))
        owners = obj["metadata"].get("ownerReferences") or ()
        if change.type == "DELETED":
            cluster.queue.add("garbage-owner", objects.uid(obj))
            for owner in owners:
                _wake_foreground(cluster, owner["uid"])
        elif change.type == "ADDED" and owners:
            cluster.queue.add(NAME, key)
        elif objects.deleting(obj) and obj["metadata"].get("finalizers"):
            cluster.queue.add("garbage-finalizer", key)

    cluster.store.subscribe(on_change)
    cluster.queue.register(NAME, lambda key: _collect(cluster, *key))
    cluster.queue.register("garbage-owner", lambda uid: _owner_gone(cluster, uid))
    cluster.queue.register("garbage-finalizer", lambda key: _finalize(cluster, *key))


def end(cluster: Cluster, shelf: str, obj: Object, *, foreground: bool = False) -> None:
    """Ask for an object's end; in the foreground it stays until what it owns is gone."""
    if shelf == "pods":
        pods.delete(cluster, obj)
    elif not objects.deleting(obj):
        changes: Object = {"deletionTimestamp": rfc3339(cluster.now()), "deletionGracePeriodSeconds": 0}
        if foreground and cluster.store.dependents(objects.uid(obj)):
            changes["finalizers"] = [*(obj["metadata"].get("finalizers") or ()), FOREGROUND]
        cluster.store.update(shelf, objects.with_meta(obj, **changes))


def _wake_foreground(cluster: Cluster, owner_uid: str) -> None:
    where = cluster.store.find(owner_uid)
    if where is not None:
        obj = cluster.store.get(*where)
        if obj is not None and objects.deleting(obj):
            cluster.queue.add("garbage-finalizer", where)


def _owner_gone(cluster: Cluster, uid: str) -> None:
    for shelf, obj in cluster.store.dependents(uid):
        _collect(cluster, shelf, objects.namespace(obj), objects.name(obj))


def _collect(cluster: Cluster, shelf: str, space: str, name: str) -> None:
    """End an object all of whose owners are gone; else drop the references to those that are."""
    obj = cluster.store.get(shelf, space, name)
    if obj is None:
        return
    owners = obj["metadata"].get("ownerReferences") or []
    living = [owner for owner in owners if cluster.store.find(owner["uid"]) is not None]
    if len(living) == len(owners):
        return
    if living:
        cluster.store.update(shelf, objects.with_meta(obj, ownerReferences=living))
    else:
        end(cluster, shelf, obj)


def _finalize(cluster: Cluster, shelf: str, space: str, name: str) -> None:
    obj = cluster.store.get(shelf, space, name)
    if obj is None or not objects.deleting(obj):
        return
    finalizers = obj["metadata"].get("finalizers") or []
    if ORPHAN in finalizers:
        for below, dependent in cluster.store.dependents(objects.uid(obj)):
            _disown(cluster, below, dependent, objects.uid(obj))
        _release(cluster, shelf, obj, ORPHAN)
    elif FOREGROUND in finalizers:
        dependents = cluster.store.dependents(objects.uid(obj))
        for below, dependent in dependents:
            end(cluster, below, dependent, foreground=True)
        if not any(_blocks(dependent, objects.uid(obj)) for _, dependent in _left(cluster, dependents)):
            _release(cluster, shelf, obj, FOREGROUND)


def _left(cluster: Cluster, dependents: list[tuple[str, Object]]) -> list[tuple[str, Object]]:
    found = ((shelf, cluster.store.get(shelf, objects.namespace(obj), objects.name(obj))) for shelf, obj in dependents)
    return [(shelf, obj) for shelf, obj in found if obj is not None]


def _blocks(dependent: Object, uid: str) -> bool:
    references = dependent["metadata"].get("ownerReferences") or ()
    return any(reference["uid"] == uid and reference.get("blockOwnerDeletion") for reference in references)


def _disown(cluster: Cluster, shelf: str, obj: Object, uid: str) -> None:
    kept = [reference for reference in obj["metadata"]["ownerReferences"] if reference["uid"] != uid]
    cluster.store.update(shelf, objects.with_meta(obj, ownerReferences=kept or None))


def _release(cluster: Cluster, shelf: str, obj: Object, finalizer: str) -> None:
    kept = [entry for entry in obj["metadata"]["finalizers"] if entry != finalizer]
    cluster.store.update(shelf, objects.with_meta(obj, finalizers=kept or None))
