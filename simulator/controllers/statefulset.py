"""StatefulSet: numbered pods, one after another or all at once, updated from the highest ordinal down."""

from __future__ import annotations

from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import pods, revisions
from simulator.objects import Object
from simulator.store import Change

NAME = "statefulset"


def install(cluster: Cluster) -> None:
    def on_set(change: Change) -> None:
        cluster.queue.add(NAME, (objects.namespace(change.object), objects.name(change.object)))

    cluster.store.subscribe(on_set, "statefulsets.apps")
    cluster.store.subscribe(lambda change: cluster.requeue_owner(change, "StatefulSet", NAME), "pods")
    cluster.queue.register(NAME, lambda key: reconcile(cluster, key))


def ordinal(pod: Object) -> int:
    """The number at the end of the pod's name; -1 when there is none."""
    tail = objects.name(pod).rpartition("-")[2]
    return int(tail) if tail.isdigit() else -1


def reconcile(cluster: Cluster, key: tuple[str, str]) -> None:
    owner = cluster.store.get("statefulsets.apps", *key)
    if owner is None:
        return
    update, history = revisions.current(cluster, owner)
    current_name = objects.status(owner).get("currentRevision") or objects.name(update)
    if not objects.deleting(owner):
        _sync(cluster, owner, history, current_name, objects.name(update))
    fresh = cluster.store.get("statefulsets.apps", *key)
    if fresh is not None:
        _write_status(cluster, fresh, current_name, objects.name(update))
        used = {current_name, objects.name(update)} | {
            objects.labels(pod).get(revisions.HASH, "") for pod in pods.claimed(cluster, fresh)
        }
        revisions.trim(cluster, fresh, history, used)


def _sync(cluster: Cluster, owner: Object, history: list[Object], current: str, update: str) -> None:
    owned = {ordinal(pod): pod for pod in pods.claimed(cluster, owner)}
    spec = owner["spec"]
    start = (spec.get("ordinals") or {}).get("start", 0)
    wanted = range(start, start + spec["replicas"])
    ordered = spec.get("podManagementPolicy") != "Parallel"
    partition = ((spec.get("updateStrategy") or {}).get("rollingUpdate") or {}).get("partition", 0)
    for number in wanted:
        pod = owned.get(number)
        if pod is not None and objects.finished(pod) and not objects.deleting(pod):
            pods.delete(cluster, pod)
            pod = None
        if pod is None:
            if not _name_taken(cluster, owner, number):
                old = number < partition and current != update
                _create(cluster, owner, number, current if old else update, history)
            if ordered:
                return
        elif ordered and (objects.deleting(pod) or not objects.ready(pod)):
            return
    condemned = sorted((number for number in owned if number not in wanted), reverse=True)
    for number in condemned:
        pods.delete(cluster, owned[number])
        if ordered:
            return
    if condemned or (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        return
    _roll(cluster, owned, list(wanted), partition, update)


def _name_taken(cluster: Cluster, owner: Object, number: int) -> bool:
    name = f"{objects.name(owner)}-{number}"
    return cluster.store.get("pods", objects.namespace(owner), name) is not None


def _create(cluster: Cluster, owner: Object, number: int, revision: str, history: list[Object]) -> None:
    name = f"{objects.name(owner)}-{number}"
    template = revisions.template_of(history, revision, owner["spec"]["template"])
    labels = {
        "apps.kubernetes.io/pod-index": str(number),
        "statefulset.kubernetes.io/pod-name": name,
        revisions.HASH: revision,
    }
    if pods.create(cluster, owner, template, name, **labels) is None:
        cluster.queue.add_at(NAME, (objects.namespace(owner), objects.name(owner)), pods.again(cluster))
        return
    message = f"create Pod {name} in StatefulSet {objects.name(owner)} successful"
    cluster.event(owner, "statefulset-controller", "SuccessfulCreate", message)


def _roll(cluster: Cluster, owned: dict[int, Object], wanted: list[int], partition: int, update: str) -> None:
    """Replace the highest outdated pod; go on only when everything above it is Ready."""
    for number in reversed(wanted):
        if number < partition:
            return
        pod = owned.get(number)
        if pod is None or objects.deleting(pod):
            return
        if objects.labels(pod).get(revisions.HASH) != update:
            pods.delete(cluster, pod)
            return
        if not objects.ready(pod):
            return


def _write_status(cluster: Cluster, owner: Object, current: str, update: str) -> None:
    owned = [pod for pod in pods.claimed(cluster, owner) if not objects.finished(pod)]
    spec = owner["spec"]
    by_revision = [objects.labels(pod).get(revisions.HASH) for pod in owned if not objects.deleting(pod)]
    ready = sum(objects.ready(pod) for pod in owned)
    min_ready = spec.get("minReadySeconds", 0)
    times = [pods.available_at(pod, min_ready) for pod in owned]
    waiting = [time for time in times if cluster.now() < time < float("inf")]
    if waiting:
        cluster.queue.add_at(NAME, (objects.namespace(owner), objects.name(owner)), min(waiting))
    updated = by_revision.count(update)
    if updated == spec["replicas"] == ready and len(owned) == ready:
        current = update
    status = {
        "observedGeneration": owner["metadata"].get("generation", 1),
        "replicas": len(owned),
        "readyReplicas": ready,
        "availableReplicas": sum(time <= cluster.now() for time in times),
        "currentReplicas": by_revision.count(current),
        "updatedReplicas": updated,
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": 0,
    }
    if status != objects.status(owner):
        cluster.store.update("statefulsets.apps", {**owner, "status": status})
