"""What Kruise Rollout's admission does to an update of a workload.

A changed template of a workload that a Rollout names does not roll by itself: the admission holds it, each kind in its
own way, and marks it. From then on the Rollout's controller says how many pods are to be of the new template.
"""

from __future__ import annotations

import json
from typing import Final

from simulator import objects
from simulator.kruise import marks
from simulator.objects import Object
from simulator.store import Store

_EVERYTHING: Final = 2**15 - 1  # a partition that no number of pods reaches


def rollout_of(store: Store, shelf: str, namespace: str, name: str) -> Object | None:
    """The Rollout in force of a workload."""
    for rollout in store.every(marks.SHELF, namespace):
        named = (marks.shelf_of(rollout), marks.workload_name(rollout)) == (shelf, name)
        if named and not rollout["spec"].get("disabled") and not objects.deleting(rollout):
            return rollout
    return None


def admit(store: Store, shelf: str, live: Object, new: Object) -> None:
    """`new` is changed in place."""
    if shelf not in _HOLDS or marks.TYPE not in objects.labels(new):
        return
    changed = live["spec"].get("template") != new["spec"].get("template")
    under_way = marks.in_progress(new)
    if not changed and not (under_way and shelf == marks.DEPLOYMENTS):
        return
    rollout = rollout_of(store, shelf, objects.namespace(live), objects.name(live))
    if rollout is None:
        return
    if under_way and shelf == marks.DEPLOYMENTS:
        _keep(new, changed)
    if not changed:
        return
    if not new["spec"].get("replicas", 1):
        return
    annotations = new["metadata"].setdefault("annotations", {})
    annotations[marks.IN_PROGRESS] = json.dumps({"rolloutName": objects.name(rollout)})
    _HOLDS[shelf](new)


def _keep(new: Object, changed: bool) -> None:
    """Nobody resumes a Deployment in mid-rollout but its Rollout, or lets its own controller roll it out. changed: its
    template, so that it stands still until its Rollout begins anew."""
    if marks.ORIGINAL in objects.annotations(new):
        return
    new["spec"]["paused"] = True
    if marks.wanted_new(new) is None:
        return
    held = json.loads(objects.annotations(new)[marks.STRATEGY])
    strategy = new["spec"].get("strategy") or {}
    if rolling := strategy.get("rollingUpdate"):
        held["rollingUpdate"] = rolling  # it may change meanwhile
    new["spec"]["strategy"] = {"type": "Recreate"}
    if changed:
        held["paused"] = True
    new["metadata"]["annotations"][marks.STRATEGY] = json.dumps(held, sort_keys=True)


def _deployment(new: Object) -> None:
    new["spec"]["paused"] = True


def _statefulset(new: Object) -> None:
    _rolling(new)["partition"] = _EVERYTHING


def _cloneset(new: Object) -> None:
    new["spec"].setdefault("updateStrategy", {})["partition"] = "100%"


def _daemonset(new: Object) -> None:
    strategy = new["spec"].setdefault("updateStrategy", {"type": "RollingUpdate"})
    annotations = new["metadata"]["annotations"]
    annotations.setdefault(marks.DAEMON_ORIGINAL, strategy.get("type", "RollingUpdate"))
    annotations.pop(marks.DAEMON_CONTROL, None)
    strategy["type"] = "OnDelete"


def _rolling(new: Object) -> Object:
    strategy = new["spec"].setdefault("updateStrategy", {"type": "RollingUpdate"})
    rolling: Object = strategy.setdefault("rollingUpdate", {})
    return rolling


_HOLDS: Final = {
    marks.DEPLOYMENTS: _deployment,
    marks.STATEFULSETS: _statefulset,
    marks.CLONESETS: _cloneset,
    marks.DAEMONSETS: _daemonset,
    marks.ADVANCED_DAEMONSETS: _statefulset,
}
