"""Reservations: room that was promised and whose pods are not bound yet, held on assumed nodes.

reserved(uid, member) = max(0, placed − bound). Each reserved replica is charged to one row, or is a deficit of
its member where no row has room: kept, and housed as soon as one has. A reservation ends by binding or by a
change of the placement, never by age.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from services.scheduler.core.headroom import Headroom
from services.scheduler.core.ledger import Ledger
from services.scheduler.core.nodes import HEADROOM, READY, UPCOMING, VIRTUAL, Floats, Nodes, PoolRows, Table
from services.scheduler.core.promises import ORDER, SERVERLESS, Part, Promise
from services.scheduler.core.shapes import Shapes
from services.scheduler.core.values import Component, Shape

COMING = (UPCOMING, READY, HEADROOM, VIRTUAL)  # for what was promised a node of a pool
_AHEAD = 256  # rows sorted ahead at a time

Rows: TypeAlias = dict[int, int]


class Holdings:
    def __init__(self, nodes: Nodes, shapes: Shapes, ledger: Ledger, headroom: Headroom) -> None:
        self._nodes = nodes
        self._shapes = shapes
        self._ledger = ledger
        self._headroom = headroom
        self._promises: dict[tuple[str, int], Promise] = {}
        self._held: dict[int, dict[int, dict[Part, int]]] = {}
        self._deficits: dict[int, dict[Shape, dict[Part, None]]] = {}
        self._trials: list[dict[tuple[str, int], tuple[list[int], list[tuple[Shape, Rows, int, Sequence[int]]]]]] = []
        self._emptied: list[tuple[Table, int]] = []  # in a trial: nodes of pools that nobody holds any more

    # -- what is reserved --------------------------------------------------------------------------------

    def reserved(self, uid: str, table: Table) -> int:
        promise = self._promises.get((uid, table.number))
        return sum(part.count for part in promise.parts) if promise else 0

    def placed(self, uid: str, table: Table) -> int:
        promise = self._promises.get((uid, table.number))
        return sum(promise.placed) if promise else 0

    def deficit(self, table: Table) -> int:
        """Promised replicas that have no row in this member."""
        return sum(part.deficit for parts in self._deficits.get(table.number, {}).values() for part in parts)

    @property
    def short(self) -> bool:
        """Somebody, somewhere, was promised room that is not there."""
        return any(self._deficits.values())

    def deficits_of(self, uid: str, table: Table) -> list[int]:
        """Per component, replicas without a row."""
        promise = self._promises.get((uid, table.number))
        return [part.deficit for part in promise.parts] if promise else []

    def held_at(self, table: Table, row: int) -> dict[Part, int]:
        return self._held.get(table.number, {}).get(row, {})

    def held_rows(self, table: Table) -> dict[int, dict[Part, int]]:
        return self._held.get(table.number, {})

    # -- changing a placement, or what is bound ----------------------------------------------------------

    def place(
        self, uid: str, wanted: Sequence[tuple[Table, Sequence[Component]]], order: Sequence[int] | None = None
    ) -> None:
        """The placement's replicas in these members from now on; a component's count is what is placed there.

        order: the phases of the nodes that may be taken; None where each component's own order counts.
        """
        growth: list[tuple[Table, Part, int]] = []
        for table, components in wanted:
            promise = self._promise(uid, table, components)
            for part, component in zip(promise.parts, components, strict=True):
                part.order = order or (SERVERLESS if component.serverless else ORDER)
            growth += self._adjust(uid, promise, ())
        self._house_all(growth)
        for table, components in wanted:
            if not any(component.count for component in components):
                self._promises.pop((uid, table.number), None)

    def _promise(self, uid: str, table: Table, components: Sequence[Component]) -> Promise:
        key = (uid, table.number)
        promise = self._promises.get(key)
        self._remember(key, promise)
        if promise is None:
            parts = [Part(component.shape) for component in components]
            promise = self._promises[key] = Promise(table, parts, [0] * len(parts))
        elif [part.shape for part in promise.parts] != [component.shape for component in components]:
            for part in promise.parts:  # another template: what was promised is promised in the new shape
                self.release(table, part, part.count, ())
            promise.parts = [Part(component.shape) for component in components]
        promise.placed = [component.count for component in components]
        return promise

    def bind(self, uid: str, table: Table, shrunk: Sequence[int]) -> list[tuple[Table, Part, int]]:
        """`table.bound` changed for uid; what must be housed in addition is returned, for `house_all`.

        shrunk: rows whose free amounts shrank in the same revision: there the pods went.
        """
        promise = self._promises.get((uid, table.number))
        return self._adjust(uid, promise, shrunk) if promise else []

    def _adjust(self, uid: str, promise: Promise, shrunk: Sequence[int]) -> list[tuple[Table, Part, int]]:
        table = promise.table
        if len(promise.parts) == 1:
            part = promise.parts[0]
            change = max(0, promise.placed[0] - table.bound.get(uid, 0)) - part.count
            if change < 0:
                self.release(table, part, -change, shrunk)
            return [(table, part, change)] if change > 0 else []
        return self._adjust_parts(table.bound.get(uid, 0), promise, shrunk)

    def _adjust_parts(self, bound: int, promise: Promise, shrunk: Sequence[int]) -> list[tuple[Table, Part, int]]:
        """Which component a bound pod is of is not told: the largest stay reserved to the end."""
        order = sorted(range(len(promise.parts)), key=lambda i: promise.parts[i].shape.requests)
        growth = []
        for index in order:
            part = promise.parts[index]
            counted = min(bound, promise.placed[index])
            bound -= counted
            change = promise.placed[index] - counted - part.count
            if change < 0:
                self.release(promise.table, part, -change, shrunk)
            elif change > 0:
                growth.append((promise.table, part, change))
        return growth

    # -- holding -----------------------------------------------------------------------------------------

    def _hold(self, table: Table, part: Part, row: int, count: int) -> None:
        self._ledger.touch_one(table.base + row)
        self._charge(table, part, row, count)
        self._note(table, part, row, count)

    def _note(self, table: Table, part: Part, row: int, count: int) -> None:
        part.rows[row] = part.rows.get(row, 0) + count
        part.housed += count
        here = self._held.setdefault(table.number, {}).setdefault(row, {})
        here[part] = here.get(part, 0) + count

    def _charge(self, table: Table, part: Part, row: int, count: int) -> None:
        columns, avail = self._nodes.columns, self._nodes.avail
        for resource, amount in part.shape.requests:
            avail[columns[resource], table.base + row] -= amount * count

    def unhold(self, table: Table, part: Part, row: int, count: int) -> None:
        """Takes `count` replicas of the part off the row."""
        self._ledger.touch_one(table.base + row)
        self._charge(table, part, row, -count)
        part.housed -= count
        left = part.rows[row] - count
        held = self._held[table.number]
        if left:
            part.rows[row] = held[row][part] = left
            return
        del part.rows[row]
        del held[row][part]
        if not held[row]:
            del held[row]
            if self._nodes.phase[table.base + row] == HEADROOM:
                if self._trials:
                    self._emptied.append((table, row))
                else:
                    self._headroom.merge(table, row)

    def release(self, table: Table, part: Part, count: int, shrunk: Sequence[int]) -> None:
        """Ends `count` reservations: on the rows given, then deficits, then nodes that are not there yet last."""
        for row in shrunk:
            if count and row in part.rows:
                taken = min(count, part.rows[row])
                self.unhold(table, part, row, taken)
                count -= taken
        taken = min(count, part.deficit)
        self._set_deficit(table, part, part.deficit - taken)
        count -= taken
        if not count:
            return
        phase = self._nodes.phase
        rank = {READY: 0, UPCOMING: 1, VIRTUAL: 2}
        for row in sorted(part.rows, key=lambda row: rank.get(int(phase[table.base + row]), 3)):
            taken = min(count, part.rows[row])
            self.unhold(table, part, row, taken)
            count -= taken
            if not count:
                return

    def _set_deficit(self, table: Table, part: Part, count: int) -> None:
        if count == part.deficit:
            return
        part.deficit = count
        shapes = self._deficits.setdefault(table.number, {})
        if count:
            shapes.setdefault(part.shape, {})[part] = None
            return
        shapes[part.shape].pop(part, None)
        if not shapes[part.shape]:
            del shapes[part.shape]

    # -- housing -----------------------------------------------------------------------------------------

    def _house_all(self, growth: Sequence[tuple[Table, Part, int]]) -> None:
        """Each part's shape is the same here or there are few: most go to the row that last had room."""
        if len(growth) < 3 or len({part.shape for _, part, _ in growth}) > 1:
            for table, part, count in growth:
                self.house(table, part, count)
            return
        slot = self._shapes.slot(growth[0][1].shape)
        cursors = self._shapes.cursor[slot].take([table.number for table, _, _ in growth])
        rows = cursors + np.array([table.base for table, _, _ in growth], dtype=np.intp)
        counts = np.array([count for _, _, count in growth], dtype=np.float64)
        fit = (cursors >= 0) & (self._shapes.counts_at(slot, np.maximum(rows, 0)) >= counts)
        if fit.any():
            chosen = rows[fit]
            self._ledger.touch(chosen)
            for resource, amount in growth[0][1].shape.requests:
                self._nodes.avail[self._nodes.columns[resource], chosen] -= amount * counts[fit]
        for (table, part, count), row, fitting in zip(growth, cursors.tolist(), fit.tolist(), strict=True):
            if not fitting:
                self.house(table, part, count)
                continue
            self._note(table, part, row, count)

    def house(self, table: Table, part: Part, count: int, order: Sequence[int] | None = None) -> None:
        """Finds rows for `count` more replicas, by phase in this order; what finds none becomes a deficit."""
        for phase in order or part.order:
            if not count:
                return
            if phase == READY:
                count = self._house_ready(table, part, count)
            else:
                count = self._house_phase(table, part, count, phase)
        self._set_deficit(table, part, part.deficit + count)

    def _house_ready(self, table: Table, part: Part, count: int) -> int:
        """On the nodes with the most room first, as kube-scheduler spreads by default: most pods go there."""
        slot = self._shapes.slot(part.shape)
        cursor = int(self._shapes.cursor[slot, table.number])
        lists = self._shapes.ahead.setdefault(slot, {})
        ahead = lists.setdefault(table.number, [])
        if cursor >= 0:
            ahead.append(cursor)
        scanned = False
        while count:
            if not ahead and not scanned:
                ahead, scanned = self._roomiest(table, part.shape)
                lists[table.number] = ahead
            if not ahead:
                self._shapes.cursor[slot, table.number] = -1
                return count
            row = ahead.pop()
            taken = min(count, self._ready_at(slot, table, row))
            if taken:
                self._hold(table, part, row, taken)
                count -= taken
                self._shapes.cursor[slot, table.number] = row
        return 0

    def _roomiest(self, table: Table, shape: Shape) -> tuple[list[int], bool]:
        """Some rows, the roomiest last; and whether these are all that have room."""
        counts = self._shapes.counts(shape, table)
        counts *= self._nodes.weight[0, table.base : table.base + table.top]
        few = len(counts) <= _AHEAD
        some = np.arange(len(counts)) if few else np.argpartition(counts, -_AHEAD)[-_AHEAD:]
        some = some[counts[some] > 0]
        return some[np.argsort(counts[some], kind="stable")].tolist(), len(some) < _AHEAD

    def _ready_at(self, slot: int, table: Table, row: int) -> int:
        if row >= table.top or self._nodes.phase[table.base + row] != READY:
            return 0
        return self._shapes.count_row(slot, table, row)

    def _house_phase(self, table: Table, part: Part, count: int, phase: int) -> int:
        here = self._nodes.phase[table.base : table.base + table.top] == phase
        if not here.any():
            return count
        counts = self._shapes.counts(part.shape, table) * here
        rows = np.flatnonzero(counts).tolist()
        mains = {pool.main: pool for pool in table.pools.values()} if phase == HEADROOM else {}
        for row in rows:
            if count and row not in mains:
                taken = min(count, int(counts[row]))
                self._hold(table, part, row, taken)
                count -= taken
        for row in rows:
            if row in mains:
                count = self._house_split(table, part, count, mains[row], int(counts[row]))
        return count

    def _house_split(self, table: Table, part: Part, count: int, pool: PoolRows, each: int) -> int:
        while count and self._nodes.weight[1, table.base + pool.main] > 0:
            row = self._headroom.split(table, pool)
            taken = min(count, each)
            self._hold(table, part, row, taken)
            count -= taken
        return count

    # -- mending -----------------------------------------------------------------------------------------

    def evict(self, table: Table, row: int, part: Part) -> tuple[Table, Part, int]:
        """All of the part's replicas leave the row and are a deficit, until `rehouse`: what binds meanwhile is not
        housed again."""
        count = part.rows[row]
        self.unhold(table, part, row, count)
        self._set_deficit(table, part, part.deficit + count)
        return table, part, count

    def rehouse(self, table: Table, part: Part, count: int, order: Sequence[int] | None = None) -> None:
        """Finds rows for what was evicted, as far as it is still reserved."""
        count = min(count, part.deficit)
        self._set_deficit(table, part, part.deficit - count)
        self.house(table, part, count, order)

    def house_deficits(self, table: Table) -> None:
        """Whoever has no row gets one where there is room now. Totals must be true (flushed)."""
        shapes = self._deficits.get(table.number)
        if not shapes:
            return
        for shape in list(shapes):
            for part in list(shapes.get(shape, ())):
                if not self._shapes.any_room(shape, table):
                    break
                count = part.deficit
                self._set_deficit(table, part, 0)
                self.house(table, part, count)
                self._ledger.flush()

    def forget_member(self, table: Table) -> None:
        """The member's rows are gone: every promise in it becomes a deficit."""
        for row, parts in list(self.held_rows(table).items()):
            for part in list(parts):
                count = part.rows.pop(row)
                part.housed -= count
                self._set_deficit(table, part, part.deficit + count)
        self._held.pop(table.number, None)

    # -- trials ------------------------------------------------------------------------------------------

    @property
    def trying(self) -> bool:
        return bool(self._trials)

    def begin(self) -> None:
        """From here on every change of a promise is remembered, for `undo`. Trials may be nested."""
        self._trials.append({})

    def _remember(self, key: tuple[str, int], promise: Promise | None) -> None:
        if not self._trials or key in self._trials[-1]:
            return
        parts = [(p.shape, dict(p.rows), p.deficit, p.order) for p in promise.parts] if promise else []
        self._trials[-1][key] = (list(promise.placed) if promise else [], parts)

    def undo(self, tables: Sequence[Table]) -> None:
        """Back to `begin`: first everything goes, then what was there returns to the very rows it had."""
        undo = self._trials[-1]
        for key in undo:
            promise = self._promises.pop(key, None)
            for part in promise.parts if promise else ():
                self.release(tables[key[1]], part, part.count, ())
        for (uid, number), (placed, parts) in undo.items():
            if not parts:
                continue
            table = tables[number]
            promise = self._promises[uid, number] = Promise(table, [], placed)
            for shape, rows, deficit, order in parts:
                part = Part(shape, order)
                promise.parts.append(part)
                for row, count in rows.items():
                    self._hold(table, part, row, count)
                self._set_deficit(table, part, deficit)
        self._trials.pop()
        if not self._trials:
            emptied, self._emptied = self._emptied, []
            for table, row in emptied:
                if not self.held_at(table, row):
                    self._headroom.merge(table, row)
        self._ledger.flush()


def _roomiest(counts: Floats, most: int) -> list[int]:
    """At most so many rows with room, the roomiest last: taken from the end, a row lasts for many decisions, and it
    is where Kubernetes' own scheduler (LeastAllocated) would look first. Many shapes are placed once only: for them
    one row will do."""
    if most == 1:
        row = int(counts.argmax()) if len(counts) else -1
        return [row] if row >= 0 and counts[row] else []
    rows = np.flatnonzero(counts)
    if len(rows) > most:
        rows = np.argpartition(counts, -most)[-most:]
    found: list[int] = rows[np.argsort(counts[rows], kind="stable")].tolist()
    return found
