"""The member's own scheduler: pods that name `default-scheduler` (or none) are bound to nodes."""

from __future__ import annotations

from simulator import objects
from simulator.cluster import Cluster
from simulator.fit import NodeTable, requests_of, shape_of
from simulator.objects import Object
from simulator.store import Change, Key
from simulator.subresources import bound

NAME = "scheduler"
SCHEDULER = "default-scheduler"
BATCH = 20  # pods per step of the work queue


class Scheduler:
    """`active` pods are tried in order of priority and age; `waiting` ones when something made room."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.nodes = NodeTable()
        self._active: dict[Key, None] = {}
        self._waiting: dict[Key, None] = {}

    def install(self) -> None:
        store, queue = self._cluster.store, self._cluster.queue
        queue.register(NAME, lambda key: self._pass())
        queue.register("scheduler-admit", self._admit)
        for node in store.every("nodes"):
            self._set_node(node)
        for pod in store.every("pods"):
            if _is_ours(pod):
                self._admit((objects.namespace(pod), objects.name(pod)))
        store.subscribe(self._on_node, "nodes")
        store.subscribe(self._on_pod, "pods")

    # -- keeping up

    def _on_node(self, change: Change) -> None:
        if change.type == "DELETED":
            self.nodes.remove_node(objects.name(change.object))
        elif self._set_node(change.object):
            self._retry()

    def _set_node(self, node: Object) -> bool:
        fresh = objects.name(node) not in self.nodes.rows
        differs = self.nodes.set_node(node)
        if fresh:
            for pod in self._cluster.store.pods_on(objects.name(node)):
                if _holds_room(pod):
                    self.nodes.take(objects.name(node), requests_of(pod["spec"]))
        return differs

    def _on_pod(self, change: Change) -> None:
        old, new = change.previous, None if change.type == "DELETED" else change.object
        held, holds = old is not None and _holds_room(old), new is not None and _holds_room(new)
        if held != holds:
            pod = new if holds else old
            assert pod is not None
            node, amounts = pod["spec"]["nodeName"], requests_of(pod["spec"])
            (self.nodes.take if holds else self.nodes.release)(node, amounts)
            if held:
                self._retry()
        key = (objects.namespace(change.object), objects.name(change.object))
        if new is None or not _is_ours(new):
            self._active.pop(key, None)
            self._waiting.pop(key, None)
        elif change.type == "ADDED" or (old is not None and not _is_ours(old)):
            delay = self._cluster.delays.schedule
            if delay:
                self._cluster.queue.add_at("scheduler-admit", key, self._cluster.now() + delay)
            else:
                self._admit(key)
        elif old is not None and old["spec"] != new["spec"]:
            self._admit(key)

    def _admit(self, key: Key) -> None:
        self._waiting.pop(key, None)
        self._active[key] = None
        self._cluster.queue.add(NAME, "")

    def _retry(self) -> None:
        """Something changed that may make room."""
        if self._waiting:
            self._active |= self._waiting
            self._waiting = {}
            self._cluster.queue.add(NAME, "")

    # -- placing

    def _pass(self) -> None:
        """Try the first few; identical pods that find no room are judged once."""
        store = self._cluster.store
        pods = [pod for key in self._active if (pod := store.get("pods", *key)) is not None]
        pods = [pod for pod in pods if _is_ours(pod)]
        pods.sort(key=lambda p: (-p["spec"].get("priority", 0), p["metadata"]["creationTimestamp"]))
        failed: dict[tuple[bytes, tuple[tuple[str, int], ...]], str] = {}
        done = 0
        self._active = {}
        for position, pod in enumerate(pods):
            if done >= BATCH:
                rest = {(objects.namespace(p), objects.name(p)): None for p in pods[position:]}
                self._active = rest | self._active
                self._cluster.queue.add(NAME, "")
                return
            done += self._try(pod, failed)

    def _try(self, pod: Object, failed: dict[tuple[bytes, tuple[tuple[str, int], ...]], str]) -> bool:
        """Bind a pod or say why not. True when something was written."""
        shape, amounts = shape_of(pod["spec"]), requests_of(pod["spec"])
        kind = (shape.signature, tuple(sorted(amounts.items())))
        if kind not in failed:
            node = self.nodes.place(shape, amounts)
            if node is not None:
                self._bind(pod, node)
                return True
            failed[kind] = self.nodes.explain(shape, amounts)
        self._waiting[(objects.namespace(pod), objects.name(pod))] = None
        return self._mark_unschedulable(pod, failed[kind])

    def _bind(self, pod: Object, node: str) -> None:
        cluster = self._cluster
        new = cluster.store.update("pods", bound(pod, node, cluster.now()))
        where = f"{objects.namespace(pod)}/{objects.name(pod)}"
        cluster.event(new, SCHEDULER, "Scheduled", f"Successfully assigned {where} to {node}")

    def _mark_unschedulable(self, pod: Object, message: str) -> bool:
        cluster = self._cluster
        before = objects.status(pod).get("conditions") or []
        conditions = objects.set_condition(before, "PodScheduled", "False", cluster.now(), "Unschedulable", message)
        if conditions == before:
            return False
        new = cluster.store.update("pods", objects.with_status(pod, conditions=conditions))
        cluster.event(new, SCHEDULER, "FailedScheduling", message, warning=True)
        return True


def _holds_room(pod: Object) -> bool:
    return bool(pod["spec"].get("nodeName")) and not objects.finished(pod)


def _is_ours(pod: Object) -> bool:
    spec = pod["spec"]
    return (
        not spec.get("nodeName")
        and spec.get("schedulerName", SCHEDULER) in (SCHEDULER, "")
        and not spec.get("schedulingGates")
        and not objects.deleting(pod)
        and not objects.finished(pod)
    )
