"""The one loop in which a member's controllers run.

A controller is a function of a key; it looks at the store and writes what should be different. Keys are
queued once however often they are asked for, at once or at a fleet time. All reconciling is synchronous, so
each step sees and leaves a consistent store.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
from collections import deque
from collections.abc import Callable, Hashable

from shared.clock import Clock

logger = logging.getLogger(__name__)

BATCH = 50  # steps between two turns of the event loop, so that HTTP is served meanwhile

Reconcile = Callable[[Hashable], None]
Job = tuple[str, Hashable]


class WorkQueue:
    """Jobs are (controller name, key)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.failures = 0  # steps that raised, which none ever should
        self._controllers: dict[str, Reconcile] = {}
        self._ready: deque[Job] = deque()
        self._queued: set[Job] = set()
        self._later: list[tuple[float, int, Job]] = []
        self._due: dict[Job, float] = {}
        self._order = itertools.count()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()

    def register(self, name: str, reconcile: Callable[..., None]) -> None:
        self._controllers[name] = reconcile

    def add(self, controller: str, key: Hashable) -> None:
        """Reconcile soon."""
        job = (controller, key)
        if job not in self._queued:
            self._queued.add(job)
            self._ready.append(job)
            self._wake.set()
            self._idle.clear()

    def add_at(self, controller: str, key: Hashable, when: float) -> None:
        """Reconcile at a fleet time (Unix seconds); the earliest of several wishes holds."""
        if when <= self._clock.now():
            self.add(controller, key)
            return
        job = (controller, key)
        if self._due.get(job, float("inf")) <= when:
            return
        self._due[job] = when
        heapq.heappush(self._later, (when, next(self._order), job))
        self._wake.set()

    async def settled(self) -> None:
        """Wait until nothing is left to do at once; something may be due later."""
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._promote()
            if self._ready:
                for _ in range(min(BATCH, len(self._ready))):
                    self._step()
                await asyncio.sleep(0)
                continue
            self._wake.clear()
            self._idle.set()
            pause = None
            if self._later:
                pause = max(0.0, self._clock.real(self._later[0][0] - self._clock.now()))
            try:
                async with asyncio.timeout(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _promote(self) -> None:
        """Move what has become due to the ready jobs."""
        now = self._clock.now()
        while self._later and self._later[0][0] <= now:
            when, _, job = heapq.heappop(self._later)
            if self._due.get(job) == when:
                del self._due[job]
                self.add(*job)

    def _step(self) -> None:
        job = self._ready.popleft()
        self._queued.discard(job)
        controller, key = job
        try:
            self._controllers[controller](key)
        except Exception:  # one object that breaks its controller must not stop the cluster
            self.failures += 1
            logger.exception("controller %s failed on %s; retried in 1 s", controller, key)
            self.add_at(controller, key, self._clock.now() + 1.0)
