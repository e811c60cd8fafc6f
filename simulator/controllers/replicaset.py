"""ReplicaSet: as many pods as asked for, and which of them go first."""

from __future__ import annotations

from collections import Counter

from shared.clock import parse_rfc3339
from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import pods
from simulator.objects import Object
from simulator.store import Change

NAME = "replicaset"
BURST = 500  # pods made or ended per step, as kube-controller-manager's BurstReplicas

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


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
            _tell(cluster, replicaset, "SuccessfulCreate", f"Created pod: {objects.name(pod)}")
    elif missing < 0:
        for pod in first_to_go(owned, cluster.now())[: min(-missing, BURST)]:
            pods.delete(cluster, pod)
            _tell(cluster, replicaset, "SuccessfulDelete", f"Deleted pod: {objects.name(pod)}")
    if abs(missing) > BURST:
        cluster.queue.add(NAME, (objects.namespace(replicaset), objects.name(replicaset)))


def _tell(cluster: Cluster, replicaset: Object, reason: str, message: str) -> None:
    cluster.event(replicaset, "replicaset-controller", reason, message)


def first_to_go(owned: list[Object], now: float) -> list[Object]:
    """Pods in the order in which a scale-in removes them.

    Source: Kubernetes' ActivePodsWithRanks: unassigned, pending, not ready, lower deletion cost, more pods
    of the set on the same node, ready for a shorter time, younger; times compared by powers of two.
    """
    beside = Counter(pod["spec"].get("nodeName", "") for pod in owned if objects.ready(pod))
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}

    def rank(pod: Object) -> tuple[float, ...]:
        ready = objects.condition(pod, "Ready") if objects.ready(pod) else None
        ready_for = _magnitude(now - parse_rfc3339(ready["lastTransitionTime"])) if ready else -1
        return (
            bool(pod["spec"].get("nodeName")),
            phases.get(objects.status(pod).get("phase", "Unknown"), 1),
            ready is not None,
            _deletion_cost(pod),
            -beside[pod["spec"].get("nodeName", "")],
            ready_for,
            -sum(entry.get("restartCount", 0) for entry in objects.status(pod).get("containerStatuses") or ()),
            _magnitude(now - parse_rfc3339(pod["metadata"]["creationTimestamp"])),
        )

    return sorted(owned, key=lambda pod: (*rank(pod), objects.uid(pod)))


def _magnitude(seconds: float) -> int:
    return max(0, int(seconds)).bit_length()


def _deletion_cost(pod: Object) -> int:
    try:
        return int(objects.annotations(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0


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
