"""What a Rollout's style does to a member's objects: partitions of a workload, an extra workload, or blue and green."""

from __future__ import annotations

from typing import Final, Protocol

from simulator import managed_fields, objects
from simulator.cluster import Cluster
from simulator.controllers import pods, revisions
from simulator.kruise import blue_green, marks, partition, steps
from simulator.managed_fields import Manager
from simulator.objects import Object, deep
from simulator.resources import built_in
from simulator.schema import schema_of

MANAGER: Final = "rollout"


class Hand(Protocol):
    """One style, about one Rollout."""

    def size(self, replicas: int | str, total: int) -> int:
        """Pods of the new version after a step."""

    def hold(self, workload: Object, replicas: int | str, revision: str) -> Object:
        """So many pods of the new version, and the workload as it then is. Asked again and again."""

    def new_pods(self, workload: Object, revision: str) -> list[Object]:
        """Those of the new version."""

    def release(self, workload: Object) -> None:
        """The workload goes on by itself."""

    def tidy(self) -> None:
        """It is through, or nobody wants it any more: what was there only for the rollout goes."""


def hand_of(cluster: Cluster, rollout: Object, shelf: str) -> Hand:
    style = steps.style_of(rollout)
    if style == "extra":
        return _Extra(cluster, rollout, shelf)
    return _BlueGreen(cluster, shelf) if style == "blueGreen" else _Partition(cluster, shelf)


def total_of(shelf: str, workload: Object) -> int:
    """Pods that it is to have."""
    if shelf in (marks.DAEMONSETS, marks.ADVANCED_DAEMONSETS):
        return int(objects.status(workload).get("desiredNumberScheduled", 0))
    return int(workload["spec"].get("replicas", 1))


def revision_of(cluster: Cluster, shelf: str, workload: Object) -> str:
    """What tells the workload's present template apart."""
    if shelf != marks.DEPLOYMENTS:
        name = objects.name(revisions.current(cluster, workload)[0])
        return name if shelf == marks.STATEFULSETS else name.rpartition("-")[2]
    template = workload["spec"]["template"]
    for replicaset in pods.claimed(cluster, workload, "replicasets.apps"):
        if pods.template_matches(replicaset["spec"]["template"], template):
            return str(objects.labels(replicaset).get("pod-template-hash", ""))
    return pods.template_hash(template, 0)


def _is_of(pod: Object, revision: str) -> bool:
    labels, revision = objects.labels(pod), revision.rpartition("-")[2]
    return revision in (labels.get("pod-template-hash"), labels.get(revisions.HASH, "").rpartition("-")[2])


def write(cluster: Cluster, shelf: str, live: Object, new: Object) -> Object:
    """As Kruise's own field manager, so that whoever applied the workload sees what was taken from it."""
    if new == live:
        return live
    resource = built_in(shelf)
    manager = Manager(MANAGER, "Update", resource.group_version)
    return cluster.store.update(
        shelf, managed_fields.after_update(live, new, manager, schema_of(resource), cluster.now())
    )


def _own_pods(cluster: Cluster, shelf: str, workload: Object) -> list[Object]:
    if shelf != marks.DEPLOYMENTS:
        return pods.claimed(cluster, workload)
    sets = pods.claimed(cluster, workload, "replicasets.apps")
    return [pod for one in sets for pod in cluster.store.owned(objects.uid(one), "pods")]


class _Partition:
    def __init__(self, cluster: Cluster, shelf: str) -> None:
        self._cluster = cluster
        self._shelf = shelf

    def size(self, replicas: int | str, total: int) -> int:
        return steps.batch_size(replicas, total)

    def hold(self, workload: Object, replicas: int | str, revision: str) -> Object:
        total = total_of(self._shelf, workload)
        held = partition.held(self._shelf, workload, replicas, total, revision)
        return write(self._cluster, self._shelf, workload, held)

    def new_pods(self, workload: Object, revision: str) -> list[Object]:
        return [pod for pod in _own_pods(self._cluster, self._shelf, workload) if _is_of(pod, revision)]

    def release(self, workload: Object) -> None:
        write(self._cluster, self._shelf, workload, partition.released(self._shelf, workload))

    def tidy(self) -> None:
        """Nothing was made."""


