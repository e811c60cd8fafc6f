"""Node life cycle: taints that follow a node's state, evictions by NoExecute."""

from __future__ import annotations

from shared.clock import parse_rfc3339, rfc3339
from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import pods
from simulator.fit import toleration_covers
from simulator.objects import Object
from simulator.store import Change

NAME = "node"
EVICT = "taint-eviction"

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_OURS = (NOT_READY, UNREACHABLE, UNSCHEDULABLE)


def install(cluster: Cluster) -> None:
    def on_node(change: Change) -> None:
        cluster.queue.add(NAME, objects.name(change.object))

    def on_pod(change: Change) -> None:
        node = change.object["spec"].get("nodeName")
        if (
            change.type != "DELETED"
            and node
            and (change.previous is None or not change.previous["spec"].get("nodeName"))
        ):
            cluster.queue.add(EVICT, (objects.namespace(change.object), objects.name(change.object)))

    cluster.store.subscribe(on_node, "nodes")
    cluster.store.subscribe(on_pod, "pods")
    cluster.queue.register(NAME, lambda name: reconcile(cluster, name))
    cluster.queue.register(EVICT, lambda key: evict(cluster, key))


def reconcile(cluster: Cluster, name: str) -> None:
    node = cluster.store.get("nodes", "", name)
    if node is None:
        return
    taints = wanted_taints(node, cluster.now())
    if taints != (objects.spec(node).get("taints") or []):
        node = cluster.store.update("nodes", objects.with_spec(node, taints=taints or None))
    ready = objects.ready(node)
    evicting = any(taint["effect"] == "NoExecute" for taint in taints)
    if ready and not evicting:
        return
    for pod in cluster.store.pods_on(name):
        if not ready and objects.ready(pod):
            _mark_unready(cluster, pod)
        if evicting:
            cluster.queue.add(EVICT, (objects.namespace(pod), objects.name(pod)))


def wanted_taints(node: Object, now: float) -> list[Object]:
    """The node's own taints, and those that its readiness and cordon call for."""
    taints = objects.spec(node).get("taints") or []
    found = objects.condition(node, "Ready")
    state = found["status"] if found is not None else "Unknown"
    needed: list[tuple[str, str]] = []
    if state == "False":
        needed += [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]
    elif state == "Unknown":
        needed += [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
    if objects.spec(node).get("unschedulable"):
        needed.append((UNSCHEDULABLE, "NoSchedule"))
    kept = [t for t in taints if t["key"] not in _OURS or (t["key"], t["effect"]) in needed]
    present = {(taint["key"], taint["effect"]) for taint in kept}
    for key, effect in needed:
        if (key, effect) not in present:
            kept.append({"key": key, "effect": effect, "timeAdded": rfc3339(now)})
    return kept


def _mark_unready(cluster: Cluster, pod: Object) -> None:
    conditions = objects.set_condition(
        objects.status(pod).get("conditions") or [], "Ready", "False", cluster.now(), "NodeNotReady"
    )
    cluster.store.update("pods", objects.with_status(pod, conditions=conditions))


def evict(cluster: Cluster, key: tuple[str, str]) -> None:
    """Delete a pod that does not tolerate its node's NoExecute taints, when its patience has run out."""
    pod = cluster.store.get("pods", *key)
    if pod is None or objects.deleting(pod) or objects.finished(pod):
        return
    node = cluster.store.get("nodes", "", pod["spec"].get("nodeName", ""))
    if node is None:
        return
    deadline = eviction_time(node, pod, cluster.now())
    if deadline is None:
        return
    if deadline > cluster.now():
        cluster.queue.add_at(EVICT, key, deadline)
        return
    message = f"Marking for deletion Pod {key[0]}/{key[1]}"
    cluster.event(pod, "taint-eviction-controller", "TaintManagerEviction", message)
    pods.delete(cluster, pod)


def eviction_time(node: Object, pod: Object, now: float) -> float | None:
    """Fleet time at which the pod must go; None when it may stay for ever."""
    times = []
    tolerations = pod["spec"].get("tolerations") or ()
    for taint in objects.spec(node).get("taints") or ():
        if taint["effect"] != "NoExecute":
            continue
        covering = [toleration for toleration in tolerations if toleration_covers(toleration, taint)]
        if not covering:
            return now
        patience = [t["tolerationSeconds"] for t in covering if t.get("tolerationSeconds") is not None]
        if patience:
            since = parse_rfc3339(taint["timeAdded"]) if "timeAdded" in taint else now
            times.append(since + max(0, min(patience)))
    return min(times, default=None)
