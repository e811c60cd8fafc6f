"""Where room grew, for the shapes that somebody waits for."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from services.scheduler.core.ledger import Ledger
from services.scheduler.core.nodes import KINDS, Classes, Nodes, Table
from services.scheduler.core.shapes import Shapes
from services.scheduler.core.values import Shape
from services.scheduler.core.watched import Watched


class Growth:
    """`watch` shapes, and `take` where there is more room for them, node by node, than before."""

    def __init__(self, nodes: Nodes, classes: Classes, shapes: Shapes, ledger: Ledger) -> None:
        self._shapes = shapes
        self._ledger = ledger
        self._counts: dict[Shape, int] = {}
        self._watched = Watched(nodes, classes)
        self._grown: set[tuple[Shape, int]] = set()
        shapes.pinned = self._counts

    def watch(self, shape: Shape, change: int) -> None:
        """One more (or less) waits for this shape."""
        before = self._counts.get(shape, 0)
        count = self._counts[shape] = before + change
        if before <= 0 < count:
            self._watched.add(shape)
        elif count <= 0:
            del self._counts[shape]
            if before > 0:
                self._watched.remove(shape)
        if bool(self._counts) != self._ledger.telling:
            self.listen(True)

    @property
    def watched(self) -> Iterable[Shape]:
        """Shapes that somebody waits for."""
        return self._counts.keys()

    def listen(self, listening: bool) -> None:
        """Whether what changes from now on counts, where anybody waits at all."""
        self._ledger.flush()
        self._ledger.telling = listening and bool(self._counts)

    def take(self) -> set[tuple[Shape, int]]:
        """(shape, member number): where room grew since the last call."""
        if self._counts:
            self._ledger.flush()
            self._look()
        grown, self._grown = self._grown, set()
        return grown

    def _look(self) -> None:
        for before, after in self._ledger.take_grown():
            members = (after.cells // KINDS).tolist()
            for row, place in np.argwhere(self._watched.grew(before, after)).tolist():
                self._grown.add((self._watched.shapes[row], members[place]))

    def invalidate(self, table: Table) -> None:
        """Too much of the member changed for the ledger: totals are computed anew when asked for, or now where
        somebody waits. Where more shapes are waited for than are kept, all of them are told."""
        shapes, member = self._shapes, table.number
        stale = np.ones(shapes.limit, dtype=np.bool_)
        if len(self._counts) > shapes.limit:
            self._grown.update((shape, member) for shape in self._counts)
        else:
            for shape in self._counts:
                slot = shapes.slot(shape)
                stale[slot] = False
                if self._evaluate(slot, member):
                    self._grown.add((shape, member))
        shapes.known[stale, member] = False

    def _evaluate(self, slot: int, member: int) -> bool:
        """Whether there is more than before, of any kind."""
        shapes, cells = self._shapes, slice(member * KINDS, (member + 1) * KINDS)
        shapes.catch_up(slot)
        before = shapes.totals[slot, cells] * shapes.known[slot, member]
        shapes.evaluate(slot, [member])
        return bool((shapes.totals[slot, cells] > before).any())