class _BlueGreen:
    def __init__(self, cluster: Cluster, shelf: str) -> None:
        self._cluster = cluster
        self._shelf = shelf

    def size(self, replicas: int | str, total: int) -> int:
        sized = steps.batch_size if self._shelf == marks.DEPLOYMENTS else steps.whole_size
        return sized(replicas, total)

    def hold(self, workload: Object, replicas: int | str, revision: str) -> Object:
        if self._shelf == marks.DEPLOYMENTS:
            self._keep_stable_unavailable(workload)
        return write(self._cluster, self._shelf, workload, blue_green.held(self._shelf, workload, replicas))

    def _keep_stable_unavailable(self, deployment: Object) -> None:
        """Were the stable pods available, a template that goes back would end the new ones at once, while they still
        get traffic."""
        stable = objects.labels(deployment).get(marks.STABLE)
        for replicaset in pods.claimed(self._cluster, deployment, "replicasets.apps"):
            if objects.labels(replicaset).get("pod-template-hash") == stable:
                self._cluster.store.update(
                    "replicasets.apps", objects.with_spec(replicaset, minReadySeconds=blue_green.NEVER)
                )

    def new_pods(self, workload: Object, revision: str) -> list[Object]:
        return [pod for pod in _own_pods(self._cluster, self._shelf, workload) if _is_of(pod, revision)]

    def release(self, workload: Object) -> None:
        write(self._cluster, self._shelf, workload, blue_green.released(self._shelf, workload))

    def tidy(self) -> None:
        """The workload's own controller took away what was old."""


class _Extra:
    """A second Deployment has the new version's pods; the first stands still until the end."""

    def __init__(self, cluster: Cluster, rollout: Object, shelf: str) -> None:
        self._cluster = cluster
        self._rollout = rollout
        self._shelf = shelf

    def size(self, replicas: int | str, total: int) -> int:
        return steps.whole_size(replicas, total)

    def hold(self, workload: Object, replicas: int | str, revision: str) -> Object:
        template = self._template(workload)
        canary = None
        for found in self._canaries():
            if found["spec"]["template"] == template:
                canary = found
            else:
                self._end(found)  # of a version that a newer one has overtaken
        wanted = self.size(replicas, total_of(self._shelf, workload))
        if canary is None:
            self._create(workload, template, wanted)
        elif canary["spec"].get("replicas", 0) < wanted:
            grown = objects.with_spec(canary, replicas=wanted)
            self._cluster.store.update(self._shelf, marks.with_generation(grown, canary))
        return workload

    def new_pods(self, workload: Object, revision: str) -> list[Object]:
        """All of the extra workload's: what the Rollout adds to them makes for another hash."""
        template = self._template(workload)
        present = [one for one in self._canaries() if one["spec"]["template"] == template]
        return [pod for one in present for pod in _own_pods(self._cluster, self._shelf, one)]

    def release(self, workload: Object) -> None:
        write(self._cluster, self._shelf, workload, partition.released(self._shelf, workload))

    def tidy(self) -> None:
        for canary in self._canaries():
            self._end(canary)

    def _template(self, workload: Object) -> Object:
        """The workload's, with what the Rollout adds to a canary's pods."""
        template: Object = deep(workload["spec"]["template"])
        added = steps.written(self._rollout).get("patchPodTemplateMetadata") or {}
        metadata = template.setdefault("metadata", {})
        for key in ("labels", "annotations"):
            if added.get(key):
                metadata[key] = {**(metadata.get(key) or {}), **added[key]}
        return template

    def _canaries(self) -> list[Object]:
        owned = self._cluster.store.owned(objects.uid(self._rollout), self._shelf)
        return [one for one in owned if not objects.deleting(one)]

    def _create(self, workload: Object, template: Object, replicas: int) -> None:
        name = f"{objects.name(workload)}-{self._cluster.suffix()}"
        spec = {key: value for key, value in workload["spec"].items() if key != "paused"}
        self._cluster.store.create(
            self._shelf,
            {
                "apiVersion": workload["apiVersion"],
                "kind": workload["kind"],
                "metadata": {
                    "name": name,
                    "namespace": objects.namespace(workload),
                    "generation": 1,
                    "labels": {marks.CANARY_OF: objects.name(workload)},
                    "ownerReferences": [objects.controller_reference(self._rollout)],
                },
                "spec": {**deep(spec), "template": template, "replicas": replicas},
            },
        )

    def _end(self, canary: Object) -> None:
        """What is under it goes after it."""
        self._cluster.store.remove(self._shelf, objects.namespace(canary), objects.name(canary))
