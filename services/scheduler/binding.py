"""Pods inside members: PODS in, orders on BINDING out; many orders in flight, each until it is acknowledged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import perf_counter

import anyio
from anyio.abc import TaskGroup

from services.scheduler.core.inside.engine import InsideState
from services.scheduler.core.inside.values import Decided
from services.scheduler.metrics import SchedulerMetrics
from shared import telemetry
from shared.backoff import Backoff, Retries
from shared.bus import Bus, Change
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.binding import Binding
from shared.contracts.capacity import Capacity
from shared.contracts.outcome import Outcome
from shared.contracts.pod import Pod
from shared.errors import BusUnavailable, Invalid

log = logging.getLogger("brim.scheduler")

IN_FLIGHT = 512  # decisions whose orders are not acknowledged: bounds memory while the bus is away
BREATH = 16  # decisions in a row before acknowledgements and news get their turn
TICK = 0.25  # real seconds between two looks at what became due by time alone
RETRY = Backoff(base=0.1, maximum=5.0)


class PodBinding:
    """ask: called with a member whose snapshot is needed. epoch: of the lease."""

    def __init__(
        self, bus: Bus, clock: Clock, epoch: int, metrics: SchedulerMetrics, ask: Callable[[str], None]
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._epoch = epoch
        self._metrics = metrics
        self._ask = ask
        self._due = asyncio.Event()
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._traces: dict[str, Mapping[str, str]] = {}  # uid → the trace of the pod's last message
        self._uids: dict[tuple[str, str, str], str] = {}
        self.state = InsideState()

    # -- being told ------------------------------------------------------------------------------------------

    async def on_pod(self, change: Change) -> None:
        """A change of PODS."""
        try:
            place = subjects.pod_of(change.subject)
        except ValueError:
            return  # nothing of brim's
        if change.message is None:
            self._forget_trace(place)
            self.state.on_pod_gone(*place)
        else:
            try:
                pod = Pod.decode(change.message.data)
            except Invalid as error:
                log.error("a pod of %s cannot be understood and is left alone: %s", place[0], error)
                return
            self._forget_trace(place)
            self._uids[place] = pod.uid
            self._traces[pod.uid] = telemetry.extract(change.message.headers)
            gap = self.state.on_pod(pod)
            if gap is not None:
                self._ask(gap.member)
        self.wake()

    def _forget_trace(self, place: tuple[str, str, str]) -> None:
        self._traces.pop(self._uids.pop(place, ""), None)

    def on_capacity(self, message: Capacity) -> None:
        if self.state.wants(message.member):
            gap = self.state.on_capacity(message)
            if gap is not None:
                self._ask(gap.member)
            self.wake()

    def on_outcome(self, outcome: Outcome) -> None:
        self.state.on_outcome(outcome)
        self.wake()

    def wake(self) -> None:
        self._due.set()

    # -- deciding --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._watch_time)
            while True:
                await self._due.wait()
                self._due.clear()
                await self._decide_all(group)
                self._metrics.pods_waiting.set(self.state.waiting)
                for kind, count in self.state.leaks.items():
                    self._metrics.leaks.set(count, kind=kind)

    async def _decide_all(self, group: TaskGroup) -> None:
        taken = 0
        while True:
            await self._room.acquire()  # before deciding: what is decided must not grow old
            begin = perf_counter()
            decided = self.state.next_orders(self._clock.now(), self._epoch)
            if decided is None:
                self._room.release()
                return
            self._metrics.pod_decided(decided.unit or "", decided.code, perf_counter() - begin)
            group.start_soon(self._send, decided)
            taken += 1
            if taken % BREATH == 0:
                await asyncio.sleep(0)

    async def _send(self, decided: Decided) -> None:
        """In their order: a victim is evicted before it is said for whom."""
        member, namespace, name = decided.key
        attributes = {
            "brim.member": member,
            "brim.pod": f"{namespace}/{name}",
            "brim.node": decided.node,
            "brim.unit": decided.unit or "",
            "brim.reason": decided.message,
        }
        try:
            with telemetry.span("decide pod", parent=self._traces.get(decided.uid), attributes=attributes):
                for order in decided.orders:
                    await self._publish(order)
        finally:
            self._room.release()

    async def _publish(self, order: Binding) -> None:
        """Until it is stored. An acknowledgement that gets lost stores it twice, which the executor notices."""
        retries = Retries(RETRY)
        subject = subjects.binding(order.member, order.namespace, order.name)
        while True:
            try:
                await self._bus.publish(subject, order.encode(), event=order.TYPE)
                return
            except BusUnavailable as error:
                log.info("an order about pod %s/%s waits: %s", order.namespace, order.name, error)
                await asyncio.sleep(retries.next_delay())

    async def _watch_time(self) -> None:
        while True:
            due = self.state.next_due()
            if due is not None and due <= self._clock.now():
                self.wake()
            await asyncio.sleep(TICK)
