"""The fleet's nodes as columns: one arena of float64 arrays, a stretch of rows per member.

Amounts are whole numbers below 2^52, so float64 holds them exactly, and floor(a / b) of two such numbers is
exact too: were a/b below an integer n yet rounded up to it, 1/b would be at most n·2^-53, while n·b < 2^53.
Division and minimum then run on SIMD units, several times faster than on int64. Larger amounts are clamped:
less room is seen there, never more.

A row is a node, or the hypothetical nodes of a pool: `weight` says how many, `phase` of what kind their room is.
An empty row has nothing of anything, so that it never has room, whoever counts it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from services.scheduler.core.constraints import Taint
from services.scheduler.core.values import PODS
from shared.contracts.capacity import NodeClass, Pool

Floats: TypeAlias = npt.NDArray[np.float64]
Indexes: TypeAlias = npt.NDArray[np.intp]

READY: Final = 0
UPCOMING: Final = 1
HEADROOM: Final = 2
VIRTUAL: Final = 3
UNREADY: Final = 4
EMPTY: Final = 5
PHASES: Final = {"ready": READY, "upcoming": UPCOMING, "virtual": VIRTUAL, "unready": UNREADY}
FREE, ELASTIC, VIRTUAL_ROOM = 0, 1, 2  # the kinds of room
KINDS: Final = 3
LARGEST: Final = float(2**52)


@dataclass(frozen=True, slots=True)
class Class:
    """What scheduling asks of a node but its amounts, in core's own terms."""

    labels: dict[str, str]
    taints: tuple[Taint, ...]
    unschedulable: bool = False


class Classes:
    """Classes by number, one number for equal content; a number is used again once nothing refers to it."""

    def __init__(self) -> None:
        self.facts: list[Class] = []
        self._numbers: dict[tuple[object, ...], int] = {}
        self._keys: list[tuple[object, ...]] = []
        self._users: list[int] = []
        self._spare: list[int] = []
        self.freed: list[int] = []  # numbers without users: `Ledger` says when no change of it names them any more
        self.reused: list[int] = []  # numbers that changed their meaning since `Shapes` looked
        self.version = 0  # grows when a number changes its meaning

    def number(self, labels: dict[str, str], taints: tuple[Taint, ...], unschedulable: bool) -> int:
        """The number of this content, with one more user."""
        key = (tuple(sorted(labels.items())), taints, unschedulable)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = self._place(Class(labels, taints, unschedulable), key)
        self._users[number] += 1
        return number

    def _place(self, facts: Class, key: tuple[object, ...]) -> int:
        if self._spare:
            number = self._spare.pop()
            self.facts[number], self._keys[number] = facts, key
            self.reused.append(number)
            self.version += 1
            return number
        self.facts.append(facts)
        self._keys.append(key)
        self._users.append(0)
        return len(self.facts) - 1

    def use(self, number: int, count: int) -> None:
        """`count` more users, or fewer."""
        self._users[number] += count
        if self._users[number] == 0:
            del self._numbers[self._keys[number]]
            self.freed.append(number)

    def reuse(self, number: int) -> None:
        """Nothing refers to it any more, no remembered change either."""
        self._spare.append(number)

    def take(self, table: Table, classes: Mapping[int, NodeClass], *, forget: bool) -> None:
        """The member's class table as told. forget: those that are not told are no more."""
        old = table.classes
        if forget:
            table.classes = {}
        for key, node in classes.items():
            number = self.number(*class_of(node))
            if not forget and key in old:
                self.use(old[key], -1)
            table.classes[key] = number
        if forget:
            for number in old.values():
                self.use(number, -1)

    def count(self, table: Table, numbers: Indexes, change: int) -> None:
        """So many rows of these classes more, or fewer."""
        if len(numbers) > 64:
            values, counts = np.unique(numbers, return_counts=True)
            tally: Iterable[tuple[int, int]] = zip(values.tolist(), counts.tolist(), strict=True)
        else:
            tally = Counter(numbers.tolist()).items()
        for number, count in tally:
            had = table.used.get(number, 0)
            table.used[number] = had + change * count
            if had == 0:
                self.use(number, 1)

    def drop_unused(self, table: Table) -> None:
        for number in [number for number, count in table.used.items() if count == 0]:
            del table.used[number]
            self.use(number, -1)


def class_of(node: NodeClass) -> tuple[dict[str, str], tuple[Taint, ...], bool]:
    return node.labels, tuple(Taint(t.key, t.value, t.effect) for t in node.taints), node.unschedulable


@dataclass(slots=True)
class PoolRows:
    """A pool's headroom: one row for all nodes that nobody was promised, and one per node that somebody was."""

    pool: Pool
    main: int
    split: dict[int, None] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Table:
    """One member's stretch of the arena. Row numbers in here count from `base`."""

    member: str
    number: int  # of the member, in all arrays over members
    base: int = 0
    size: int = 0
    top: int = 0
    names: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    spare: list[int] = field(default_factory=list)
    classes: dict[int, int] = field(default_factory=dict)  # inventory's key → our number
    used: dict[int, int] = field(default_factory=dict)  # class number → rows
    pools: dict[str, PoolRows] = field(default_factory=dict)
    bound: dict[str, int] = field(default_factory=dict)
    bound_virtual: dict[str, int] = field(default_factory=dict)  # of these, on virtual nodes
    version: int = 0  # of what was told of it

    def globals(self, rows: Sequence[int] | Indexes) -> Indexes:
        return np.asarray(rows, dtype=np.intp) + self.base


