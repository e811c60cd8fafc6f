"""ReplicaSet: as many pods as asked for, and which of them go first."""

from __future__ import annotations

from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import pods, scale_in
from simulator.objects import Object
from simulator.store import Change

NAME = "replicaset"
BURST = 500  # pods made or ended per step, as kube-controller-manager's BurstReplicas


def install(cluster: Cluster) -> None:
    def on_set(change: Change) -> None:
        cluster.queue.add(NAME, (objects.namespace(change.object), objects.name(change.object)))

    def on_pod(change: Change) -> None:
        cluster.requeue_owner(change, "ReplicaSet", NAME)

    cluster.store.subscribe(on_set, "replicasets.apps")
    cluster.store.subscribe(on_pod, "pods")
    cluster.queue.register(NAME, lambda key: reconcile(cluster, key))


def reconcile(cluster: Cluster, key: tuple[str, str]) -> None:
    replicaset = cluster.store.get("replicasets.apps", *key)
    if replicaset is None:
        return
    owned = pods.active(pods.claimed(cluster, replicaset))
    if not objects.deleting(replicaset):
        _scale(cluster, replicaset, owned)
        owned = pods.active(pods.claimed(cluster, replicaset))
    _write_status(cluster, replicaset, owned)


def _scale(cluster: Cluster, replicaset: Object, owned: list[Object]) -> None:
    missing = replicaset["spec"].get("replicas", 1) - len(owned)
    if missing > 0:
        for _ in range(min(missing, BURST)):
            pod = pods.create(cluster, replicaset, replicaset["spec"]["template"])
            if pod is None:
                cluster.queue.add_at(
                    NAME, (objects.namespace(replicaset), objects.name(replicaset)), pods.again(cluster)
                )
                return
            _tell(cluster, replicaset, "SuccessfulCreate", f"Created pod: {objects.name(pod)}")
    elif missing < 0:
        first = scale_in.of_replicaset(owned, _related(cluster, replicaset, owned), cluster.now())
        for pod in first[: min(-missing, BURST)]:
            pods.delete(cluster, pod)
            _tell(cluster, replicaset, "SuccessfulDelete", f"Deleted pod: {objects.name(pod)}")
    if abs(missing) > BURST:
        cluster.queue.add(NAME, (objects.namespace(replicaset), objects.name(replicaset)))


def _tell(cluster: Cluster, replicaset: Object, reason: str, message: str) -> None:
    cluster.event(replicaset, "replicaset-controller", reason, message)


def _related(cluster: Cluster, replicaset: Object, owned: list[Object]) -> list[Object]:
    """The active pods of this set and of its siblings under one Deployment."""
    above = objects.controller(replicaset)
    if above is None:
        return owned
    siblings = cluster.store.owned(above["uid"], "replicasets.apps")
    return pods.active([pod for one in siblings for pod in cluster.store.owned(objects.uid(one), "pods")])


def _write_status(cluster: Cluster, replicaset: Object, owned: list[Object]) -> None:
    spec = replicaset["spec"]
    min_ready = spec.get("minReadySeconds", 0)
    times = [pods.available_at(pod, min_ready) for pod in owned]
    now = cluster.now()
    ready = sum(time < float("inf") for time in times)
    available = sum(time <= now for time in times)
    hash_label = (spec["template"].get("metadata") or {}).get("labels") or {}
    labelled = sum(all(objects.labels(pod).get(key) == value for key, value in hash_label.items()) for pod in owned)
    status = {
        "replicas": len(owned),
        "fullyLabeledReplicas": labelled,
        "readyReplicas": ready,
        "availableReplicas": available,
        "observedGeneration": replicaset["metadata"].get("generation", 1),
    }
    if available < ready:
        waiting = min(time for time in times if now < time < float("inf"))
        cluster.queue.add_at(NAME, (objects.namespace(replicaset), objects.name(replicaset)), waiting)
    status = {key: value for key, value in status.items() if value or key in ("replicas", "observedGeneration")}
    if status != objects.status(replicaset):
        cluster.store.update("replicasets.apps", {**replicaset, "status": status})
