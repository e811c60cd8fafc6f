"""The keys that wait for one member: fresh ones in order of arrival, others at their time."""

from __future__ import annotations

import heapq
import itertools
from typing import TypeAlias

SLACK = 64  # outdated entries of the heap that are not worth a clean-up
Key: TypeAlias = tuple[str, str, str, str]  # (kind, group, namespace, name)


class WorkQueue:
    """Each key waits at most once and is given out at most once at a time. Times are a monotonic clock's seconds.

    A key that is added while it is in hand comes again when it is done: newest wins, nothing is lost.
    """

    def __init__(self) -> None:
        self._fresh: dict[Key, None] = {}
        self._at: dict[Key, float] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._in_hand: set[Key] = set()
        self._again: set[Key] = set()
        self._ticket = itertools.count()

    def __len__(self) -> int:
        """How many wait and are due: those whose time has not come do not count."""
        return len(self._fresh) + len(self._again)

    def waiting(self) -> list[Key]:
        """Those that are due."""
        return [*self._fresh, *self._again]

    def add(self, key: Key) -> None:
        """Now, whatever time it waited for."""
        self._at.pop(key, None)
        if key in self._in_hand:
            self._again.add(key)
        else:
            self._fresh[key] = None

    def add_at(self, key: Key, at: float) -> None:
        """At that time, unless it waits already for now. Not for a key in hand: it is `done` first."""
        if key in self._fresh or key in self._again:
            return
        self._at[key] = at
        heapq.heappush(self._heap, (at, next(self._ticket), key))
        if len(self._heap) > 2 * len(self._at) + SLACK:
            self._heap = [entry for entry in self._heap if self._at.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def discard(self, key: Key) -> None:
        self._at.pop(key, None)
        self._fresh.pop(key, None)
        self._again.discard(key)

    def take(self, now: float) -> Key | None:
        """The next key that is due, fresh ones first; it is in hand until `done`."""
        key = next(iter(self._fresh), None) or self._overdue(now)
        if key is not None:
            self.discard(key)
            self._in_hand.add(key)
        return key

    def done(self, key: Key) -> None:
        self._in_hand.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def next_at(self) -> float | None:
        """When the next key is due; −inf where one is now."""
        if self._fresh:
            return float("-inf")
        self._drop_outdated()
        return self._heap[0][0] if self._heap else None

    def _overdue(self, now: float) -> Key | None:
        self._drop_outdated()
        if self._heap and self._heap[0][0] <= now:
            return self._heap[0][2]
        return None

    def _drop_outdated(self) -> None:
        """Entries of the heap whose key was moved, taken or discarded in the meantime."""
        while self._heap:
            at, _, key = self._heap[0]
            if self._at.get(key) == at:
                return
            heapq.heappop(self._heap)
