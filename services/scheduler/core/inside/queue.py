"""Whose turn it is: pods by priority and age, equal ones in one line; who found no place sleeps until it may help.

A pod that fits nowhere speaks for all that are equal to it: its line is tried again by its first pod, when something
happened that could help and its back-off is over (1 s, doubling to 10 s, as kube-scheduler's), and now and then anyway.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Flag, auto
from typing import Final, TypeAlias

from services.scheduler.core.inside.records import PodRecord

FIRST_BACKOFF: Final = 1.0  # seconds
LONGEST_BACKOFF: Final = 10.0
ANYWAY: Final = 60.0  # seconds after which a line is tried again though nothing is known to have helped

Kind: TypeAlias = tuple[Hashable, ...]  # equal for pods that would be decided alike
_Place: TypeAlias = tuple[float, str, str, str]  # (created_at, namespace, name, uid)


class Help(Flag):
    """What could make room for a pod that waits."""

    NOTHING = 0
    NODES = auto()  # nodes came, grew or changed
    ARRIVED = auto()  # a pod is on a node that was not
    LEFT = auto()  # a pod is on no node any more, or on its way out
    SALES = auto()  # stock or prices of virtual nodes changed


@dataclass(slots=True, eq=False)
class Line:
    """Equal pods of one member, the oldest first. told: (code, message) of its last failure, while it holds."""

    key: Kind
    member: str
    priority: int
    places: list[_Place] = field(default_factory=list)
    records: dict[str, PodRecord] = field(default_factory=dict)
    attempts: int = 0
    turn: int = 0  # counts what was scheduled for it: only the newest counts
    wants: Help = Help.NOTHING
    retry_at: float = 0.0
    asleep: bool = False
    told: tuple[str, str] | None = None

    @property
    def first(self) -> PodRecord:
        return self.records[self.places[0][3]]

    def __iter__(self) -> Iterator[PodRecord]:
        return (self.records[place[3]] for place in self.places)


class Queue:
    """Lines that are due, and lines that sleep. A pod is in at most one."""

    def __init__(self) -> None:
        self._lines: dict[Kind, Line] = {}
        self._of: dict[PodRecord, tuple[Line, _Place]] = {}
        self._due: list[tuple[int, _Place, int, int, Line]] = []  # (-priority, its first, count, turn, line)
        self._alarms: list[tuple[float, int, int, Line]] = []  # (at, count, turn, line)
        self._sleepers: dict[str, dict[Line, None]] = {}
        self._count = 0

    def __len__(self) -> int:
        """Pods that wait."""
        return len(self._of)

    def __contains__(self, record: PodRecord) -> bool:
        return record in self._of

    def put(self, record: PodRecord, key: Kind) -> Line:
        """The pod waits in the line of this key; a line that sleeps goes on sleeping."""
        known = self.line_of(record)
        if known is not None and known.key == key:
            return known
        self.discard(record)
        pod = record.pod
        place = (pod.created_at, pod.namespace, pod.name, pod.uid)
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key, pod.member, pod.priority)
        insort(line.places, place)
        line.records[record.uid] = record
        self._of[record] = (line, place)
        if not line.asleep and line.places[0] == place:
            self._push(line)
        return line

    def discard(self, record: PodRecord) -> None:
        line, place = self._of.pop(record, (None, None))
        if line is None or place is None:
            return
        was_first = line.places[0] == place
        del line.places[bisect_left(line.places, place)]
        del line.records[record.uid]
        if not line.places:
            del self._lines[line.key]
            self._sleepers.get(line.member, {}).pop(line, None)
        elif was_first and not line.asleep:
            self._push(line)

    def line_of(self, record: PodRecord) -> Line | None:
        found = self._of.get(record)
        return found[0] if found is not None else None

    def _push(self, line: Line) -> None:
        line.asleep = False
        line.turn += 1
        self._sleepers.get(line.member, {}).pop(line, None)
        self._count += 1
        heapq.heappush(self._due, (-line.priority, line.places[0], self._count, line.turn, line))

    # -- turns -----------------------------------------------------------------------------------------------

    def pop(self, now: float) -> Line | None:
        """The next line whose first pod is to be tried. Say afterwards how that ended: `goes_on` or `sleeps`."""
        while self._alarms and self._alarms[0][0] <= now:
            _, _, turn, line = heapq.heappop(self._alarms)
            if line.asleep and line.turn == turn and line.places:
                self._push(line)
        while self._due:
            *_, turn, line = heapq.heappop(self._due)
            if line.turn == turn and not line.asleep and self._lines.get(line.key) is line:
                return line
        return None

    def goes_on(self, line: Line) -> None:
        """Its first pod found a place, or left it otherwise: the next one is due."""
        line.attempts, line.told = 0, None
        if line.places:
            self._push(line)

    def sleeps(
        self, line: Line, now: float, wants: Help, told: tuple[str, str] | None, again_at: float | None = None
    ) -> None:
        """Its first pod found no place, nor would the others. again_at: when time alone may help."""
        line.attempts += 1
        backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(line.attempts - 1, 10))
        line.retry_at, line.wants, line.told, line.asleep = now + backoff, wants, told, True
        line.turn += 1
        self._sleepers.setdefault(line.member, {})[line] = None
        self._alarm(line, now + ANYWAY)
        if again_at is not None:
            self._alarm(line, max(now, again_at))

    def parks(self, line: Line) -> None:
        """Nothing can be decided in its member now: it sleeps until `rouse`."""
        line.asleep, line.wants = True, Help.NOTHING
        line.turn += 1
        self._sleepers.setdefault(line.member, {})[line] = None

    def wake(self, member: str, help_: Help) -> None:
        """Something happened there: whom it may help is due when its back-off is over."""
        for line in [line for line in self._sleepers.get(member, ()) if line.wants & help_]:
            line.wants = Help.NOTHING
            self._alarm(line, line.retry_at)

    def rouse(self, lines: Iterable[Line]) -> None:
        """What they are tried by is another now: they are due at once, as if for the first time."""
        for line in list(lines):
            if line.asleep:
                line.attempts, line.told = 0, None
                self._push(line)

    def lines(self, member: str) -> list[Line]:
        return [line for line in self._lines.values() if line.member == member]

    def next_due(self) -> float | None:
        """When time alone makes a line due; the past where one is already."""
        if any(not line.asleep and line.turn == turn for *_, turn, line in self._due[:1]):
            return float("-inf")
        return self._alarms[0][0] if self._alarms else None

    def _alarm(self, line: Line, at: float) -> None:
        self._count += 1
        heapq.heappush(self._alarms, (at, self._count, line.turn, line))
