"""What room the fleet has, exactly: the one place that knows nodes, pools, reservations and what is bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf

import numpy as np

from services.scheduler.core import why
from services.scheduler.core.ages import Ages
from services.scheduler.core.capacity import Writer
from services.scheduler.core.constraints import Term
from services.scheduler.core.growth import Growth
from services.scheduler.core.headroom import Headroom
from services.scheduler.core.holdings import Holdings
from services.scheduler.core.intake import Feed
from services.scheduler.core.ledger import KEPT, Ledger
from services.scheduler.core.nodes import KIND_OF, Classes, Floats, Indexes, Nodes, Table
from services.scheduler.core.promises import ORDER
from services.scheduler.core.shapes import Shapes
from services.scheduler.core.values import Component, Gap, Room, Shape
from shared.contracts.capacity import Capacity, Delta, Heartbeat, Pool, Snapshot, Surroundings, VirtualStock

_REASONS_KEPT = 4096


class FleetRoom:
    """shapes: how many shapes' room is kept up to date; memory grows with shapes × members.
    changes: of rows that are remembered for that; a shape that was not asked for since is computed afresh.

    Members are numbered by first mention (`number`), for arrays over members.
    """

    def __init__(self, shapes: int = 256, changes: int = KEPT) -> None:
        self._nodes = Nodes()
        self._classes = Classes()
        self._tables: list[Table] = []
        self._ledger = Ledger(self._nodes, self._classes, changes)
        self._shapes = Shapes(self._nodes, self._classes, self._ledger, self._tables, shapes)
        self._growth = Growth(self._nodes, self._classes, self._shapes, self._ledger)
        self._numbers: dict[str, int] = {}
        self._feeds: dict[str, Feed] = {}
        headroom = Headroom(self._nodes, self._ledger)
        self._holdings = Holdings(self._nodes, self._shapes, self._ledger, headroom)
        self._ages = Ages()
        self._writer = Writer(
            self._nodes, self._classes, self._shapes, self._ledger, self._growth, headroom, self._holdings
        )
        self._selling: dict[str, tuple[VirtualStock, ...]] = {}
        self._restocked: set[int] = set()  # members that have more to sell than they had
        self._reasons: dict[tuple[int, Shape, tuple[Term, ...]], tuple[tuple[int, int], str, str]] = {}

    # -- members -----------------------------------------------------------------------------------------

    def number(self, member: str) -> int:
        """The member's position in arrays over members; a new one if it has none."""
        found = self._numbers.get(member)
        if found is None:
            found = self._numbers[member] = len(self._tables)
            self._tables.append(Table(member, found))
            self._shapes.fit_members(len(self._tables))
            self._ledger.fit_members(len(self._tables))
        return found

    def numbers(self, members: Sequence[str]) -> Indexes:
        return np.array([self.number(member) for member in members], dtype=np.intp)

    def member(self, number: int) -> str:
        return self._tables[number].member

    def _table(self, member: str) -> Table:
        return self._tables[self.number(member)]

    def feed(self, member: str) -> Feed | None:
        """How far the member's capacity is known; None before its first message."""
        return self._feeds.get(member)

    def forget(self, member: str) -> None:
        """The member is no more. What was promised there stays promised until its placements say otherwise."""
        table = self._table(member)
        self._ledger.flush()
        self._holdings.forget_member(table)
        self._writer.clear(table)
        self._feeds.pop(member, None)
        self._selling.pop(member, None)

    # -- capacity ----------------------------------------------------------------------------------------

    def apply(self, message: Capacity) -> Gap | None:
        """Takes one message; doubled and old ones change nothing. Gap: something is missing, ask for a snapshot."""
        feed = self._feeds.setdefault(message.member, Feed())
        match message:
            case Snapshot():
                self._take_snapshot(feed, message)
            case Delta():
                self._take_delta(feed, message)
            case Heartbeat():
                feed.heartbeat(message)
        return None if feed.synced or feed.chunks else Gap(message.member)

    def _take_snapshot(self, feed: Feed, message: Snapshot) -> None:
        chunks = feed.snapshot(message)
        if chunks is None:
            return
        classes = {key: node for chunk in chunks for key, node in chunk.classes.items()}
        nodes = [chunk.nodes for chunk in chunks]
        if any(key not in classes for columns in nodes for key in set(columns.classes)):
            feed.synced = False
            return
        for chunk in chunks:
            self._sell(message.member, chunk.surroundings)
        table = self._table(message.member)
        changed = self._writer.write(
            table,
            classes=classes,
            nodes=nodes,
            removed=None,
            pools=tuple(pool for chunk in chunks for pool in chunk.pools),
            bound={uid: count for chunk in chunks for uid, count in chunk.bound.items()},
            bound_virtual={uid: count for chunk in chunks for uid, count in chunk.bound_virtual.items()},
        )
        self._note_ages(changed, table, message.observed_at)

    def _take_delta(self, feed: Feed, message: Delta) -> None:
        table = self._table(message.member)
        if not feed.delta(message):
            return
        if any(key not in message.classes and key not in table.classes for key in message.nodes.classes):
            feed.synced = False
            return
        self._sell(message.member, message.surroundings)
        changed = self._writer.write(
            table,
            classes=message.classes,
            nodes=[message.nodes],
            removed=message.removed,
            pools=message.pools,
            bound=message.bound,
            bound_virtual=message.bound_virtual,
        )
        self._note_ages(changed, table, message.observed_at)

    def _note_ages(self, uids: Iterable[str], table: Table, at: float) -> None:
        for uid in uids:
            self._ages.note(uid, table.number, self._holdings.waits(uid, table), at)

    def _sell(self, member: str, around: Surroundings | None) -> None:
        if around is None:
            return
        before = {sold.node: sold.stock for sold in self._selling.get(member, ())}
        self._selling[member] = around.virtual
        for sold in around.virtual:
            more = (sold.stock.get(name, inf) > left for name, left in before.get(sold.node, {}).items())
            if any(more):
                self._restocked.add(self.number(member))

    # -- room --------------------------------------------------------------------------------------------

    def room(self, shape: Shape, member: str) -> Room:
        free, elastic, virtual = self.rooms(shape, self.numbers([member]))
        return Room(int(free[0]), int(elastic[0]), int(virtual[0]))

    def rooms(self, shape: Shape, members: Indexes) -> tuple[Floats, Floats, Floats]:
        """free, elastic, virtual: whole replicas, one position per member number."""
        self._ledger.flush()
        return self._shapes.rooms(self._shapes.slot(shape), members)

    def fits_together(self, components: Sequence[Component], member: str, phases: Sequence[int] = ORDER) -> bool:
        """Whether one whole object finds room on nodes of these phases there, all components at once."""
        kinds = {int(KIND_OF[phase]) for phase in phases}
        for component in components:
            room = self.room(component.shape, member)
            if sum((room.free, room.elastic, room.virtual)[kind] for kind in kinds) < component.count:
                return False
        if len(components) == 1:
            return True
        with self.trial():
            self._holdings.place("", [(self._table(member), components)], phases)
            return not any(self._holdings.deficits_of("", self._table(member)))

    def why(self, shape: Shape, member: str, among: tuple[Term, ...] = ()) -> tuple[str, str]:
        """(code, sentence): why the member has no room for the shape. Kept until the member changes.

        among: the only nodes that count.
        """
        table = self._table(member)
        kept = self._reasons.get((table.number, shape, among))
        if kept is None or kept[0] != self._version(table):
            if len(self._reasons) >= _REASONS_KEPT:
                self._reasons.clear()
            kept = (self._version(table), *why.why(self._nodes, self._classes, table, shape, among))
            self._reasons[table.number, shape, among] = kept
        return kept[1], kept[2]

    def explained(self, shape: Shape, member: str, among: tuple[Term, ...] = ()) -> bool:
        """Whether `why` is at hand, without looking at nodes."""
        table = self._table(member)
        kept = self._reasons.get((table.number, shape, among))
        return kept is not None and kept[0] == self._version(table)

    def _version(self, table: Table) -> tuple[int, int]:
        """Another one after every change of the member's room."""
        return table.version, int(self._ledger.changed[table.number])

    def selling(self, member: str) -> tuple[VirtualStock, ...]:
        """What the member's virtual nodes sell, as it was last told."""
        return self._selling.get(member, ())

    def pools(self, member: str) -> list[Pool]:
        return [rows.pool for rows in self._table(member).pools.values()]

    # -- reservations ------------------------------------------------------------------------------------

    def release(self, uid: str, members: Iterable[str]) -> None:
        """Nothing is placed in these members any more."""
        self.place(uid, [(member, ()) for member in members], inf)

    def place(self, uid: str, placed: Sequence[tuple[str, Sequence[Component]]], at: float) -> None:
        """The placement's replicas in each of these members from then (Unix seconds) on, per component (its count)."""
        tables = [(self._table(member), components) for member, components in placed]
        self._holdings.place(uid, tables)
        self._ledger.flush()
        if self._holdings.trying:
            return
        for table, _ in tables:
            self._ages.note(uid, table.number, self._holdings.waits(uid, table), at)
            if self._holdings.short:
                self._holdings.house_deficits(table)

    def oldest_reservations(self) -> dict[str, float]:
        """Per member that has any: since when (Unix seconds) a workload has waited there for pods to be bound."""
        return {self.member(number): since for number, since in self._ages.oldest()}

    def bound(self, uid: str, member: str) -> int:
        number = self._numbers.get(member)
        return self._tables[number].bound.get(uid, 0) if number is not None else 0

    def bound_virtual(self, uid: str, member: str) -> int:
        """Of the bound replicas, those on virtual nodes."""
        number = self._numbers.get(member)
        return self._tables[number].bound_virtual.get(uid, 0) if number is not None else 0

    def on_virtual(self, member: str) -> Mapping[str, int]:
        """As `bound_virtual`, of all that have any there."""
        return self._table(member).bound_virtual

    def reserved(self, uid: str, member: str) -> int:
        return self._holdings.reserved(uid, self._table(member))

    def promised(self, shape: Shape, member: str) -> int:
        """Replicas of this shape whose room on virtual nodes is promised, and that are not bound yet."""
        return self._holdings.promised(shape, self._table(member))

    def placed(self, uid: str, member: str) -> int:
        return self._holdings.placed(uid, self._table(member))

    def short(self, uid: str, member: str) -> int:
        """Replicas that this workload was promised there and that have no room now."""
        return sum(self._holdings.deficits_of(uid, self._table(member)))

    def deficit(self, member: str) -> int:
        """Replicas promised there that have no room: what shrank under a promise, or fixed numbers beyond it."""
        return self._holdings.deficit(self._table(member))

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Whatever is placed inside is undone at the end, to the row; may be nested. Apply no capacity inside."""
        self._growth.listen(False)
        self._holdings.begin()
        try:
            yield
        finally:
            self._holdings.undo(self._tables)
            self._growth.listen(not self._holdings.trying)

    # -- growth ------------------------------------------------------------------------------------------

    def watch(self, shape: Shape, change: int) -> None:
        """One more (+1) or less (-1) waits for room of this shape."""
        self._growth.watch(shape, change)

    def take_grown(self) -> set[tuple[Shape, int]]:
        """(shape, member number): where room for a watched shape grew since the last call, or may have."""
        restocked, self._restocked = self._restocked, set()
        return self._growth.take() | {(shape, member) for member in restocked for shape in self._growth.watched}
