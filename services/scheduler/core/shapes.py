"""Room per shape and member, brought up to date by what changed when it is asked for.

At most `limit` shapes are kept, the least recently used goes first. For each the totals per member and kind of
room are known, or not yet, as of some entry of the ledger. Asked for, the changes since are added: the cost is what
changed, for the shapes in use, and not the fleet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from services.scheduler.core import fits
from services.scheduler.core.ledger import Ledger
from services.scheduler.core.nodes import FREE, KIND_OF, KINDS, READY, Classes, Floats, Indexes, Nodes, Table
from services.scheduler.core.values import Shape

_UNKNOWN = -1
_BLOCK = 65_536  # rows


class Shapes:
    """totals[slot, member · 3 + kind]: replicas. known[slot, member]: whether that is computed.

    pinned: shapes that are kept, as long as there are others to give up.
    """

    def __init__(self, nodes: Nodes, classes: Classes, ledger: Ledger, tables: Sequence[Table], limit: int) -> None:
        self._nodes = nodes
        self._classes = classes
        self._ledger = ledger
        self._tables = tables
        self.limit = limit
        self.slots: OrderedDict[Shape, int] = OrderedDict()
        self.pinned: Container[Shape] = ()
        self._by_slot: list[Shape] = []
        self._named: set[int] = set()
        self._members = 16
        self.totals: Floats = np.zeros((limit, KINDS * 16))
        self.known: npt.NDArray[np.bool_] = np.zeros((limit, 16), dtype=np.bool_)
        self._as_of: list[int] = []  # by slot: entries of the ledger that its totals contain
        self._match: npt.NDArray[np.int8] = np.full((limit, 64), _UNKNOWN, dtype=np.int8)
        self._scratch: Floats = np.zeros((2, _BLOCK))

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
            self._as_of.append(0)
        else:
            number = self._evict()
            self._by_slot[number] = shape
        self.slots[shape] = number
        self.known[number] = False
        self._match[number] = _UNKNOWN
        self._named.discard(number)
        if fits.asks_for_names(shape):
            self._named.add(number)
        return number

    def _evict(self) -> int:
        victim = next((shape for shape in self.slots if shape not in self.pinned), None)
        if victim is None:
            victim = next(iter(self.slots))
        return self.slots.pop(victim)

    def fit_members(self, count: int) -> None:
        """Room in the arrays for so many members."""
        if count <= self._members:
            return
        old, self._members = self._members, max(count, 2 * self._members)
        more = self._members - old
        self.totals = np.concatenate([self.totals, np.zeros((self.limit, KINDS * more))], axis=1)
        self.known = np.concatenate([self.known, np.zeros((self.limit, more), dtype=np.bool_)], axis=1)

    # -- which classes match -----------------------------------------------------------------------------

    def _fit_classes(self) -> None:
        need, have = len(self._classes.facts), self._match.shape[1]
        if need > have:
            more = np.full((self.limit, max(need, 2 * have) - have), _UNKNOWN, dtype=np.int8)
            self._match = np.concatenate([self._match, more], axis=1)
        if self._classes.reused:
            self._match[:, self._classes.reused] = _UNKNOWN
            self._classes.reused.clear()

    def matches(self, slot: int, klass: int) -> bool:
        """Whether the class takes the shape (a shape that names nodes: False, ask row by row)."""
        value = int(self._match[slot, klass])
        if value == _UNKNOWN:
            shape = self._by_slot[slot]
            value = int(slot not in self._named and fits.takes(shape, self._classes.facts[klass]))
            self._match[slot, klass] = value
        return value == 1

    def matching(self, slots: int | Sequence[int], klass: Indexes) -> npt.NDArray[np.bool_]:
        """By position (and slot), whether these classes match; never for a shape that names nodes."""
        self._fit_classes()
        found = self._match[slots].take(klass, axis=-1)
        unknown = found == _UNKNOWN
        if unknown.any():
            for number in set(klass.ravel().tolist()):
                for slot in [slots] if isinstance(slots, int) else slots:
                    self.matches(slot, number)
            found = self._match[slots].take(klass, axis=-1)
        matching: npt.NDArray[np.bool_] = found == 1
        return matching

    # -- one shape over rows -----------------------------------------------------------------------------

    def counts(self, shape: Shape, table: Table) -> Floats:
        """Replicas per row of the member's stretch (rows of any phase), never negative."""
        slot = self.slot(shape)
        self._fit_classes()
        part = slice(table.base, table.base + table.top)
        counts = np.zeros(table.top)
        if slot in self._named:
            self._count_named(shape, table, counts)
        elif any(self.matches(slot, klass) for klass in table.used) and self._divide(shape, part, counts):
            if not all(self.matches(slot, klass) for klass in table.used):
                counts *= self.matching(slot, self._nodes.klass[part])
        else:
            counts[:] = 0.0
        return counts

    def _divide(self, shape: Shape, part: slice, counts: Floats) -> bool:
        """By amounts alone; False where nobody has any of it. counts: where it goes; not `_scratch[1]`."""
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

    def room_at(self, slot: int, rows: Indexes) -> Floats:
        """amount ÷ request, the least of them, at rows (global numbers, of any form) of nodes that are ready; none
        elsewhere, nor for a shape that names nodes."""
        nodes = self._nodes
        room = self._least(self._by_slot[slot], nodes.avail, rows)
        room *= self.matching(slot, nodes.klass.take(rows)) & (nodes.phase.take(rows) == READY)
        return room

    def _least(self, shape: Shape, amounts: Floats, at: Indexes | slice) -> Floats:
        """amount ÷ request by position, the least of them."""
        least: Floats | None = None
        for resource, amount in shape.requests:
            column = self._nodes.columns.get(resource)
            if column is None or column >= len(amounts):
                return np.zeros(amounts[0, at].shape)
            line = amounts[column, at] if isinstance(at, slice) else amounts[column].take(at)
            quotient = line if amount == 1 else line / float(amount)
            least = quotient if least is None else np.minimum(least, quotient)
        assert least is not None  # every shape asks for a pod slot
        return least

    def _count_named(self, shape: Shape, table: Table, counts: Floats) -> None:
        names = fits.named(shape)
        candidates = table.rows if names is None else [name for name in names if name in table.rows]
        for name in candidates:
            row = table.rows[name]
            if fits.takes(shape, self._classes.facts[int(self._nodes.klass[table.base + row])], name):
                place = table.base + row
                counts[row] = max(0.0, np.floor(self._least(shape, self._nodes.avail, slice(place, place + 1))[0]))

    def takes(self, slot: int, table: Table, row: int) -> bool:
        """Whether the node at this row takes the shape, amounts aside."""
        klass = int(self._nodes.klass[table.base + row])
        self._fit_classes()
        if slot in self._named:
            return fits.takes(self._by_slot[slot], self._classes.facts[klass], table.names[row])
        return self.matches(slot, klass)

    # -- totals ------------------------------------------------------------------------------------------

    def rooms(self, slot: int, members: Indexes) -> tuple[Floats, Floats, Floats]:
        """free, elastic and virtual replicas, one position per member (given by their numbers). Flush before."""
        self.catch_up(slot)
        known = self.known[slot].take(members)
        if not known.all():
            self.evaluate(slot, members[~known].tolist())
        line, cells = self.totals[slot], members * KINDS
        return line.take(cells), line.take(cells + 1), line.take(cells + 2)

    def any_room(self, shape: Shape, table: Table) -> bool:
        """Of whatever kind. Flush before."""
        return any(room[0] for room in self.rooms(self.slot(shape), np.array([table.number])))

    def evaluate(self, slot: int, members: Sequence[int]) -> None:
        """Computes the shape's totals in these members anew. The slot must have caught up."""
        self._fit_classes()
        tables = [self._tables[number] for number in members]
        for table in tables:
            cells = slice(table.number * KINDS, (table.number + 1) * KINDS)
            self.totals[slot, cells] = self._named_totals(slot, table) if slot in self._named else 0.0
            self.known[slot, table.number] = True
        if slot not in self._named:
            for block in _blocks(sorted((table for table in tables if table.top), key=lambda table: table.base)):
                self._evaluate_block(slot, block)

    def _named_totals(self, slot: int, table: Table) -> Floats:
        part = slice(table.base, table.base + table.top)
        counts = self.counts(self._by_slot[slot], table) * self._nodes.weight[part]
        found: Floats = np.zeros(KINDS)
        np.add.at(found, KIND_OF.take(self._nodes.phase[part]), counts)
        return found

    def _evaluate_block(self, slot: int, block: Sequence[Table]) -> None:
        """Tables side by side at once: rows in between are empty. All rows are first taken for ready nodes."""
        nodes, first = self._nodes, block[0].base
        part = slice(first, block[-1].base + block[-1].top)
        matching = [self.matches(slot, klass) for klass in {klass for table in block for klass in table.used}]
        if part.stop - part.start > self._scratch.shape[1]:
            self._scratch = np.zeros((2, part.stop - part.start))
        counts = self._scratch[0, : part.stop - part.start]
        if not any(matching) or not self._divide(self._by_slot[slot], part, counts):
            return
        if not all(matching):
            counts *= self.matching(slot, nodes.klass[part])
        cells = np.array([table.number for table in block], dtype=np.intp) * KINDS
        self.totals[slot, cells + FREE] = np.add.reduceat(counts, [table.base - first for table in block])
        special = nodes.special()
        special = special[np.searchsorted(special, part.start) : np.searchsorted(special, part.stop)]
        if len(special):
            owners, found = nodes.owner.take(special) * KINDS, counts.take(special - first)
            size = self.totals.shape[1]
            kinds = KIND_OF.take(nodes.phase.take(special))
            self.totals[slot] -= np.bincount(owners + FREE, weights=found, minlength=size)
            self.totals[slot] += np.bincount(owners + kinds, weights=found * nodes.weight.take(special), minlength=size)

    # -- keeping up --------------------------------------------------------------------------------------

    def catch_up(self, slot: int) -> None:
        """Adds what changed since the slot was looked at last."""
        ledger, since = self._ledger, self._as_of[slot]
        self._as_of[slot] = ledger.end
        if since == ledger.end:
            return
        if since < ledger.start or ledger.end - since > len(self._nodes):
            self.known[slot] = False
            return
        part = slice(since - ledger.start, ledger.end - ledger.start)
        cells = ledger.cells[part]
        if slot in self._named:
            self.known[slot, cells // KINDS] = False
            return
        counts = np.maximum(np.floor(self._least(self._by_slot[slot], ledger.amounts, part)), 0.0)
        counts *= self.matching(slot, ledger.klass[part])
        counts *= ledger.times[part]
        self.totals[slot] += np.bincount(cells, weights=counts, minlength=self.totals.shape[1])


def _blocks(tables: Sequence[Table]) -> Iterator[list[Table]]:
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
