"""What Kruise Rollout writes on a workload, and what it can roll out. Facts of its documentation and code."""

from __future__ import annotations

import json
from typing import Any, Final

from simulator import objects
from simulator.objects import Object

SHELF: Final = "rollouts.rollouts.kruise.io"
DEPLOYMENTS: Final = "deployments.apps"
STATEFULSETS: Final = "statefulsets.apps"
DAEMONSETS: Final = "daemonsets.apps"
CLONESETS: Final = "clonesets.apps.kruise.io"
ADVANCED_DAEMONSETS: Final = "daemonsets.apps.kruise.io"
WORKLOADS: Final = {  # (kind, group) → shelf
    ("Deployment", "apps"): DEPLOYMENTS,
    ("StatefulSet", "apps"): STATEFULSETS,
    ("DaemonSet", "apps"): DAEMONSETS,
    ("CloneSet", "apps.kruise.io"): CLONESETS,
    ("DaemonSet", "apps.kruise.io"): ADVANCED_DAEMONSETS,
}

TYPES: Final = {
    DEPLOYMENTS: "deployment",
    STATEFULSETS: "statefulset",
    DAEMONSETS: "daemonset",
    CLONESETS: "cloneset",
    ADVANCED_DAEMONSETS: "daemonset",
}

FINALIZER: Final = "rollouts.kruise.io/rollout"
TYPE: Final = "rollouts.kruise.io/workload-type"  # a label: only what has it comes before Kruise's admission
IN_PROGRESS: Final = "rollouts.kruise.io/in-progressing"
STABLE: Final = "rollouts.kruise.io/stable-revision"  # a label: the revision that a rollout goes back to
STRATEGY: Final = "rollouts.kruise.io/deployment-strategy"  # of a Deployment in partition style
CONTROLLED: Final = "rollouts.kruise.io/controlled-by-advanced-deployment-controller"  # a label, likewise
ORIGINAL: Final = "rollouts.kruise.io/original-deployment-strategy"  # in blue-green style, what is to come back
CANARY_OF: Final = "rollouts.kruise.io/canary-deployment"  # a label of the extra workload
DAEMON_CONTROL: Final = "rollouts.kruise.io/daemonset-advanced-control"
DAEMON_ORIGINAL: Final = "rollouts.kruise.io/daemonset-original-update-strategy"
MARKS: Final = frozenset({IN_PROGRESS, STRATEGY, ORIGINAL, DAEMON_CONTROL, DAEMON_ORIGINAL})


def shelf_of(rollout: Object) -> str | None:
    """Where the workload of a Rollout lies; None for a kind that cannot be rolled out."""
    ref = rollout["spec"].get("workloadRef") or {}
    group = str(ref.get("apiVersion", "")).rpartition("/")[0]
    return WORKLOADS.get((str(ref.get("kind", "")), group))


def workload_name(rollout: Object) -> str:
    return str((rollout["spec"].get("workloadRef") or {}).get("name", ""))


def in_progress(workload: Object) -> bool:
    return IN_PROGRESS in objects.annotations(workload)


def wanted_new(deployment: Object) -> int | str | None:
    """How many pods of a Deployment, or which share of them, are to be of its new template; None where no rollout holds
    it."""
    found = _read(objects.annotations(deployment).get(STRATEGY)).get("partition")
    return found if isinstance(found, int | str) else None


def stands_still(deployment: Object) -> bool:
    """Its template changed in the middle of a rollout, which has not begun anew yet."""
    return _read(objects.annotations(deployment).get(STRATEGY)).get("paused") is True


def rolling_held(deployment: Object) -> Object | None:
    """The bounds of a Deployment's rolling update that Kruise put aside; None where it did not."""
    found = _read(objects.annotations(deployment).get(STRATEGY)).get("rollingUpdate")
    return found if isinstance(found, dict) else None


def daemons_kept(daemonset: Object) -> int | str | None:
    """How many pods of a DaemonSet, or which share of them, are to stay as they are; None where nothing says so."""
    held = _number(objects.annotations(daemonset).get(DAEMON_CONTROL), "partition")
    if held is not None:
        return held
    rolling = (daemonset["spec"].get("updateStrategy") or {}).get("rollingUpdate") or {}
    kept: int | str | None = rolling.get("partition")
    return kept


def _number(text: str | None, field: str) -> int | None:
    try:
        return int(_read(text)[field])
    except (ValueError, KeyError, TypeError):
        return None


def _read(text: str | None) -> dict[str, Any]:
    """Empty for what is not there, or cannot be read."""
    try:
        found: Any = json.loads(text) if text else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def without_marks(workload: Object) -> Object:
    annotations = {key: value for key, value in objects.annotations(workload).items() if key not in MARKS}
    labels = {key: value for key, value in objects.labels(workload).items() if key not in (STABLE, CONTROLLED)}
    return objects.with_meta(workload, annotations=annotations, labels=labels)


def with_generation(new: Object, before: Object) -> Object:
    """A changed spec is a new generation."""
    if new["spec"] == before["spec"]:
        return new
    return objects.with_meta(new, generation=before["metadata"].get("generation", 1) + 1)
