"""Reservations: room that was promised and whose pods are not bound yet, held on assumed nodes.

reserved(uid, member) = max(0, placed − bound). Each reserved replica is charged to one row, or is a deficit of
its member where no row has room: kept, and housed as soon as one has. A reservation ends by binding or by a
change of the placement, never by age.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np

from services.scheduler.core.headroom import Headroom
from services.scheduler.core.ledger import Ledger
from services.scheduler.core.nodes import HEADROOM, READY, UPCOMING, VIRTUAL, Indexes, Nodes, PoolRows, Table
from services.scheduler.core.promises import ORDER, SERVERLESS, Part, counted
from services.scheduler.core.shapes import Shapes
from services.scheduler.core.values import Component, Shape

COMING = (UPCOMING, READY, HEADROOM, VIRTUAL)  # for what was promised a node of a pool
RUN = 4  # neighbours that are looked at together
GLANCES = (4, 32)  # so many runs per member are looked at, first and then, before all of its nodes are

Growth: TypeAlias = list[tuple[Part, int]]  # replicas that need a row
_Before: TypeAlias = list[tuple[Part, dict[int, int]]]  # parts as they were, and their rows


class Holdings:
    def __init__(self, nodes: Nodes, shapes: Shapes, ledger: Ledger, headroom: Headroom) -> None:
        self._nodes = nodes
        self._shapes = shapes
        self._ledger = ledger
        self._headroom = headroom
        self._promises: dict[str, dict[int, list[Part]]] = {}  # by uid and member, one part per component or unit
        self._held: defaultdict[int, dict[int, list[Part]]] = defaultdict(dict)  # by member and row
        self._deficits: dict[int, dict[Shape, dict[Part, None]]] = {}
        self._trials: list[dict[tuple[str, int], _Before]] = []
        self._emptied: list[tuple[Table, int]] = []  # in a trial: nodes of pools that nobody holds any more
        self._turn = 0

    # -- what is reserved --------------------------------------------------------------------------------

    def _parts(self, uid: str, table: Table) -> Sequence[Part]:
        return self._promises.get(uid, _NOTHING).get(table.number, ())

    def reserved(self, uid: str, table: Table) -> int:
        return sum(part.count for part in self._parts(uid, table))

    def waits(self, uid: str, table: Table) -> bool:
        """Whether any are reserved."""
        for part in self._parts(uid, table):  # noqa: SIM110 - asked after every change, and a generator costs more
            if part.housed or part.deficit:
                return True
        return False

    def placed(self, uid: str, table: Table) -> int:
        return sum(part.placed for part in self._parts(uid, table))

    def deficit(self, table: Table) -> int:
        """Promised replicas that have no row in this member."""
        return sum(part.deficit for parts in self._deficits.get(table.number, {}).values() for part in parts)

    @property
    def short(self) -> bool:
        """Somebody, somewhere, was promised room that is not there."""
        return any(self._deficits.values())

    def deficits_of(self, uid: str, table: Table) -> list[int]:
        """Per component, replicas without a row."""
        return [part.deficit for part in self._parts(uid, table)]

    def promised(self, shape: Shape, table: Table) -> int:
        """Replicas of the shape on virtual nodes."""
        rows = np.flatnonzero(self._nodes.phase[table.base : table.base + table.top] == VIRTUAL)
        return sum(part.rows[row] for row in rows.tolist() for part in self.held_at(table, row) if part.shape == shape)

    def held_at(self, table: Table, row: int) -> Sequence[Part]:
        return self._held.get(table.number, {}).get(row, ())

    def held_rows(self, table: Table) -> Mapping[int, Sequence[Part]]:
        return self._held.get(table.number, {})

    # -- changing a placement, or what is bound ----------------------------------------------------------

    def place(
        self, uid: str, wanted: Sequence[tuple[Table, Sequence[Component]]], order: Sequence[int] | None = None
    ) -> None:
        """The placement's replicas in these members from now on; a component's count is what is placed there.

        order: the phases of the nodes that may be taken; None where each component's own order counts.
        """
        mine = self._promises.setdefault(uid, {})
        growth: Growth = []
        for table, components in wanted:
            parts = mine.get(table.number, _NOBODY)
            if self._trials:
                self._remember(uid, table, parts)
            if not _are_of(parts, components):
                parts = mine[table.number] = self._anew(table, parts, components)
            left = 0
            for part, component in zip(parts, components, strict=True):
                part.placed = component.count
                part.order = order or (SERVERLESS if component.serverless else ORDER)
                left += component.count
            self._adjust(uid, table, parts, (), growth)
            if not left:
                mine.pop(table.number, None)
        if not mine:
            del self._promises[uid]
        self._house_all(growth)

    def _anew(self, table: Table, parts: Sequence[Part], components: Sequence[Component]) -> list[Part]:
        """Another template: what was promised is promised in the new shapes."""
        for part in parts:
            self.release(part, part.count, ())
        return [Part(table, one.shape, choices=one.choices, on_virtual=one.on_virtual) for one in components]

    def bind(self, uid: str, table: Table, shrunk: Sequence[int]) -> Growth:
        """What is bound of uid changed in the table; what must be housed in addition is returned, for `house`.

        shrunk: rows whose free amounts shrank in the same revision: there the pods went.
        """
        growth: Growth = []
        self._adjust(uid, table, self._parts(uid, table), shrunk, growth)
        return growth

    def _adjust(self, uid: str, table: Table, parts: Sequence[Part], shrunk: Sequence[int], growth: Growth) -> None:
        bound, virtual = table.bound.get(uid, 0), table.bound_virtual.get(uid, 0)
        for part, count in counted(parts, bound, virtual) if parts else ():
            change = part.placed - count - part.housed - part.deficit
            if change < 0:
                self.release(part, -change, shrunk)
            elif change > 0:
                growth.append((part, change))

    # -- holding -----------------------------------------------------------------------------------------

    def _hold(self, part: Part, row: int, count: int) -> None:
        self._ledger.touch_one(part.table.base + row)
        self._charge(part, row, count)
        self._note(part, row, count)

    def _note(self, part: Part, row: int, count: int) -> None:
        part.housed += count
        if row in part.rows:
            part.rows[row] += count
            return
        part.rows[row] = count
        held = self._held[part.table.number]
        if row in held:
            held[row].append(part)
        else:
            held[row] = [part]

    def _charge(self, part: Part, row: int, count: int) -> None:
        columns, avail = self._nodes.columns, self._nodes.avail
        for resource, amount in part.shape.requests:
            avail[columns[resource], part.table.base + row] -= amount * count

    def unhold(self, part: Part, row: int, count: int) -> None:
        """Takes `count` replicas of the part off the row."""
        table = part.table
        self._ledger.touch_one(table.base + row)
        self._charge(part, row, -count)
        part.housed -= count
        part.rows[row] -= count
        if part.rows[row]:
            return
        del part.rows[row]
        held = self._held[table.number]
        held[row].remove(part)
        if not held[row]:
            del held[row]
            if self._nodes.phase[table.base + row] == HEADROOM:
                if self._trials:
                    self._emptied.append((table, row))
                else:
                    self._headroom.merge(table, row)

    def release(self, part: Part, count: int, shrunk: Sequence[int]) -> None:
        """Ends `count` reservations: on the rows given, then deficits, then nodes that are not there yet last."""
        for row in shrunk:
            if count and row in part.rows:
                taken = min(count, part.rows[row])
                self.unhold(part, row, taken)
                count -= taken
        taken = min(count, part.deficit)
        self._set_deficit(part, part.deficit - taken)
        count -= taken
        if not count:
            return
        phase, base = self._nodes.phase, part.table.base
        rank = {READY: 0, UPCOMING: 1, VIRTUAL: 2}
        for row in sorted(part.rows, key=lambda row: rank.get(int(phase[base + row]), 3)):
            taken = min(count, part.rows[row])
            self.unhold(part, row, taken)
            count -= taken
            if not count:
                return

    def _set_deficit(self, part: Part, count: int) -> None:
        if count == part.deficit:
            return
        part.deficit = count
        shapes = self._deficits.setdefault(part.table.number, {})
        if count:
            shapes.setdefault(part.shape, {})[part] = None
            return
        shapes[part.shape].pop(part, None)
        if not shapes[part.shape]:
            del shapes[part.shape]

    # -- housing -----------------------------------------------------------------------------------------

    def _house_all(self, growth: Growth) -> None:
        """In many members at once: for most a glance at a few nodes will do, or at some more."""
        for shape in dict.fromkeys(part.shape for part, _ in growth):
            glance: dict[int, tuple[Part, int]] = {}
            rest: Growth = []
            for part, count in growth:
                if part.shape == shape:
                    at_a_glance = part.table.top and part.order[0] == READY and not part.choices
                    if at_a_glance and part.table.number not in glance:
                        glance[part.table.number] = part, count
                    else:
                        rest.append((part, count))
            looking = list(glance.values())
            for runs in GLANCES if looking else ():
                looking = self._house_at_a_glance(shape, looking, runs)
                if not looking:
                    break
            for part, count in looking + rest:
                self.house(part, count)

    def _house_at_a_glance(self, shape: Shape, growth: Growth, runs: int) -> Growth:
        """Each part on one ready node, the roomiest of some; returns those for which that has too little room.

        No member twice, and none without rows. Kubernetes' own scheduler, too, takes the best of some of many nodes.
        """
        rows = self._some(growth, runs)
        room = self._shapes.room_at(self._shapes.slot(shape), rows)
        each = np.arange(len(growth))
        best = room.argmax(axis=1)
        chosen, wanted = rows[each, best], np.array([count for _, count in growth], dtype=np.float64)
        fits = room[each, best] >= wanted
        self._ledger.touch(chosen[fits])
        for resource, amount in shape.requests if fits.any() else ():
            self._nodes.avail[self._nodes.columns[resource], chosen[fits]] -= amount * wanted[fits]
        rest: Growth = []
        for (part, count), row, fitting in zip(growth, chosen.tolist(), fits.tolist(), strict=True):
            if fitting:
                self._note(part, row - part.table.base, count)
            else:
                rest.append((part, count))
        return rest

    def _some(self, growth: Growth, runs: int) -> Indexes:
        """(parts × nodes) rows to look at, others each time: short runs, evenly over the member."""
        self._turn += RUN
        bases = np.array([part.table.base for part, _ in growth], dtype=np.intp)[:, None]
        tops = np.array([part.table.top for part, _ in growth], dtype=np.intp)[:, None]
        places = np.arange(runs * RUN)
        return bases + (places // RUN * tops // runs + places % RUN + self._turn) % tops

    def house(self, part: Part, count: int, order: Sequence[int] | None = None) -> None:
        """Finds rows for `count` more replicas, by phase in this order; what finds none becomes a deficit."""
        for shape in part.choices or (part.shape,):
            for phase in order or part.order:
                if not count:
                    return
                if phase == READY:
                    count = self._house_ready(part, shape, count)
                else:
                    count = self._house_phase(part, shape, count, phase)
        self._set_deficit(part, part.deficit + count)

    def _house_ready(self, part: Part, shape: Shape, count: int) -> int:
        """On the nodes with the most room first, as kube-scheduler spreads by default: most pods go there."""
        table = part.table
        counts = self._shapes.counts(shape, table)
        counts *= self._nodes.phase[table.base : table.base + table.top] == READY
        rows = np.flatnonzero(counts)
        if len(rows) > count:
            rows = rows[np.argpartition(counts[rows], -count)[-count:]]
        for row in rows[np.argsort(-counts[rows], kind="stable")].tolist():
            taken = min(count, int(counts[row]))
            self._hold(part, row, taken)
            count -= taken
            if not count:
                break
        return count

    def _house_phase(self, part: Part, shape: Shape, count: int, phase: int) -> int:
        table = part.table
        here = self._nodes.phase[table.base : table.base + table.top] == phase
        if not here.any():
            return count
        counts = self._shapes.counts(shape, table) * here
        rows = np.flatnonzero(counts).tolist()
        mains = {pool.main: pool for pool in table.pools.values()} if phase == HEADROOM else {}
        for row in rows:
            if count and row not in mains:
                taken = min(count, int(counts[row]))
                self._hold(part, row, taken)
                count -= taken
        for row in rows:
            if row in mains:
                count = self._house_split(part, count, mains[row], int(counts[row]))
        return count

    def _house_split(self, part: Part, count: int, pool: PoolRows, each: int) -> int:
        table = part.table
        while count and self._nodes.weight[table.base + pool.main] > 0:
            row = self._headroom.split(table, pool)
            taken = min(count, each)
            self._hold(part, row, taken)
            count -= taken
        return count

    # -- mending -----------------------------------------------------------------------------------------

    def evict(self, part: Part, row: int) -> tuple[Part, int]:
        """All of the part's replicas leave the row and are a deficit, until `rehouse`: what binds meanwhile is not
        housed again."""
        count = part.rows[row]
        self.unhold(part, row, count)
        self._set_deficit(part, part.deficit + count)
        return part, count

    def rehouse(self, part: Part, count: int, order: Sequence[int] | None = None) -> None:
        """Finds rows for what was evicted, as far as it is still reserved."""
        count = min(count, part.deficit)
        self._set_deficit(part, part.deficit - count)
        self.house(part, count, order)

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
                self._set_deficit(part, 0)
                self.house(part, count)
                self._ledger.flush()

    def forget_member(self, table: Table) -> None:
        """The member's rows are gone: every promise in it becomes a deficit."""
        for row, parts in self._held.pop(table.number, {}).items():
            for part in parts:
                count = part.rows.pop(row)
                part.housed -= count
                self._set_deficit(part, part.deficit + count)

    # -- trials ------------------------------------------------------------------------------------------

    @property
    def trying(self) -> bool:
        return bool(self._trials)

    def begin(self) -> None:
        """From here on every change of a promise is remembered, for `undo`. Trials may be nested."""
        self._trials.append({})

    def _remember(self, uid: str, table: Table, parts: Sequence[Part]) -> None:
        if self._trials and (uid, table.number) not in self._trials[-1]:
            self._trials[-1][uid, table.number] = [(replace(part), dict(part.rows)) for part in parts]

    def undo(self, tables: Sequence[Table]) -> None:
        """Back to `begin`: first everything goes, then what was there returns to the very rows it had."""
        undo = self._trials[-1]
        for uid, number in undo:
            for part in self._promises.get(uid, {}).pop(number, ()):
                self.release(part, part.count, ())
        for (uid, number), before in undo.items():
            if before:
                parts = self._promises.setdefault(uid, {})[number] = []
                for was, rows in before:
                    part = replace(was, rows={}, housed=0, deficit=0)
                    parts.append(part)
                    for row, count in rows.items():
                        self._hold(part, row, count)
                    self._set_deficit(part, was.deficit)
            if not self._promises.get(uid, True):
                del self._promises[uid]
        self._trials.pop()
        if not self._trials:
            emptied, self._emptied = self._emptied, []
            for table, row in emptied:
                if not self.held_at(table, row):
                    self._headroom.merge(table, row)
        self._ledger.flush()


def _are_of(parts: Sequence[Part], components: Sequence[Component]) -> bool:
    """Whether these parts are reservations of these components."""
    return len(parts) == len(components) and all(map(_same_shape, parts, components))


def _same_shape(part: Part, component: Component) -> bool:
    return part.shape == component.shape


_NOTHING: Final[Mapping[int, list[Part]]] = {}
_NOBODY: Final[list[Part]] = []
