"""Who waits for room, and who is woken by it.

Work comes in three lanes: what people or members changed (`due`), what has to be looked at again because a member
or policy changed (`again`), and workloads with pending replicas for which room appeared. The first goes first, so
that a new workload does not wait behind a backlog; every fourth turn goes to the others, so that they move on.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right, insort
from collections.abc import Callable, KeysView
from typing import TypeAlias

from services.scheduler.core.values import Shape, WorkloadKey

_Place: TypeAlias = tuple[int, int, WorkloadKey]  # (-priority, since, key)
TURN = 4


class Lane:
    """Keys, each once, by priority and then by arrival."""

    def __init__(self) -> None:
        self._heap: list[_Place] = []
        self._keys: dict[WorkloadKey, int] = {}
        self._count = 0

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, key: WorkloadKey, priority: int) -> None:
        if key not in self._keys:
            self._count += 1
            self._keys[key] = self._count
            heapq.heappush(self._heap, (-priority, self._count, key))

    def discard(self, key: WorkloadKey) -> None:
        self._keys.pop(key, None)  # its place in the heap is passed over later

    def pop(self) -> WorkloadKey | None:
        while self._heap:
            _, count, key = heapq.heappop(self._heap)
            if self._keys.get(key) == count:
                del self._keys[key]
                return key
        return None


class Waiting:
    """Workloads that wait for room, by shape. `wants(key, member)`: whether room there would be of use to it."""

    def __init__(self, watch: Callable[[Shape, int], None], has_room: Callable[[Shape, int], bool]) -> None:
        self._watch = watch
        self._has_room = has_room
        self._by_shape: dict[Shape, list[_Place]] = {}
        self._places: dict[WorkloadKey, tuple[_Place, tuple[Shape, ...]]] = {}
        self._grants: dict[tuple[Shape, int], _Place | None] = {}
        self._since = 0

    def __contains__(self, key: object) -> bool:
        return key in self._places

    def __len__(self) -> int:
        return len(self._places)

    def members(self) -> KeysView[WorkloadKey]:
        """All that wait, in no order."""
        return self._places.keys()

    def keys(self) -> list[WorkloadKey]:
        """In the order in which they are served."""
        return [place[2] for place in sorted(place for place, _ in self._places.values())]

    def put(self, key: WorkloadKey, priority: int, shapes: tuple[Shape, ...]) -> None:
        """Waits from now on, or goes on waiting at its place."""
        known = self._places.get(key)
        if known is not None and known[1] == shapes and known[0][0] == -priority:
            return
        if known is not None:
            self.discard(key)
        self._since += 1
        place = (-priority, known[0][1] if known is not None else self._since, key)
        self._places[key] = (place, shapes)
        for shape in shapes:
            insort(self._by_shape.setdefault(shape, []), place)
            self._watch(shape, 1)

    def discard(self, key: WorkloadKey) -> None:
        known = self._places.pop(key, None)
        if known is None:
            return
        place, shapes = known
        for shape in shapes:
            line = self._by_shape[shape]
            del line[bisect_right(line, place) - 1]
            if not line:
                del self._by_shape[shape]
            self._watch(shape, -1)

    def grant(self, shape: Shape, member: int) -> None:
        """Room for the shape grew there: whoever waits is served in order, as long as room is left."""
        if shape in self._by_shape:
            self._grants[shape, member] = None

    @property
    def is_granted(self) -> bool:
        """Room grew for somebody who waits, and not all have had their turn."""
        return bool(self._grants)

    def pop(self, wants: Callable[[WorkloadKey, int], bool]) -> WorkloadKey | None:
        """The next one that could use room that grew. One that got it and is gone from here counts as served."""
        while self._grants:
            (shape, member), last = next(iter(self._grants.items()))
            line = self._by_shape.get(shape, [])
            position = 0 if last is None else bisect_right(line, last)
            if not self._has_room(shape, member):
                position = len(line)
            while position < len(line) and not wants(line[position][2], member):
                position += 1
            if position < len(line):
                self._grants[shape, member] = line[position]
                return line[position][2]
            del self._grants[shape, member]
        return None
