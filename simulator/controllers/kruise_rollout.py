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
from simulator.controllers.kruise_progress import (
    CANCELLING,
    NAME,
    Progress,
    holder_of,
    index_after,
    new_revision_of,
    reason_of,
)
from simulator.kruise import admission, marks, steps
from simulator.objects import Object
from simulator.store import Change, Key

_COMPLETED: Final = "Rollout progressing has been completed"
_TERMINATING: Final = "Rollout is in terminating"
_CANCELED: Final = "Rollout progressing has been canceled"


def install(cluster: Cluster) -> None:
    def on_rollout(change: Change) -> None:
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
    if rollout is None:
        return
    if objects.deleting(rollout):
        _terminate(cluster, rollout)
        return
    rollout = _take_charge(cluster, rollout)
    status = _next(cluster, rollout, dict(objects.status(rollout)))
    status["observedGeneration"] = rollout["metadata"].get("generation", 1)
    _say(cluster, key, _with_step(status, holder_of(rollout)))


def _say(cluster: Cluster, key: Key, status: Object) -> None:
    current = cluster.store.get(marks.SHELF, *key)
    if current is not None and objects.status(current) != status:
        cluster.store.update(marks.SHELF, {**current, "status": status})


def _take_charge(cluster: Cluster, rollout: Object) -> Object:
    """It does not go without its controller; and only a workload with the label comes before its admission."""
    shelf, workload = _workload(cluster, rollout)
    if workload is not None and marks.TYPE not in objects.labels(workload):
        labels = {**objects.labels(workload), marks.TYPE: marks.TYPES[shelf]}
        kruise_styles.write(cluster, shelf, workload, objects.with_meta(workload, labels=labels))
    finalizers = rollout["metadata"].get("finalizers") or []
    if marks.FINALIZER in finalizers:
        return rollout
    return cluster.store.update(marks.SHELF, objects.with_meta(rollout, finalizers=[*finalizers, marks.FINALIZER]))


def _terminate(cluster: Cluster, rollout: Object) -> None:
    """In the middle, the workload is let go first."""
    key = (objects.namespace(rollout), objects.name(rollout))
    if _release(cluster, rollout):
        status = {**objects.status(rollout), "phase": "Terminating"}
        conditions = objects.set_condition(
            status.get("conditions") or [], "Terminating", "True", cluster.now(), "InTerminating", _TERMINATING
        )
        _say(cluster, key, {**status, "conditions": conditions})
        return
    finalizers = [one for one in rollout["metadata"].get("finalizers") or [] if one != marks.FINALIZER]
    cluster.store.update(marks.SHELF, objects.with_meta(rollout, finalizers=finalizers))


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


def _release(cluster: Cluster, rollout: Object) -> bool:
    """The Rollout goes, or is switched off: whether that was in the middle. Then the workload rolls on by itself."""
    shelf, workload = _workload(cluster, rollout)
    if workload is None or not marks.in_progress(workload):
        return False
    hand = kruise_styles.hand_of(cluster, rollout, shelf)
    hand.release(workload)
    hand.tidy()
    return True


def _next(cluster: Cluster, rollout: Object, status: Object) -> Object:
    shelf, workload = _workload(cluster, rollout)
    if rollout["spec"].get("disabled"):
        if _release(cluster, rollout):
            return {**status, "phase": "Disabling", "message": "Disabling rollout, release resources"}
        return {**status, "phase": "Disabled", "message": "Rollout is disabled"}
    if workload is None:
        return {"phase": "Initial", "message": "Workload Not Found"}
    if not marks.in_progress(workload):
        return _at_rest(cluster, rollout, shelf, workload, status)
    return Progress(cluster, rollout, shelf, workload, status).advance()


def _without_steps(status: Object) -> Object:
    dropped = ("canaryStatus", "blueGreenStatus", "currentStepIndex", "currentStepState")
    return {key: value for key, value in status.items() if key not in dropped}


def _at_rest(cluster: Cluster, rollout: Object, shelf: str, workload: Object, status: Object) -> Object:
    """Healthy: what runs now is what a next rollout goes back to."""
    holder = holder_of(rollout)
    told = dict(status.get(holder) or {})
    running = kruise_styles.revision_of(cluster, shelf, workload)
    message = str(status.get("message")) if status.get("phase") == "Healthy" else "rollout is healthy"
    conditions = status.get("conditions") or []
    if status.get("phase") == "Progressing":
        canceled = reason_of(status) == CANCELLING
        if not canceled and told.get("currentStepState") == "Completed" and not _settled(shelf, workload):
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
            **({"stableRevision": running} if shelf != marks.DEPLOYMENTS else {}),
        }
        message = "workload deployment is completed"
    told.pop("finalisingStep", None)
    told[new_revision_of(holder)] = running
    return {**_without_steps(status), "phase": "Healthy", "message": message, "conditions": conditions, holder: told}


def _settled(shelf: str, workload: Object) -> bool:
    """All pods are of its template, ready, and no others are left."""
    told = objects.status(workload)
    names = ("updatedReplicas", "readyReplicas", "replicas")
    if shelf in (marks.DAEMONSETS, marks.ADVANCED_DAEMONSETS):
        names = ("updatedNumberScheduled", "numberReady", "currentNumberScheduled")
    wanted = kruise_styles.total_of(shelf, workload)
    current: bool = told.get("observedGeneration") == workload["metadata"].get("generation")
    return current and all(told.get(name, 0) == wanted for name in names)
