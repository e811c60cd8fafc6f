"""Kruise Rollout's hand on a workload: what its admission changes, and what its marks mean. Partition style.

A changed template of a workload that a Rollout names does not roll by itself: the admission pauses a Deployment, or
raises a StatefulSet's partition, and marks it. From then on the Rollout's controller says how many pods are to be of
the new template. Facts of Kruise Rollout's documentation and code; sizes round up, as Kruise's do.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from simulator import objects
from simulator.objects import Object
from simulator.store import Store

SHELF: Final = "rollouts.rollouts.kruise.io"
IN_PROGRESS: Final = "rollouts.kruise.io/in-progressing"
STRATEGY: Final = "rollouts.kruise.io/deployment-strategy"
STABLE: Final = "rollouts.kruise.io/stable-revision"
WORKLOADS: Final = {"Deployment": "deployments.apps", "StatefulSet": "statefulsets.apps"}

_PERCENT = re.compile(r"(\d+)%")


def rollout_of(store: Store, kind: str, namespace: str, name: str) -> Object | None:
    """The Rollout in force of a workload."""
    for rollout in store.every(SHELF):
        ref = rollout["spec"].get("workloadRef") or {}
        if (
            objects.namespace(rollout) == namespace
            and (ref.get("kind"), ref.get("name")) == (kind, name)
            and not rollout["spec"].get("disabled")
            and not objects.deleting(rollout)
        ):
            return rollout
    return None


def admit(store: Store, kind: str, live: Object, new: Object) -> None:
    """What the webhook does to an update of a workload: `new` is changed in place."""
    if kind not in WORKLOADS or live["spec"].get("template") == new["spec"].get("template"):
        return
    if not new["spec"].get("replicas", 1):
        return
    rollout = rollout_of(store, kind, objects.namespace(live), objects.name(live))
    if rollout is None:
        return
    annotations = new["metadata"].setdefault("annotations", {})
    annotations[IN_PROGRESS] = json.dumps({"rolloutName": objects.name(rollout)})
    if kind == "Deployment":
        new["spec"]["paused"] = True
    else:
        _set_partition(new["spec"], new["spec"].get("replicas", 1))


def _set_partition(spec: Object, partition: int) -> None:
    strategy = spec.setdefault("updateStrategy", {"type": "RollingUpdate"})
    strategy.setdefault("rollingUpdate", {})["partition"] = partition


def in_progress(workload: Object) -> bool:
    return IN_PROGRESS in objects.annotations(workload)


def batch_size(replicas: int | str, total: int) -> int:
    """Pods of the new template after a step: rounded up; a percentage below 100 % leaves one old of several."""
    match = _PERCENT.fullmatch(str(replicas))
    if match is None:
        return max(0, min(int(replicas), total))
    share = -(-int(match[1]) * total // 100)
    if match[1] != "100" and total > 1:
        share = min(share, total - 1)
    return max(0, min(share, total))


def wanted_new(deployment: Object) -> int | None:
    """How many pods of a Deployment are to be of its new template; None where no rollout holds it."""
    text = objects.annotations(deployment).get(STRATEGY)
    if text is None:
        return None
    try:
        found: Any = json.loads(text)
        return int(found["partition"])
    except (ValueError, KeyError, TypeError):
        return None


def released(workload: Object, kind: str) -> Object:
    """The workload without Kruise's marks: it rolls on by itself."""
    annotations = {k: v for k, v in objects.annotations(workload).items() if k not in (IN_PROGRESS, STRATEGY)}
    labels = {k: v for k, v in objects.labels(workload).items() if k != STABLE}
    new = objects.with_meta(workload, annotations=annotations, labels=labels)
    if kind == "Deployment":
        return _resumed(new)
    spec = {**new["spec"], "updateStrategy": {**(new["spec"].get("updateStrategy") or {}), "rollingUpdate": {}}}
    return _generation({**new, "spec": spec}, workload)


def _resumed(deployment: Object) -> Object:
    spec = {key: value for key, value in deployment["spec"].items() if key != "paused"}
    return _generation({**deployment, "spec": spec}, deployment)


def held(workload: Object, kind: str, size: int, stable: str) -> Object:
    """The workload with so many pods of its new template, and no more."""
    labels = {**objects.labels(workload), STABLE: stable}
    if kind == "Deployment":
        strategy = json.dumps({"rollingStyle": "Partition", "partition": size}, sort_keys=True)
        annotations = {**objects.annotations(workload), STRATEGY: strategy}
        return objects.with_meta(workload, annotations=annotations, labels=labels)
    update = workload["spec"].get("updateStrategy") or {"type": "RollingUpdate"}
    partition = max(0, workload["spec"].get("replicas", 1) - size)
    rolling = {**(update.get("rollingUpdate") or {}), "partition": partition}
    spec = {**workload["spec"], "updateStrategy": {**update, "rollingUpdate": rolling}}
    return _generation(objects.with_meta({**workload, "spec": spec}, labels=labels), workload)


def _generation(new: Object, before: Object) -> Object:
    if new["spec"] == before["spec"]:
        return new
    return objects.with_meta(new, generation=before["metadata"].get("generation", 1) + 1)
