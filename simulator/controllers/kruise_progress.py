"""A Rollout that is under way: one look at it, from step to step as far as nothing has to be waited for."""

from __future__ import annotations

from typing import Final

from shared.clock import parse_rfc3339, rfc3339
from simulator import objects
from simulator.cluster import Cluster
from simulator.controllers import kruise_styles
from simulator.kruise import marks, steps
from simulator.objects import Object

NAME: Final = "kruise-rollout"
SOURCE: Final = "rollout-controller"
CANCELLING: Final = "Cancelling"
_MANUAL: Final = "Rollout is in step({index}/{count}), and you need manually confirm to enter the next step"
_TIMED: Final = "Rollout is in step({index}/{count}), and wait duration({seconds} seconds) to enter the next step"
_UPGRADING: Final = "Rollout is in step({index}/{count}), and upgrade workload to new version"
_PAUSED: Final = "Rollout has been paused, you can resume it by kube-cli"
_FINALISING: Final = "Rollout has been completed and some closing work is being done"
_BACK: Final = "The workload has been rolled back and the rollout process will be canceled"
_CANCEL_EVENT: Final = "workload has been rollback, then rollout is canceled"
_RESTART_EVENT: Final = "workload continuous publishing canaryRevision, then restart publishing"
_IN_PROGRESS: Final = "Rollout is in Progressing"
_OVERTAKEN: Final = "new version releasing detected in the progress of blue-green release, please rollback first"


def holder_of(rollout: Object) -> str:
    """Of the steps, in the status."""
    return "blueGreenStatus" if steps.style_of(rollout) == "blueGreen" else "canaryStatus"


def new_revision_of(holder: str) -> str:
    """Kruise's name for the new revision in there."""
    return "updatedRevision" if holder == "blueGreenStatus" else "canaryRevision"


def index_after(index: int, count: int) -> int:
    """Of the step that follows; −1 where none does."""
    return index + 1 if index < count else -1


def reason_of(status: Object) -> str:
    """Of the condition Progressing."""
    conditions: list[Object] = status.get("conditions") or []
    return next((str(one.get("reason", "")) for one in conditions if one["type"] == "Progressing"), "")


