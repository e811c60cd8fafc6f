"""The shapes that somebody waits for, as rows of arrays: for which of them have nodes that changed more room now."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from services.scheduler.core import fits
from services.scheduler.core.ledger import State
from services.scheduler.core.nodes import Classes, Floats, Indexes, Nodes
from services.scheduler.core.values import Shape

ENOUGH: Final = 1e300
_UNKNOWN: Final = -1


class Watched:
    """shapes: by row. Rows move when one is removed."""

    def __init__(self, nodes: Nodes, classes: Classes) -> None:
        self._nodes = nodes
        self._classes = classes
        self.shapes: list[Shape] = []
        self._rows: dict[Shape, int] = {}
        self._asked: Floats = np.ones((16, 1))  # shapes × resources: what is asked for,
        self._unasked: Floats = np.zeros((16, 1))  # and what is added to the quotient where nothing is
        self._named: npt.NDArray[np.bool_] = np.zeros(16, dtype=np.bool_)
        self._match: npt.NDArray[np.int8] = np.full((16, 64), _UNKNOWN, dtype=np.int8)
        self._seen = (-1, -1)  # versions of columns and classes

    def __len__(self) -> int:
        return len(self.shapes)

    def add(self, shape: Shape) -> None:
        row = self._rows[shape] = len(self.shapes)
        self.shapes.append(shape)
        if row == len(self._asked):
            arrays = (self._asked, self._unasked, self._named, self._match)
            self._asked, self._unasked, self._named, self._match = (np.concatenate([a, a]) for a in arrays)
        self._write(row)

    def remove(self, shape: Shape) -> None:
        """The last one takes its row."""
        row, last = self._rows.pop(shape), self.shapes.pop()
        if last != shape:
            self.shapes[row] = last
            self._rows[last] = row
            for array in (self._asked, self._unasked, self._named, self._match):
                array[row] = array[len(self.shapes)]

    def _write(self, row: int) -> None:
        shape = self.shapes[row]
        self._match[row] = _UNKNOWN
        self._named[row] = fits.asks_for_names(shape)
        self._asked[row], self._unasked[row] = 1.0, ENOUGH
        columns = self._nodes.columns
        if any(columns.get(resource, len(self._asked[row])) >= len(self._asked[row]) for resource, _ in shape.requests):
            self._unasked[row] = -ENOUGH  # nobody has any of it
            return
        for resource, amount in shape.requests:
            self._asked[row, columns[resource]], self._unasked[row, columns[resource]] = float(amount), 0.0

    def _keep_up(self) -> None:
        """With resources and classes that are new, or are others than before."""
        now = (self._nodes.shape_version, self._classes.version)
        if now[0] != self._seen[0]:
            size = (len(self._asked), len(self._nodes.columns))
            self._asked, self._unasked = np.ones(size), np.zeros(size)
            for row in range(len(self.shapes)):
                self._write(row)
        if now[1] != self._seen[1] or len(self._classes.facts) > self._match.shape[1]:
            width = max(64, 2 * len(self._classes.facts))
            self._match = np.full((len(self._asked), width), _UNKNOWN, dtype=np.int8)
        self._seen = now

    def grew(self, before: State, after: State) -> npt.NDArray[np.bool_]:
        """(shapes × nodes), room of another kind included. Of a shape that names nodes it is not known: yes."""
        self._keep_up()
        counts = self._counts(after)
        more: npt.NDArray[np.bool_] = counts > self._counts(before)
        more |= (counts > 0) & (after.cells != before.cells)
        more[self._named[: len(self.shapes)]] = True
        return more

    def _counts(self, state: State) -> Floats:
        count = len(self.shapes)
        found = state.amounts[:, None] / self._asked[:count].T[:, :, None]  # resources × shapes × nodes
        found += self._unasked[:count].T[:, :, None]
        counts: Floats = found.min(axis=0)
        np.maximum(np.floor(counts), 0.0, out=counts)
        counts *= self._matching(state.klass)
        counts *= state.times
        return counts

    def _matching(self, klass: Indexes) -> npt.NDArray[np.bool_]:
        match = self._match[: len(self.shapes)]
        unknown = match.take(klass, axis=1) == _UNKNOWN
        for row, place in np.argwhere(unknown).tolist():
            number = int(klass[place])
            self._match[row, number] = fits.takes(self.shapes[row], self._classes.facts[number])
        matching: npt.NDArray[np.bool_] = match.take(klass, axis=1) == 1
        return matching
