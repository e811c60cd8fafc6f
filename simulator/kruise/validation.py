"""What Kruise Rollout's admission refuses of a Rollout, in its words."""

from __future__ import annotations

import re
from typing import Any, Final

from simulator import objects
from simulator.kruise import marks, steps
from simulator.objects import Object
from simulator.resources import Resource
from simulator.statuses import ApiError
from simulator.store import Store

_SUPPORTED: Final = frozenset({*marks.WORKLOADS, ("StatefulSet", "apps.kruise.io")})
_SIZE: Final = re.compile(r"(\d+)(%?)")
_POSITIVE: Final = 'replicas must be positive number, or a percentage with "0%" < canaryReplicas <= "100%"'
_STYLE: Final = "Rollout style and enableExtraWorkloadForCanary are immutable"


def validate(store: Store, resource: Resource, new: Object, live: Object | None = None) -> None:
    """Raises ApiError 422. live: what an update replaces."""
    if resource.shelf != marks.SHELF or objects.deleting(new):
        return
    why = _fault(new) or _rival(store, new) or (_frozen(new, live) if live is not None else "")
    if why:
        raise ApiError(422, "", f'admission webhook "vrollout.kb.io" denied the request: {why}')


def _fault(rollout: Object) -> str:
    spec = rollout.get("spec") or {}
    ref, strategy = spec.get("workloadRef") or {}, spec.get("strategy") or {}
    kind = (str(ref.get("kind", "")), str(ref.get("apiVersion", "")).rpartition("/")[0])
    where = "Spec.ObjectRef.WorkloadRef: Invalid value: "
    if kind not in _SUPPORTED:
        return f"{where}WorkloadRef kind is not supported"
    styles = [name for name in ("canary", "blueGreen") if strategy.get(name) is not None]
    if len(styles) != 1:
        word = "set" if styles else "empty"
        return f'Spec.Strategy: Invalid value: "null": Canary and BlueGreen cannot both be {word}'
    if styles == ["blueGreen"] and marks.WORKLOADS.get(kind) not in steps.BLUE_GREEN:
        return f"{where}WorkloadRef kind is not supported for bluegreen style"
    return _steps_fault(strategy[styles[0]].get("steps") or [])


def _steps_fault(listed: list[Any]) -> str:
    where = "Spec.Strategy.Canary.Steps"
    if not listed:
        return f"{where}: Invalid value: The number of Canary.Steps cannot be empty"
    before: tuple[int, str] | None = None
    for index, step in enumerate(listed):
        if step.get("replicas") is None:
            return f"{where}[{index}].steps: Invalid value: replicas cannot be empty"
        match = _SIZE.fullmatch(str(step["replicas"]))
        quoted = isinstance(step["replicas"], str) and match is not None and not match[2]
        if match is None or quoted or not int(match[1]) or (match[2] and int(match[1]) > 100):
            return f"{where}[{index}].Replicas: Invalid value: {_POSITIVE}"
        size = (int(match[1]), match[2])
        if before is not None and before[1] == size[1] and size < before:
            return f"{where}.CanaryReplicas: Invalid value: Steps.CanaryReplicas must be a non decreasing sequence"
        before = size
    return ""


def _rival(store: Store, rollout: Object) -> str:
    """Two Rollouts of one workload."""
    name, ref = objects.name(rollout), rollout["spec"]["workloadRef"]
    for other in store.every(marks.SHELF, objects.namespace(rollout)):
        if objects.name(other) != name and other["spec"].get("workloadRef") == ref:
            there = f"{objects.namespace(other)}/{objects.name(other)}"
            return (
                f'Conflict Checker: Invalid value: "{name}": This rollout conflict with Rollout({there}), '
                "one workload only have less than one Rollout"
            )
    return ""


def _frozen(new: Object, live: Object) -> str:
    """What may not change in the middle."""
    if objects.status(live).get("phase") not in ("Progressing", "Terminating"):
        return ""
    now, before = new["spec"], live["spec"]
    if now["workloadRef"] != before["workloadRef"]:
        return "Spec.ObjectRef: Forbidden: Rollout 'ObjectRef' field is immutable"
    if _written(new, "trafficRoutings") != _written(live, "trafficRoutings"):
        name = "Strategy.Canary|BlueGreen.TrafficRoutings"
        return f"Spec.{name}: Forbidden: Rollout '{name}' field is immutable"
    if _style(new) != _style(live):
        return f"Spec.Strategy.Canary|BlueGreen: Forbidden: {_STYLE}"
    if len(_written(new, "steps")) != len(_written(live, "steps")):
        return "Spec.Strategy.Canary|BlueGreen: Forbidden: Amount of Rollout steps are immutable"
    return ""


def _written(rollout: Object, field: str) -> list[Any]:
    return steps.written(rollout).get(field) or []


def _style(rollout: Object) -> tuple[bool, bool]:
    strategy = rollout["spec"]["strategy"]
    return "blueGreen" in strategy, bool((strategy.get("canary") or {}).get("enableExtraWorkloadForCanary"))
