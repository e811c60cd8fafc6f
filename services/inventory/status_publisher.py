"""Publishes how a member's managed objects fare: on change, and a tombstone when an object is gone."""

from __future__ import annotations

import logging
from contextlib import AbstractContextManager, nullcontext

import anyio

from services.inventory.metrics import InventoryMetrics
from services.inventory.mirror import Kind, Mirror, ObjectKey
from shared import telemetry
from shared.backoff import Backoff, Retries
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from shared.errors import BusUnavailable, Invalid, WriteConflict
from shared.settings import InventorySettings

log = logging.getLogger("brim.inventory")

STREAM = "STATUS"
AT_ONCE = 64  # publishes in flight
RETRY = Backoff(base=0.05, maximum=5.0)


class StatusPublisher:
    """Run one per member, after a first `compare`.

    Every write is fenced on the subject's last sequence, and now and then all that the stream holds is compared
    with what was told: whatever got lost there, or came late on top, is told again.
    """

    def __init__(
        self, bus: Bus, clock: Clock, settings: InventorySettings, mirror: Mirror, metrics: InventoryMetrics
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._settings = settings
        self._mirror = mirror
        self._metrics = metrics
        self._told: dict[ObjectKey, Status] = {}
        self._sequences: dict[str, int] = {}
        self._doubtful: set[str] = set()  # subjects whose last sequence has to be looked up
        self._compared_at = float("-inf")

    async def compare(self) -> None:
        """Take over what the stream holds, and tell again what differs from the member."""
        view = self._bus.view(STREAM, [subjects.statuses(self._mirror.member)])
        async with anyio.create_task_group() as group:
            group.start_soon(view.run)
            await view.ready()
            group.cancel_scope.cancel()
        held = view.items()
        for key, status in list(self._told.items()):
            if subjects.status(self._mirror.member, status.ref) not in held:
                self._forget(key, status)
                self._flag(key)
        for subject, message in held.items():
            if self._sequences.get(subject) != message.sequence:
                self._take_over(subject, message)
        self._compared_at = self._clock.now()

    def _take_over(self, subject: str, message: Message) -> None:
        self._sequences[subject] = message.sequence
        try:
            status = Status.decode(message.data)
        except Invalid as error:
            log.warning("the status on %s cannot be read and will be replaced: %s", subject, error)
            key = subjects.object_key(subject, skip=3)
            self._told.pop(key, None)
        else:
            key = status.ref.key
            self._told[key] = status
        self._flag(key)

    def _flag(self, key: ObjectKey) -> None:
        """Only where the member was listed: before that nothing is known to be gone."""
        kind = (key[0], key[1])
        if key in self._mirror or (kind in self._mirror.kinds and key[0] in self._mirror.synced):
            self._mirror.status_changed.raise_(key)

    def _forget(self, key: ObjectKey, status: Status) -> None:
        del self._told[key]
        self._sequences.pop(subjects.status(self._mirror.member, status.ref), None)

    @property
    def told(self) -> list[ObjectRef]:
        """Of all objects told about: their kinds must be watched, or nobody would see them go."""
        return [status.ref for status in self._told.values()]

    def forget_absent(self, kind: Kind) -> None:
        """A kind was listed: what was told of it and is not there is gone."""
        for key in self._told:
            if (key[0], key[1]) == kind and key not in self._mirror:
                self._mirror.status_changed.raise_(key)

    async def run(self) -> None:
        retries = Retries(RETRY)
        while True:
            with anyio.move_on_after(self._until_compared()):
                await self._mirror.status_changed.wait()
            if self._until_compared() == 0.0:
                await self.compare()
            failed = await self._publish(self._mirror.status_changed.take())
            for key in failed:
                self._mirror.status_changed.raise_(key)
            if failed:
                await anyio.sleep(retries.next_delay())
            else:
                retries.succeeded()
                await anyio.sleep(self._settings.coalesce)

    def _until_compared(self) -> float:
        """Real seconds."""
        left = self._compared_at + self._settings.snapshot_interval - self._clock.now()
        return self._clock.real(max(0.0, left))

    async def _publish(self, keys: list[ObjectKey]) -> list[ObjectKey]:
        """Returns the keys that have to be tried again."""
        failed: list[ObjectKey] = []

        async def one(key: ObjectKey) -> None:
            try:
                await self._publish_one(key)
            except (BusUnavailable, WriteConflict) as error:
                log.debug("the status of %s in %s will be published again: %s", key, self._mirror.member, error)
                self._metrics.publish_failures.add(member=self._mirror.member)
                failed.append(key)

        for begin in range(0, len(keys), AT_ONCE):
            async with anyio.create_task_group() as group:
                for key in keys[begin : begin + AT_ONCE]:
                    group.start_soon(one, key)
        return failed

    async def _publish_one(self, key: ObjectKey) -> None:
        status = self._mirror.status(key)
        told = self._told.get(key)
        if status is None:
            await self._remove(key)
            return
        if told is not None and told.model_copy(update={"observed_at": status.observed_at}) == status:
            return
        subject = subjects.status(self._mirror.member, status.ref)
        traceparent = self._mirror.traceparent(key)
        with _traced(told, status, traceparent):
            sequence = await self._bus.publish(
                subject,
                status.encode(),
                headers={telemetry.TRACEPARENT: traceparent} if traceparent else None,
                expected_last_sequence=await self._fence(subject),
                event=Status.TYPE,
            )
        self._stored(subject, sequence)
        self._told[key] = status
        self._metrics.statuses.add(member=self._mirror.member)

    async def _remove(self, key: ObjectKey) -> None:
        told = self._told.get(key)
        if told is None:
            return
        subject = subjects.status(self._mirror.member, told.ref)
        self._stored(subject, await self._bus.remove(subject, expected_last_sequence=await self._fence(subject)))
        self._forget(key, told)
        self._metrics.statuses.add(member=self._mirror.member)

    async def _fence(self, subject: str) -> int:
        """Looked up right before it is needed, where the last write has an unknown end or found another's."""
        if subject in self._doubtful:
            last = await self._bus.last(STREAM, subject)
            self._sequences[subject] = last.sequence if last is not None else 0
        self._doubtful.add(subject)  # until the write is acknowledged
        return self._sequences.get(subject, 0)

    def _stored(self, subject: str, sequence: int) -> None:
        self._sequences[subject] = sequence
        self._doubtful.discard(subject)


def _traced(told: Status | None, status: Status, traceparent: str) -> AbstractContextManager[object]:
    """A span of the object's own trace, so that no status begins another and hides where it comes from."""
    if not traceparent or not telemetry.recording():
        return nullcontext()
    return telemetry.span(
        f"observe {_happened(told, status)}",
        parent={telemetry.TRACEPARENT: traceparent},
        attributes={
            "brim.member": status.member,
            "brim.object": str(status.ref),
            "brim.bound": status.bound,
            "brim.ready": status.ready,
            "brim.unschedulable": sum(group.count for group in status.unschedulable),
        },
    )


def _happened(told: Status | None, status: Status) -> str:
    """What a story is made of: replicas that got stuck, got a node, or run; "status" for any other change."""
    before = told or Status(member=status.member, ref=status.ref, observed_at=0.0)
    if sum(g.count for g in status.unschedulable) > sum(g.count for g in before.unschedulable):
        return "unschedulable"
    if status.bound > before.bound:
        return "scheduled"
    return "running" if status.ready > before.ready else "status"
