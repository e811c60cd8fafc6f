"""CloneSet (apps.kruise.io): pods straight under it, rolled by partition, surge and unavailability.

Pods are updated by recreation, which is its default; an update in place is carried out the same way.
"""

from __future__ import annotations

from typing import Final

from simulator import objects, selectors
from simulator.cluster import Cluster
from simulator.controllers import pods, revisions, scale_in
from simulator.kruise import clonesets
from simulator.objects import Object
from simulator.store import Change, Key

NAME: Final = "cloneset"
SHELF: Final = "clonesets.apps.kruise.io"
INSTANCE: Final = "apps.kruise.io/cloneset-instance-id"
SPECIFIED_DELETE: Final = "apps.kruise.io/specified-delete"
_TEMPLATE_HASH: Final = "pod-template-hash"


def install(cluster: Cluster) -> None:
    def on_set(change: Change) -> None:
        cluster.queue.add(NAME, (objects.namespace(change.object), objects.name(change.object)))

    cluster.store.subscribe(on_set, SHELF)
    cluster.store.subscribe(lambda change: cluster.requeue_owner(change, "CloneSet", NAME), "pods")
    cluster.queue.register(NAME, lambda key: reconcile(cluster, key))


def reconcile(cluster: Cluster, key: Key) -> None:
    owner = cluster.store.get(SHELF, *key)
    if owner is None:
        return
    revision, history = revisions.current(cluster, owner)
    update = objects.name(revision)
    current = str(objects.status(owner).get("currentRevision") or update)
    if not objects.deleting(owner):
        _Sync(cluster, owner, history, current, update).run()
    fresh = cluster.store.get(SHELF, *key)
    if fresh is not None:
        _write_status(cluster, fresh, current, update)
        used = {current, update} | {_revision(pod) for pod in pods.claimed(cluster, fresh)}
        revisions.trim(cluster, fresh, history, used)


def _revision(pod: Object) -> str:
    return objects.labels(pod).get(revisions.HASH, "")


def _available(cluster: Cluster, owner: Object, pod: Object) -> bool:
    return pods.available_at(pod, owner["spec"].get("minReadySeconds", 0)) <= cluster.now()


class _Sync:
    """One look at a CloneSet's pods."""

    def __init__(self, cluster: Cluster, owner: Object, history: list[Object], current: str, update: str) -> None:
        self._cluster = cluster
        self._owner = owner
        self._history = history
        self._current = current
        self._update = update

    def run(self) -> None:
        owned = pods.claimed(self._cluster, self._owner)
        for pod in owned:
            if objects.finished(pod):
                pods.delete(self._cluster, pod)
        living = pods.active(owned)
        living = self._without_specified(living)
        new = [pod for pod in living if _revision(pod) == self._update]
        old = [pod for pod in living if _revision(pod) != self._update]
        plan = clonesets.plan(clonesets.bounds_of(self._owner["spec"]), self._count(old), self._count(new))
        if plan.create:
            self._create(plan)
        elif plan.delete:
            self._delete(plan, old, new)
        elif plan.replace:
            self._replace(plan, old, new)

    def _count(self, some: list[Object]) -> clonesets.Pods:
        return clonesets.Pods(len(some), sum(_available(self._cluster, self._owner, pod) for pod in some))

    def _without_specified(self, living: list[Object]) -> list[Object]:
        """Pods that people named go, and are replaced: they do not count against any bound."""
        named = (self._owner["spec"].get("scaleStrategy") or {}).get("podsToDelete") or ()
        kept = []
        for pod in living:
            if objects.name(pod) in named or SPECIFIED_DELETE in objects.labels(pod):
                self._end(pod)
            else:
                kept.append(pod)
        return kept

    def _create(self, plan: clonesets.Plan) -> None:
        for number in range(plan.create):
            revision = self._current if number < plan.create_old else self._update
            template = revisions.template_of(self._history, revision, self._owner["spec"]["template"])
            instance = self._cluster.suffix()
            labels = {
                INSTANCE: instance,
                revisions.HASH: revision,
                _TEMPLATE_HASH: revision.rpartition("-")[2],
            }
            name = f"{objects.name(self._owner)}-{instance}"
            if pods.create(self._cluster, self._owner, template, name, **labels) is None:
                key = (objects.namespace(self._owner), objects.name(self._owner))
                self._cluster.queue.add_at(NAME, key, pods.again(self._cluster))
                return
            self._tell("SuccessfulCreate", f"succeed to create pod {name}")

    def _delete(self, plan: clonesets.Plan, old: list[Object], new: list[Object]) -> None:
        """Of the old ones first, in the order of ReplicaSets, deletion costs included."""
        limit = plan.ready_limit
        chosen = self._first(old)[: plan.delete_old]
        chosen += self._first(new)[: plan.delete - len(chosen)]
        for pod in chosen:
            if objects.ready(pod):
                if limit <= 0:
                    continue
                limit -= 1
            self._end(pod)

    def _first(self, some: list[Object]) -> list[Object]:
        return scale_in.of_replicaset(some, some, self._cluster.now())

    def _replace(self, plan: clonesets.Plan, old: list[Object], new: list[Object]) -> None:
        lacking, unavailable = self._count(old).unavailable, self._count(new).unavailable
        first = self._first(old)[: plan.replace]
        candidates = [_available(self._cluster, self._owner, pod) for pod in first]
        count = clonesets.replaceable(plan.replace_limit, unavailable, unavailable + lacking, candidates)
        for pod in first[:count]:
            self._end(pod)

    def _end(self, pod: Object) -> None:
        pods.delete(self._cluster, pod)
        self._tell("SuccessfulDelete", f"succeed to delete pod {objects.name(pod)}")

    def _tell(self, reason: str, message: str) -> None:
        self._cluster.event(self._owner, "cloneset-controller", reason, message)


def _write_status(cluster: Cluster, owner: Object, current: str, update: str) -> None:
    spec = owner["spec"]
    living = pods.active(pods.claimed(cluster, owner))
    new = [pod for pod in living if _revision(pod) == update]
    times = [pods.available_at(pod, spec.get("minReadySeconds", 0)) for pod in living]
    waiting = [time for time in times if cluster.now() < time < float("inf")]
    if waiting:
        cluster.queue.add_at(NAME, (objects.namespace(owner), objects.name(owner)), min(waiting))
    if len(new) == len(living) == spec["replicas"]:
        current = update
    status = {
        "observedGeneration": owner["metadata"].get("generation", 1),
        "replicas": len(living),
        "readyReplicas": sum(objects.ready(pod) for pod in living),
        "availableReplicas": sum(time <= cluster.now() for time in times),
        "updatedReplicas": len(new),
        "updatedReadyReplicas": sum(objects.ready(pod) for pod in new),
        "updatedAvailableReplicas": sum(_available(cluster, owner, pod) for pod in new),
        "expectedUpdatedReplicas": spec["replicas"] - clonesets.bounds_of(spec).partition,
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": 0,
        "labelSelector": selectors.show(spec.get("selector")),
    }
    if status != objects.status(owner):
        cluster.store.update(SHELF, {**owner, "status": status})
