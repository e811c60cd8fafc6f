"""The decision loop: decide, assume, publish; many placements in flight, one at a time per object."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from time import perf_counter

import anyio

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import WorkloadKey
from services.scheduler.metrics import SchedulerMetrics
from services.scheduler.publishing import Epoch, Publisher
from services.scheduler.tracing import Stories, Story, Trace, deciding, joined
from shared.clock import Clock
from shared.contracts.placement import Placement
from shared.contracts.refs import Order

log = logging.getLogger("brim.scheduler")

IN_FLIGHT = 512  # placements sent and not acknowledged: bounds memory while the bus is away
BREATH = 16  # decisions in a row before acknowledgements and news get their turn
TICK = 0.25  # real seconds between two looks at what became due by time alone
SETTLED = 5.0  # real seconds that a rebalance request is kept back for its decision


@dataclass(slots=True)
class _Cause:
    """What made an object due. heard_at: of the newest change, perf_counter seconds. traces: of all, oldest first."""

    heard_at: float
    traces: tuple[Trace, ...]


@dataclass(slots=True)
class _Totals:
    """Pending replicas per object, and their sum, for the metrics."""

    pending: dict[WorkloadKey, int] = field(default_factory=dict)
    sum: int = 0

    def put(self, key: WorkloadKey, pending: int) -> None:
        self.sum += pending - self.pending.pop(key, 0)
        if pending:
            self.pending[key] = pending


class Deciding:
    """Run `run`; tell it by `heard` or `wake` that the state may have something due."""

    def __init__(
        self, state: SchedulerState, clock: Clock, publisher: Publisher, *, epoch: Epoch, metrics: SchedulerMetrics
    ) -> None:
        self._state = state
        self._clock = clock
        self._publisher = publisher
        self._epoch = epoch
        self._metrics = metrics
        self._due = asyncio.Event()
        self._moved = asyncio.Event()  # replaced whenever an object was decided, or its placement sent
        self._causes: dict[WorkloadKey, _Cause] = {}
        self._stories = Stories()
        self._sending: dict[WorkloadKey, asyncio.Event] = {}
        self._unsent: dict[WorkloadKey, int] = {}  # placements decided and not through with
        self._room = asyncio.Semaphore(IN_FLIGHT)
        self._totals = _Totals()

    # -- being told ------------------------------------------------------------------------------------------

    def heard(self, keys: Iterable[WorkloadKey], trace: Trace) -> None:
        """These became due by a message with this trace context."""
        now = perf_counter()
        for key in keys:
            known = self._causes.get(key)
            self._causes[key] = _Cause(now, joined(known.traces if known else (), trace))
        self.wake()

    def wake(self) -> None:
        self._due.set()

    async def idle(self) -> None:
        """Wait until nothing is due nor in flight, or long enough."""
        with anyio.move_on_after(SETTLED):
            while self._due.is_set() or self._unsent:
                await self._moved.wait()

    async def settled(self, key: WorkloadKey) -> None:
        """Wait until the object is neither due nor in flight, or long enough."""
        with anyio.move_on_after(SETTLED):
            while key in self._causes or key in self._unsent:
                await self._moved.wait()

    def gone(self, key: WorkloadKey) -> None:
        """The object is no more."""
        self._causes.pop(key, None)
        self._stories.gone(key)
        self._count(key, 0)

    def placed(self, placement: Placement) -> None:
        """It is in force and was decided by a former leader."""
        self._count(placement.ref.key, placement.pending)

    def _count(self, key: WorkloadKey, pending: int) -> None:
        self._totals.put(key, pending)
        self._metrics.pending.set(self._totals.sum)

    # -- deciding --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:  # not anyio's: here is a task per placement, and these cost half
            group.create_task(self._watch_time())
            while True:
                await self._due.wait()
                self._due.clear()
                await self._decide_all(group)
                self._causes.clear()  # they changed nothing
                self._move()

    async def _decide_all(self, group: asyncio.TaskGroup) -> None:
        taken = 0
        while True:
            await self._room.acquire()  # before deciding: what is decided must not grow old
            decision = self._state.next_decision(self._clock.now(), BREATH)
            if decision is None:
                self._room.release()
                if not self._state.is_due:
                    return
                await asyncio.sleep(0)  # many stay as they are: others get their turn all the same
                continue
            key = decision.workload.key
            before = self._state.explain(key)
            counter = before.order.counter + 1 if before else 1
            placement = self._state.assume(decision, Order(epoch=self._epoch.value, counter=counter))
            self._unsent[key] = self._unsent.get(key, 0) + 1
            cause = self._causes.pop(key, None)
            waits = before is not None and before.pending > 0
            story = self._stories.of(key, cause.traces if cause else (), waits=waits)
            group.create_task(self._send(placement, cause, story))
            taken += 1
            if taken % BREATH == 0:
                await asyncio.sleep(0)

    async def _send(self, placement: Placement, cause: _Cause | None, story: Story) -> None:
        """One at a time per object: each is fenced by the sequence of the one before."""
        key = placement.ref.key
        try:
            while (before := self._sending.get(key)) is not None:
                await before.wait()
            mine = self._sending[key] = asyncio.Event()
            self._metrics.in_flight.set(len(self._sending))
            try:
                if not self._is_overtaken(placement):
                    await self._publish(placement, cause, story)
            finally:
                del self._sending[key]
                mine.set()
        finally:
            self._room.release()
            self._unsent[key] -= 1
            if not self._unsent[key]:
                del self._unsent[key]
            self._move()

    def _is_overtaken(self, placement: Placement) -> bool:
        """While this waited for the one before, a newer decision was taken: that one is sent."""
        in_force = self._state.explain(placement.ref.key)
        return in_force is not None and placement.order < in_force.order

    async def _publish(self, placement: Placement, cause: _Cause | None, story: Story) -> None:
        key = placement.ref.key
        with deciding(placement, story) as trace:
            self._stories.told(key, trace)
            stored = await self._publisher.publish(placement, trace)
        if stored:
            self._count(key, placement.pending)
            self._metrics.decided(placement.cause, perf_counter() - cause.heard_at if cause else None)
            return
        if cause is not None:
            self._causes.setdefault(key, cause)  # it is decided again
        self.wake()

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _watch_time(self) -> None:
        while True:
            due, now = self._state.next_due(), self._clock.now()
            if due is not None and due <= now and self._state.tick(now):
                self.wake()
            await asyncio.sleep(TICK)
