"""One member's nodes as columns: what is free, less what pods hold that its capacity does not show yet.

Amounts are float64, exact below 2^52 (see `services.scheduler.core.nodes`). A row keeps its number as long as its node
exists. `layout` grows whenever rows come, go or change their class or phase: what is derived from them is stale then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias, TypeVar, cast

import numpy as np
import numpy.typing as npt

from services.scheduler.core.nodes import EMPTY, LARGEST, PHASES, Class, Floats, Indexes, clamp, class_of
from services.scheduler.core.values import HOSTNAME, PODS
from shared.contracts.capacity import NodeClass, NodeColumns
from shared.units import UNITS, Unit, unit_of

Flags: TypeAlias = npt.NDArray[np.bool_]
Amounts: TypeAlias = tuple[tuple[str, int], ...]
T = TypeVar("T")
_CODES: Final = {unit: code for code, unit in enumerate(UNITS)}
DERIVED: Final = 512  # things that are kept, each about as large as one column
MANY_CLASSES: Final = 64  # beyond, those without a node are forgotten


class Nodes:
    """total: allocatable. held: by pods that are not in `free` as told. avail: free − held."""

    def __init__(self) -> None:
        self.columns: dict[str, int] = {PODS: 0}
        self.rows: dict[str, int] = {}
        self.names: list[str] = []
        self.facts: list[Class] = []
        self.layout = 0
        self.released = False  # something that was held is free; whoever is told so sets it back
        self.total: Floats = np.zeros((4, 64))
        self.held: Floats = np.zeros((4, 64))
        self.avail: Floats = np.zeros((4, 64))
        self._phase: npt.NDArray[np.int8] = np.full(64, EMPTY, dtype=np.int8)
        self._klass: Indexes = np.zeros(64, dtype=np.intp)
        self._classes: dict[int, int] = {}  # inventory's key → our number
        self._numbers: dict[tuple[object, ...], int] = {}
        self._spare: list[int] = []
        self._holds: dict[str, dict[str, Amounts]] = {}  # node → pod's uid → amounts
        self._derived: dict[object, tuple[int, object]] = {}

    @property
    def top(self) -> int:
        """Length of every column that is handed out: rows in use, and empty ones between them."""
        return len(self.names)

    @property
    def phase(self) -> npt.NDArray[np.int8]:
        return self._phase[: self.top]

    @property
    def klass(self) -> Indexes:
        """A number into `facts`."""
        return self._klass[: self.top]

    # -- what the member tells -------------------------------------------------------------------------------

    def knows(self, classes: Mapping[int, NodeClass], columns: Sequence[NodeColumns], *, whole: bool) -> bool:
        """Whether every class that the columns name is told."""
        return all(
            key in classes or (not whole and key in self._classes) for part in columns for key in set(part.classes)
        )

    def gone(self, columns: Sequence[NodeColumns], removed: Iterable[str] | None) -> list[str]:
        """Known nodes that a revision takes away. removed: None for all that the columns do not name."""
        named = {name for part in columns for name in part.names}
        return sorted(name for name in (self.rows.keys() - named if removed is None else removed) if name in self.rows)

    def write(
        self, classes: Mapping[int, NodeClass], columns: Sequence[NodeColumns], gone: Sequence[str], *, whole: bool
    ) -> set[str]:
        """One revision. whole: classes that are not told are no more.

        Returns the nodes that are new, or of another class or phase.
        """
        self._take_classes(classes, forget=whole)
        for name in gone:
            self._drop(name)
        touched: set[str] = set()
        for part in columns:
            if part.names:
                self._write_part(part, touched)
        if len(self.facts) > max(MANY_CLASSES, 4 * len(self._classes)):
            self._forget_classes()
        return touched

    def _take_classes(self, classes: Mapping[int, NodeClass], *, forget: bool) -> None:
        if forget:
            self._classes.clear()
        for key, node in classes.items():
            labels, taints, unschedulable = class_of(node)
            identity = (tuple(sorted(labels.items())), taints, unschedulable)
            number = self._numbers.setdefault(identity, len(self.facts))
            if number == len(self.facts):
                self.facts.append(Class(labels, taints, unschedulable))
            self._classes[key] = number

    def _forget_classes(self) -> None:
        used = sorted({*self._classes.values(), *self.klass[self.phase != EMPTY].tolist()})
        anew = {old: number for number, old in enumerate(used)}
        numbers = np.zeros(len(self.facts), dtype=np.intp)
        numbers[used] = range(len(used))
        self._klass = numbers[self._klass]
        self.facts = [self.facts[old] for old in used]
        self._numbers = {identity: anew[old] for identity, old in self._numbers.items() if old in anew}
        self._classes = {key: anew[old] for key, old in self._classes.items()}
        self.layout += 1

    def _drop(self, name: str) -> None:
        row = self.rows.pop(name)
        self.names[row] = ""
        self._phase[row], self._klass[row] = EMPTY, 0
        for array in (self.total, self.held, self.avail):
            array[:, row] = 0
        self._spare.append(row)
        self.layout += 1

    def _write_part(self, part: NodeColumns, touched: set[str]) -> None:
        for resource in (*part.free, *part.allocatable):
            self.column(resource)
        fresh = [name for name in part.names if name not in self.rows]
        rows = np.array([self._row(name) for name in part.names], dtype=np.intp)
        klass = np.array([self._classes[key] for key in part.classes], dtype=np.intp)
        phase = np.array([PHASES[name] for name in part.phases], dtype=np.int8)
        moved = (self._klass[rows] != klass) | (self._phase[rows] != phase)
        if moved.any():
            self.layout += 1
            touched.update(part.names[position] for position in np.flatnonzero(moved).tolist())
        touched.update(fresh)
        free = np.zeros((len(self.total), len(rows)))
        for resource, column in clamp(part.free).items():
            free[self.columns[resource]] = column
        self.avail[:, rows] = free - self.held[:, rows]
        self._klass[rows], self._phase[rows] = klass, phase
        self.total[:, rows] = 0
        for resource, column in clamp(part.allocatable).items():
            self.total[self.columns[resource], rows] = column

    def _row(self, name: str) -> int:
        row = self.rows.get(name)
        if row is not None:
            return row
        name = sys.intern(name)
        if self._spare:
            row = self._spare.pop()
            self.names[row] = name
        else:
            row = len(self.names)
            self.names.append(name)
            if row >= len(self._phase):
                self._widen()
        self.rows[name] = row
        self.layout += 1
        for amounts in self._holds.get(name, {}).values():
            self._take(row, amounts, 1)
        return row

    def _widen(self) -> None:
        more = len(self._phase)
        blank = np.zeros((len(self.total), more))
        self.total, self.held, self.avail = (np.hstack([a, blank]) for a in (self.total, self.held, self.avail))
        self._phase = np.concatenate([self._phase, np.full(more, EMPTY, dtype=np.int8)])
        self._klass = np.concatenate([self._klass, np.zeros(more, dtype=np.intp)])

    def column(self, resource: str) -> int:
        found = self.columns.get(resource)
        if found is None:
            found = self.columns[sys.intern(resource)] = len(self.columns)
            if found >= len(self.total):
                blank = np.zeros((len(self.total), len(self._phase)))
                self.total, self.held, self.avail = (np.vstack([a, blank]) for a in (self.total, self.held, self.avail))
        return found

    # -- what pods hold --------------------------------------------------------------------------------------

    def hold(self, uid: str, node: str, amounts: Amounts) -> None:
        """The pod takes this of the node, and the member's capacity does not show it. Once more replaces."""
        of_node = self._holds.setdefault(node, {})
        row = self.rows.get(node)
        if row is not None:
            self._take(row, of_node.get(uid, ()), -1)
            self._take(row, amounts, 1)
        of_node[uid] = amounts

    def release(self, uid: str, node: str) -> Amounts | None:
        """The capacity shows it now, or it never came to be. What was held; None for nothing."""
        of_node = self._holds.get(node)
        amounts = of_node.pop(uid, None) if of_node else None
        if of_node is None or amounts is None:
            return None
        if not of_node:
            del self._holds[node]
        row = self.rows.get(node)
        if row is not None:
            self._take(row, amounts, -1)
            self.released = True
        return amounts

    def _take(self, row: int, amounts: Amounts, sign: int) -> None:
        for resource, amount in amounts:
            column = self.column(resource)  # may replace the arrays
            self.held[column, row] += sign * min(amount, LARGEST)
            self.avail[column, row] -= sign * min(amount, LARGEST)

    def grew_since(self, avail: Floats) -> bool:
        """Whether a node has more free of anything than there was then. avail: as it was."""
        here = self.avail[: avail.shape[0], : avail.shape[1]]
        return bool((here > avail).any())

    def shift(self, row: int, amounts: Amounts, sign: int) -> None:
        """In thought: so much more, or less, is free there. Undo it before anything is written."""
        for resource, amount in amounts:
            self.avail[self.columns[resource], row] += sign * amount

    # -- reading ---------------------------------------------------------------------------------------------

    def derived(self, key: object, compute: Callable[[], T]) -> T:
        """What `compute` makes of classes, phases and names; kept until one of them changes."""
        found = self._derived.get(key)
        if found is None or found[0] != self.layout:
            if len(self._derived) >= DERIVED:
                self._derived.clear()
            found = self._derived[key] = (self.layout, compute())
        return cast(T, found[1])

    def line(self, array: Floats, resource: str) -> Floats:
        """One resource's column of `avail` or `total`; zeros where no node has any."""
        column = self.columns.get(resource)
        return np.zeros(self.top) if column is None else array[column, : self.top]

    def by_class(self, judge: Callable[[Class], bool]) -> Flags:
        """One flag per row, by its class alone; empty rows say no."""
        verdicts = np.array([judge(facts) for facts in self.facts] or [False], dtype=np.bool_)
        flags: Flags = verdicts[self.klass] & (self.phase != EMPTY)
        return flags

    def unit(self, row: int) -> Unit:
        return UNITS[int(self.units[row])]

    @property
    def units(self) -> npt.NDArray[np.int8]:
        """Of each row, as a position in UNITS."""

        def compute() -> npt.NDArray[np.int8]:
            codes = np.array([_CODES[unit_of(facts.labels)] for facts in self.facts] or [0], dtype=np.int8)
            return codes[self.klass]

        return self.derived("units", compute)

    def label(self, row: int, key: str) -> str | None:
        value = self.facts[int(self._klass[row])].labels.get(key)
        return self.names[row] if value is None and key == HOSTNAME else value

    def domains(self, key: str) -> tuple[Indexes, int]:
        """For each row the number of its domain of this topology, −1 for none; and how many domains there are."""
        return self.derived(("domains", key), lambda: self._domains(key))

    def _domains(self, key: str) -> tuple[Indexes, int]:
        present = self.phase != EMPTY
        if key == HOSTNAME and not any(HOSTNAME in facts.labels for facts in self.facts):
            return np.where(present, np.arange(self.top), -1), self.top
        numbers: dict[str, int] = {}
        found = np.full(self.top, -1, dtype=np.intp)
        for row in np.flatnonzero(present).tolist():
            value = self.label(row, key)
            if value is not None:
                found[row] = numbers.setdefault(value, len(numbers))
        return found, len(numbers)

    @property
    def rank(self) -> Indexes:
        """The place of each row when all are sorted by name: what decides between equals."""

        def compute() -> Indexes:
            order = sorted(range(self.top), key=self.names.__getitem__)
            places = np.empty(self.top, dtype=np.intp)
            places[order] = np.arange(self.top)
            return places

        return self.derived("rank", compute)
