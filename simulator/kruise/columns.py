"""What `kubectl get` shows of Kruise's kinds: the columns that their CustomResourceDefinitions name."""

from __future__ import annotations

from simulator.cells import Cells, Printer, age, born, columns, containers, scheduled
from simulator.objects import Object, name, spec, status


def _advanced_daemonset(obj: Object, now: float) -> Cells:
    return [
        name(obj),
        *scheduled(obj),
        born(obj, now),
        *containers(obj),
    ]


def _cloneset(obj: Object, now: float) -> Cells:
    state = status(obj)
    return [
        name(obj),
        spec(obj).get("replicas", 1),
        state.get("updatedReplicas", 0),
        state.get("updatedReadyReplicas", 0),
        state.get("updatedAvailableReplicas", 0),
        state.get("readyReplicas", 0),
        state.get("replicas", 0),
        born(obj, now),
        *containers(obj),
        state.get("labelSelector", ""),
    ]


def _rollout(obj: Object, now: float) -> Cells:
    told = status(obj)
    canary = told.get("canaryStatus") or told.get("blueGreenStatus") or {}
    return [
        name(obj),
        told.get("phase", ""),
        canary.get("currentStepIndex", ""),
        canary.get("currentStepState", ""),
        told.get("message", ""),
        age(obj["metadata"].get("creationTimestamp"), now),
    ]


PRINTERS: dict[str, Printer] = {
    "rollouts.rollouts.kruise.io": Printer(
        columns("Name", "STATUS", "CANARY_STEP", "CANARY_STATE", "MESSAGE", "AGE"), _rollout
    ),
    "daemonsets.apps.kruise.io": Printer(
        columns("Name", "Desired", "Current", "Ready", "Up-to-date", "Available", "Age", "+Containers", "+Images"),
        _advanced_daemonset,
    ),
    "clonesets.apps.kruise.io": Printer(
        columns(
            "Name",
            "Desired",
            "Updated",
            "Updated_Ready",
            "Updated_Available",
            "Ready",
            "Total",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ),
        _cloneset,
    ),
}
