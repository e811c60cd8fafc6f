"""Publishes one member's room: snapshots, numbered deltas, heartbeats.

Every write is fenced on the subject's last sequence, so that an instance that lost its lease without noticing
cannot overwrite its successor's. What may or may not have been stored is followed by a snapshot.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import anyio

from services.inventory.core.deltas import CHUNK, Ledger
from services.inventory.metrics import InventoryMetrics
from services.inventory.mirror import Mirror
from shared.backoff import Backoff, Retries
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.capacity import Capacity, Delta, Heartbeat, Pool, Snapshot, Surroundings, decode_capacity
from shared.errors import BusUnavailable, Invalid, LeaseLost, MemberUnavailable, WriteConflict
from shared.settings import InventorySettings

log = logging.getLogger("brim.inventory")

STREAM = "CAPACITY"
RETRY = Backoff(base=0.05, maximum=5.0)
HEADERS = 4096  # bytes of the server's payload limit that are left for headers
SNAPSHOT_WAIT = 10.0  # seconds that a request for a snapshot waits for a member that is being listed


class CapacityPublisher:
    """Run one per member. `run` returns never; `ask` waits for a snapshot newer than the request."""

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        settings: InventorySettings,
        mirror: Mirror,
        epoch: int,
        metrics: InventoryMetrics,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._mirror = mirror
        self._metrics = metrics
        self._subject = subjects.capacity(mirror.member)
        self._ledger = Ledger(mirror.member, epoch, chunk=min(CHUNK, bus.max_payload - HEADERS))
        self._sequence: int | None = None  # of the subject's last message; None when it has to be looked up
        self._snapshot_due = True
        self._heartbeat_at = float("-inf")
        self._told_pools: tuple[Pool, ...] = ()
        self._told_surroundings: Surroundings | None = None
        self._told_lost = self._told_silent = False
        self._told_answer = False  # whether a heartbeat has said that the member answers at all
        self._snapshots = 0
        self._published = asyncio.Condition()

    async def run(self) -> None:
        """Publish until cancelled. Raises LeaseLost when a newer instance has written."""
        retries = Retries(RETRY)
        while True:
            try:
                await self._publish_what_is_due()
                retries.succeeded()
            except (BusUnavailable, WriteConflict) as error:
                self._metrics.publish_failures.add(member=self._mirror.member)
                log.debug("capacity of %s will be published again: %s", self._mirror.member, error)
                self._sequence, self._snapshot_due = None, True
                await anyio.sleep(retries.next_delay())
                continue
            await anyio.sleep(self._settings.coalesce)
            with anyio.move_on_after(self._until_heartbeat()):
                await self._mirror.capacity_changed.wait()

    async def ask(self) -> None:
        """Publish a snapshot now and wait for it. Raises MemberUnavailable while the room is not known."""
        wanted = self._snapshots + 1
        self._snapshot_due = True
        self._mirror.capacity_changed.set()
        try:
            async with asyncio.timeout(SNAPSHOT_WAIT), self._published:
                await self._published.wait_for(lambda: self._snapshots >= wanted)
        except TimeoutError:
            raise MemberUnavailable(
                f"member {self._mirror.member}: its room is not known yet ({self._mirror.trouble or 'being listed'})"
            ) from None

    @property
    def has_published(self) -> bool:
        """A snapshot of this epoch is stored."""
        return self._snapshots > 0

    def wake(self) -> None:
        """Something that heartbeats tell has changed."""
        self._heartbeat_at = float("-inf")
        self._mirror.capacity_changed.set()

    def _until_heartbeat(self) -> float:
        left = self._heartbeat_at + self._settings.heartbeat - self._clock.now()
        return self._clock.real(max(0.0, left))

    async def _publish_what_is_due(self) -> None:
        now = self._clock.now()
        self._mirror.capacity_changed.clear()
        if self._sequence is None:
            await self._look_up()
        if self._mirror.has_room:
            self._mirror.capacity.age(now)
            if self._snapshot_due or self._is_old(now):
                await self._snapshot(now)
            elif self._mirror.capacity.changed or self._has_news():
                await self._delta(now)
        if self._owes_heartbeat(now):
            await self._heartbeat(now)

    def _has_news(self) -> bool:
        """Beside the nodes."""
        mirror = self._mirror
        if mirror.budgets.changed:
            return True
        return mirror.pools != self._told_pools or mirror.known_surroundings != self._told_surroundings

    def _owes_heartbeat(self, now: float) -> bool:
        """Before its first snapshot a new writer tells of a member only that it cannot be used: any other word of a
        newer epoch would make what is known of it doubtful."""
        mirror, silent = self._mirror, self._is_silent(now)
        if not (self.has_published or mirror.lost or silent or self._told_lost or self._told_silent):
            return False
        answered_first = bool(mirror.reachable_at) and not self._told_answer
        told = mirror.lost == self._told_lost and silent == self._told_silent and not answered_first
        return not told or now >= self._heartbeat_at + self._settings.heartbeat

    def _is_silent(self, now: float) -> bool:
        return self._mirror.trouble is not None and now - self._mirror.reachable_at >= self._settings.silent_after

    def _is_old(self, now: float) -> bool:
        ledger, settings = self._ledger, self._settings
        return ledger.since_snapshot >= settings.snapshot_deltas or (
            now - ledger.snapshot_at >= settings.snapshot_interval
        )

    async def _look_up(self) -> None:
        """The subject's last sequence. Raises LeaseLost where a newer instance has written there."""
        last = await self._bus.last(STREAM, self._subject)
        self._sequence = last.sequence if last is not None else 0
        if last is None or last.removed:
            return
        try:
            found = decode_capacity(last.data)
        except Invalid as error:
            log.warning("the last message on %s is no capacity and will be replaced: %s", self._subject, error)
            return
        if found.epoch > self._ledger.epoch:
            raise LeaseLost(
                f"inventory of epoch {found.epoch} writes the capacity of {self._mirror.member}: this one is older",
                epoch=found.epoch,
            )
        if found.epoch == self._ledger.epoch:  # of this very process: the member was begun anew
            self._ledger.number = max(self._ledger.number, found.number)
        if not self._mirror.reachable_at:
            self._take_over(found)

    def _take_over(self, found: Capacity) -> None:
        """What a former instance knew of a member that this one has not heard of yet. The lost stay lost."""
        mirror = self._mirror
        if isinstance(found, Heartbeat):
            mirror.reachable_at = found.reachable_at
            mirror.lost = self._told_lost = found.lost
        else:
            mirror.reachable_at = found.observed_at

    async def _snapshot(self, now: float) -> None:
        capacity, pools, surroundings = self._mirror.capacity, self._mirror.pools, self._mirror.known_surroundings
        self._snapshot_due = False
        chunks = self._ledger.snapshot(capacity.whole(), pools, now, surroundings, self._mirror.budgets.whole())
        await self._batch(chunks, Snapshot.TYPE)
        self._heartbeat_at = float("-inf")  # one follows: it is what tells that a member is lost
        self._told_pools, self._told_surroundings = pools, surroundings
        self._metrics.snapshots.add(member=self._mirror.member)
        self._metrics.nodes.set(capacity.node_count, member=self._mirror.member)
        self._metrics.pods.set(len(self._mirror.pods.items), member=self._mirror.member)
        async with self._published:
            self._snapshots += 1
            self._published.notify_all()

    async def _delta(self, now: float) -> None:
        pools, surroundings = self._mirror.pools, self._mirror.known_surroundings
        data = self._ledger.delta(
            self._mirror.capacity.take(),
            pools if pools != self._told_pools else None,
            now,
            surroundings if surroundings != self._told_surroundings else None,
            self._mirror.budgets.take(),
        )
        if data is None:
            await self._snapshot(now)
            return
        with self._metrics.delta_age.timed(member=self._mirror.member):
            await self._one(data, Delta.TYPE)
        self._told_pools, self._told_surroundings = pools, surroundings
        self._metrics.deltas.add(member=self._mirror.member)

    async def _heartbeat(self, now: float) -> None:
        lost, reachable_at, silent = self._mirror.lost, self._mirror.reachable_at, self._is_silent(now)
        await self._one(self._ledger.heartbeat(now, reachable_at, lost, silent), Heartbeat.TYPE)
        self._heartbeat_at, self._told_lost, self._told_answer = now, lost, bool(reachable_at)
        self._told_silent = silent

    async def _one(self, data: bytes, event: str) -> None:
        self._sequence = await self._bus.publish(
            self._subject, data, expected_last_sequence=self._sequence, event=event
        )

    async def _batch(self, chunks: Sequence[bytes], event: str) -> None:
        self._sequence = await self._bus.publish_batch(
            self._subject, chunks, rollup=True, expected_last_sequence=self._sequence, event=event
        )
