"""What a stream lost of wishes and decisions is written again, by the one who still knows it.

A server may come back without its data, and an operator may purge a subject. Absence never deletes: only a tombstone
does. Everything is fenced on "nothing there", so that whoever wrote meanwhile wins. With its data a server loses the
leases too, so that a leader may lose its own before it has noticed anything: see `Legacy`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import anyio

from services.scheduler.core.engine import SchedulerState
from services.scheduler.intake.known import Known
from services.scheduler.publishing import Sequences
from shared.backoff import Backoff, Retries
from shared.bus import Bus, Message
from shared.contracts import subjects
from shared.contracts.desired import Desired
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.errors import BusUnavailable, NotFound, WriteConflict

log = logging.getLogger("brim.scheduler")

AT_ONCE = 64  # publishes in flight: all of it has to be there before the lease, which is lost as well, runs out
FRESH = 1800.0  # seconds: half of what a tombstone lasts
RETRY = Backoff(base=0.05, maximum=1.0)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Legacy:
    """What a leader knew when its lease was lost. created: of the stream DESIRED at that time."""

    created: str
    wishes: tuple[Desired, ...]
    placements: tuple[Placement, ...]


class Restoring:
    def __init__(self, bus: Bus, state: SchedulerState, known: Known, sequences: Sequences) -> None:
        self._bus = bus
        self._state = state
        self._known = known
        self._sequences = sequences
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def desired(self, desired: Desired) -> None:
        """Write a wish again that DESIRED held and was not asked to forget."""
        key = desired.ref.key
        log.warning("%s vanished from DESIRED and was not deleted: it is written again", desired.ref)
        self._known.fence(key, 0)
        sequence = await self._written(subjects.desired(desired.ref), desired.encode(), Desired.TYPE)
        if sequence is not None:
            self._known.fence(key, sequence)

    async def placement(self, ref: ObjectRef) -> None:
        """Write the placement in force again, where its subject holds nothing any more."""
        subject = subjects.placement(ref)
        placement = self._state.explain(ref.key)
        if placement is None or await self.last("PLACEMENT", subject) is not None:
            return
        log.warning("the placement of %s vanished and is written again", ref)
        sequence = await self._written(subject, placement.encode(), Placement.TYPE)
        if sequence is not None:
            self._sequences.put(ref.key, sequence)

    async def begin(self, legacy: Legacy | None) -> str:
        """Write what is missing of what the last leader in this process knew, before the streams are read.

        Only where DESIRED was made anew since, and a short while ago: somebody else may have led and deleted things
        meanwhile, and a tombstone shows that for an hour. Returns when DESIRED was created.
        """
        info = await self._answer(lambda: self._bus.stream_info("DESIRED"))
        if legacy is not None and info.created != legacy.created and info.age < FRESH:
            log.warning("the streams were lost: %d wishes are known still, and written again", len(legacy.wishes))
            placements = {placement.ref.key: placement for placement in legacy.placements}
            async with anyio.create_task_group() as group:
                for desired in legacy.wishes:
                    group.start_soon(self._inherit, desired, placements.get(desired.ref.key))
        return info.created

    async def _inherit(self, desired: Desired, placement: Placement | None) -> None:
        """The placement only beside its own wish."""
        subject = subjects.desired(desired.ref)
        payload = desired.encode()
        if await self._written(subject, payload, Desired.TYPE) is None:
            found = await self.last("DESIRED", subject)
            if found is None or found.data != payload:
                return
        if placement is not None:
            await self._written(subjects.placement(placement.ref), placement.encode(), Placement.TYPE)

    async def last(self, stream: str, subject: str) -> Message | None:
        """What the subject holds now, as soon as the bus can tell."""
        return await self._answer(lambda: self._bus.last(stream, subject))

    async def _written(self, subject: str, payload: bytes, event: str) -> int | None:
        """Where the subject holds nothing. The sequence; None where it does."""
        try:
            return await self._answer(
                lambda: self._bus.publish(subject, payload, expected_last_sequence=0, event=event)
            )
        except WriteConflict:
            return None

    async def _answer(self, ask: Callable[[], Awaitable[T]]) -> T:
        retries = Retries(RETRY)
        while True:
            try:
                async with self._slots:
                    return await ask()
            except (BusUnavailable, NotFound) as error:  # a stream that is being made again
                log.debug("asked again later: %s", error)
                await asyncio.sleep(retries.next_delay())
