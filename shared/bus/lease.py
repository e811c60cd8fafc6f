"""Leases: at most one leader per name, and an epoch that only grows.

Two subjects of stream LEASE: `brim.lease.<name>.holder` expires (a TTL per message, fenced renewals), and
`brim.lease.<name>.epoch` never does, so that the count goes on after an expiry. No bucket with limit markers:
there an expired key still blocks its successor. Not `kv.update` either: it drops the TTL.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from nats.aio.msg import Msg

from shared.bus import headers as names
from shared.bus import jetstream
from shared.bus.connection import Connection
from shared.bus.message import Message
from shared.bus.publisher import Publisher
from shared.bus.streams import LEASE
from shared.errors import BusUnavailable, LeaseLost, Misconfigured, NotFound, WriteConflict
from shared.numbers import whole

log = logging.getLogger("brim.bus")

SAFETY = 0.1  # share of the ttl that the holder gives up before the server would
LOOK_EVERY = 0.5  # seconds between two looks at a lease that somebody else holds; its release wakes at once


@dataclass(slots=True)
class _Held:
    """epoch, the holder message's sequence, and the loop time until which it surely lasts."""

    epoch: int
    sequence: int
    until: float


class Lease:
    """One contender for a name. Use `held` as often as wanted, one at a time."""

    def __init__(self, connection: Connection, publisher: Publisher, name: str, ttl: float) -> None:
        if ttl < 1 or ttl != int(ttl):
            raise Misconfigured(f"lease {name}: a ttl of {ttl} s is no whole number of seconds, at least 1")
        self._connection = connection
        self._publisher = publisher
        self._name = name
        self._ttl = int(ttl)
        self._holder = f"brim.lease.{name}.holder"
        self._epoch = f"brim.lease.{name}.epoch"
        self._id = f"{connection.name}-{names.unique_id()}"
        self._changed = asyncio.Event()
        self._beyond = 0
        self._standing_by = False

    @property
    def standing_by(self) -> bool:
        """Whether it is waited for, while somebody else holds it."""
        return self._standing_by

    def exceed(self, epoch: int) -> None:
        """The next epoch is beyond this one, too: streams have seen it, though the lease's own lost its count."""
        self._beyond = max(self._beyond, epoch)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[int]:
        """Wait for the lease and hold it while the block runs; yields the epoch, one more than any before.

        When it cannot be renewed in time the block is cancelled and LeaseLost raised: before the server would
        give the lease to another. On leaving, a successor takes over at once; after a crash, within the ttl.
        """
        held = await self._acquire()
        scope = anyio.CancelScope()
        keeper = asyncio.create_task(self._keep(held, scope), name=f"lease {self._name}")
        lost = False
        try:
            with scope:
                yield held.epoch
        finally:
            lost = keeper.done()
            with anyio.CancelScope(shield=True):
                keeper.cancel()
                (ended,) = await asyncio.gather(keeper, return_exceptions=True)
                if isinstance(ended, Exception):
                    log.error("lease %s could not be renewed", self._name, exc_info=ended)
                if not lost:
                    await self._release(held)
        if lost and scope.cancelled_caught:
            raise LeaseLost(f"{self._connection.name} no longer holds lease {self._name!r} (epoch {held.epoch})")

    # -- getting it ------------------------------------------------------------------------------------------

    async def _acquire(self) -> _Held:
        watching = await self._connection.subscribe(self._holder, self._on_change)
        try:
            while True:
                try:
                    held = await self._try()
                    self._standing_by = held is None
                except (BusUnavailable, NotFound) as error:
                    log.debug("lease %s: %s", self._name, error)
                    held, self._standing_by = None, False
                if held is not None:
                    return held
                with anyio.move_on_after(LOOK_EVERY):
                    await self._changed.wait()
                self._changed.clear()
        finally:
            self._standing_by = False
            with anyio.CancelScope(shield=True):
                await self._connection.unsubscribe(watching)

    async def _on_change(self, _message: Msg) -> None:
        self._changed.set()

    async def _try(self) -> _Held | None:
        """The epoch is read before the holder is written: a holder that was overtaken in between, however long
        it slept, then fails to write its epoch."""
        epoch = await jetstream.last(self._connection, LEASE.name, self._epoch)
        holder = await jetstream.last(self._connection, LEASE.name, self._holder)
        if holder is not None and _held_by(holder) is not None:
            return None
        number = 1 + max(self._beyond, _count(epoch))
        try:
            held = await self._write_holder(number, holder.sequence if holder else 0)
        except WriteConflict:
            return None
        try:
            await self._publisher.publish(
                self._epoch, str(number).encode(), expected_last_sequence=epoch.sequence if epoch else 0
            )
        except WriteConflict:
            await self._release(held)
            return None
        return held if held.until > anyio.current_time() else None

    async def _write_holder(self, epoch: int, expected: int) -> _Held:
        sent = anyio.current_time()
        payload = json.dumps({"holder": self._id, "epoch": epoch}).encode()
        sequence = await self._publisher.publish(
            self._holder,
            payload,
            headers={names.TTL: str(self._ttl)},
            expected_last_sequence=expected,
            timeout=self._ttl / 3,
        )
        return _Held(epoch, sequence, sent + self._ttl * (1 - SAFETY))

    # -- keeping it ------------------------------------------------------------------------------------------

    async def _keep(self, held: _Held, scope: anyio.CancelScope) -> None:
        """Renew until it fails for good; then, whatever it was that failed, cancel the holder's block."""
        try:
            renewed = True
            while renewed:
                await asyncio.sleep(self._ttl / 3)
                renewed = await self._renew_in_time(held)
            log.error("lease %s (epoch %d) is lost", self._name, held.epoch)
        finally:
            scope.cancel()

    async def _renew_in_time(self, held: _Held) -> bool:
        while (left := held.until - anyio.current_time()) > 0:
            try:
                async with asyncio.timeout(left):
                    renewed = await self._renew(held)
            except BusUnavailable as error:
                log.warning("lease %s could not be renewed yet: %s", self._name, error)
                await asyncio.sleep(min(0.1, left))
                continue
            except (TimeoutError, WriteConflict):
                return False
            if renewed is None:
                return False
            held.sequence, held.until = renewed.sequence, renewed.until
            return True
        return False

    async def _renew(self, held: _Held) -> _Held | None:
        try:
            return await self._write_holder(held.epoch, held.sequence)
        except WriteConflict:
            # An earlier renewal may have been stored though its acknowledgement got lost.
            holder = await jetstream.last(self._connection, LEASE.name, self._holder)
            if holder is None or not self._is_mine(holder, held.epoch):
                return None
            return await self._write_holder(held.epoch, holder.sequence)

    def _is_mine(self, holder: Message, epoch: int) -> bool:
        return _held_by(holder) == {"holder": self._id, "epoch": epoch}

    async def _release(self, held: _Held) -> None:
        """A tombstone, fenced: it wakes whoever waits. Where it fails, the ttl does the same a little later."""
        try:
            await self._publisher.remove(
                self._holder, b"", expected_last_sequence=held.sequence, keep=60.0, timeout=1.0
            )
        except (BusUnavailable, WriteConflict) as error:
            log.warning("lease %s was not released and will expire: %s", self._name, error)


def _count(epoch: Message | None) -> int:
    """The count of a lease's epochs. What is no number counts as none: `exceed` makes up for what was lost."""
    number = whole(epoch.data.decode(errors="replace")) if epoch is not None else 0
    if epoch is not None and number is None:
        log.error("%s held no number but %r: the count begins anew", epoch.subject, epoch.data[:40])
    return number or 0


def _held_by(holder: Message) -> dict[str, object] | None:
    """What the holder's subject says; None for a tombstone, and for what no holder writes: that never expires."""
    try:
        found = None if holder.removed else json.loads(holder.data)
    except ValueError:
        found = None
    return found if isinstance(found, dict) and found.keys() == {"holder", "epoch"} else None