class Progress:
    def __init__(self, cluster: Cluster, rollout: Object, shelf: str, workload: Object, status: Object) -> None:
        self._cluster = cluster
        self._rollout = rollout
        self._shelf = shelf
        self._workload = workload
        self._status = status
        self._style = steps.style_of(rollout)
        self._holder = holder_of(rollout)
        self._revision = new_revision_of(self._holder)
        self._hand = kruise_styles.hand_of(cluster, rollout, shelf)
        self._steps = steps.steps_of(rollout)
        self._told: Object = dict(status.get(self._holder) or {})
        self._reason = "InRolling"
        self._message = ""

    def advance(self) -> Object:
        """The Rollout's new status."""
        new = kruise_styles.revision_of(self._cluster, self._shelf, self._workload)
        progressing = self._under_way and "finalisingStep" not in self._told
        if progressing and reason_of(self._status) == "Paused" and self._paused():
            return self._said()  # it also stays where it is if its template goes back meanwhile
        if new == self._stable and self._shelf != marks.DAEMONSETS:
            return self._undo()
        if self._rollout["spec"]["strategy"].get("paused") and progressing:
            self._reason, self._message = "Paused", _PAUSED
        elif progressing and new != self._told.get(self._revision) and self._style == "blueGreen":
            self._message = _OVERTAKEN
        else:
            if not progressing or new != self._told.get(self._revision):
                self._begin(new)
            while not self._paused() and self._step():
                pass
        return self._said()

    @property
    def _under_way(self) -> bool:
        return bool(self._status.get("phase") == "Progressing")

    @property
    def _stable(self) -> str:
        """What it goes back to: once all steps are through, that is the version that they brought."""
        through = "finalisingStep" in self._told and self._told.get("currentStepState") == "Completed"
        return str(self._told.get(self._revision if through or not self._under_way else "stableRevision", ""))

    def _paused(self) -> bool:
        if not self._rollout["spec"]["strategy"].get("paused"):
            return False
        self._reason, self._message = "Paused", _PAUSED
        return True

    def _begin(self, new: str) -> None:
        stable = self._stable
        if self._shelf == marks.DAEMONSETS:  # what ran last counts: it goes back by its steps, as to any other version
            stable = str(self._told.get(self._revision, ""))
        if self._under_way:
            self._event(_RESTART_EVENT)
        self._told = {
            "observedWorkloadGeneration": self._workload["metadata"].get("generation", 1),
            "stableRevision": stable,
            self._revision: new,
            "podTemplateHash": new,
            "currentStepIndex": 1,
            "nextStepIndex": index_after(1, len(self._steps)),
            "currentStepState": "BeforeStepUpgrade",
        }
        self._stamp()
        if self._shelf == marks.DEPLOYMENTS:
            labels = {**objects.labels(self._workload), marks.STABLE: stable}
            labelled = objects.with_meta(self._workload, labels=labels)
            self._workload = kruise_styles.write(self._cluster, self._shelf, self._workload, labelled)

    def _event(self, message: str) -> None:
        self._cluster.event(self._rollout, SOURCE, "Progressing", message)

    def _stamp(self) -> None:
        self._told["lastUpdateTime"] = rfc3339(self._cluster.now())

    # -- one step after the other

    @property
    def _index(self) -> int:
        return int(self._told["currentStepIndex"])

    @property
    def _current(self) -> Object:
        return self._steps[self._index - 1]

    def _place(self, message: str, **more: object) -> str:
        return message.format(index=self._index, count=len(self._steps), **more)

    def _become(self, state: str) -> bool:
        self._told["currentStepState"] = state
        self._stamp()
        return True

    def _step(self) -> bool:
        """Whether something changed, so that the next state is to be looked at."""
        self._jump()
        match self._told["currentStepState"]:
            case "BeforeStepUpgrade":
                return self._become("StepUpgrade")
            case "StepUpgrade":
                return self._upgrade()
            case "StepTrafficRouting":
                return self._route()
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
        index, following = self._index, int(self._told.get("nextStepIndex", 0))
        usual = index_after(index, len(self._steps))
        if following not in (usual, 0, index) and 1 <= following <= len(self._steps):
            self._enter(following)

    def _enter(self, index: int) -> None:
        self._told["currentStepIndex"] = index
        self._told["nextStepIndex"] = index_after(index, len(self._steps))
        self._become("BeforeStepUpgrade")

    def _upgrade(self) -> bool:
        self._message = self._place(_UPGRADING)
        replicas = self._current.get("replicas", "0")
        self._workload = self._hand.hold(self._workload, replicas, str(self._told[self._revision]))
        updated, ready = self._count()
        size = self._hand.size(replicas, kruise_styles.total_of(self._shelf, self._workload))
        if updated < size or ready + steps.tolerated(self._rollout, updated) < size or (size and not ready):
            return False
        self._event(f"upgrade step({self._index}) canary pods with new versions done")
        return self._become("StepTrafficRouting")

    def _count(self) -> tuple[int, int]:
        """Pods of the new version, and the ready ones of them."""
        found = self._hand.new_pods(self._workload, str(self._told[self._revision]))
        new = [pod for pod in found if not objects.deleting(pod)]
        ready = sum(objects.ready(pod) for pod in new)
        words = ("updated", "updatedReady") if self._style == "blueGreen" else ("canary", "canaryReady")
        self._told[f"{words[0]}Replicas"], self._told[f"{words[1]}Replicas"] = len(new), ready
        return len(new), ready

    def _route(self) -> bool:
        """There is no traffic in a simulated member: that it would be routed is said."""
        if words := steps.traffic_of(self._rollout, self._current):
            self._event(f"step({self._index}): {words}")
        return self._become("StepMetricsAnalysis")

    def _pause(self) -> bool:
        """A workload that is scaled meanwhile gets as many new pods as the step says of its new size."""
        step = self._current
        self._workload = self._hand.hold(self._workload, step.get("replicas", "0"), str(self._told[self._revision]))
        self._count()
        if steps.passes_by_itself(self._style, step, last=self._index == len(self._steps)):
            return self._become("StepReady")
        seconds = (step.get("pause") or {}).get("duration")
        if seconds is None:
            self._message = self._place(_MANUAL)
            return False
        due = parse_rfc3339(str(self._told["lastUpdateTime"])) + float(seconds)
        if self._cluster.now() >= due:
            return self._become("StepReady")
        self._message = self._place(_TIMED, seconds=seconds)
        self._cluster.queue.add_at(NAME, (objects.namespace(self._rollout), objects.name(self._rollout)), due)
        return False

    def _ready(self) -> bool:
        if self._index < len(self._steps):
            self._enter(self._index + 1)
            return True
        return self._become("Completed")

    def _finish(self) -> bool:
        """The last step is through: the workload is let go, and rolls out whatever is left."""
        self._reason, self._message = "Finalising", _FINALISING
        self._told["finalisingStep"] = "ResumeWorkload"
        self._hand.release(self._workload)
        return False

    # -- going back

    def _undo(self) -> Object:
        """The template is the stable one again: everything goes back to it at once."""
        self._reason, self._message = CANCELLING, _BACK
        if reason_of(self._status) != CANCELLING:
            self._event(_CANCEL_EVENT)
        self._told[self._revision] = self._stable
        self._told["finalisingStep"] = "ResumeWorkload"
        self._hand.release(self._workload)
        self._hand.tidy()
        return self._said()

    def _said(self) -> Object:
        now = self._cluster.now()
        conditions = [one for one in self._status.get("conditions") or [] if one["type"] != "Succeeded"]
        message = self._message or self._place("Rollout is in step({index}/{count})")
        detail = _IN_PROGRESS if self._reason == "InRolling" and message != _OVERTAKEN else message
        conditions = objects.set_condition(conditions, "Progressing", "True", now, self._reason, detail)
        return {
            **self._status,
            "phase": "Progressing",
            "message": message,
            "conditions": conditions,
            self._holder: self._told,
        }
