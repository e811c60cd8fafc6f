"""Writing capacity messages into the arena: nodes, headroom of pools, and what was bound.

Room that shrinks takes reservations along: on every row that changed, what no longer fits is housed anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from services.scheduler.core.constraints import Taint
from services.scheduler.core.growth import Growth
from services.scheduler.core.headroom import Headroom
from services.scheduler.core.holdings import COMING, Holdings
from services.scheduler.core.ledger import Ledger
from services.scheduler.core.nodes import (
    EMPTY,
    HEADROOM,
    LARGEST,
    PHASES,
    READY,
    UNREADY,
    UPCOMING,
    Classes,
    Floats,
    Nodes,
    PoolRows,
    Table,
    clamp,
)
from services.scheduler.core.promises import Part
from services.scheduler.core.shapes import Shapes
from services.scheduler.core.values import PODS
from shared.contracts.capacity import NodeClass, NodeColumns, Pool

MANY = 512  # rows that change at once: beyond, the member's totals are computed anew when asked for
FEW = 4  # rows up to which they are written one by one
LIMIT = int(LARGEST)
DEFAULT_PODS = 110  # the kubelet's own default, for a pool that does not say


class Writer:
    def __init__(
        self,
        nodes: Nodes,
        classes: Classes,
        shapes: Shapes,
        ledger: Ledger,
        growth: Growth,
        headroom: Headroom,
        holdings: Holdings,
    ) -> None:
        self._nodes = nodes
        self._classes = classes
        self._shapes = shapes
        self._ledger = ledger
        self._growth = growth
        self._headroom = headroom
        self._holdings = holdings
        self._written: list[int] = []
        self._shrunk: list[int] = []
        self._fresh = 0  # nodes that are new here and that a pool's hypothetical node may have become
        self._homeless: list[tuple[Part, int]] = []
        self._uprooted: list[tuple[Part, int]] = []  # from nodes that were to be added

    def write(
        self,
        table: Table,
        *,
        classes: Mapping[int, NodeClass],
        nodes: Sequence[NodeColumns],
        removed: Iterable[str] | None,
        pools: tuple[Pool, ...] | None,
        bound: Mapping[str, int],
        bound_virtual: Mapping[str, int],
    ) -> Iterable[str]:
        """One revision of a member; the totals follow when somebody asks (`Ledger.flush`).

        removed: names that went; None: all that `nodes` does not name. Returns whose bound replicas changed.
        """
        self._written, self._shrunk, self._fresh, self._homeless, self._uprooted = [], [], 0, [], []
        whole = removed is None
        self._classes.take(table, classes, forget=whole)
        names = [name for columns in nodes for name in columns.names]
        gone = table.rows.keys() - set(names) if removed is None else [n for n in removed if n in table.rows]
        self._remove(table, gone)
        if names and not (len(names) <= FEW and self._write_few(table, nodes)):
            self._write_nodes(table, names, nodes)
        if pools is not None:
            self._write_pools(table, pools)
        changed = _take_counts(table.bound, bound, whole) | _take_counts(table.bound_virtual, bound_virtual, whole)
        growth = [more for uid in changed for more in self._holdings.bind(uid, table, self._shrunk)]
        self._evict_unfit(table)
        if self._fresh:
            self._follow_nodes(table)
        for part, count in self._uprooted:
            self._holdings.rehouse(part, count, COMING)
        for part, count in self._homeless:
            self._holdings.rehouse(part, count)
        for part, count in growth:
            self._holdings.house(part, count)
        if self._holdings.deficit(table):
            self._ledger.flush()
            self._holdings.house_deficits(table)
        self._ledger.flush_many()
        table.version += 1
        return changed

    def clear(self, table: Table) -> None:
        """All of the member's rows go; promises in it are deficits already."""
        numbers = list(table.classes.values())
        numbers += list(table.used)
        self._nodes.release(table)
        table.names, table.rows, table.spare = [], {}, []
        table.classes, table.used, table.pools, table.bound, table.bound_virtual = {}, {}, {}, {}, {}
        for number in numbers:
            self._classes.use(number, -1)
        self._growth.invalidate(table)
        table.version += 1

    # -- nodes -------------------------------------------------------------------------------------------

    def _remove(self, table: Table, names: Iterable[str]) -> None:
        rows = [table.rows.pop(name) for name in names]
        if not rows:
            return
        places = table.globals(rows)
        self._ledger.touch(places)
        self._nodes.weigh(places, EMPTY)
        self._classes.count(table, self._nodes.klass.take(places), -1)
        for row in rows:
            table.names[row] = ""
        # Their numbers are given to nobody before those who held them are elsewhere.
        self._evict_rows(table, rows)
        self._nodes.avail[:, places] = 0
        table.spare.extend(rows)
        self._classes.drop_unused(table)

    def _evict_rows(self, table: Table, rows: Iterable[int]) -> None:
        held = self._holdings.held_rows(table)
        for row in rows:
            for part in list(held.get(row, ())):
                self._homeless.append(self._holdings.evict(part, row))

    def _rows(self, table: Table, names: Sequence[str]) -> tuple[list[int], bool]:
        get = table.rows.get
        rows = [get(name, -1) for name in names]
        new = rows.count(-1)
        if not new:
            return rows, len(set(rows)) < len(rows)
        self._ledger.flush()
        self._nodes.make_room(table, new)
        for position, row in enumerate(rows):
            if row < 0:
                name = names[position]
                known = get(name)
                rows[position] = self._nodes.new_row(table, sys.intern(name)) if known is None else known
        return rows, len(set(rows)) < len(rows)

    def _write_few(self, table: Table, parts: Sequence[NodeColumns]) -> bool:
        """As `_write_nodes` for what is by far the most frequent: known nodes whose free amounts alone changed.

        Numbers one by one are cheaper here than arrays. False, and nothing was written, where more changed.
        """
        nodes, held = self._nodes, self._holdings.held_rows(table)
        if any(resource not in nodes.columns for columns in parts for resource in columns.free):
            return False
        found = [
            (row, table.base + row, columns, position)
            for columns in parts
            for position, row in enumerate(map(table.rows.get, columns.names))
            if row is not None and self._only_amounts(table, table.base + row, columns, position)
        ]
        rows = [row for row, *_ in found]
        if len(set(rows)) < sum(len(columns.names) for columns in parts):
            return False
        for row, place, columns, position in found:
            amounts = [0.0] * len(nodes.columns)
            for resource, column in columns.free.items():
                amounts[nodes.columns[resource]] = float(min(max(column[position], -LIMIT), LIMIT))
            for part in held.get(row, ()):
                for resource, amount in part.shape.requests:
                    amounts[nodes.columns[resource]] -= amount * part.rows[row]
            before = nodes.avail[: len(amounts), place].tolist()
            if amounts == before:
                continue
            self._ledger.touch_one(place)
            nodes.avail[: len(amounts), place] = amounts
            if row in held:
                self._written.append(row)
                if any(now < was for now, was in zip(amounts, before, strict=True)):
                    self._shrunk.append(row)
        return True

    def _only_amounts(self, table: Table, place: int, columns: NodeColumns, position: int) -> bool:
        nodes = self._nodes
        if nodes.phase[place] != PHASES[columns.phases[position]]:
            return False
        if nodes.klass[place] != table.classes[columns.classes[position]]:
            return False
        known = nodes.total
        return all(
            name in nodes.columns and float(known[nodes.columns[name], place]) == total[position]
            for name, total in columns.allocatable.items()
        )

    def _write_nodes(self, table: Table, names: Sequence[str], parts: Sequence[NodeColumns]) -> None:
        nodes = self._nodes
        free, total = self._matrix(parts, "free"), self._matrix(parts, "allocatable")
        classes = table.classes
        klass = np.array([classes[key] for columns in parts for key in columns.classes], dtype=np.intp)
        phase = np.array([PHASES[name] for columns in parts for name in columns.phases], dtype=np.int8)
        rows, twice = self._rows(table, names)
        if twice:  # the last word counts
            last = sorted({row: position for position, row in enumerate(rows)}.values())
            rows = [rows[position] for position in last]
            free, total, klass, phase = free[:, last], total[:, last], klass[last], phase[last]
        places = table.globals(rows)
        self._subtract_held(table, rows, free)
        count = len(nodes.columns)
        before, old_phase = nodes.avail[:count].take(places, axis=1), nodes.phase.take(places)
        changed = (before != free).any(axis=0) | (old_phase != phase) | (nodes.klass.take(places) != klass)
        nodes.total[:count, places] = total
        if not changed.any():
            return
        if not changed.all():
            keep = np.flatnonzero(changed)
            rows = [rows[position] for position in keep.tolist()]
            places, free, before = places[keep], free[:, keep], before[:, keep]
            klass, phase, old_phase = klass[keep], phase[keep], old_phase[keep]
        many = len(rows) > MANY
        if not many:
            self._ledger.touch(places)
        was = old_phase != EMPTY
        self._classes.count(table, klass, 1)
        self._classes.count(table, nodes.klass.take(places[was]), -1)
        nodes.avail[:count, places] = free
        nodes.klass[places] = klass
        nodes.weigh(places, phase)
        if many:
            self._ledger.flush()
            self._growth.invalidate(table)
        self._classes.drop_unused(table)
        self._note_changes(table, rows, (free < before).any(axis=0) & was, ~was, phase)

    def _note_changes(
        self,
        table: Table,
        rows: Sequence[int],
        shrank: npt.NDArray[np.bool_],
        new: npt.NDArray[np.bool_],
        phase: npt.NDArray[np.int8],
    ) -> None:
        self._fresh = int((new & ((phase == UPCOMING) | (phase == READY))).sum())
        held = self._holdings.held_rows(table)
        if held:
            self._written = [row for row in rows if row in held]
            self._shrunk = [row for row, less in zip(rows, shrank.tolist(), strict=True) if less and row in held]

    def _matrix(self, parts: Sequence[NodeColumns], which: str) -> Floats:
        listed = [clamp(columns.free if which == "free" else columns.allocatable) for columns in parts]
        sizes = [len(columns.names) for columns in parts]
        for part in parts:  # both matrices need the columns of both
            for resource in (*part.free, *part.allocatable):
                self._nodes.column(resource)
        matrix = np.zeros((len(self._nodes.columns), sum(sizes)))
        start = 0
        for columns, size in zip(listed, sizes, strict=True):
            for resource, column in columns.items():
                matrix[self._nodes.columns[resource], start : start + size] = column
            start += size
        return matrix

    def _subtract_held(self, table: Table, rows: Sequence[int], free: Floats) -> None:
        held = self._holdings.held_rows(table)
        if not held:
            return
        columns = self._nodes.columns
        for position, row in enumerate(rows):
            for part in held.get(row, ()):
                for resource, amount in part.shape.requests:
                    free[columns[resource], position] -= amount * part.rows[row]

    # -- pools -------------------------------------------------------------------------------------------

    def _write_pools(self, table: Table, pools: tuple[Pool, ...]) -> None:
        wanted = {pool.id: pool for pool in pools}
        for known in list(table.pools):
            if known not in wanted or not _same_node(table.pools[known].pool, wanted[known]):
                self._drop_pool(table, table.pools.pop(known))
        for pool in pools:
            rows = table.pools.get(pool.id) or self._new_pool(table, pool)
            rows.pool = pool
            self._resize(table, rows, pool.headroom)
        self._classes.drop_unused(table)

    def _new_pool(self, table: Table, pool: Pool) -> PoolRows:
        nodes = self._nodes
        amounts = {PODS: DEFAULT_PODS} | pool.allocatable
        numbers = {nodes.column(resource): amount for resource, amount in clamp(amounts).items()}
        self._ledger.flush()
        nodes.make_room(table, 1)
        row = nodes.new_row(table, "")
        table.rows.pop("")
        place = table.base + row
        self._ledger.touch_one(place)
        nodes.avail[:, place] = nodes.total[:, place] = 0
        for column, amount in numbers.items():
            nodes.avail[column, place] = nodes.total[column, place] = float(amount)
        taints = tuple(Taint(t.key, t.value, t.effect) for t in pool.taints)
        number = self._classes.number(pool.labels, taints, False)
        self._classes.count(table, np.array([number], dtype=np.intp), 1)
        self._classes.use(number, -1)
        nodes.klass[place] = number
        nodes.weigh(place, HEADROOM, 0.0)
        rows = table.pools[pool.id] = PoolRows(pool, row)
        return rows

    def _resize(self, table: Table, rows: PoolRows, headroom: int) -> None:
        while len(rows.split) > headroom:
            self._vanish(table, rows, next(reversed(rows.split)))
        place = table.base + rows.main
        left = headroom - len(rows.split)
        if self._nodes.weight[place] != left:
            self._ledger.touch_one(place)
            self._nodes.weight[place] = left

    def _vanish(self, table: Table, rows: PoolRows, row: int) -> None:
        """A hypothetical node is no more: out of stock, or it became real."""
        self._ledger.touch_one(table.base + row)
        self._nodes.weigh(table.base + row, EMPTY)  # so that it is not merged back while it is emptied
        for part in list(self._holdings.held_at(table, row)):
            self._uprooted.append(self._holdings.evict(part, row))
        self._headroom.drop(table, rows, row)

    def _drop_pool(self, table: Table, rows: PoolRows) -> None:
        for row in list(rows.split):
            self._vanish(table, rows, row)
        place = table.base + rows.main
        self._ledger.touch_one(place)
        self._nodes.avail[:, place] = 0
        self._nodes.weigh(place, EMPTY)
        table.used[int(self._nodes.klass[place])] -= 1
        table.spare.append(rows.main)

    def _follow_nodes(self, table: Table) -> None:
        """New nodes: whoever was promised a node of a pool is now promised one of these, where it fits."""
        splits = [row for pool in table.pools.values() for row in pool.split][: self._fresh]
        for row in splits:
            for part in list(self._holdings.held_at(table, row)):
                self._uprooted.append(self._holdings.evict(part, row))

    # -- what no longer fits -----------------------------------------------------------------------------

    def _evict_unfit(self, table: Table) -> None:
        """Off rows that are full, that no longer take the shape, or that no longer count as room."""
        nodes = self._nodes
        held = self._holdings.held_rows(table)
        if not held:
            return
        for row in self._written:
            place = table.base + row
            dead = nodes.phase[place] in (UNREADY, EMPTY)
            for part in list(held.get(row, ())):
                full = bool((nodes.avail[: len(nodes.columns), place] < 0).any())
                if dead or full or not self._takes(part, table, row):
                    self._homeless.append(self._holdings.evict(part, row))

    def _takes(self, part: Part, table: Table, row: int) -> bool:
        return self._shapes.takes(self._shapes.slot(part.shape), table, row)


def _take_counts(known: dict[str, int], told: Mapping[str, int], whole: bool) -> dict[str, None]:
    """Whose number changed. whole: those that are not told are 0."""
    if whole:
        told = dict.fromkeys(known.keys() - told.keys(), 0) | dict(told)
    changed = {uid: None for uid, count in told.items() if count != known.get(uid, 0)}
    for uid in changed:
        if told[uid]:
            known[uid] = told[uid]
        else:
            del known[uid]
    return changed


def _same_node(old: Pool, new: Pool) -> bool:
    return (old.allocatable, old.labels, old.taints) == (new.allocatable, new.labels, new.taints)
