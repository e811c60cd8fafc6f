"""Nodes that a pool can still add, as rows: one for all that nobody was promised, one for each that somebody was."""

from __future__ import annotations

from services.scheduler.core.ledger import Ledger
from services.scheduler.core.nodes import EMPTY, HEADROOM, Nodes, PoolRows, Table


class Headroom:
    def __init__(self, nodes: Nodes, ledger: Ledger) -> None:
        self._nodes = nodes
        self._ledger = ledger

    def split(self, table: Table, pool: PoolRows) -> int:
        """One node of the pool's headroom becomes a row of its own."""
        nodes = self._nodes
        if not table.spare and table.top == table.size:
            self._ledger.flush()  # rows are about to move
            nodes.make_room(table, 1)
        row = nodes.new_row(table, "")
        table.rows.pop("", None)
        main, place = table.base + pool.main, table.base + row
        self._ledger.touch_one(main)
        self._ledger.touch_one(place)
        nodes.weight[main] -= 1
        for array in (nodes.avail, nodes.total):
            array[:, place] = array[:, main]
        nodes.klass[place] = nodes.klass[main]
        nodes.weigh(place, HEADROOM)
        table.used[int(nodes.klass[main])] += 1
        pool.split[row] = None
        return row

    def merge(self, table: Table, row: int) -> None:
        """A node that nobody is promised any more goes back to its pool's row."""
        for pool in table.pools.values():
            if row in pool.split:
                self.drop(table, pool, row)
                self._ledger.touch_one(table.base + pool.main)
                self._nodes.weight[table.base + pool.main] += 1
                return

    def drop(self, table: Table, pool: PoolRows, row: int) -> None:
        """A node that can no longer be added, or was."""
        del pool.split[row]
        place = table.base + row
        self._ledger.touch_one(place)
        self._nodes.avail[:, place] = 0
        self._nodes.weigh(place, EMPTY)
        table.used[int(self._nodes.klass[place])] -= 1
        table.spare.append(row)