class Nodes:
    """The arena. Column numbers are by resource; a node without a resource has 0 of it."""

    def __init__(self) -> None:
        self.columns: dict[str, int] = {PODS: 0}
        self.avail: Floats = np.zeros((4, 1024))  # free − what reservations hold
        self.total: Floats = np.zeros((4, 1024))  # allocatable
        self.weight: Floats = np.zeros(1024)  # nodes that the row stands for and that count as room
        self.phase: npt.NDArray[np.int8] = np.full(1024, EMPTY, dtype=np.int8)
        self.klass: Indexes = np.zeros(1024, dtype=np.intp)
        self.owner: Indexes = np.zeros(1024, dtype=np.intp)  # member number
        self.dirty: npt.NDArray[np.bool_] = np.zeros(1024, dtype=np.bool_)
        self._end = 0
        self._holes: list[tuple[int, int]] = []
        self._special: Indexes | None = None
        self.shape_version = 0  # grows with the columns

    def __len__(self) -> int:
        """Rows in use, and those in between."""
        return self._end

    def column(self, resource: str) -> int:
        found = self.columns.get(resource)
        if found is not None:
            return found
        number = self.columns[resource] = len(self.columns)
        if number >= len(self.avail):
            self.avail = _grown(self.avail, 0, len(self.avail))
            self.total = _grown(self.total, 0, len(self.total))
        self.shape_version += 1
        return number

    def make_room(self, table: Table, more: int) -> None:
        """Sees to it that `more` new rows fit the member's stretch, moving it if need be."""
        need = table.top + max(0, more - len(table.spare))
        if need <= table.size:
            return
        size = max(64, need + need // 8)
        base = self._stretch(size)
        old = slice(table.base, table.base + table.top)
        new = slice(base, base + table.top)
        for matrix in (self.avail, self.total):
            matrix[:, new] = matrix[:, old]
        for line in (self.weight, self.phase, self.klass):
            line[new] = line[old]
        self._clear(table.base, table.size)
        self.owner[base : base + size] = table.number
        table.base, table.size = base, size

    def _stretch(self, size: int) -> int:
        for position, (start, length) in enumerate(self._holes):
            if length >= size:
                self._holes[position] = (start + size, length - size)
                return start
        start, self._end = self._end, self._end + size
        capacity = len(self.phase)
        if self._end > capacity:
            more = max(self._end - capacity, capacity // 2)
            self.avail, self.total = _grown(self.avail, 1, more), _grown(self.total, 1, more)
            self.weight = np.concatenate([self.weight, np.zeros(more)])
            self.phase = np.concatenate([self.phase, np.full(more, EMPTY, dtype=np.int8)])
            self.klass = np.concatenate([self.klass, np.zeros(more, dtype=np.intp)])
            self.owner = np.concatenate([self.owner, np.zeros(more, dtype=np.intp)])
            self.dirty = np.concatenate([self.dirty, np.zeros(more, dtype=np.bool_)])
        return start

    def _clear(self, base: int, size: int) -> None:
        if size:
            self.avail[:, base : base + size] = 0
            self.weigh(slice(base, base + size), EMPTY)
            self._holes.append((base, size))

    def release(self, table: Table) -> None:
        """The member is no more."""
        self._clear(table.base, table.size)
        table.base = table.size = table.top = 0

    def new_row(self, table: Table, name: str) -> int:
        """A row for this name; call `make_room` first."""
        if table.spare:
            row = table.spare.pop()
            table.names[row] = name
        else:
            row = table.top
            table.top += 1
            table.names.append(name)
        table.rows[name] = row
        return row

    def weigh(self, rows: Indexes | slice | int, phases: npt.NDArray[np.int8] | int, count: float = 1.0) -> None:
        """Sets phase and weight of rows (global numbers). count: nodes that each stands for."""
        self.phase[rows] = phases
        self.weight[rows] = _COUNTS[phases] * count
        self._special = None

    def special(self) -> Indexes:
        """Rows that are something else than a node that is ready."""
        if self._special is None:
            phase = self.phase[: self._end]
            self._special = np.flatnonzero((phase != READY) & (phase != EMPTY))
        return self._special


KIND_OF: Final = np.array([FREE, ELASTIC, ELASTIC, VIRTUAL_ROOM, FREE, FREE], dtype=np.intp)  # by phase
_COUNTS = np.array([1, 1, 1, 1, 0, 0], dtype=np.float64)  # by phase: whether it counts as room at all


def _grown(array: Floats, axis: int, more: int) -> Floats:
    shape = list(array.shape)
    shape[axis] = more
    return np.concatenate([array, np.zeros(shape)], axis=axis)


def clamp(amounts: dict[str, list[int]] | dict[str, int]) -> dict[str, Floats]:
    """Columns of whole amounts as float64, within ±2^52."""
    return {name: np.clip(np.asarray(column, dtype=np.float64), -LARGEST, LARGEST) for name, column in amounts.items()}
