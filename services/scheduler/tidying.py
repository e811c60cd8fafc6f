"""What has ended is taken out of the streams: finished deletions, and templates that no placement names."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

import anyio

from services.scheduler.core.engine import SchedulerState
from services.scheduler.deciding import Deciding
from services.scheduler.intake.known import Known
from services.scheduler.normalise import gone
from services.scheduler.publishing import Publisher
from shared.backoff import Backoff, Retries
from shared.bus import Bus, Message
from shared.contracts import subjects
from shared.contracts.desired import Desired
from shared.contracts.own_kinds import is_for_brim
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.errors import BusUnavailable, WriteConflict

log = logging.getLogger("brim.scheduler")

RETRY = Backoff(base=0.2, maximum=10.0)
SWEEP = 30.0  # real seconds between two rounds without any cause: what an error left over goes then
HISTORY = 10  # older templates kept for `undo`, as a Deployment keeps them


class Tidying:
    """Run `run` and `follow_revisions`. It hears of everything that could have ended something."""

    def __init__(self, bus: Bus, state: SchedulerState, known: Known, publisher: Publisher, deciding: Deciding) -> None:
        self._bus = bus
        self._state = state
        self._known = known
        self._publisher = publisher
        self._deciding = deciding
        self._due = asyncio.Event()
        self._left: dict[tuple[str, str, str, str], ObjectRef] = {}  # deleted policies and members
        self._revisions: dict[str, set[int]] = defaultdict(set)
        self._superseded: dict[str, set[int]] = defaultdict(set)  # revisions to purge

    def wake(self) -> None:
        self._due.set()

    def noticed(self, desired: Desired) -> None:
        """A new state of an object."""
        if desired.deleted is None:
            self._left.pop(desired.ref.key, None)
        elif is_for_brim(desired.ref):
            self._left[desired.ref.key] = desired.ref
            self.wake()

    def has_revision(self, uid: str, number: int) -> bool:
        """Whether this older template is kept."""
        return number in self._revisions.get(uid, ())

    def placed(self, placement: Placement) -> None:
        """A placement was stored: templates much older than those it names are of no use any more."""
        if placement.deleted:
            self.wake()
        known = self._revisions.get(placement.uid)
        if not known:
            return
        named = {placement.revision, placement.before, *(share.revision for share in placement.shares)}
        old = {number for number in known - named if number < placement.revision - HISTORY}
        if old:
            self._superseded[placement.uid] |= old
            self.wake()

    # -- working ---------------------------------------------------------------------------------------------

    async def follow_revisions(self) -> None:
        await self._bus.follow("REVISION", ["brim.revision.>"], self._on_revision).run()

    async def _on_revision(self, message: Message) -> None:
        found = subjects.revision_of(message.subject)
        if found is not None:
            self._revisions[found[0]].add(found[1])

    async def run(self) -> None:
        retries = Retries(RETRY)
        while True:
            with anyio.move_on_after(SWEEP):
                await self._due.wait()
            self._due.clear()
            try:
                await self._tidy()
            except (BusUnavailable, WriteConflict) as error:
                log.info("tidying goes on later: %s", error)
                await asyncio.sleep(retries.next_delay())
                self._due.set()
            else:
                retries.succeeded()

    async def _tidy(self) -> None:
        for placement in list(self._state.done()):
            await self._end(placement)
        for key, ref in list(self._left.items()):
            await self._remove_desired(ref)
            self._left.pop(key, None)
        for uid in list(self._superseded):
            for number in sorted(self._superseded.pop(uid)):
                await self._bus.purge_subject("REVISION", subjects.revision(uid, number))
                self._revisions[uid].discard(number)

    async def _end(self, placement: Placement) -> None:
        """The placement goes first: a crash before DESIRED follows leaves a tombstone, which is found again."""
        ref = placement.ref
        await self._publisher.remove(ref)
        if self._revisions.pop(placement.uid, None):
            await self._bus.purge_subject("REVISION", subjects.revisions(placement.uid))
        await self._remove_desired(ref)
        self._state.on_desired(gone(ref))
        self._deciding.gone(ref.key)
        self._deciding.wake()  # the room that it leaves
        log.info("%s is deleted everywhere", ref)

    async def _remove_desired(self, ref: ObjectRef) -> None:
        entry = self._known.get(ref.key)
        if entry is None or entry.desired.deleted is None:
            return  # it is gone already, or is wanted again
        sequence = await self._bus.remove(subjects.desired(ref), expected_last_sequence=entry.sequence)
        self._known.remove(ref.key, sequence)
