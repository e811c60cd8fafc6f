"""What changed since the totals were last true, and making them true again in one go."""

from __future__ import annotations

import numpy as np

from services.scheduler.core.nodes import Floats, Indexes, Nodes, Table
from services.scheduler.core.shapes import Shapes


class Ledger:
    """`touch` a row before changing it; `flush` when done. Rows are global numbers."""

    def __init__(self, nodes: Nodes, shapes: Shapes, tables: list[Table]) -> None:
        self._nodes = nodes
        self._shapes = shapes
        self._tables = tables
        self._rows: list[Indexes] = []
        self._avail: list[Floats] = []
        self._weight: list[Floats] = []
        self._klass: list[Indexes] = []

    def touch(self, rows: Indexes) -> None:
        """rows: each at most once."""
        dirty = self._nodes.dirty.take(rows)
        fresh = rows[~dirty] if dirty.any() else rows
        if not len(fresh):
            return
        nodes = self._nodes
        nodes.dirty[fresh] = True
        self._rows.append(fresh)
        self._avail.append(nodes.avail[: len(nodes.columns)].take(fresh, axis=1))
        self._weight.append(nodes.weight.take(fresh, axis=1))
        self._klass.append(nodes.klass.take(fresh))

    def touch_one(self, row: int) -> None:
        if not self._nodes.dirty[row]:
            self.touch(np.array([row], dtype=np.intp))

    def flush(self) -> None:
        """Brings every kept shape's totals up to date with the rows touched."""
        if not self._rows:
            return
        nodes = self._nodes
        rows = np.concatenate(self._rows)
        nodes.dirty[rows] = False
        columns = len(nodes.columns)
        avail = np.concatenate([*map(self._padded, self._avail), nodes.avail[:columns].take(rows, axis=1)], axis=1)
        weight = np.concatenate([*self._weight, nodes.weight.take(rows, axis=1)], axis=1)
        klass = np.concatenate([*self._klass, nodes.klass.take(rows)])
        self._rows, self._avail, self._weight, self._klass = [], [], [], []
        owners = nodes.owner.take(rows)
        members = set(owners.tolist())
        for member in members:
            self._tables[member].version += 1
        self._shapes.forget_named(members)
        times = weight.sum(axis=0)  # a row is of one kind
        times[: len(rows)] *= -1.0
        counts = self._shapes.all_counts(avail)
        counts *= self._shapes.matching(klass)
        counts *= times
        kinds = weight.argmax(axis=0)
        half = len(rows)
        if (kinds[:half] == kinds[half:]).all():
            self._shapes.shift(counts[:, :half] + counts[:, half:], kinds[half:], owners)
        else:
            self._shapes.shift(counts, kinds, np.concatenate([owners, owners]))

    def drop(self) -> None:
        """Forgets what was touched: the totals of the members concerned are invalidated as a whole instead."""
        for rows in self._rows:
            self._nodes.dirty[rows] = False
        self._rows, self._avail, self._weight, self._klass = [], [], [], []

    def _padded(self, avail: Floats) -> Floats:
        missing = len(self._nodes.columns) - len(avail)
        return np.concatenate([avail, np.zeros((missing, avail.shape[1]))]) if missing else avail
