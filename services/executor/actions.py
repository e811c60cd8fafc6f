"""ACTION → the members: one-shot verbs, each done once per member, and told to whoever asked."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, TypeAlias

import anyio

from services.executor.core.rollouts import NOT_YET
from services.executor.metrics import ExecutorMetrics
from shared import telemetry
from shared.backoff import Backoff
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.action import CATCHING_UP, Acted, Action, Verb
from shared.contracts.refs import ObjectRef
from shared.contracts.rollout import is_rollout
from shared.errors import BrimError, BusUnavailable, Invalid, Retryable
from shared.rejecting import reject

log = logging.getLogger("brim.executor")

SERVICE = "executor"
RETRY = Backoff(base=1.0, maximum=60.0)

_LATER: Final[Mapping[Verb, str]] = {"approve": "it is approved"}

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
            await self._carry_out(action, again=message.delivered > 1)

    async def _carry_out(self, action: Action, *, again: bool) -> None:
        """again: an earlier delivery may have done some of it. Raises Retryable where a member is away and the action
        is to catch up with it, and where the bus is away."""
        if not is_rollout(action.ref.kind, action.ref.group):
            message = f"the executor cannot {action.verb} a {action.ref.kind}: it approves Rollouts"
            await self._said(self._acted(action, "", "NotSupported", message), action.reply)
            await self._end(action)
            return
        known = self._members(action.ref)
        if not known:
            message = f"{action.ref} is in no member: no placement names it"
            await self._said(self._acted(action, "", "NotFound", message), action.reply)
        left: list[BrimError] = []
        async with anyio.create_task_group() as group:
            for member in action.members or known:
                group.start_soon(self._in_member, action, member, member in known, again, left)
        unkept = [error for error in left if isinstance(error, BusUnavailable)]
        if not unkept:
            await self._end(action)
        if left:
            raise (unkept or left)[0]

    async def _in_member(self, action: Action, member: str, known: bool, again: bool, left: list[BrimError]) -> None:
        """left: why the action has to come again."""
        try:
            before = await self._said_before(action, member) if again else None
            if before is None or before.code == CATCHING_UP:
                acted, away = await self._try(action, member, known, before)
                left += [away] if away is not None else []
                await self._said(acted, action.reply)
            else:
                await self._tell(before, action.reply)
        except BusUnavailable as error:
            left.append(error)

    async def _try(
        self, action: Action, member: str, known: bool, before: Acted | None
    ) -> tuple[Acted, BrimError | None]:
        """What came of it; and why it is to be tried again, where it is. before: what was said of a member that was
        away: it may be on its way to the step that was meant."""
        if not known:
            return self._acted(
                action, member, "NotFound", f"{action.ref} is not in {member}: no placement says so"
            ), None
        try:
            acted = await self._approve(member, action)
        except BrimError as error:
            if not (isinstance(error, Retryable) and action.catch_up):
                return self._acted(action, member, error.code, str(error)), None
            message = f"{error}; {_LATER[action.verb]} when it is back"
            return self._acted(action, member, CATCHING_UP, message), error
        if acted.code == NOT_YET and before is not None:
            return before, Retryable(f"{action.ref} in {member}: {acted.message}", code=NOT_YET)
        return acted, None

    def _acted(self, action: Action, member: str, code: str, message: str) -> Acted:
        return Acted.of(action, self._clock.now(), member=member, done=False, code=code, message=message)

    async def _end(self, action: Action) -> None:
        acted = Acted.of(action, self._clock.now(), done=True, message="that was all", last=True)
        await self._tell(acted, action.reply)

    # -- telling ---------------------------------------------------------------------------------------------

    async def _said_before(self, action: Action, member: str) -> Acted | None:
        """Raises BusUnavailable."""
        message = await self._bus.last("ACTED", subjects.acted(action.id, member))
        return Acted.decode(message.data) if message is not None else None

    async def _said(self, acted: Acted, reply: str) -> None:
        """Keep it, then tell whoever listens. Raises BusUnavailable where it cannot be kept."""
        self._metrics.actions.add(verb=acted.verb, result="ok" if acted.done else acted.code)
        await self._bus.publish(subjects.acted(acted.id, acted.member), acted.encode(), event=Acted.TYPE)
        await self._tell(acted, reply)

    async def _tell(self, acted: Acted, reply: str) -> None:
        if not reply:
            return
        try:
            await self._bus.send(reply, acted.encode())
        except BusUnavailable as error:
            log.debug("nobody could be told of action %s: %s", acted.id, error)

    async def _poison(self, message: Message, error: Exception) -> None:
        await reject(self._bus, SERVICE, message, error, self._clock.now())
