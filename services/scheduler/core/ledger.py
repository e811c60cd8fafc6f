"""What changed on the rows, in order, so that whoever keeps totals can bring them up to date when asked for them.

A change is two entries: the row as it was, taken away, and as it is, added. They are kept for a while only; who has
not looked for longer computes afresh.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from services.scheduler.core.nodes import KIND_OF, KINDS, Classes, Floats, Indexes, Nodes

MANY: Final = 64  # touches
KEPT: Final = 65_536  # entries, two per change; a full ledger forgets the older half


@dataclass(frozen=True, slots=True)
class State:
    """Rows at one moment, one position each."""

    amounts: Floats  # resources × rows
    times: Floats
    cells: Indexes
    klass: Indexes

    def more_than(self, before: State) -> npt.NDArray[np.bool_]:
        """Where some shape may find more room than before."""
        count = len(before.amounts)
        more: npt.NDArray[np.bool_] = self.times > before.times
        more |= (self.cells != before.cells) | (self.klass != before.klass)
        more |= (self.amounts[:count] > before.amounts).any(axis=0)
        more |= (self.amounts[count:] > 0).any(axis=0)  # nobody had any of it then
        return more

    def at(self, positions: npt.NDArray[np.bool_]) -> State:
        return State(self.amounts[:, positions], self.times[positions], self.cells[positions], self.klass[positions])


class Ledger:
    """`touch` rows before changing them, `flush` when done. Rows are global numbers.

    Entries `start` ≤ n < `end` are there; entry n is at position n − start of the columns: amounts (resources ×
    entries), times (nodes that the row stands for, negative where taken away), cells (of member and kind of room)
    and klass.
    """

    def __init__(self, nodes: Nodes, classes: Classes, kept: int) -> None:
        self._nodes = nodes
        self._classes = classes
        self._kept = kept
        self.amounts: Floats = np.zeros((len(nodes.avail), kept))
        self.times: Floats = np.zeros(kept)
        self.cells: Indexes = np.zeros(kept, dtype=np.intp)
        self.klass: Indexes = np.zeros(kept, dtype=np.intp)
        self.start = self.end = 0
        self.changed: Indexes = np.zeros(16, dtype=np.intp)  # by member number: end of its last change
        self.telling = False  # whether what grew is remembered
        self._grown: list[tuple[State, State]] = []  # rows that may have more room: before and after
        self._touched: list[tuple[Indexes, State]] = []
        self._retired: deque[tuple[int, int]] = deque()  # (end, class): used again once the entries before are gone

    def fit_members(self, count: int) -> None:
        """Room for so many members."""
        if count > len(self.changed):
            self.changed = np.concatenate([self.changed, np.zeros(count, dtype=np.intp)])

    # -- changing rows -----------------------------------------------------------------------------------

    def touch(self, rows: Indexes) -> None:
        """rows: each at most once."""
        nodes = self._nodes
        dirty = nodes.dirty.take(rows)
        if dirty.any():
            rows = rows[~dirty]
        if len(rows):
            nodes.dirty[rows] = True
            self._touched.append((rows, self._state(rows)))

    def touch_one(self, row: int) -> None:
        if not self._nodes.dirty[row]:
            self.touch(np.array([row], dtype=np.intp))

    def _state(self, rows: Indexes) -> State:
        nodes = self._nodes
        return State(
            nodes.avail[: len(nodes.columns)].take(rows, axis=1),
            nodes.weight.take(rows),
            nodes.owner.take(rows) * KINDS + KIND_OF.take(nodes.phase.take(rows)),
            nodes.klass.take(rows),
        )

    def flush_many(self) -> None:
        """`flush`, if much is touched: whoever asks next is not to wait for all that changed while nobody did."""
        if len(self._touched) >= MANY:
            self.flush()

    def flush(self) -> None:
        """Writes down what became of the rows touched."""
        if self._touched:
            rows, before = self._all_touched()
            self._touched = []
            self._nodes.dirty[rows] = False
            after = self._state(rows)
            self._enter(before, -before.times)
            self._enter(after, after.times)
            self.changed[after.cells // KINDS] = self.end
            if self.telling and (more := after.more_than(before)).any():
                self._grown.append((before.at(more), after.at(more)))
        if self._classes.freed or self._retired:
            self._retire_classes()

    def _all_touched(self) -> tuple[Indexes, State]:
        """Each row once."""
        if len(self._touched) == 1:
            return self._touched[0]
        states = [state for _, state in self._touched]
        return np.concatenate([rows for rows, _ in self._touched]), _together(states, len(self._nodes.columns))

    def take_grown(self) -> list[tuple[State, State]]:
        """Rows that may have more room than before, before and after: what there is of it since the last call."""
        grown, self._grown = self._grown, []
        if not grown:
            return []
        befores, afters = zip(*grown, strict=True)
        columns = len(self._nodes.columns)
        return [(_together(befores, columns), _together(afters, columns))]

    def _enter(self, state: State, times: Floats) -> None:
        count, columns = state.amounts.shape[1], state.amounts.shape[0]
        self._make_room(count)
        if count <= self._kept:
            here = slice(self.end - self.start, self.end - self.start + count)
            self._fit_columns(columns)
            self.amounts[:columns, here] = state.amounts
            self.amounts[columns:, here] = 0.0  # that came later
            self.times[here], self.cells[here], self.klass[here] = times, state.cells, state.klass
        self.end += count
        if count > self._kept:
            self.start = self.end

    def _make_room(self, more: int) -> None:
        """A full ledger forgets the older half, or everything where that is not enough."""
        last = self.end - self.start
        if last + more <= self._kept:
            return
        keep = min(last, self._kept // 2) if more <= self._kept // 2 else 0
        for array in (self.amounts, self.times, self.cells, self.klass):
            array[..., :keep] = array[..., last - keep : last].copy()
        self.start = self.end - keep

    def _fit_columns(self, count: int) -> None:
        if count > len(self.amounts):
            self.amounts = np.concatenate([self.amounts, np.zeros((count, self._kept))])

    def _retire_classes(self) -> None:
        self._retired.extend((self.end, number) for number in self._classes.freed)
        self._classes.freed.clear()
        while self._retired and self._retired[0][0] <= self.start:
            self._classes.reuse(self._retired.popleft()[1])


def _together(states: Sequence[State], columns: int) -> State:
    """One after the other; of resources that came later there was nothing."""
    amounts = np.zeros((columns, sum(len(state.times) for state in states)))
    last = 0
    for state in states:
        first, last = last, last + len(state.times)
        amounts[: len(state.amounts), first:last] = state.amounts
    return State(
        amounts,
        np.concatenate([state.times for state in states]),
        np.concatenate([state.cells for state in states]),
        np.concatenate([state.klass for state in states]),
    )
