"""Placements → PLACEMENT, each fenced by the sequence of the one before it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import WorkloadKey
from services.scheduler.mending import legible
from services.scheduler.metrics import SchedulerMetrics
from shared.backoff import Backoff, Retries
from shared.bus import Bus, Message
from shared.contracts import subjects
from shared.contracts.placement import Placement, Reason, Seen
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from shared.errors import BusUnavailable, LeaseLost, WriteConflict

log = logging.getLogger("brim.scheduler")

RETRY = Backoff(base=0.05, maximum=2.0)
HEADROOM = 4096  # bytes of the payload limit for headers
REMOVED = 10_000  # removals remembered, the newest ones


class Epoch:
    """Under which this process writes: the lease's, or more where the streams have seen more.

    They have where the stream of the leases was lost and counts anew; without this nobody would follow any more.
    Read `value` only after all was taken in.
    """

    def __init__(self, lease: int) -> None:
        self.value = lease

    def seen(self, epoch: int) -> None:
        """An order of a former leader."""
        self.value = max(self.value, epoch + 1)

    def applied(self, status: Status, *, leads: bool, known: bool) -> None:
        """The order of what runs in a member. leads: all was taken in, so that the epoch is settled by now. known:
        something is known of the object, or it was deleted under this epoch.

        Raises LeaseLost where it is of a later epoch, or of this one though nobody here placed it: somebody else leads,
        or the streams were lost and count anew. Our own placements would be taken for old ones.
        """
        if not leads:
            self.seen(status.order.epoch)
        elif status.order.epoch > self.value or (status.order.epoch == self.value and not known):
            where = f"{status.ref} in member {status.member}"
            raise LeaseLost(
                f"{where} was placed under epoch {status.order.epoch}: this one is older", epoch=status.order.epoch
            )

    def check(self, placement: Placement) -> None:
        """Raises LeaseLost when somebody who leads after us wrote it."""
        if placement.order.epoch > self.value:
            raise LeaseLost(
                f"{placement.ref} was placed under epoch {placement.order.epoch}: another scheduler leads",
                epoch=placement.order.epoch,
            )


class Sequences:
    """The last sequence of each object's subject in PLACEMENT: what the next write is fenced by."""

    def __init__(self) -> None:
        self._last: dict[WorkloadKey, int] = {}
        self._removed: dict[WorkloadKey, None] = {}

    def get(self, key: WorkloadKey) -> int:
        return self._last.get(key, 0)

    def put(self, key: WorkloadKey, sequence: int) -> None:
        self._last[key] = sequence
        self._removed.pop(key, None)

    def removed(self, key: WorkloadKey, sequence: int) -> None:
        """A tombstone was written. It counts until it is gone: what the stream brings before that is old."""
        self.put(key, sequence)
        self._removed[key] = None
        if len(self._removed) > REMOVED:  # a forgotten one is looked up when its fence does not hold
            self.seen_removed(next(iter(self._removed)))

    def seen_removed(self, key: WorkloadKey) -> bool:
        """Nothing is there any more. Whether that was asked for."""
        asked_for = key in self._removed or key not in self._last
        if key in self._removed:
            del self._removed[key]
            del self._last[key]
        return asked_for


class Publisher:
    """Publishes what was assumed, and tells the state how it ended. on_stored: after each acknowledgement."""

    def __init__(
        self,
        bus: Bus,
        state: SchedulerState,
        sequences: Sequences,
        *,
        epoch: Epoch,
        metrics: SchedulerMetrics,
        on_stored: Callable[[Placement], None],
    ) -> None:
        self._bus = bus
        self._state = state
        self._sequences = sequences
        self._epoch = epoch
        self._metrics = metrics
        self._on_stored = on_stored

    async def publish(self, placement: Placement, headers: Mapping[str, str]) -> bool:
        """Whether it is in force; else it was forgotten, and is decided again. Raises LeaseLost.

        The fence is what was known when it was decided: meanwhile the stream may bring our own message back.
        """
        key = placement.ref.key
        subject = subjects.placement(placement.ref)
        payload = self._encoded(placement)
        fence = self._sequences.get(key)
        retries = Retries(RETRY)
        while True:
            try:
                sequence = await self._bus.publish(
                    subject, payload, headers=headers, expected_last_sequence=fence, event=Placement.TYPE
                )
            except WriteConflict:
                message = await self._last(subject, retries)
                if message is not None and message.data == payload:  # an earlier attempt was stored
                    sequence = message.sequence
                elif message is not None and not message.removed and (other := legible(Placement, message)):
                    self._sequences.put(key, message.sequence)
                    self._overtaken(placement, other)
                    return False
                else:  # it was removed meanwhile, or cannot be read: nobody's decision is in the way
                    fence = message.sequence if message else 0
                    self._sequences.put(key, fence)
                    await asyncio.sleep(retries.next_delay())
                    continue
            except BusUnavailable as error:
                # It may be stored or not: the fence finds out. Until then the room stays reserved.
                self._metrics.lost(error.code)
                await asyncio.sleep(retries.next_delay())
                continue
            self._stored(placement, sequence)
            return True

    async def _last(self, subject: str, retries: Retries) -> Message | None:
        """What the subject holds now, as soon as the bus can tell."""
        while True:
            try:
                return await self._bus.last("PLACEMENT", subject)
            except BusUnavailable as error:
                self._metrics.lost(error.code)
                await asyncio.sleep(retries.next_delay())

    def _encoded(self, placement: Placement) -> bytes:
        payload = placement.encode()
        if len(payload) <= self._bus.max_payload - HEADROOM:
            return payload
        log.warning("the placement of %s is too large to carry its reasons", placement.ref)
        return _shortened(placement).encode()

    def _overtaken(self, placement: Placement, other: Placement) -> None:
        """Somebody else wrote: a former leader, whose decision counts, or a newer one, who leads now."""
        self._epoch.check(other)
        self._metrics.lost(WriteConflict.code)
        log.info("the placement %s of %s was overtaken by %s", placement.order, placement.ref, other.order)
        self._state.on_placement(other)
        self._state.forget(placement)

    def _stored(self, placement: Placement, sequence: int) -> None:
        self._sequences.put(placement.ref.key, sequence)
        self._state.confirm(placement)
        self._on_stored(placement)

    async def remove(self, ref: ObjectRef) -> None:
        """Take the object's placement out of the stream; a tombstone tells whoever follows. Raises BusUnavailable."""
        subject = subjects.placement(ref)
        try:
            sequence = await self._bus.remove(subject, expected_last_sequence=self._sequences.get(ref.key))
        except WriteConflict:
            message = await self._bus.last("PLACEMENT", subject)
            if message is not None and not message.removed:
                raise
            sequence = message.sequence if message else 0
        self._sequences.removed(ref.key, sequence)


def _shortened(placement: Placement) -> Placement:
    """Without what only explains it."""
    why = Reason(code="ReasonsOmitted", message="the reasons were left out: the message would have been too large")
    return placement.model_copy(update={"seen": Seen(), "reasons": (why,)})
