"""BINDING → the members: every order to the member that it is for."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from services.executor.core import orders
from services.executor.metrics import ExecutorMetrics
from shared import telemetry
from shared.backoff import Backoff
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.binding import Bind, Binding, decode_binding
from shared.contracts.outcome import Outcome, Result
from shared.errors import BrimError, Invalid, MemberUnavailable, Retryable
from shared.rejecting import reject

log = logging.getLogger("brim.executor")

RETRY = Backoff(base=0.1, maximum=5.0)

CarryOut: TypeAlias = Callable[[Binding], Awaitable[bool]]


class Bindings:
    """All orders about pods. Each member has a consumer of its own: a slow one holds up no other."""

    def __init__(self, bus: Bus, clock: Clock, metrics: ExecutorMetrics, at_once: int) -> None:
        self._bus = bus
        self._clock = clock
        self._metrics = metrics
        self._at_once = at_once

    async def follow(self, member: str, carry_out: CarryOut) -> None:
        """Until cancelled; what is not finished then is handed to whoever follows next."""

        async def take(message: Message) -> None:
            await self._take(message, carry_out)

        await self._bus.consume(
            "BINDING",
            f"executor-{member}",
            take,
            subjects=[subjects.bindings(member)],
            concurrency=self._at_once,
            retry=RETRY,
            on_poison=self._poison,
        )

    async def _take(self, message: Message, carry_out: CarryOut) -> None:
        try:
            order = decode_binding(message.data)
        except Invalid:
            self._metrics.bad_messages.add(stream="BINDING")
            raise
        if orders.is_void(order, self._clock.now()):
            self._count(order, "void")
            return
        attributes = {"brim.member": order.member, "brim.pod": f"{order.namespace}/{order.name}"}
        if isinstance(order, Bind):
            attributes |= {"brim.node": order.node, "brim.unit": order.unit}
        with telemetry.span(f"{order.form} pod", kind="client", parent=message.headers, attributes=attributes):
            await self._try(order, carry_out)

    async def _try(self, order: Binding, carry_out: CarryOut) -> None:
        """Retryable goes back to the stream; what the member refuses is told, and decided anew by the scheduler."""
        try:
            done = await carry_out(order)
        except BrimError as error:
            self._count(order, error.code)
            if isinstance(error, Retryable) and not isinstance(order, Bind):
                raise
            if isinstance(error, MemberUnavailable):
                raise
            await self._say(order, "conflict" if isinstance(error, Retryable) else "failed", error)
            return
        self._count(order, "ok" if done else "void")

    def _count(self, order: Binding, result: str) -> None:
        self._metrics.pods.add(member=order.member, form=order.form, result=result)

    async def _say(self, order: Binding, result: Result, error: BrimError) -> None:
        """It goes by itself, as the order would."""
        log.info("%s of pod %s/%s in %s: %s", order.form, order.namespace, order.name, order.member, error)
        ref = orders.pod_ref(order)
        outcome = Outcome(
            member=order.member,
            ref=ref,
            uid=order.uid,
            order=order.order,
            result=result,
            code=error.code,
            message=str(error),
            at=self._clock.now(),
        )
        subject = subjects.outcome(order.member, ref)
        await self._bus.publish(subject, outcome.encode(), event=Outcome.TYPE, keep=orders.LIFETIME)

    async def _poison(self, message: Message, error: Exception) -> None:
        await reject(self._bus, "executor", message, error, self._clock.now())
