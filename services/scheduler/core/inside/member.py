"""One member: its nodes, its pods, and everything that is counted over them, kept true message by message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from services.scheduler.core.inside import prices
from services.scheduler.core.inside.budgets import Budgets
from services.scheduler.core.inside.counts import Counts
from services.scheduler.core.inside.fit import Where, ready, tolerated
from services.scheduler.core.inside.holds import Holds
from services.scheduler.core.inside.nodes import Amounts, Nodes
from services.scheduler.core.inside.policies import ResourcePolicies
from services.scheduler.core.inside.records import LEAVING, PodRecord, Seat
from services.scheduler.core.inside.rests import Rests
from services.scheduler.core.inside.units import Entry, place_of, tolerating_eci
from services.scheduler.core.inside.values import ResourcePolicy
from services.scheduler.core.inside.virtual import Profile, Sale, Wish, profiles_of, taken, wish_of
from services.scheduler.core.intake import Feed
from shared.contracts.binding import Bind
from shared.contracts.capacity import (
    Capacity,
    Delta,
    Heartbeat,
    NodeClass,
    NodeColumns,
    Pool,
    Snapshot,
    Surroundings,
    VirtualStock,
)
from shared.contracts.pod import Pod
from shared.eci import Spec, candidates, spec_named, wants_spot


@dataclass(slots=True)
class News:
    """What a message changed that could help somebody who waits. taken: it was the next one, or a whole snapshot."""

    taken: bool = False
    grew: bool = False
    sales: bool = False
    ready: bool = False  # decisions can be made from now on


class Member:
    """policies: of the whole fleet."""

    def __init__(self, name: str, policies: ResourcePolicies) -> None:
        self.name = name
        self.feed = Feed()
        self.nodes = Nodes()
        self.holds = Holds(self.nodes)
        self.around: Surroundings | None = None
        self._profiles: tuple[Profile, ...] = ()
        self.pods: dict[tuple[str, str], PodRecord] = {}
        self.counts = Counts(self.nodes, policies, self._seats)
        self.prices: dict[str, float] = {}  # of a pool's node
        self.rests = Rests()
        self.budgets = Budgets()
        self._policies = policies
        self._on: dict[str, dict[str, PodRecord]] = {}
        self._sales: dict[str, Sale] | None = None
        self._is_live = False

    @property
    def is_ready(self) -> bool:
        """Its capacity is known without a gap and as it is now, and so are its surroundings."""
        return self._is_live and self.feed.synced and not self.feed.lost and self.around is not None

    # -- capacity --------------------------------------------------------------------------------------------

    def apply(self, message: Capacity, *, is_live: bool) -> News:
        """Takes one message; doubled and old ones change nothing. is_live: it was sent just now."""
        was_ready, news, avail = self.is_ready, News(), self.nodes.avail.copy()
        match message:
            case Snapshot():
                self._take_snapshot(message, news)
            case Delta():
                if self.feed.delta(message):
                    self.budgets.change(message.budgets)
                    self._write(message.classes, [message.nodes], message.removed, message.pools, message, news)
            case Heartbeat():
                self.feed.heartbeat(message)
                if self.feed.synced and (message.epoch, message.number) == (self.feed.epoch, self.feed.number):
                    self._show(message.observed_at, news)
        self._is_live |= is_live and news.taken
        news.ready = self.is_ready and not was_ready
        news.grew |= self.nodes.grew_since(avail)
        self.nodes.released = False
        return news

    def _take_snapshot(self, message: Snapshot, news: News) -> None:
        chunks = self.feed.snapshot(message)
        if chunks is not None:
            classes = {key: node for chunk in chunks for key, node in chunk.classes.items()}
            pools = tuple(pool for chunk in chunks for pool in chunk.pools)
            self.budgets.replace({name: budget for chunk in chunks for name, budget in chunk.budgets.items()})
            self._write(classes, [chunk.nodes for chunk in chunks], None, pools, chunks[0], news)

    def _write(
        self,
        classes: Mapping[int, NodeClass],
        columns: Sequence[NodeColumns],
        removed: Iterable[str] | None,
        pools: Sequence[Pool] | None,
        first: Snapshot | Delta,
        news: News,
    ) -> None:
        whole = removed is None
        if not self.nodes.knows(classes, columns, whole=whole):
            self.feed.synced = False
            return
        gone = self.nodes.gone(columns, removed)
        for record in [record for name in gone for record in self._on.get(name, {}).values()]:
            self._unseat(record)
            record.missing_since = first.observed_at
        touched = self.nodes.write(classes, columns, gone, whole=whole)
        news.grew = bool(touched)
        for name in sorted(touched):
            self.recount(self._on.get(name, {}).values())
        self._write_sales(pools, first.surroundings, news)
        self._show(first.observed_at, news)

    def _show(self, at: float, news: News) -> None:
        news.taken = True
        self.holds.shows(at)

    def _write_sales(self, pools: Sequence[Pool] | None, around: Surroundings | None, news: News) -> None:
        before = (self.prices, self.around.virtual if self.around else None)
        if pools is not None:
            self.prices = {pool.id: pool.price for pool in pools if pool.price}
        if around is not None:
            self.around, self._profiles = around, profiles_of(around)
            self.counts.neighbours.set_namespaces(around)
        news.sales = before != (self.prices, self.around.virtual if self.around else None)
        if news.sales:
            self._lift_rests(before[1] or ())
            self._sales = None
            self.recount(self.pods.values())

    def _lift_rests(self, before: Sequence[VirtualStock]) -> None:
        """Of nodes that have something to sell which was sold out."""
        now = {sold.node: sold.stock for sold in self.around.virtual} if self.around else {}
        for sold in before:
            if any(left == 0 and now.get(sold.node, sold.stock).get(name) != 0 for name, left in sold.stock.items()):
                self.rests.lift(sold.node)

    @property
    def sales(self) -> Mapping[str, Sale]:
        """What each virtual node sells, less what was promised and is not seen yet."""
        if self._sales is None:
            self._sales = {}
            for sold in self.around.virtual if self.around else ():
                stock = {name: left - self.counts.promised[sold.node, name] for name, left in sold.stock.items()}
                self._sales[sold.node] = Sale(stock, sold.prices, sold.own_types)
        return self._sales

    # -- pods ------------------------------------------------------------------------------------------------

    def put(self, record: PodRecord, pod: Pod) -> None:
        """The pod's newest state; of a record that is new here too."""
        self._leave(record)
        is_known = self.pods.get((pod.namespace, pod.name)) is record
        is_bound_before = is_known and bool(record.pod.node)
        if pod.node:
            record.assumed = False
        record.take(pod)
        self.pods[pod.namespace, pod.name] = record
        if not record.is_alive:
            record.assumed = False
            self.holds.clear(record.uid)
        elif pod.node and not is_bound_before and record.names_brim:  # others are counted before they are told
            counted_at = pod.observed_at if pod.counted_at is None else pod.counted_at
            self.holds.bound(record.uid, pod.node, self._takes(record), counted_at)
        self._enter(record)

    def drop(self, record: PodRecord) -> None:
        """The pod is no more."""
        self._leave(record)
        record.assumed = False
        self.holds.clear(record.uid)
        self.pods.pop((record.pod.namespace, record.pod.name), None)

    def assume(self, record: PodRecord, bind: Bind, spec: str) -> None:
        """The pod counts there from now on. spec: its instance's, empty where that is not known."""
        self._leave(record)
        record.given, record.assumed, record.assumed_at, record.spec = bind, True, bind.at, spec
        record.nominated, record.awaits = "", ()
        record.set_labels()
        self.holds.assume(record.uid, bind.node, self._takes(record))
        self._enter(record)

    def unassume(self, record: PodRecord, *, doubt_until: float | None = None) -> None:
        """The order failed; or nothing was heard of it, and it is void from then on."""
        self._leave(record)
        record.assumed = False
        record.set_labels()
        if doubt_until is None:
            self.holds.fail(record.uid)
        else:
            self.holds.doubt(record.uid, doubt_until)
        self._enter(record)

    def still_takes(self, record: PodRecord) -> bool:
        """Whether the node that the pod was given can still be had: it is there, ready, and without a new taint."""
        row = self.nodes.rows.get(record.node)
        if row is None:
            return False
        where = Where(None if self.nodes.unit(row) != "eci" else "eci", (), tolerating_eci(record.needs.filters))
        return bool(ready(self.nodes, where)[row] and tolerated(self.nodes, where.filters)[row])

    def _takes(self, record: PodRecord) -> Amounts:
        """What a bound pod takes of its node."""
        requests = record.needs.shape.requests
        row = self.nodes.rows.get(record.node)
        spec = self.spec_of(record) if row is not None and self.nodes.unit(row) == "eci" else None
        return taken(requests, spec) if spec is not None else requests

    def spec_of(self, record: PodRecord) -> Spec | None:
        """The instance of a pod on a virtual node, as far as it is known."""
        types = self.sales.get(record.node, Sale()).types
        size = record.pod.instance.size if record.pod.instance else record.spec
        try:
            if size:
                return spec_named(size, types)
            return next(iter(candidates(dict(record.needs.shape.requests), record.annotations, types)), None)
        except ValueError:
            return None

    # -- counting --------------------------------------------------------------------------------------------

    def has(self, record: PodRecord) -> bool:
        """Whether it is still told of."""
        return self.pods.get((record.pod.namespace, record.pod.name)) is record

    def on(self, node: str) -> Iterable[PodRecord]:
        """Pods that count on this node."""
        return self._on.get(node, {}).values()

    def policy_of(self, record: PodRecord) -> ResourcePolicy | None:
        """The policy that a pod follows: none where it asks for ECI, unless it is elsewhere already."""
        policies = self._policies.of(record.pod.namespace, dict(record.labels))
        if not policies or (self.wish_of(record) is not None and self.unit_of(record.node) in (None, "eci")):
            return None
        return policies[0]

    def wish_of(self, record: PodRecord) -> Wish | None:
        if self.around is None:
            return None
        found = wish_of(dict(record.labels), record.pod.namespace, self.around, self._profiles)
        return found or (Wish() if record.pod.eci else None)

    def unit_of(self, node: str) -> str | None:
        row = self.nodes.rows.get(node)
        return None if row is None else self.nodes.unit(row)

    def recount(self, records: Iterable[PodRecord]) -> None:
        """Something that decides how they count changed."""
        for record in list(records):
            self._unseat(record)
            self._seat(record)

    @contextmanager
    def without(self, records: Sequence[PodRecord]) -> Iterator[None]:
        """As if these had left their node already."""
        seats = [(record, record.seat) for record in records if record.seat is not None]
        for record, seat in seats:
            self._unseat(record)
            self.nodes.shift(seat.row, seat.needs.shape.requests, 1)
        try:
            yield
        finally:
            for record, seat in seats:
                self.nodes.shift(seat.row, seat.needs.shape.requests, -1)
                record.seat = seat
                self._count(seat, 1)

    def policies_changed(self, namespace: str) -> list[PodRecord]:
        """Its ResourcePolicies are others now. Which pods may be concerned."""
        records = [record for record in self.pods.values() if record.pod.namespace == namespace]
        for record in records:
            self._unseat(record)
        self.counts.forget_tallies(namespace)
        for record in records:
            self._seat(record)
        return records

    def _seats(self) -> Iterator[Seat]:
        for records in self._on.values():
            yield from (record.seat for record in records.values() if record.seat is not None)

    def _enter(self, record: PodRecord) -> None:
        if record.node:
            self._on.setdefault(record.node, {})[record.uid] = record
            self._seat(record)

    def _leave(self, record: PodRecord) -> None:
        self._unseat(record)
        of_node = self._on.get(record.node)
        if of_node is not None and of_node.pop(record.uid, None) is not None and not of_node:
            del self._on[record.node]

    def _seat(self, record: PodRecord) -> None:
        row = self.nodes.rows.get(record.node)
        if row is not None:
            record.seat = self._seat_at(record, row)
            self._count(record.seat, 1)

    def _unseat(self, record: PodRecord) -> None:
        if record.seat is not None:
            self._count(record.seat, -1)
            record.seat = None

    def _seat_at(self, record: PodRecord, row: int) -> Seat:
        pod, policy = record.pod, self.policy_of(record)
        labels = dict(record.labels)
        place = place_of(policy, self.nodes, row, labels, record.annotations) if policy else None
        entry = None
        if policy is not None and place is not None:
            group = tuple(labels.get(key) for key in policy.label_keys)
            previous = pod.bound_at is not None and pod.bound_at + 1 <= policy.created_at  # told in whole seconds
            entry = Entry(place, group, record.needs.shape.requests, pod.terminating, previous)
        promised = record.spec if record.spec and pod.instance is None and self.nodes.unit(row) == "eci" else ""
        return Seat(
            row,
            pod.namespace,
            record.labels,
            record.needs,
            pod.terminating,
            LEAVING if pod.terminating or record.evicted_at is not None else pod.priority,
            record.owner,
            self._hourly(record, row),
            policy.key if policy and entry else None,
            entry,
            (record.node, promised) if promised else None,
        )

    def _hourly(self, record: PodRecord, row: int) -> float:
        match self.nodes.unit(row):
            case "idc":
                return 0.0
            case "ecs":
                return prices.of_row(self.nodes, self.prices, record.needs.shape.requests, row)
        pod = record.pod
        if pod.instance is not None:
            return pod.instance.per_hour
        spec = self.spec_of(record)
        sale = self.sales.get(record.node)
        return sale.prices.hourly(spec, spot=wants_spot(record.annotations)) if spec and sale else 0.0

    def _count(self, seat: Seat, sign: int) -> None:
        self.counts.count(seat, sign)
        if seat.instance is not None:
            self._sales = None
