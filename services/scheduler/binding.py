"""Pods inside members: PODS, CAPACITY and OUTCOME in; orders on BINDING out, many in flight, each until stored."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import Final

import anyio
from anyio.abc import TaskGroup

from services.scheduler.core.inside.engine import LEAK, InsideState
from services.scheduler.core.inside.values import Decided, PodKey, ResourcePolicy
from services.scheduler.metrics import SchedulerMetrics
from services.scheduler.publishing import Epoch
from shared import telemetry
from shared.backoff import Backoff, Retries
from shared.bus import Bus, Change
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.binding import Bind, Binding, decode_binding
from shared.contracts.capacity import Capacity
from shared.contracts.outcome import Outcome
from shared.contracts.pod import Pod
from shared.errors import BusUnavailable, Invalid, TooLarge

log = logging.getLogger("brim.scheduler")

IN_FLIGHT: Final = 512  # decisions whose orders are not stored yet: bounds memory while the bus is away
BREATH: Final = 16  # decisions in a row before acknowledgements and news get their turn
TICK: Final = 0.25  # real seconds between two looks at what became due by time alone
RETRY: Final = Backoff(base=0.05, maximum=2.0)
SPAN: Final = "decide brim.binding.<member>.<namespace>.<pod>"


class PodBinding:
    """Tell it what comes in; after `catch_up`, `run` it. ask: called with a member whose snapshot is needed."""

    def __init__(
        self, bus: Bus, clock: Clock, *, epoch: Epoch, metrics: SchedulerMetrics, ask: Callable[[str], None]
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._epoch = epoch
        self._metrics = metrics
        self._ask = ask
        self._due = asyncio.Event()
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._traces: dict[PodKey, Mapping[str, str]] = {}  # of each pod's newest message
        self._state = InsideState(replaying=True)

    # -- being told ------------------------------------------------------------------------------------------

    async def on_pod(self, change: Change) -> None:
        try:
            key = subjects.pod_of(change.subject)
        except ValueError:
            return  # no subject of brim's
        if change.message is None:
            self._traces.pop(key, None)
            self._state.on_pod_gone(*key)
            self.wake()
            return
        try:
            pod = Pod.decode(change.message.data)
        except Invalid as error:
            log.error("%s holds what is no %s and is left alone: %s", change.subject, Pod.TYPE, error)
            self._metrics.unreadable("PODS")
            return
        if (pod.member, pod.namespace, pod.name) != key:
            log.error("%s holds a message about another pod and is left alone", change.subject)
            return
        trace = telemetry.extract(change.message.headers)
        if trace:
            self._traces[key] = trace
        gap = self._state.on_pod(pod)
        if gap is not None:
            self._ask(gap.member)
        self.wake()

    def on_capacity(self, news: Capacity) -> bool:
        """Whether a snapshot is needed."""
        if not self._state.wants(news.member):
            return False
        gap = self._state.on_capacity(news)
        self.wake()
        return gap is not None

    def on_outcome(self, outcome: Outcome) -> None:
        self._state.on_outcome(outcome)
        self.wake()

    def on_policy(self, key: tuple[str, str], policy: ResourcePolicy | None) -> None:
        """The ResourcePolicy of this namespace and name, as it is now; None for none."""
        if policy is not None:
            self._state.on_policy(policy)
        else:
            self._state.on_policy_gone(*key)
        self.wake()

    def wake(self) -> None:
        self._due.set()

    async def catch_up(self) -> None:
        """When all streams were read: take in what is still to be carried out of a former leader's orders."""
        retries = Retries(RETRY)
        while True:
            try:
                waiting = await self._bus.waiting("BINDING", "brim.binding.>")
                break
            except BusUnavailable as error:
                log.info("the orders of a former leader are read later: %s", error)
                await anyio.sleep(retries.next_delay())
        for message in waiting:
            try:
                order = decode_binding(message.data)
            except Invalid:
                continue  # the executor says so
            if isinstance(order, Bind):
                self._state.on_order(order)
                self._epoch.seen(order.order.epoch)
        self._state.replaying = False
        for member in self._state.unready():
            self._ask(member)

    # -- deciding --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch_time)
            while True:
                await self._due.wait()
                self._due.clear()
                await self._decide_all(group)
                self._metrics.pods_waiting.set(self._state.waiting)
                for kind, count in self._state.take_leaks().items():
                    self._metrics.leaked(kind, count)

    async def _decide_all(self, group: TaskGroup) -> None:
        taken = 0
        while True:
            await self._room.acquire()  # before deciding: what is decided must not grow old
            begun = perf_counter()
            decided = self._state.next_orders(self._clock.now(), self._epoch.value)
            if decided is None:
                self._room.release()
                return
            taken += 1
            if decided.orders:
                self._metrics.pod_decided(decided.unit, decided.code, perf_counter() - begun)
                group.start_soon(self._send, decided)
            else:
                self._room.release()
            if decided.code == LEAK:
                log.warning("pod %s/%s in %s: %s", *decided.key[1:], decided.key[0], decided.message)
            if taken % BREATH == 0:
                await asyncio.sleep(0)

    async def _send(self, decided: Decided) -> None:
        try:
            trace = self._traces.get(decided.key, {})
            if not telemetry.recording():
                await self._publish_all(decided, trace)
                return
            member, namespace, name = decided.key
            attributes = {
                "brim.member": member,
                "brim.pod": f"{namespace}/{name}",
                "brim.node": decided.node,
                "brim.unit": decided.unit or "",
                "brim.code": decided.code,
                "brim.reason": decided.message,
            }
            with telemetry.span(SPAN, parent=trace, links=[trace], attributes=attributes):
                await self._publish_all(decided, {})
        finally:
            self._room.release()

    async def _publish_all(self, decided: Decided, trace: Mapping[str, str]) -> None:
        """In their order: who has to go is told before it is said for whom."""
        for order in decided.orders:
            await self._publish(order, trace)

    async def _publish(self, order: Binding, trace: Mapping[str, str]) -> None:
        """Until it is stored. Where only the acknowledgement got lost the stream knows it by its number."""
        retries = Retries(RETRY)
        subject = subjects.binding(order.member, order.namespace, order.name)
        while True:
            try:
                await self._bus.publish(
                    subject,
                    order.encode(),
                    headers=trace,
                    message_id=f"binding {order.uid} {order.order}",
                    event=order.TYPE,
                )
                return
            except BusUnavailable as error:
                self._metrics.lost(error.code)
                await asyncio.sleep(retries.next_delay())
            except TooLarge as error:
                log.error("an order about pod %s/%s in %s: %s", order.namespace, order.name, order.member, error)
                return

    async def _watch_time(self) -> None:
        while True:
            due = self._state.next_due()
            if due is not None and due <= self._clock.now():
                self.wake()
            await asyncio.sleep(TICK)
