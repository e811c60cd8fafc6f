"""Room per shape and member, kept up to date by what changes.

At most `limit` shapes are kept, the least recently used goes first. For each the totals per member and kind of
room are known, or not yet. When rows change, all kept shapes are brought up to date at once: counts before and
after over (shapes × changed rows), so the cost is what changed and not the fleet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from services.scheduler.core import fits
from services.scheduler.core.nodes import Classes, Floats, Indexes, Nodes, Table
from services.scheduler.core.values import Shape

_UNASKED = 1e300
_UNKNOWN = -1
_BLOCK = 65_536  # rows


class Shapes:
    """totals[kind · members + member, slot]: replicas. known[slot, member]: whether that is computed."""

    def __init__(self, nodes: Nodes, classes: Classes, limit: int) -> None:
        self._nodes = nodes
        self._classes = classes
        self.limit = limit
        self.slots: OrderedDict[Shape, int] = OrderedDict()
        self.watched: dict[Shape, int] = {}
        self.grown: set[tuple[Shape, int]] = set()
        self.quiet = False  # a trial: nothing grew in truth
        self._by_slot: list[Shape] = []
        self._named: set[int] = set()
        self._members = 16
        self.totals: Floats = np.zeros((3 * 16, limit))
        self.known: npt.NDArray[np.bool_] = np.zeros((limit, 16), dtype=np.bool_)
        self.cursor: Indexes = np.full((limit, 16), -1, dtype=np.intp)
        self.ahead: dict[int, dict[int, list[int]]] = {}  # by slot and member: see Holdings
        self._match: npt.NDArray[np.int8] = np.full((limit, 64), _UNKNOWN, dtype=np.int8)
        self._asked: Floats = np.ones((limit, 1, 1))
        self._unasked: Floats = np.zeros((limit, 1, 1))
        self._scratch: Floats = np.zeros((2, _BLOCK))
        self._seen_columns = -1
        self._watched_slots: npt.NDArray[np.bool_] = np.zeros(limit, dtype=np.bool_)

    # -- slots -------------------------------------------------------------------------------------------

    def slot(self, shape: Shape) -> int:
        """The shape's slot, a new one if it has none."""
        found = self.slots.get(shape)
        if found is not None:
            self.slots.move_to_end(shape)
            return found
        number = len(self._by_slot)
        if number < self.limit:
            self._by_slot.append(shape)
        else:
            number = self._evict()
            self._by_slot[number] = shape
        self.slots[shape] = number
        self.known[number] = False
        self.cursor[number] = -1
        self._match[number] = _UNKNOWN
        self._watched_slots[number] = shape in self.watched
        self._named.discard(number)
        if fits.asks_for_names(shape):
            self._named.add(number)
        self._refresh_columns()
        self._write_requests(number, shape)
        return number

    def _evict(self) -> int:
        victim = next((shape for shape in self.slots if shape not in self.watched), None)
        if victim is None:
            victim = next(iter(self.slots))
        number = self.slots.pop(victim)
        self.ahead.pop(number, None)
        return number

    def watch(self, shape: Shape, change: int) -> None:
        """One more (or less) waits for this shape: its growth is told in `grown`."""
        count = self.watched.get(shape, 0) + change
        if count > 0:
            self.watched[shape] = count
        else:
            self.watched.pop(shape, None)
        slot = self.slots.get(shape)
        if slot is not None:
            self._watched_slots[slot] = count > 0

    def _refresh_columns(self) -> None:
        if self._seen_columns == self._nodes.shape_version:
            return
        self._seen_columns = self._nodes.shape_version
        columns = len(self._nodes.columns)
        self._asked = np.ones((self.limit, columns, 1))
        self._unasked = np.full((self.limit, columns, 1), _UNASKED)
        for shape, number in self.slots.items():
            self._write_requests(number, shape)

    def _write_requests(self, number: int, shape: Shape) -> None:
        self._asked[number] = 1.0
        self._unasked[number] = _UNASKED
        for resource, amount in shape.requests:
            column = self._nodes.columns.get(resource)
            if column is None:  # nobody has any of it
                self._unasked[number] = -_UNASKED
                return
            self._asked[number, column] = float(amount)
            self._unasked[number, column] = 0.0

    def fit_members(self, count: int) -> None:
        """Room in the arrays for so many members."""
        if count <= self._members:
            return
        old, new = self._members, max(count, 2 * self._members)
        totals = np.zeros((3, new, self.limit))
        totals[:, :old] = self.totals.reshape(3, old, self.limit)
        self.totals = totals.reshape(3 * new, self.limit)
        self.known = np.concatenate([self.known, np.zeros((self.limit, new - old), dtype=np.bool_)], axis=1)
        self.cursor = np.concatenate([self.cursor, np.full((self.limit, new - old), -1, dtype=np.intp)], axis=1)
        self._members = new

    # -- which classes match -----------------------------------------------------------------------------

    def _fit_classes(self) -> None:
        for number in self._classes.freed:
            if number < self._match.shape[1]:
                self._match[:, number] = _UNKNOWN
        self._classes.freed.clear()
        need = len(self._classes.facts)
        have = self._match.shape[1]
        if need > have:
            more = np.full((self.limit, max(need, 2 * have) - have), _UNKNOWN, dtype=np.int8)
            self._match = np.concatenate([self._match, more], axis=1)

    def matches(self, slot: int, klass: int) -> bool:
        """Whether the class takes the shape (a shape that names nodes: False, ask row by row)."""
        value = int(self._match[slot, klass])
        if value == _UNKNOWN:
            shape = self._by_slot[slot]
            value = int(slot not in self._named and fits.takes(shape, self._classes.facts[klass]))
            self._match[slot, klass] = value
        return value == 1

    def matching(self, klass: Indexes) -> npt.NDArray[np.bool_]:
        """(slots × positions) whether these classes match; never for a shape that names nodes."""
        self._fit_classes()
        count = len(self._by_slot)
        found = self._match[:count].take(klass, axis=1)
        if (found == _UNKNOWN).any():
            for slot, position in np.argwhere(found == _UNKNOWN).tolist():
                found[slot, position] = self.matches(slot, int(klass[position]))
        matching: npt.NDArray[np.bool_] = found == 1
        return matching

    # -- one shape over one member -----------------------------------------------------------------------

    def counts(self, shape: Shape, table: Table) -> Floats:
        """Replicas per row of the member's stretch (rows of any phase), never negative."""
        slot = self.slot(shape)
        self._fit_classes()
        part = slice(table.base, table.base + table.top)
        counts = np.zeros(table.top)
        classes = [klass for klass in table.used if self.matches(slot, klass)]
        if slot in self._named:
            self._count_named(shape, table, counts)
            return counts
        if not classes or not self._divide(shape, part, counts):
            return np.zeros(table.top)
        if len(classes) < len(table.used):
            counts *= self._match[slot].take(self._nodes.klass[part])
        return counts

    def _divide(self, shape: Shape, part: slice, counts: Floats) -> bool:
        """counts: where the result goes; not `_scratch[1]`."""
        if counts.size > self._scratch.shape[1]:
            self._scratch = np.zeros((2, counts.size))
        scratch = self._scratch[1, : counts.size]
        first = True
        for resource, amount in shape.requests:
            column = self._nodes.columns.get(resource)
            if column is None:
                return False
            line = self._nodes.avail[column, part]
            if first:
                np.divide(line, float(amount), out=counts)
                first = False
            elif amount == 1:
                np.minimum(counts, line, out=counts)
            else:
                np.minimum(counts, np.divide(line, float(amount), out=scratch), out=counts)
        np.floor(counts, out=counts)
        np.maximum(counts, 0.0, out=counts)
        return True

    def _count_named(self, shape: Shape, table: Table, counts: Floats) -> None:
        names = fits.named(shape)
        candidates = table.rows if names is None else [name for name in names if name in table.rows]
        for name in candidates:
            row = table.rows[name]
            counts[row] = self._count_row(shape, table, name, row)

    def _count_row(self, shape: Shape, table: Table, name: str, row: int) -> float:
        place = table.base + row
        if not fits.takes(shape, self._classes.facts[int(self._nodes.klass[place])], name):
            return 0.0
        columns = self._nodes.columns
        found = [
            int(self._nodes.avail[columns[resource], place] // amount) if resource in columns else 0
            for resource, amount in shape.requests
        ]
        return float(max(0, min(found)))

    def count_row(self, slot: int, table: Table, row: int) -> int:
        """Replicas at one row, whatever its phase."""
        shape = self._by_slot[slot]
        if slot in self._named:
            return int(self._count_row(shape, table, table.names[row], row))
        place = table.base + row
        self._fit_classes()
        if not self.matches(slot, int(self._nodes.klass[place])):
            return 0
        columns, avail = self._nodes.columns, self._nodes.avail
        least = min(
            avail[columns[resource], place] // amount if resource in columns else 0.0
            for resource, amount in shape.requests
        )
        return max(0, int(least))

    def takes(self, slot: int, table: Table, row: int) -> bool:
        """Whether the node at this row takes the shape, amounts aside."""
        klass = int(self._nodes.klass[table.base + row])
        self._fit_classes()
        if slot in self._named:
            return fits.takes(self._by_slot[slot], self._classes.facts[klass], table.names[row])
        return self.matches(slot, klass)

    def any_room(self, shape: Shape, table: Table) -> bool:
        slot = self.slot(shape)
        if not self.known[slot, table.number]:
            self.evaluate(slot, table)
        return bool(self.totals[table.number :: self._members, slot].any())

    def evaluate(self, slot: int, table: Table) -> None:
        """Computes the shape's totals in this member."""
        counts = self.counts(self._by_slot[slot], table)
        found = self._nodes.weight[:, table.base : table.base + table.top] @ counts
        self.totals[table.number :: self._members, slot] = found
        self.known[slot, table.number] = True

    def _evaluate_all(self, slot: int, tables: list[Table]) -> None:
        """As `evaluate`, for many members in few passes: stretches that lie side by side are computed as one."""
        if slot in self._named:
            for table in tables:
                self.evaluate(slot, table)
            return
        self._fit_classes()
        filled = sorted((table for table in tables if table.top), key=lambda table: table.base)
        for block in _blocks(filled):
            self._evaluate_block(slot, block)
        for table in tables:
            if not table.top:
                self.totals[table.number :: self._members, slot] = 0.0
            self.known[slot, table.number] = True

    def _evaluate_block(self, slot: int, block: list[Table]) -> None:
        """Rows between one table's top and the next one's base have no weight, so they count for nothing."""
        nodes, first = self._nodes, block[0].base
        part = slice(first, block[-1].base + block[-1].top)
        cells = np.array([table.number for table in block], dtype=np.intp)
        matching = [self.matches(slot, klass) for klass in {klass for table in block for klass in table.used}]
        if part.stop - part.start > self._scratch.shape[1]:
            self._scratch = np.zeros((2, part.stop - part.start))
        counts, scratch = self._scratch[:, : part.stop - part.start]
        if not any(matching) or not self._divide(self._by_slot[slot], part, counts):
            counts[:] = 0.0
        elif not all(matching):
            counts *= self._match[slot].take(nodes.klass[part]) == 1
        starts = [table.base - first for table in block]
        for kind in range(3):
            np.multiply(nodes.weight[kind, part], counts, out=scratch)
            self.totals[kind * self._members + cells, slot] = np.add.reduceat(scratch, starts)

    def rooms(self, slot: int, members: Indexes, tables: list[Table]) -> tuple[Floats, Floats, Floats]:
        """free, elastic and virtual replicas, one position per member (given by their numbers)."""
        known = self.known[slot].take(members)
        if not known.all():
            self._evaluate_all(slot, [tables[number] for number in members[~known].tolist()])
        line = self.totals[:, slot]
        size = self._members
        return line.take(members), line.take(members + size), line.take(members + 2 * size)

    # -- keeping up --------------------------------------------------------------------------------------

    def counts_at(self, slot: int, rows: Indexes) -> Floats:
        """Replicas of one shape at rows (global numbers) on ready nodes; 0 for a shape that names nodes."""
        self._refresh_columns()
        self._fit_classes()
        found = self._nodes.avail[: len(self._nodes.columns)].take(rows, axis=1) / self._asked[slot]
        found += self._unasked[slot]
        counts: Floats = np.floor(found.min(axis=0))
        klass = self._nodes.klass.take(rows)
        counts *= self._match[slot].take(klass) == 1
        counts *= self._nodes.weight[0].take(rows)
        return counts

    def all_counts(self, avail: Floats) -> Floats:
        """(slots × rows) replicas by amounts alone. avail: (columns × rows)."""
        self._refresh_columns()
        count = len(self._by_slot)
        found = avail[None] / self._asked[:count]
        found += self._unasked[:count]
        counts: Floats = found.min(axis=1)
        np.floor(counts, out=counts)
        np.maximum(counts, 0.0, out=counts)
        return counts

    def forget_named(self, members: set[int]) -> None:
        """Rows of these members changed: shapes that name nodes are computed anew."""
        for slot in self._named:
            shape = self._by_slot[slot]
            for member in members:
                self.known[slot, member] = False
                if shape in self.watched and not self.quiet:
                    self.grown.add((shape, member))

    def shift(self, counts: Floats, kinds: Indexes, members: Indexes) -> None:
        """Adds (slots × positions) counts to the totals of each position's kind of room and member."""
        count = counts.shape[0]
        cells = kinds * self._members + members
        listed = cells.tolist()
        if len(set(listed)) < len(listed):
            order = np.argsort(cells, kind="stable")
            cells = cells[order]
            starts = np.flatnonzero(np.concatenate(([True], cells[1:] != cells[:-1])))
            counts = np.add.reduceat(counts[:, order], starts, axis=1)
            cells = cells[starts]
        self.totals[cells, :count] += counts.T
        if self.watched and not self.quiet:
            self._tell(counts, cells % self._members)

    def _tell(self, counts: Floats, members: Indexes) -> None:
        grew = (counts > 0) & self._watched_slots[: counts.shape[0], None]
        if grew.any():
            for slot, position in np.argwhere(grew).tolist():
                self.grown.add((self._by_slot[slot], int(members[position])))

    def invalidate(self, table: Table) -> None:
        """Too much of the member changed: totals are computed anew when asked for, or now where somebody waits."""
        member = table.number
        watched = np.flatnonzero(self._watched_slots[: len(self._by_slot)]).tolist()
        before = {slot: self.totals[member :: self._members, slot].copy() for slot in watched}
        had = {slot: bool(self.known[slot, member]) for slot in watched}
        self.known[:, member] = False
        self.cursor[:, member] = -1
        for slot in watched:
            self.evaluate(slot, table)
            after = self.totals[member :: self._members, slot]
            if (after > before[slot]).any() or (not had[slot] and after.any()):
                self.grown.add((self._by_slot[slot], member))


def _blocks(tables: list[Table]) -> Iterator[list[Table]]:
    """Tables that lie side by side in the arena, together of few enough rows for the processor's cache."""
    block: list[Table] = []
    for table in tables:
        last = block[-1] if block else table
        if block and (table.base != last.base + last.size or table.base + table.top - block[0].base > _BLOCK):
            yield block
            block = []
        block.append(table)
    if block:
        yield block
