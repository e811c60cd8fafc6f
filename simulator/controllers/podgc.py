"""Pods that are bound to a node which is no more: removed after a while, as Kubernetes' PodGC does.

A node with the annotation `simulator.brim.dev/keep-pods: "true"` leaves its pods behind when it is deleted: they stay
until someone deletes them. That is how a virtual node is lost under its pods.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.clock import parse_rfc3339, rfc3339
from simulator import objects
from simulator.cluster import Cluster
from simulator.objects import Object
from simulator.store import Change, Key

NAME = "pod-gc"
KEEP_PODS = "simulator.brim.dev/keep-pods"
QUARANTINE = 40.0  # fleet seconds in which a node may come back


def install(cluster: Cluster) -> None:
    collector = _Collector(cluster)
    cluster.store.subscribe(collector.on_node, "nodes")
    cluster.store.subscribe(collector.on_pod, "pods")
    cluster.queue.register(NAME, collector.reconcile)


@dataclass(slots=True)
class _Collector:
    """gone: node → fleet time since which it has been missing. kept: those whose pods are left alone."""

    cluster: Cluster
    gone: dict[str, float] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)

    def on_node(self, change: Change) -> None:
        name = objects.name(change.object)
        if change.type != "DELETED":
            self.gone.pop(name, None)
            self.kept.discard(name)
            return
        if objects.annotations(change.object).get(KEEP_PODS) == "true":
            self.kept.add(name)
        for pod in self.cluster.store.pods_on(name):
            self._queue(pod)

    def on_pod(self, change: Change) -> None:
        node = change.object["spec"].get("nodeName")
        if change.type != "DELETED" and node and self.cluster.store.get("nodes", "", node) is None:
            self._queue(change.object)

    def _queue(self, pod: Object) -> None:
        self.cluster.queue.add(NAME, (objects.namespace(pod), objects.name(pod)))

    def reconcile(self, key: Key) -> None:
        store, now = self.cluster.store, self.cluster.now()
        pod = store.get("pods", *key)
        node = pod["spec"].get("nodeName", "") if pod is not None else ""
        if pod is None or not node or store.get("nodes", "", node) is not None:
            return
        due = float("inf") if node in self.kept else self.gone.setdefault(node, now) + QUARANTINE
        if objects.deleting(pod):
            due = min(due, parse_rfc3339(pod["metadata"]["deletionTimestamp"]))
        if due > now:
            if due < float("inf"):
                self.cluster.queue.add_at(NAME, key, due)
            return
        stamp = pod["metadata"].get("deletionTimestamp") or rfc3339(now)
        store.update("pods", objects.with_meta(pod, deletionTimestamp=stamp, deletionGracePeriodSeconds=0))
