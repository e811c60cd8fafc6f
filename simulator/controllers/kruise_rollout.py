"""Kruise Rollout: new versions step by step, paused where they say so, undone where a template goes back.

Phases, step states, reasons and messages are Kruise's own. Here is what it makes of a Rollout as a whole; see
`kruise_progress` for the steps, `kruise_styles` for what each style does, and `simulator.kruise` for the rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import kruise_styles
from simulator.controllers.kruise_progress import CANCELLING, NAME, Progress, holder_of, index_after, new_revision_of
from simulator.kruise import admission, marks, steps
from simulator.objects import Object
from simulator.store import Change, Key

_COMPLETED: Final = "Rollout progressing has been completed"
_CANCELED: Final = "Rollout progressing has been canceled"


def install(cluster: Cluster) -> None:
    def on_rollout(change: Change) -> None:
        if change.type == "DELETED":
            _release(cluster, change.object)
        cluster.queue.add(NAME, (objects.namespace(change.object), objects.name(change.object)))

    def on_workload(shelf: str) -> Callable[[Change], None]:
        def changed(change: Change) -> None:
            name = objects.labels(change.object).get(marks.CANARY_OF) or objects.name(change.object)
            rollout = admission.rollout_of(cluster.store, shelf, objects.namespace(change.object), name)
            if rollout is not None:
                cluster.queue.add(NAME, (objects.namespace(rollout), objects.name(rollout)))

        return changed

    cluster.store.subscribe(on_rollout, marks.SHELF)
    for shelf in marks.WORKLOADS.values():
        cluster.store.subscribe(on_workload(shelf), shelf)
    cluster.queue.register(NAME, lambda key: reconcile(cluster, key))


def reconcile(cluster: Cluster, key: Key) -> None:
    rollout = cluster.store.get(marks.SHELF, *key)
    if rollout is None or objects.deleting(rollout):
        return
    status = _next(cluster, rollout, dict(objects.status(rollout)))
    status["observedGeneration"] = rollout["metadata"].get("generation", 1)
    status = _with_step(status, holder_of(rollout))
    current = cluster.store.get(marks.SHELF, *key)
    if current is not None and objects.status(current) != status:
        cluster.store.update(marks.SHELF, {**current, "status": status})


def _with_step(status: Object, holder: str) -> Object:
    """The step stands at the top as well, where kubectl's columns read it."""
    told = status.get(holder) or {}
    return {**status, **{key: told[key] for key in ("currentStepIndex", "currentStepState") if key in told}}


def _workload(cluster: Cluster, rollout: Object) -> tuple[str, Object | None]:
    """Its shelf and itself."""
    shelf = marks.shelf_of(rollout)
    if shelf is None:
        return "", None
    return shelf, cluster.store.get(shelf, objects.namespace(rollout), marks.workload_name(rollout))


def _release(cluster: Cluster, rollout: Object) -> None:
    """The Rollout goes, or is switched off, in the middle: the workload rolls on by itself."""
    shelf, workload = _workload(cluster, rollout)
    if workload is not None and marks.in_progress(workload):
        hand = kruise_styles.hand_of(cluster, rollout, shelf)
        hand.release(workload)
        hand.tidy()


def _next(cluster: Cluster, rollout: Object, status: Object) -> Object:
    shelf, workload = _workload(cluster, rollout)
    if rollout["spec"].get("disabled"):
        _release(cluster, rollout)
        return {**_without_steps(status), "phase": "Disabled", "message": "Rollout is disabled"}
    if fault := _fault(rollout, shelf):
        return {**_without_steps(status), "phase": "Initial", "message": fault}
    if workload is None:
        return {**_without_steps(status), "phase": "Initial", "message": "Workload Not Found"}
    if not marks.in_progress(workload):
        return _at_rest(cluster, rollout, shelf, workload, status)
    return Progress(cluster, rollout, shelf, workload, status).advance()


def _fault(rollout: Object, shelf: str) -> str:
    """What Kruise's admission refuses, which nothing but this status tells here."""
    if not shelf:
        return "WorkloadRef kind is not supported"
    if steps.style_of(rollout) == "blueGreen" and shelf not in steps.BLUE_GREEN:
        return "WorkloadRef kind is not supported for bluegreen style"
    return ""


def _without_steps(status: Object) -> Object:
    dropped = ("canaryStatus", "blueGreenStatus", "currentStepIndex", "currentStepState")
    return {key: value for key, value in status.items() if key not in dropped}


def _at_rest(cluster: Cluster, rollout: Object, shelf: str, workload: Object, status: Object) -> Object:
    """Healthy: what runs now is what counts as stable."""
    holder = holder_of(rollout)
    told = dict(status.get(holder) or {})
    message = str(status.get("message") or "rollout is healthy")
    conditions = status.get("conditions") or []
    if status.get("phase") == "Progressing":
        canceled = _reason(conditions) == CANCELLING
        if (canceled or told.get("currentStepState") == "Completed") and not _settled(shelf, workload):
            return status
        kruise_styles.hand_of(cluster, rollout, shelf).tidy()
        message, now = _CANCELED if canceled else _COMPLETED, cluster.now()
        conditions = objects.set_condition(conditions, "Progressing", "False", now, "Completed", message)
        conditions = objects.set_condition(conditions, "Succeeded", "False" if canceled else "True", now)
    elif not told:
        count = len(steps.steps_of(rollout))
        told = {
            "currentStepIndex": count,
            "nextStepIndex": index_after(count, count),
            "currentStepState": "Completed",
        }
        message = "workload deployment is completed"
    stable = kruise_styles.revision_of(cluster, shelf, workload)
    told.pop("finalisingStep", None)
    told |= {"stableRevision": stable, new_revision_of(holder): stable}
    return {**_without_steps(status), "phase": "Healthy", "message": message, "conditions": conditions, holder: told}


def _reason(conditions: list[Object]) -> str:
    return next((str(one.get("reason", "")) for one in conditions if one["type"] == "Progressing"), "")


def _settled(shelf: str, workload: Object) -> bool:
    """All pods are of its template, ready, and no others are left."""
    told = objects.status(workload)
    names = ("updatedReplicas", "readyReplicas", "replicas")
    if shelf in (marks.DAEMONSETS, marks.ADVANCED_DAEMONSETS):
        names = ("updatedNumberScheduled", "numberReady", "currentNumberScheduled")
    wanted = kruise_styles.total_of(shelf, workload)
    current: bool = told.get("observedGeneration") == workload["metadata"].get("generation")
    return current and all(told.get(name, 0) == wanted for name in names)
