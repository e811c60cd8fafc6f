"""Keeps what one stream holds of one member equal to what the member looks like: one subject per key, newest wins.

Every write is fenced on its subject's last sequence, and now and then all that the stream holds is compared with what
was told: whatever got lost there, or came late on top, is told again.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar, Generic, TypeVar

import anyio

from services.inventory.flags import Flags
from services.inventory.metrics import InventoryMetrics
from shared import telemetry
from shared.backoff import Backoff, Retries
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts.cost import Cost
from shared.contracts.pod import Pod
from shared.contracts.status import Status
from shared.errors import BusUnavailable, Invalid, TooLarge, WriteConflict
from shared.settings import InventorySettings

log = logging.getLogger("brim.inventory")

AT_ONCE = 128  # publishes in flight; each of another subject
RETRY = Backoff(base=0.05, maximum=5.0)


K = TypeVar("K", bound=Hashable)
C = TypeVar("C", Cost, Pod, Status)


class LastValues(ABC, Generic[K, C]):
    """Run one per stream and member, after a first `compare`. flags: the keys about which something has changed."""

    STREAM: ClassVar[str]
    TIMES: ClassVar[tuple[str, ...]] = ("observed_at",)  # fields that are no reason to tell something again

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        settings: InventorySettings,
        member: str,
        flags: Flags[K],
        metrics: InventoryMetrics,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._member = member
        self._flags = flags
        self._metrics = metrics
        self._told: dict[K, C | None] = {}  # None: the subject holds something, nobody knows what
        self._sequences: dict[str, int] = {}
        self._doubtful: set[str] = set()  # subjects whose last sequence has to be looked up
        self._in_flight: set[K] = set()
        self._again: set[K] = set()  # changed while in flight
        self._too_large: set[K] = set()  # said so once
        self._slots = anyio.Semaphore(AT_ONCE)
        self._retries = Retries(RETRY)
        self._failed = False
        self._compared_at = float("-inf")

    # -- what a stream is about ------------------------------------------------------------------------------

    @property
    @abstractmethod
    def _form(self) -> type[C]:
        """The contract of the stream's messages."""

    @property
    @abstractmethod
    def _subjects(self) -> str:
        """The filter of all the member's subjects."""

    @abstractmethod
    def _subject(self, key: K) -> str: ...

    @abstractmethod
    def _key(self, subject: str) -> K:
        """What a subject is about. Raises ValueError for one of another form."""

    @abstractmethod
    def _now(self, key: K) -> C | None:
        """What is to be told now; None where nothing is."""

    @abstractmethod
    def _is_settled(self, key: K) -> bool:
        """Whether `_now` knows enough: before all is listed, nothing is known to be gone."""

    def _trace(self, key: K, before: C | None, after: C) -> tuple[AbstractContextManager[object], str]:
        """A span to publish in, and the traceparent to send along, empty for none."""
        return nullcontext(), ""

    def _stored(self, key: K) -> None:
        """Something was published or removed."""

    # -- comparing -------------------------------------------------------------------------------------------

    async def compare(self) -> None:
        """Take over what the stream holds, and tell again what differs from the member."""
        view = self._bus.view(self.STREAM, [self._subjects])
        async with anyio.create_task_group() as group:
            group.start_soon(view.run)
            await view.ready()
            group.cancel_scope.cancel()
        self._take_over(view.items())
        self._compared_at = self._clock.now()

    def _take_over(self, held: Mapping[str, Message]) -> None:
        for key in list(self._told):
            if self._subject(key) not in held:
                del self._told[key]
                self._flag(key)
        for subject in self._sequences.keys() - held.keys():
            del self._sequences[subject]
        for subject, message in held.items():
            if self._sequences.get(subject) == message.sequence:
                continue
            found = self._parsed(subject)
            if found is not None:
                self._sequences[subject] = message.sequence
                self._doubtful.discard(subject)
                self._read(found, message)
                self._flag(found)

    def _parsed(self, subject: str) -> K | None:
        """None for a subject that nobody of brim's would write to."""
        try:
            key = self._key(subject)
            if self._subject(key) == subject:
                return key
        except ValueError as error:
            log.debug("%s", error)
        log.warning("%s is no subject of stream %s: what it holds is left alone", subject, self.STREAM)
        return None

    def _read(self, key: K, message: Message) -> None:
        try:
            self._told[key] = self._form.decode(message.data)
        except Invalid as error:
            log.warning("what %s holds cannot be read and will be replaced: %s", message.subject, error)
            self._told[key] = None

    def _flag(self, key: K) -> None:
        if self._is_settled(key):
            self._flags.raise_(key)

    @property
    def told(self) -> Iterator[C]:
        return (told for told in self._told.values() if told is not None)

    def recheck(self, concerns: Callable[[K], bool] = lambda _: True) -> None:
        """Something was listed: what was told of keys that it concerns may be no more."""
        for key in self._told:
            if concerns(key):
                self._flag(key)

    # -- telling ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            async with anyio.create_task_group() as group:  # what is in flight ends before a comparison
                while (left := self._until_compared()) > 0.0:
                    with anyio.move_on_after(left):
                        await self._flags.wait()
                    await self._pause_after_failure()
                    for key in self._flags.take():
                        await self._slots.acquire()
                        group.start_soon(self._tell, key)
                    await anyio.sleep(self._coalesce)
            await self.compare()

    @property
    def _coalesce(self) -> float:
        """Real seconds between two looks at what has changed."""
        return self._settings.coalesce

    def _until_compared(self) -> float:
        """Real seconds."""
        left = self._compared_at + self._settings.snapshot_interval - self._clock.now()
        return self._clock.real(max(0.0, left))

    async def _pause_after_failure(self) -> None:
        if self._failed:
            self._failed = False
            await anyio.sleep(self._retries.next_delay())

    async def _tell(self, key: K) -> None:
        """Bring one subject up to date; a key that changes meanwhile is taken again afterwards."""
        try:
            if key in self._in_flight:
                self._again.add(key)
                return
            self._in_flight.add(key)
            done = False
            try:
                await self._publish(key)
                done = True
            finally:
                self._in_flight.discard(key)
                if not done:
                    self._flags.raise_(key)
        finally:
            self._slots.release()
        if key in self._again:
            self._again.discard(key)
            self._flags.raise_(key)

    async def _publish(self, key: K) -> None:
        now, told = self._now(key), self._told.get(key)
        try:
            if now is None:
                await self._remove(key)
            elif told is None or told.model_copy(update={name: getattr(now, name) for name in self.TIMES}) != now:
                await self._put(key, told, now)
            self._retries.succeeded()
            self._too_large.discard(key)
        except TooLarge as error:
            (log.debug if key in self._too_large else log.error)("%s", error)
            self._too_large.add(key)
        except (BusUnavailable, WriteConflict) as error:
            log.debug("%s will be published again: %s", self._subject(key), error)
            self._metrics.publish_failures.add(member=self._member)
            self._failed = True
            self._flags.raise_(key)

    async def _put(self, key: K, told: C | None, now: C) -> None:
        subject = self._subject(key)
        self._told.setdefault(key, None)
        span, traceparent = self._trace(key, told, now)
        with span:
            sequence = await self._bus.publish(
                subject,
                now.encode(),
                headers={telemetry.TRACEPARENT: traceparent} if traceparent else None,
                expected_last_sequence=await self._fence(subject),
                event=now.TYPE,
            )
        self._acknowledged(subject, sequence)
        self._told[key] = now
        self._stored(key)

    async def _remove(self, key: K) -> None:
        if key not in self._told or not self._is_settled(key):
            return
        subject = self._subject(key)
        sequence = await self._bus.remove(subject, expected_last_sequence=await self._fence(subject))
        self._acknowledged(subject, sequence)
        del self._told[key]
        self._stored(key)

    async def _fence(self, subject: str) -> int:
        """Looked up right before it is needed, where the last write has an unknown end or found another's."""
        if subject in self._doubtful:
            last = await self._bus.last(self.STREAM, subject)
            self._sequences[subject] = last.sequence if last is not None else 0
        self._doubtful.add(subject)  # until the write is acknowledged
        return self._sequences.get(subject, 0)

    def _acknowledged(self, subject: str, sequence: int) -> None:
        self._sequences[subject] = sequence
        self._doubtful.discard(subject)
