"""In partition style: a workload with so many pods of its new template and no more, and how it is let go again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from simulator import objects
from simulator.kruise import marks, steps
from simulator.objects import Object

_DEFAULT: Final = {"maxSurge": "25%", "maxUnavailable": "25%"}


def held(shelf: str, workload: Object, replicas: int | str, total: int, revision: str) -> Object:
    """replicas: pods that are to be of the new template, of so many in all, as the step has it."""
    if shelf == marks.DEPLOYMENTS:
        new = _deployment(workload, replicas)
    else:
        new = _HELD[shelf](workload, max(0, total - steps.batch_size(replicas, total)), revision)
    return marks.with_generation(new, workload)


def released(shelf: str, workload: Object) -> Object:
    """Without Kruise's marks: it rolls on by itself."""
    return marks.with_generation(_RELEASED[shelf](marks.without_marks(workload), workload), workload)


def _deployment(workload: Object, replicas: int | str) -> Object:
    """Its pods are counted by the new ones. Kubernetes' own controller is to leave it alone: it is paused, and its
    strategy is one that says nothing of bounds."""
    strategy = workload["spec"].get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or marks.rolling_held(workload) or _DEFAULT
    before = marks.wanted_new(workload)
    if before is not None and not marks.stands_still(workload) and steps.reaches(before, replicas):
        replicas = before
    held = {"rollingStyle": "Partition", "partition": replicas, "rollingUpdate": rolling}
    new = objects.with_annotations(workload, **{marks.STRATEGY: json.dumps(held, sort_keys=True)})
    new = objects.with_meta(new, labels={**objects.labels(new), marks.CONTROLLED: "true"})
    return objects.with_spec(new, paused=True, strategy={"type": "Recreate"})


def _statefulset(workload: Object, kept: int, revision: str) -> Object:
    return _rolling(workload, partition=kept)


def _cloneset(workload: Object, kept: int, revision: str) -> Object:
    return _strategy(workload, partition=kept, paused=False)


def _daemonset(workload: Object, kept: int, revision: str) -> Object:
    control = json.dumps({"partition": str(kept), "batch-revision": revision})
    return _strategy(objects.with_annotations(workload, **{marks.DAEMON_CONTROL: control}), type="OnDelete")


def _advanced(workload: Object, kept: int, revision: str) -> Object:
    return _rolling(workload, partition=kept, paused=False)


def _strategy(workload: Object, **changes: object) -> Object:
    """The update strategy with fields set or (None) removed."""
    merged = {**(workload["spec"].get("updateStrategy") or {}), **changes}
    return objects.with_spec(workload, updateStrategy={k: v for k, v in merged.items() if v is not None})


def _rolling(workload: Object, **changes: object) -> Object:
    strategy = workload["spec"].get("updateStrategy") or {}
    return _strategy(workload, rollingUpdate={**(strategy.get("rollingUpdate") or {}), **changes})


def _free_deployment(workload: Object, marked: Object) -> Object:
    spec = {key: value for key, value in workload["spec"].items() if key != "paused"}
    if rolling := marks.rolling_held(marked):
        spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": rolling}
    return {**workload, "spec": spec}


def _free_daemonset(workload: Object, marked: Object) -> Object:
    return _strategy(workload, type=objects.annotations(marked).get(marks.DAEMON_ORIGINAL, "RollingUpdate"))


_HELD: Final[dict[str, Callable[[Object, int, str], Object]]] = {
    marks.STATEFULSETS: _statefulset,
    marks.CLONESETS: _cloneset,
    marks.DAEMONSETS: _daemonset,
    marks.ADVANCED_DAEMONSETS: _advanced,
}
_RELEASED: Final[dict[str, Callable[[Object, Object], Object]]] = {
    marks.DEPLOYMENTS: _free_deployment,
    marks.STATEFULSETS: lambda workload, _: _rolling(workload, partition=0),
    marks.CLONESETS: lambda workload, _: _strategy(workload, partition=0, paused=False),
    marks.DAEMONSETS: _free_daemonset,
    marks.ADVANCED_DAEMONSETS: lambda workload, _: _rolling(workload, partition=0, paused=False),
}
