"""PodDisruptionBudgets: how many of the pods that one selects may be disrupted now, kept in its status.

As kube-controller-manager counts: a pod is healthy while it is Ready, not being deleted and not just evicted; shares
are of the replicas that the pods' controllers are asked for, rounded up. Where these cannot be told nothing is allowed.
"""

from __future__ import annotations

from shared.clock import parse_rfc3339
from simulator import objects, selectors
from simulator.cluster import Cluster
from simulator.controllers.rollout import resolve
from simulator.objects import Object
from simulator.resources import BUILT_IN
from simulator.store import Change, Key, Store

NAME = "disruption"
SHELF = "poddisruptionbudgets.policy"
ALLOWED = "DisruptionAllowed"
SYNC_FAILED = "SyncFailed"
DELETION_TIMEOUT = 120.0  # fleet seconds after which an evicted pod that is still there counts again


def install(cluster: Cluster) -> None:
    def on_budget(change: Change) -> None:
        if change.type != "DELETED":
            cluster.queue.add(NAME, (objects.namespace(change.object), objects.name(change.object)))

    def on_pod(change: Change) -> None:
        for pod in (change.object, change.previous):
            for budget in of_pod(cluster.store, pod) if pod is not None else ():
                cluster.queue.add(NAME, (objects.namespace(budget), objects.name(budget)))

    cluster.store.subscribe(on_budget, SHELF)
    cluster.store.subscribe(on_pod, "pods")
    cluster.queue.register(NAME, lambda key: reconcile(cluster, key))


def of_pod(store: Store, pod: Object) -> list[Object]:
    """The budgets that select a pod."""
    found = store.records(SHELF, objects.namespace(pod))
    return [record.object for record in found if _selector(record.object).matches(objects.labels(pod))]


def reconcile(cluster: Cluster, key: Key) -> None:
    budget = cluster.store.get(SHELF, *key)
    if budget is None or objects.deleting(budget):
        return
    selector = _selector(budget)
    pods = [pod for pod in cluster.store.every("pods", key[0]) if selector.matches(objects.labels(pod))]
    try:
        expected, desired = _wanted(cluster.store, objects.spec(budget), pods)
    except _Unknown as error:
        found = decided(objects.with_status(budget, disruptionsAllowed=0), cluster.now(), str(error))
        cluster.store.update(SHELF, found)
        return
    disrupted = _disrupted(cluster, key, budget, pods)
    staying = [pod for pod in pods if not objects.deleting(pod) and objects.name(pod) not in disrupted]
    healthy = sum(map(objects.ready, staying))
    known = {name: value for name, value in objects.status(budget).items() if name != "disruptedPods"}
    found = objects.with_status(
        {**budget, "status": known},
        currentHealthy=healthy,
        desiredHealthy=desired,
        expectedPods=expected,
        disruptionsAllowed=max(0, healthy - desired) if expected > 0 else 0,
        observedGeneration=budget["metadata"].get("generation", 1),
        **({"disruptedPods": disrupted} if disrupted else {}),
    )
    cluster.store.update(SHELF, decided(found, cluster.now()))


def decided(budget: Object, now: float, failed: str = "") -> Object:
    """The budget with the condition that follows from its status. failed: why the status could not be counted."""
    status = objects.status(budget)
    allowed = status["disruptionsAllowed"] > 0
    reason = SYNC_FAILED if failed else "SufficientPods" if allowed else "InsufficientPods"
    told = objects.set_condition(
        status.get("conditions") or [],
        ALLOWED,
        "True" if allowed else "False",
        now,
        reason,
        observedGeneration=status.get("observedGeneration", 0),
    )
    return objects.with_status(budget, conditions=[{**condition, "message": failed} for condition in told])


class _Unknown(Exception):
    """How many pods there should be cannot be told."""


def _selector(budget: Object) -> selectors.LabelSelector:
    return selectors.from_spec(objects.spec(budget).get("selector"))


def _wanted(store: Store, spec: Object, pods: list[Object]) -> tuple[int, int]:
    """(expected, desired healthy) pods. Raises _Unknown."""
    if (unavailable := spec.get("maxUnavailable")) is not None:
        expected = _asked_for(store, pods)
        return expected, max(0, expected - resolve(unavailable, expected, up=True))
    available = spec.get("minAvailable")
    if available is None:
        return 0, 0
    if isinstance(available, str):
        expected = _asked_for(store, pods)
        return expected, resolve(available, expected, up=True)
    return len(pods), available


def _asked_for(store: Store, pods: list[Object]) -> int:
    """The replicas of all controllers of these pods; a pod without one counts for none. Raises _Unknown."""
    owners = {owner["uid"]: (pod, owner) for pod in pods if (owner := objects.controller(pod)) is not None}
    found = [_scalable(store, pod, owner) for pod, owner in owners.values()]
    return sum({objects.uid(one): objects.spec(one).get("replicas", 1) for one in found}.values())


def _scalable(store: Store, pod: Object, owner: Object) -> Object:
    """Whose replicas a pod is one of: its controller, or the Deployment above its ReplicaSet. Raises _Unknown."""
    resource = _KINDS.get((owner["apiVersion"], owner["kind"]))
    found = store.get(resource.shelf, objects.namespace(pod), owner["name"]) if resource is not None else None
    if resource is None or found is None or objects.uid(found) != owner["uid"]:
        raise _Unknown(f'found no controllers for pod "{objects.name(pod)}"')
    if not resource.scale:
        raise _Unknown(f"{resource.qualified} does not implement the scale subresource")
    above = objects.controller(found) if resource.kind == "ReplicaSet" else None
    return _scalable(store, pod, above) if above is not None and above["kind"] == "Deployment" else found


_KINDS = {(resource.group_version, resource.kind): resource for resource in BUILT_IN}


def _disrupted(cluster: Cluster, key: Key, budget: Object, pods: list[Object]) -> dict[str, str]:
    """Pods that were evicted and whose deletion does not show yet, with the time of that."""
    evicted, now = objects.status(budget).get("disruptedPods") or {}, cluster.now()
    waited_for = {objects.name(pod) for pod in pods if not objects.deleting(pod)}
    due = {name: parse_rfc3339(stamp) + DELETION_TIMEOUT for name, stamp in evicted.items() if name in waited_for}
    for when in due.values():
        if when > now:
            cluster.queue.add_at(NAME, key, when)
    return {name: evicted[name] for name, when in due.items() if when > now}
