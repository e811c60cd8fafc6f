"""Where room grew, for the shapes that somebody waits for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from services.scheduler.core import fits
from services.scheduler.core.ledger import Ledger, State
from services.scheduler.core.nodes import KINDS, Floats, Nodes, Table
from services.scheduler.core.shapes import Shapes
from services.scheduler.core.values import Shape

_ENOUGH = 1e300


class Growth:
    """`watch` shapes, and `take` where there is more room for them, row by row, than before."""

    def __init__(self, nodes: Nodes, shapes: Shapes, ledger: Ledger) -> None:
        self._nodes = nodes
        self._shapes = shapes
        self._ledger = ledger
        self._watched: dict[Shape, int] = {}
        self._grown: set[tuple[Shape, int]] = set()
        shapes.pinned = self._watched

    def watch(self, shape: Shape, change: int) -> None:
        """One more (or less) waits for this shape."""
        count = self._watched.get(shape, 0) + change
        if count > 0:
            self._watched[shape] = count
        else:
            self._watched.pop(shape, None)
        if bool(self._watched) != self._ledger.telling:
            self.listen(True)

    def listen(self, listening: bool) -> None:
        """Whether what changes from now on counts, where anybody waits at all."""
        self._ledger.flush()
        self._ledger.telling = listening and bool(self._watched)

    def take(self) -> set[tuple[Shape, int]]:
        """(shape, member number): where room grew since the last call."""
        if self._watched:
            self._ledger.flush()
            self._look()
        grown, self._grown = self._grown, set()
        return grown

    def _look(self) -> None:
        changes, self._ledger.grown = self._ledger.grown, []
        if not changes:
            return
        watched = list(self._watched)
        for first in range(0, len(watched), self._shapes.limit):
            group = _Group(self._nodes, self._shapes, watched[first : first + self._shapes.limit])
            for before, after in changes:
                members = (after.cells // KINDS).tolist()
                for position, place in np.argwhere(group.grew(before, after)).tolist():
                    self._grown.add((group.shapes[position], members[place]))

    def invalidate(self, table: Table) -> None:
        """Too much of the member changed for the ledger: totals are computed anew when asked for, or now where
        somebody waits."""
        shapes, member = self._shapes, table.number
        cells = slice(member * KINDS, (member + 1) * KINDS)
        stale = np.ones(shapes.limit, dtype=np.bool_)
        for shape in self._watched:
            slot = shapes.slot(shape)
            shapes.catch_up(slot)
            before = shapes.totals[slot, cells] * shapes.known[slot, member]
            shapes.evaluate(slot, [member])
            stale[slot] = False
            if (shapes.totals[slot, cells] > before).any():
                self._grown.add((shape, member))
        shapes.known[stale, member] = False


class _Group:
    """As many shapes as are kept at once, for rows where they may have more room than before."""

    def __init__(self, nodes: Nodes, shapes: Shapes, group: Sequence[Shape]) -> None:
        self._kept = shapes
        self.shapes = group
        self._slots = [shapes.slot(shape) for shape in group]
        self._named = [fits.asks_for_names(shape) for shape in group]
        self._asked = np.ones((len(group), len(nodes.columns)))
        self._unasked = np.full((len(group), len(nodes.columns)), _ENOUGH)
        for number, shape in enumerate(group):
            for resource, amount in shape.requests:
                column = nodes.columns.get(resource)
                if column is None:  # nobody has any of it
                    self._unasked[number] = -_ENOUGH
                    break
                self._asked[number, column] = float(amount)
                self._unasked[number, column] = 0.0

    def grew(self, before: State, after: State) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
        """(shapes × rows), room of another kind included. Of a shape that names nodes it is not known: yes."""
        counts = self._counts(after)
        more: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = counts > self._counts(before)
        more |= (counts > 0) & (after.cells != before.cells)
        more[self._named] = True
        return more

    def _counts(self, state: State) -> Floats:
        counts: Floats = np.full((len(self.shapes), len(state.times)), _ENOUGH)
        for column in range(self._asked.shape[1]):
            line = state.amounts[column] if column < len(state.amounts) else 0.0  # nobody had any of it then
            quotients = line / self._asked[:, column, None] + self._unasked[:, column, None]
            np.minimum(counts, quotients, out=counts)
        np.maximum(np.floor(counts), 0.0, out=counts)
        counts *= self._kept.matching(self._slots, state.klass)
        counts *= state.times
        return counts
