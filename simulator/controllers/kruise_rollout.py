"""Kruise Rollout: canary in partition style, step by step, paused where it says so, undone where a template goes back.

Phases, step states, reasons and messages are Kruise's own; see `simulator.kruise` for what it does to a workload. What
is not simulated (blue-green, an extra canary workload, CloneSets, DaemonSets) is refused in the Rollout's status.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from shared.clock import parse_rfc3339, rfc3339
from simulator import kruise, objects
from simulator.cluster import Cluster
from simulator.controllers import pods, revisions
from simulator.objects import Object
from simulator.store import Change, Key

NAME: Final = "kruise-rollout"
SOURCE: Final = "rollout-controller"
_MANUAL: Final = "Rollout is in step({index}/{count}), and you need manually confirm to enter the next step"
_TIMED: Final = "Rollout is in step({index}/{count}), and wait duration({seconds} seconds) to enter the next step"
_UPGRADING: Final = "Rollout is in step({index}/{count}), and upgrade workload to new version"


def install(cluster: Cluster) -> None:
    def on_rollout(change: Change) -> None:
        if change.type == "DELETED":
            _release(cluster, change.object)
        cluster.queue.add(NAME, (objects.namespace(change.object), objects.name(change.object)))

    def on_workload(kind: str) -> Callable[[Change], None]:
        def changed(change: Change) -> None:
            rollout = kruise.rollout_of(
                cluster.store, kind, objects.namespace(change.object), objects.name(change.object)
            )
            if rollout is not None:
                cluster.queue.add(NAME, (objects.namespace(rollout), objects.name(rollout)))

        return changed

    cluster.store.subscribe(on_rollout, kruise.SHELF)
    for kind, shelf in kruise.WORKLOADS.items():
        cluster.store.subscribe(on_workload(kind), shelf)
    cluster.queue.register(NAME, lambda key: reconcile(cluster, key))


def reconcile(cluster: Cluster, key: Key) -> None:
    rollout = cluster.store.get(kruise.SHELF, *key)
    if rollout is None or objects.deleting(rollout):
        return
    status = _next(cluster, rollout, dict(objects.status(rollout)))
    status["observedGeneration"] = rollout["metadata"].get("generation", 1)
    current = cluster.store.get(kruise.SHELF, *key)
    if current is not None and objects.status(current) != status:
        cluster.store.update(kruise.SHELF, {**current, "status": status})


def _workload(cluster: Cluster, rollout: Object) -> tuple[str, Object | None]:
    ref = rollout["spec"].get("workloadRef") or {}
    kind = str(ref.get("kind", ""))
    shelf = kruise.WORKLOADS.get(kind)
    found = cluster.store.get(shelf, objects.namespace(rollout), str(ref.get("name"))) if shelf else None
    return kind, found


def _release(cluster: Cluster, rollout: Object) -> None:
    """The Rollout goes, or is switched off, in the middle: the workload rolls on by itself."""
    kind, workload = _workload(cluster, rollout)
    if workload is not None and kruise.in_progress(workload):
        cluster.store.update(kruise.WORKLOADS[kind], kruise.released(workload, kind))


def _next(cluster: Cluster, rollout: Object, status: Object) -> Object:
    kind, workload = _workload(cluster, rollout)
    if rollout["spec"].get("disabled"):
        _release(cluster, rollout)
        return {**_without_steps(status), "phase": "Disabled", "message": "Rollout is disabled"}
    unsupported = _unsupported(rollout, kind)
    if unsupported:
        return {**_without_steps(status), "phase": "Initial", "message": unsupported}
    if workload is None:
        return {**_without_steps(status), "phase": "Initial", "message": "workload not found"}
    if not kruise.in_progress(workload):
        return _at_rest(cluster, kind, workload, status)
    return _Progress(cluster, rollout, kind, workload, status).advance()


def _unsupported(rollout: Object, kind: str) -> str:
    strategy = rollout["spec"].get("strategy") or {}
    if "canary" not in strategy:
        return "only canary rollouts are simulated"
    if strategy["canary"].get("enableExtraWorkloadForCanary"):
        return "an extra workload for the canary is not simulated"
    return "" if kind in kruise.WORKLOADS else f"rollouts of a {kind} are not simulated"


def _without_steps(status: Object) -> Object:
    return {key: value for key, value in status.items() if key not in ("canaryStatus", "currentStepIndex")}


def _at_rest(cluster: Cluster, kind: str, workload: Object, status: Object) -> Object:
    """Healthy: what runs now is what counts as stable."""
    conditions = status.get("conditions") or []
    canary = status.get("canaryStatus") or {}
    if status.get("phase") == "Progressing":
        done = canary.get("currentStepState") == "Completed" or canary.get("finalisingStep") == "Cancelling"
        if done and not _settled(kind, workload):
            return {**status, "message": "Rollout is finalising"}
        undone = canary.get("finalisingStep") == "Cancelling"
        now = cluster.now()
        conditions = objects.set_condition(conditions, "Progressing", "True", now, "Completed", "Rollout is completed")
        value = "False" if undone else "True"
        conditions = objects.set_condition(conditions, "Succeeded", value, now, "Cancelled" if undone else "Completed")
    stable = _hash(cluster, kind, workload)
    kept = {key: value for key, value in canary.items() if key != "finalisingStep"}
    return {
        **status,
        "phase": "Healthy",
        "message": "Rollout is completed" if conditions else "Rollout is healthy",
        "conditions": conditions,
        "canaryStatus": {**kept, "stableRevision": stable, "canaryRevision": stable},
    }


def _settled(kind: str, workload: Object) -> bool:
    told = objects.status(workload)
    wanted = workload["spec"].get("replicas", 1)
    counts = (told.get("updatedReplicas", 0), told.get("readyReplicas", 0), told.get("replicas", 0))
    current: bool = told.get("observedGeneration") == workload["metadata"].get("generation")
    return current and counts == (wanted, wanted, wanted)


def _hash(cluster: Cluster, kind: str, workload: Object) -> str:
    """What tells the workload's present template apart."""
    if kind == "StatefulSet":
        return objects.name(revisions.current(cluster, workload)[0])
    template = workload["spec"]["template"]
    for replicaset in pods.claimed(cluster, workload, "replicasets.apps"):
        if pods.template_matches(replicaset["spec"]["template"], template):
            return str(objects.labels(replicaset).get("pod-template-hash", ""))
    return pods.template_hash(template, 0)


