"""DaemonSet: one pod on every node that takes it. Kubernetes' own, and Kruise's (apps.kruise.io) with its partition."""

from __future__ import annotations

from typing import Final

from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import pods, revisions, rollout
from simulator.fit import refusal, shape_of
from simulator.kruise import marks
from simulator.objects import Object, deep
from simulator.store import Change, Key

NAMES: Final = {"daemonsets.apps": "daemonset", marks.ADVANCED_DAEMONSETS: "advanced-daemonset"}  # by shelf
_EXTRA_TOLERATIONS = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/not-ready", "NoSchedule"),
    ("node.kubernetes.io/unreachable", "NoSchedule"),
)


def install(cluster: Cluster) -> None:
    for shelf in NAMES:
        _install(cluster, shelf)


def _install(cluster: Cluster, shelf: str) -> None:
    name = NAMES[shelf]

    def on_set(change: Change) -> None:
        cluster.queue.add(name, (objects.namespace(change.object), objects.name(change.object)))

    def on_node(change: Change) -> None:
        for record in cluster.store.records(shelf):
            cluster.queue.add(name, (objects.namespace(record.object), objects.name(record.object)))

    cluster.store.subscribe(on_set, shelf)
    cluster.store.subscribe(on_node, "nodes")
    cluster.store.subscribe(lambda change: cluster.requeue_owner(change, "DaemonSet", name), "pods")
    cluster.queue.register(name, lambda key: reconcile(cluster, shelf, key))


def reconcile(cluster: Cluster, shelf: str, key: Key) -> None:
    owner = cluster.store.get(shelf, *key)
    if owner is None:
        return
    revision, history = revisions.current(cluster, owner)
    digest = objects.name(revision).removeprefix(f"{objects.name(owner)}-")
    template = daemon_template(owner["spec"]["template"])
    nodes = eligible_nodes(cluster, template)
    if not objects.deleting(owner):
        _sync(cluster, shelf, owner, template, nodes, digest)
    _write_status(cluster, shelf, key, nodes, digest)
    revisions.trim(cluster, owner, history, {objects.name(revision)})


def daemon_template(template: Object) -> Object:
    """The template with the tolerations that every daemon has."""
    extra = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in _EXTRA_TOLERATIONS]
    spec = template["spec"]
    return {**template, "spec": {**spec, "tolerations": [*(spec.get("tolerations") or ()), *extra]}}


def eligible_nodes(cluster: Cluster, template: Object) -> set[str]:
    shape = shape_of(template["spec"])
    found = (record.object for record in cluster.store.records("nodes"))
    return {objects.name(node) for node in found if refusal(node, shape) is None}


def target_node(pod: Object) -> str:
    """The node a daemon pod is made for, bound or not."""
    if node := pod["spec"].get("nodeName"):
        return str(node)
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    wanted = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in wanted.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            return str(field["values"][0])
    return ""


def _sync(cluster: Cluster, shelf: str, owner: Object, template: Object, nodes: set[str], digest: str) -> None:
    served: dict[str, Object] = {}
    for pod in pods.claimed(cluster, owner):
        where = target_node(pod)
        if objects.deleting(pod):
            served.setdefault(where, pod)
        elif where not in nodes or objects.finished(pod):
            pods.delete(cluster, pod)
        else:
            served[where] = pod
    for node in sorted(nodes - served.keys()):
        if pods.create(cluster, owner, _for_node(template, node), **{revisions.HASH: digest}) is None:
            cluster.queue.add_at(NAMES[shelf], (objects.namespace(owner), objects.name(owner)), pods.again(cluster))
            break
    _roll(cluster, owner, served, len(nodes), digest)


def _for_node(template: Object, node: str) -> Object:
    result: Object = deep(template)
    affinity = result["spec"].setdefault("affinity", {}).setdefault("nodeAffinity", {})
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [node]}]}
    affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {"nodeSelectorTerms": [term]}
    return result


def _roll(cluster: Cluster, owner: Object, served: dict[str, Object], wanted: int, digest: str) -> None:
    strategy = owner["spec"].get("updateStrategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    kept = marks.daemons_kept(owner)
    if rolling.get("paused") or (kept is None and strategy.get("type") == "OnDelete"):
        return
    budget = max(1, rollout.resolve(rolling.get("maxUnavailable", 1), wanted, up=True))
    budget -= sum(objects.deleting(pod) or not objects.ready(pod) for pod in served.values())
    outdated = [
        pod
        for pod in served.values()
        if objects.labels(pod).get(revisions.HASH) != digest and not objects.deleting(pod)
    ]
    outdated.sort(key=lambda pod: (objects.ready(pod), objects.name(pod)))
    for pod in outdated[: max(0, len(outdated) - rollout.resolve(kept or 0, wanted, up=True))]:
        if objects.ready(pod):
            if budget <= 0:
                return
            budget -= 1
        pods.delete(cluster, pod)


def _write_status(cluster: Cluster, shelf: str, key: Key, nodes: set[str], digest: str) -> None:
    owner = cluster.store.get(shelf, *key)
    if owner is None:
        return
    owned = pods.active(pods.claimed(cluster, owner))
    right = [pod for pod in owned if target_node(pod) in nodes]
    ready = sum(objects.ready(pod) for pod in right)
    status = {
        "observedGeneration": owner["metadata"].get("generation", 1),
        "desiredNumberScheduled": len(nodes),
        "currentNumberScheduled": len(right),
        "numberMisscheduled": len(owned) - len(right),
        "numberReady": ready,
        "numberAvailable": ready,
        "numberUnavailable": len(nodes) - ready,
        "updatedNumberScheduled": sum(objects.labels(pod).get(revisions.HASH) == digest for pod in right),
        **({"daemonSetHash": digest} if shelf == marks.ADVANCED_DAEMONSETS else {}),
    }
    if status != objects.status(owner):
        cluster.store.update(shelf, {**owner, "status": status})
