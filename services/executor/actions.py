"""ACTION → the members: one-shot verbs, each done once per member, and told to whoever asked."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import anyio

from services.executor.metrics import ExecutorMetrics
from shared import telemetry
from shared.backoff import Backoff
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.action import Acted, Action
from shared.contracts.refs import ObjectRef
from shared.contracts.rollout import is_rollout
from shared.errors import BrimError, BusUnavailable, Invalid, Retryable
from shared.rejecting import reject

log = logging.getLogger("brim.executor")

SERVICE = "executor"
RETRY = Backoff(base=1.0, maximum=60.0)

Approve: TypeAlias = Callable[[str, Action], Awaitable[Acted]]


class Actions:
    """approve: carries one out in a member. members: that hold an object, as placements say."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        metrics: ExecutorMetrics,
        approve: Approve,
        members: Callable[[ObjectRef], Sequence[str]],
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._approve = approve
        self._members = members

    async def run(self) -> None:
        """Until cancelled."""
        await self._bus.consume(
            "ACTION",
            "executor-action",
            self._take,
            subjects=[subjects.actions(SERVICE)],
            concurrency=8,
            retry=RETRY,
            on_poison=self._poison,
        )

    async def _take(self, message: Message) -> None:
        try:
            action = Action.decode(message.data)
        except Invalid:
            self._metrics.bad_messages.add(stream="ACTION")
            raise
        attributes = {"brim.action": action.verb, "brim.workload": str(action.ref), "enduser.id": action.who}
        with telemetry.span(f"{action.verb} rollout", kind="client", parent=message.headers, attributes=attributes):
            await self._carry_out(action)

    async def _carry_out(self, action: Action) -> None:
        """Raises Retryable where a member is away and the action is to catch up with it."""
        if not is_rollout(action.ref.kind, action.ref.group):
            message = f"the executor cannot {action.verb} a {action.ref.kind}: it approves Rollouts"
            await self._say(action, Acted(id=action.id, done=False, code="NotSupported", message=message))
            return await self._end(action)
        known = self._members(action.ref)
        if not known:
            message = f"{action.ref} is in no member: no placement names it"
            await self._say(action, Acted(id=action.id, done=False, code="NotFound", message=message))
        away: list[BrimError] = []
        async with anyio.create_task_group() as group:
            for member in action.members or known:
                group.start_soon(self._in_member, action, member, member in known, away)
        if away and action.catch_up:
            raise away[0]
        return await self._end(action)

    async def _in_member(self, action: Action, member: str, known: bool, away: list[BrimError]) -> None:
        if not known:
            message = f"{action.ref} is not in {member}: no placement says so"
            await self._say(action, Acted(id=action.id, member=member, done=False, code="NotFound", message=message))
            return
        try:
            acted = await self._approve(member, action)
        except BrimError as error:
            if isinstance(error, Retryable):
                away.append(error)
            acted = Acted(id=action.id, member=member, done=False, code=error.code, message=str(error))
        await self._say(action, acted)

    async def _end(self, action: Action) -> None:
        await self._say(action, Acted(id=action.id, done=True, message="that was all", last=True))

    async def _say(self, action: Action, acted: Acted) -> None:
        if acted.member:
            self._metrics.actions.add(verb=action.verb, result="ok" if acted.done else acted.code)
        if not action.reply:
            return
        try:
            await self._bus.send(action.reply, acted.encode())
        except BusUnavailable as error:
            log.debug("nobody could be told of action %s: %s", action.id, error)

    async def _poison(self, message: Message, error: Exception) -> None:
        await reject(self._bus, SERVICE, message, error, self._clock.now())
