"""Orders about pods of one member: binding, and what goes with it; and the events that tell people."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable

import anyio

from services.executor.core import orders
from services.executor.metrics import ExecutorMetrics
from shared.clock import Clock, rfc3339
from shared.contracts.base import JsonObject
from shared.contracts.binding import Annotate, Bind, Binding, Evict, Note, Pend, Release
from shared.errors import BrimError, MemberUnavailable, NotFound, WriteConflict
from shared.kube import MemberClient

log = logging.getLogger("brim.executor")

EVENTS = 2000  # events that may wait per member; beyond that the oldest are dropped
EVENT_TRIES = 3


class Pods:
    """Carries orders out in one member. Every method raises what the client raises."""

    def __init__(self, client: MemberClient, clock: Clock, metrics: ExecutorMetrics) -> None:
        self._client = client
        self._clock = clock
        self._metrics = metrics
        self._events: deque[JsonObject] = deque()
        self._wake = anyio.Event()

    @property
    def _at(self) -> str:
        return rfc3339(self._clock.now())

    async def carry_out(self, order: Binding) -> bool:
        """False where there was nothing to do any more: the pod is gone, or it stands so already.

        Raises WriteConflict where the pod went to another node.
        """
        try:
            done = await self._carry_out(order)
        except NotFound:
            return False
        if done and (event := orders.event_of(order, self._at)) is not None:
            self._tell(event)
        return done

    async def _carry_out(self, order: Binding) -> bool:
        client, ref = self._client, orders.pod_ref(order)
        match order:
            case Bind():
                return await self._bind(order)
            case Pend():
                return await self._pend(order)
            case Annotate():
                return await self._annotate(order)
            case Evict():
                return await self._delete(order)
            case Note():
                return True
            case Release():
                return await client.delete(orders.instance_ref(order))
        raise AssertionError(f"unreachable: {ref}")

    async def _bind(self, order: Bind) -> bool:
        ref = orders.pod_ref(order)
        try:
            await self._client.post(ref, "binding", orders.binding_body(order))
        except WriteConflict:
            match orders.standing(order, await self._client.get(ref)):
                case "as ordered" | "gone":
                    return False
                case _:
                    raise
        return True

    async def _pend(self, order: Pend) -> bool:
        ref = orders.pod_ref(order)
        live = await self._client.get(ref)
        if orders.standing(order, live) != "open":
            return False
        patch = orders.pending_patch(order, live, self._at)
        if patch is None:
            return False
        return await self._patched(order, self._client.strategic_patch(ref, patch, subresource="status"))

    async def _annotate(self, order: Annotate) -> bool:
        ref = orders.pod_ref(order)
        return await self._patched(order, self._client.merge_patch(ref, orders.annotations_patch(order)))

    async def _delete(self, order: Evict) -> bool:
        return await self._patched(order, self._client.delete(orders.pod_ref(order), uid=order.uid))

    async def _patched(self, order: Binding, request: Awaitable[object]) -> bool:
        """A conflict that comes from another pod of the name is the end of it; any other is tried again."""
        try:
            return bool(await request)
        except WriteConflict:
            if orders.standing(order, await self._client.get(orders.pod_ref(order))) == "gone":
                return False
            raise

    # -- events ----------------------------------------------------------------------------------------------

    def _tell(self, event: JsonObject) -> None:
        if len(self._events) >= EVENTS:
            self._events.popleft()
            self._metrics.events_dropped.add(member=self._client.member)
        self._events.append(event)
        self._wake.set()

    async def tell_for_ever(self) -> None:
        """Write events, one after the other, behind the orders: they are for people, and none is waited for."""
        while True:
            while self._events:
                await self._write(self._events.popleft())
            self._wake = anyio.Event()
            await self._wake.wait()

    async def _write(self, event: JsonObject) -> None:
        for _ in range(EVENT_TRIES):
            try:
                await self._client.create(event)
                return
            except WriteConflict:
                return  # it is there already
            except MemberUnavailable as error:
                log.debug("an event is tried again: %s", error)
                await anyio.sleep(error.retry_after or 0.5)
            except BrimError as error:
                log.debug("an event is not written: %s", error)
                return
        self._metrics.events_dropped.add(member=self._client.member)
