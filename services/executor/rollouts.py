"""Approving a Rollout in one member, once per action however often its message comes."""

from __future__ import annotations

from typing import Final

import anyio

from services.executor.core import rollouts
from services.executor.core.rollouts import Step
from shared import telemetry
from shared.clock import rfc3339
from shared.contracts.action import Acted, Action
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef
from shared.errors import NotFound, WriteConflict
from shared.kube import MemberClient

LOOKS: Final = 5  # times that the Rollout may move on between a look and the patch, or forget it
SETTLES = 2.0  # seconds after which an approval that was not acted on counts as kept: its controller may be away
LOOK_AGAIN: Final = 0.1  # seconds


async def approve(client: MemberClient, action: Action, now: float) -> Acted:
    """Raises what the client raises, but for a Rollout that is not there or moves on."""
    for _ in range(LOOKS):
        try:
            if (said := await _try(client, action, now)) is not None:
                return said
        except NotFound:
            return _said(client, action, now, f"{action.ref} is not there", "NotFound")
        except WriteConflict:
            continue
    return _said(client, action, now, f"{action.ref} changes faster than it can be approved", "Unsettled")


async def _try(client: MemberClient, action: Action, now: float) -> Acted | None:
    """None where it is to be looked at again: the approval was forgotten."""
    live = await client.get(action.ref)
    step = rollouts.step_of(live)
    event = rollouts.event_of(action, live, step, rfc3339(now), telemetry.current().get(telemetry.TRACEPARENT, ""))
    refused = rollouts.refusal(live)
    if refused is not None:
        done = await _done_before(client, event)
        if done:
            return _said(client, action, now, f"step {done} of {step.steps} was approved")
        code, message = refused
        return _said(client, action, now, message, code)
    if not await _is_about(client, event, step):
        return _said(client, action, now, "this approval was for an earlier step, which is over")
    await client.merge_patch(action.ref, rollouts.approval(step), subresource="status", manager="brim-approve")
    if not await _lasts(client, action.ref, step):
        return None
    return _said(client, action, now, f"step {step.index} of {step.steps} approved")


async def _lasts(client: MemberClient, ref: ObjectRef, approved: Step) -> bool:
    """Kruise writes a status that it worked out over whatever came meanwhile, so that an approval may be gone again."""
    with anyio.move_on_after(SETTLES):
        while True:
            step = rollouts.step_of(await client.get(ref))
            if step.is_paused and step.index == approved.index:
                return False
            if step.state != rollouts.APPROVED:
                return True
            await anyio.sleep(LOOK_AGAIN)
    return True


async def _is_about(client: MemberClient, event: JsonObject, step: Step) -> bool:
    """The event comes first: a delivery after a crash finds it, and knows which step it was about."""
    try:
        await client.create(event)
    except WriteConflict as error:
        if error.code != "AlreadyExists":
            raise
        return rollouts.step_of_event(await client.get(ObjectRef.of(event))) == step.index
    return True


async def _done_before(client: MemberClient, event: JsonObject) -> int:
    try:
        return rollouts.step_of_event(await client.get(ObjectRef.of(event)))
    except NotFound:
        return 0


def _said(client: MemberClient, action: Action, now: float, message: str, code: str = "") -> Acted:
    """code: why it was not done."""
    return Acted.of(action, now, member=client.member, done=not code, code=code, message=message)