class _Progress:
    """One look at a rollout that is under way."""

    def __init__(self, cluster: Cluster, rollout: Object, kind: str, workload: Object, status: Object) -> None:
        self._cluster = cluster
        self._rollout = rollout
        self._kind = kind
        self._workload = workload
        self._status = status
        self._steps: list[Object] = rollout["spec"]["strategy"]["canary"].get("steps") or [{"replicas": "100%"}]
        self._canary: Object = dict(status.get("canaryStatus") or {})
        self._reason = "InRolling"
        self._message = ""

    def advance(self) -> Object:
        new = _hash(self._cluster, self._kind, self._workload)
        if new == self._canary.get("stableRevision"):
            return self._undo()
        if self._status.get("phase") != "Progressing" or new != self._canary.get("canaryRevision"):
            self._begin(new)
        if self._rollout["spec"]["strategy"].get("paused"):
            self._reason, self._message = "Paused", "Rollout has been paused, you can resume it by spec.strategy.paused"
        else:
            while self._step():
                pass
        return self._told()

    def _begin(self, new: str) -> None:
        self._canary = {
            "observedWorkloadGeneration": self._workload["metadata"].get("generation", 1),
            "stableRevision": self._canary.get("stableRevision", ""),
            "canaryRevision": new,
            "podTemplateHash": new,
            "currentStepIndex": 1,
            "nextStepIndex": 2 if len(self._steps) > 1 else -1,
            "currentStepState": "BeforeStepUpgrade",
        }
        self._stamp()
        self._cluster.event(self._rollout, SOURCE, "Progressing", f"start upgrade to revision {new}")

    def _stamp(self) -> None:
        self._canary["lastUpdateTime"] = rfc3339(self._cluster.now())

    # -- one step after the other

    @property
    def _index(self) -> int:
        return int(self._canary["currentStepIndex"])

    @property
    def _size(self) -> int:
        step = self._steps[self._index - 1]
        return kruise.batch_size(step.get("replicas", "0"), self._workload["spec"].get("replicas", 1))

    def _become(self, state: str) -> bool:
        self._canary["currentStepState"] = state
        self._stamp()
        return True

    def _step(self) -> bool:
        """Whether something changed, so that the next state is to be looked at."""
        self._jump()
        match self._canary["currentStepState"]:
            case "BeforeStepUpgrade":
                return self._become("StepUpgrade")
            case "StepUpgrade":
                return self._upgrade()
            case "StepTrafficRouting":
                return self._become("StepMetricsAnalysis")
            case "StepMetricsAnalysis":
                return self._become("StepPaused")
            case "StepPaused":
                return self._pause()
            case "StepReady":
                return self._ready()
            case _:
                return self._finish()

    def _jump(self) -> None:
        """Somebody set nextStepIndex: that step is next, whatever the present one waits for."""
        index, following = self._index, int(self._canary.get("nextStepIndex", 0))
        usual = index + 1 if index < len(self._steps) else -1
        if following not in (usual, 0, index) and 1 <= following <= len(self._steps):
            self._enter(following)

    def _enter(self, index: int) -> None:
        self._canary["currentStepIndex"] = index
        self._canary["nextStepIndex"] = index + 1 if index < len(self._steps) else -1
        self._become("BeforeStepUpgrade")

    def _upgrade(self) -> bool:
        self._message = _UPGRADING.format(index=self._index, count=len(self._steps))
        held = kruise.held(self._workload, self._kind, self._size, str(self._canary["stableRevision"]))
        if held != self._workload:
            self._workload = self._cluster.store.update(kruise.WORKLOADS[self._kind], held)
        self._count()
        if self._canary["canaryReadyReplicas"] < self._size or self._canary["canaryReplicas"] != self._size:
            return False
        return self._become("StepTrafficRouting")

    def _count(self) -> None:
        new = [pod for pod in self._pods() if self._is_new(pod) and not objects.deleting(pod)]
        self._canary["canaryReplicas"] = len(new)
        self._canary["canaryReadyReplicas"] = sum(objects.ready(pod) for pod in new)

    def _pods(self) -> list[Object]:
        if self._kind == "StatefulSet":
            return pods.claimed(self._cluster, self._workload)
        sets = pods.claimed(self._cluster, self._workload, "replicasets.apps")
        return [pod for one in sets for pod in self._cluster.store.owned(objects.uid(one), "pods")]

    def _is_new(self, pod: Object) -> bool:
        labels = objects.labels(pod)
        return bool(self._canary["canaryRevision"] in (labels.get("pod-template-hash"), labels.get(revisions.HASH)))

    def _pause(self) -> bool:
        self._count()
        step = self._steps[self._index - 1]
        seconds = (step.get("pause") or {}).get("duration")
        if self._index == len(self._steps) and step.get("replicas") == "100%":
            return self._become("StepReady")
        if seconds is None:
            self._message = _MANUAL.format(index=self._index, count=len(self._steps))
            return False
        due = parse_rfc3339(str(self._canary["lastUpdateTime"])) + float(seconds)
        if self._cluster.now() >= due:
            return self._become("StepReady")
        self._message = _TIMED.format(index=self._index, count=len(self._steps), seconds=seconds)
        self._cluster.queue.add_at(NAME, (objects.namespace(self._rollout), objects.name(self._rollout)), due)
        return False

    def _ready(self) -> bool:
        if self._index < len(self._steps):
            self._enter(self._index + 1)
            return True
        return self._become("Completed")

    def _finish(self) -> bool:
        """The last step is through: the workload is let go, and rolls out whatever is left."""
        self._reason = "Finalising"
        self._cluster.store.update(kruise.WORKLOADS[self._kind], kruise.released(self._workload, self._kind))
        return False

    # -- going back

    def _undo(self) -> Object:
        """The template is the stable one again: everything goes back to it at once."""
        self._reason, self._message = "Cancelling", "The rollout has been canceled"
        self._canary["finalisingStep"] = "Cancelling"
        self._cluster.store.update(kruise.WORKLOADS[self._kind], kruise.released(self._workload, self._kind))
        return self._told()

    def _told(self) -> Object:
        now = self._cluster.now()
        conditions = self._status.get("conditions") or []
        conditions = [one for one in conditions if one["type"] != "Succeeded"]
        conditions = objects.set_condition(conditions, "Progressing", "True", now, self._reason, self._message)
        return {
            **self._status,
            "phase": "Progressing",
            "message": self._message or f"Rollout is in step({self._index}/{len(self._steps)})",
            "currentStepIndex": self._canary.get("currentStepIndex", 0),
            "currentStepState": self._canary.get("currentStepState", ""),
            "conditions": conditions,
            "canaryStatus": self._canary,
        }
