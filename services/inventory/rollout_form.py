"""A Kruise Rollout's own words → what STATUS says of it."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import JsonValue

from shared.clock import parse_rfc3339
from shared.contracts.base import JsonObject
from shared.contracts.status import RolloutStatus

_STYLES: Final[tuple[tuple[Literal["canary", "blueGreen"], str], ...]] = (
    ("blueGreen", "blueGreenStatus"),
    ("canary", "canaryStatus"),
)


def rollout_status(spec: JsonObject, status: JsonObject) -> RolloutStatus:
    """Fields that are missing or of a wrong type say nothing."""
    strategy = _map(spec.get("strategy"))
    style, holder = next((pair for pair in _STYLES if pair[0] in strategy), _STYLES[1])
    listed = _map(strategy.get(style)).get("steps")
    steps = [step for step in listed if isinstance(step, dict)] if isinstance(listed, list) else []
    step_status = _map(status.get(holder))
    word = "canary" if style == "canary" else "updated"
    index = _number(step_status.get("currentStepIndex"))
    progressing = _condition(status, "Progressing")
    step = steps[index - 1] if 0 < index <= len(steps) else {}
    return RolloutStatus(
        phase=_text(status.get("phase")),
        message=_text(status.get("message")),
        step=index,
        steps=len(steps),
        state=_text(step_status.get("currentStepState")),
        reason=_text(progressing.get("reason")),
        succeeded=_succeeded(status),
        paused=strategy.get("paused") is True,
        next_step=_number(step_status.get("nextStepIndex")),
        style=style,
        stable_revision=_text(step_status.get("stableRevision")),
        new_revision=_text(step_status.get(f"{word}Revision")),
        canary=_number(step_status.get("canaryReplicas")) or _number(step_status.get("updatedReplicas")),
        canary_ready=_number(step_status.get("canaryReadyReplicas"))
        or _number(step_status.get("updatedReadyReplicas")),
        resumes_at=_resumes_at(step, step_status),
        traffic=_text(step.get("traffic")) or ("what matches" if step.get("matches") else ""),
    )


def _succeeded(status: JsonObject) -> bool | None:
    said = _condition(status, "Succeeded").get("status")
    return None if said not in ("True", "False") else said == "True"


def _resumes_at(step: JsonObject, step_status: JsonObject) -> float | None:
    """The end of a timed pause: it began when the step was last heard of."""
    duration = _map(step.get("pause")).get("duration")
    if step_status.get("currentStepState") != "StepPaused" or not isinstance(duration, int):
        return None
    try:
        return parse_rfc3339(_text(step_status.get("lastUpdateTime"))) + duration
    except ValueError:
        return None


def _condition(status: JsonObject, kind: str) -> JsonObject:
    conditions = status.get("conditions")
    for entry in conditions if isinstance(conditions, list) else ():
        if isinstance(entry, dict) and entry.get("type") == kind:
            return entry
    return {}


def _map(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _number(value: JsonValue) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
