"""Approving one step of a Kruise Rollout in one member: what is sent, and when it is refused. Pure.

Kruise's documented way is a merge patch of the status that sets the state of a paused step to StepReady.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from services.executor.core.events import event_about
from services.executor.core.live import mapping, text
from shared.contracts.action import Action
from shared.contracts.annotations import TRACEPARENT_ANNOTATION
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef
from shared.contracts.rollout import GROUP, KIND, VERSION

APPROVED: Final = "StepReady"
NOT_YET: Final = "NotYetPaused"  # code of a refusal: it is on its way to where it pauses
_ON_ITS_WAY: Final = frozenset({"BeforeStepUpgrade", "StepUpgrade", "StepTrafficRouting", "StepMetricsAnalysis"})

STEP_ANNOTATION = "brim.dev/step"  # on the event of an approval: the step that was approved
SOURCE = "brim"


@dataclass(frozen=True, slots=True)
class Step:
    """Where a Rollout stands. holder: of the status, canaryStatus or blueGreenStatus."""

    index: int
    state: str
    steps: int
    holder: str
    version: str
    phase: str

    @property
    def is_under_way(self) -> bool:
        """One that was undone or switched off keeps the step where it stood: that waits for nobody any more."""
        return self.phase == "Progressing"

    @property
    def is_paused(self) -> bool:
        return self.is_under_way and self.state == "StepPaused"


def step_of(live: JsonObject) -> Step:
    """Of a Rollout as the member's API answered it."""
    strategy = mapping(mapping(live.get("spec")).get("strategy"))
    style, holder = ("blueGreen", "blueGreenStatus") if "blueGreen" in strategy else ("canary", "canaryStatus")
    steps = mapping(strategy.get(style)).get("steps")
    whole = mapping(live.get("status"))
    status = mapping(whole.get(holder))
    index = status.get("currentStepIndex")
    return Step(
        index=index if isinstance(index, int) else 0,
        state=text(status.get("currentStepState")),
        steps=len(steps) if isinstance(steps, list) else 0,
        holder=holder,
        version=text(mapping(live.get("metadata")).get("resourceVersion")),
        phase=text(whole.get("phase")),
    )


def refusal(live: JsonObject) -> tuple[str, str] | None:
    """(code, message) where the Rollout cannot be approved now, in Kruise's own words; None where it can."""
    step = step_of(live)
    if step.is_paused:
        return None
    if step.state == "StepPaused":
        return "NotPaused", f"nothing waits for an approval: it is {step.phase or 'not known yet'}"
    code = NOT_YET if step.is_under_way and step.state in _ON_ITS_WAY else "NotPaused"
    return code, "does not allow to approve, because current canary state is not 'StepPaused'"


def approval(step: Step) -> JsonObject:
    """The patch of the status. It is about this very state: anything newer is a conflict."""
    return {"metadata": {"resourceVersion": step.version}, "status": {step.holder: {"currentStepState": APPROVED}}}


def event_of(action: Action, live: JsonObject, step: Step, at: str, traceparent: str) -> JsonObject:
    """Who approved what: one per action, so that it is also the memory of what an action was about."""
    metadata = mapping(live.get("metadata"))
    about = ObjectRef(
        group=GROUP,
        version=VERSION,
        kind=KIND,
        namespace=text(metadata.get("namespace")),
        name=text(metadata.get("name")),
    )
    return event_about(
        about,
        text(metadata.get("uid")),
        reason="Approved",
        message=f"step {step.index} of {step.steps} approved by {action.who or 'somebody unnamed'}",
        at=at,
        identity=action.id,
        source=SOURCE,
        annotations={STEP_ANNOTATION: str(step.index)} | ({TRACEPARENT_ANNOTATION: traceparent} if traceparent else {}),
    )


def step_of_event(event: JsonObject) -> int:
    """The step that an earlier delivery of the action was about; 0 where it does not say."""
    value = text(mapping(mapping(event.get("metadata")).get("annotations")).get(STEP_ANNOTATION))
    return int(value) if value.isdecimal() else 0
