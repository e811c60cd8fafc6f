"""Whose turn it is: workloads with something to decide, and what becomes due by time alone."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from services.scheduler.core.values import Shape, WorkloadKey
from services.scheduler.core.waking import TURN, Lane, Waiting


class Turns:
    """waiting: who waits for room. wants(key, member number): whether room there would be of use to a workload."""

    def __init__(
        self,
        watch: Callable[[Shape, int], None],
        has_room: Callable[[Shape, int], bool],
        wants: Callable[[WorkloadKey, int], bool],
    ) -> None:
        self.waiting = Waiting(watch, has_room)
        self._wants = wants
        self._due, self._again = Lane(), Lane()
        self._turn = 0
        self._timers: list[tuple[float, WorkloadKey]] = []
        self._timed: set[tuple[float, WorkloadKey]] = set()  # those in the heap
        self._alarms: dict[WorkloadKey, float] = {}  # due then, whether it waits for room or not

    # -- lanes -------------------------------------------------------------------------------------------

    def put(self, key: WorkloadKey, priority: int) -> None:
        """Something about it changed."""
        self._again.discard(key)
        self._due.put(key, priority)

    def put_again(self, key: WorkloadKey, priority: int) -> None:
        """Something around it changed."""
        if key not in self._due:
            self._again.put(key, priority)

    def was_decided(self, key: WorkloadKey) -> None:
        """What made it due is decided already, as a stored placement shows."""
        self._due.discard(key)

    def discard(self, key: WorkloadKey) -> None:
        """It is no more."""
        for lane in (self._due, self._again, self.waiting):
            lane.discard(key)
        self._alarms.pop(key, None)

    @property
    def is_due(self) -> bool:
        """Something may be left to decide."""
        return bool(self._due or self._again or self.waiting.is_granted)

    def next(self) -> WorkloadKey | None:
        """Whose turn it is; None when nobody's."""
        self._turn += 1
        order = (self._due.pop, self._again.pop, self._pop_waiting)
        if self._turn % TURN == 0:
            order = (self._pop_waiting, self._again.pop, self._due.pop)
        elif self._turn % TURN == TURN // 2:
            order = (self._again.pop, self._due.pop, self._pop_waiting)
        for pop in order:
            key = pop()
            if key is not None:
                return key
        return None

    def _pop_waiting(self) -> WorkloadKey | None:
        return self.waiting.pop(self._wants)

    # -- time --------------------------------------------------------------------------------------------

    def set_alarm(self, key: WorkloadKey, at: float | None) -> None:
        """Due then, in place of what was set before; None for no more."""
        if at is None:
            self._alarms.pop(key, None)
        elif self._alarms.get(key) != at:
            self._alarms[key] = at
            self._set(at, key)

    def set_timers(self, key: WorkloadKey, times: Iterable[float]) -> None:
        """Due at each of these times at which it waits for room."""
        for at in times:
            self._set(at, key)

    def _set(self, at: float, key: WorkloadKey) -> None:
        if (at, key) not in self._timed:
            self._timed.add((at, key))
            heapq.heappush(self._timers, (at, key))

    def ripe(self, now: float) -> list[WorkloadKey]:
        """Those whose time has come."""
        found: list[WorkloadKey] = []
        while self._timers and self._timers[0][0] <= now:
            at, key = timer = heapq.heappop(self._timers)
            self._timed.discard(timer)
            if self._alarms.get(key) == at:
                del self._alarms[key]
                found.append(key)
            elif key in self.waiting:
                found.append(key)
        return found

    def next_at(self) -> float | None:
        """Unix seconds of the next time that matters."""
        return self._timers[0][0] if self._timers else None
