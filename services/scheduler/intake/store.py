"""Accepted changes → DESIRED and REVISION, each fenced by what it was judged against."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import anyio

from services.scheduler.intake.changes import Verdict, Write
from services.scheduler.intake.known import Key, Known
from services.scheduler.mending import legible
from shared.backoff import Backoff, Retries
from shared.bus import Bus
from shared.contracts import subjects
from shared.contracts.desired import Desired, Revision
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Accepted
from shared.errors import BusUnavailable, Fault, WriteConflict

RETRY = Backoff(base=0.05, maximum=1.0)
DELETION_POLL = 0.05  # seconds between two looks at a deletion that a submission waits for

OnStored = Callable[[Desired, Mapping[str, str]], None]


class Locks:
    """One lock per object in use: submissions about one object are judged one after the other, in order."""

    def __init__(self) -> None:
        self._locks: dict[Key, tuple[asyncio.Lock, int]] = {}

    @asynccontextmanager
    async def held(self, keys: Sequence[Key]) -> AsyncIterator[None]:
        """Sorted, so that two submissions never wait for each other."""
        if len(keys) == 1:  # as nearly always
            async with self._one(keys[0]):
                yield
            return
        async with AsyncExitStack() as stack:
            for key in sorted(set(keys)):
                await stack.enter_async_context(self._one(key))
            yield

    @asynccontextmanager
    async def _one(self, key: Key) -> AsyncIterator[None]:
        lock, users = self._locks.get(key, (None, 0))
        lock = lock or asyncio.Lock()
        self._locks[key] = lock, users + 1
        try:
            async with lock:
                yield
        finally:
            _, users = self._locks.pop(key)
            if users > 1:
                self._locks[key] = lock, users - 1


@dataclass(slots=True)
class _Submission:
    """One submission under way. stored: what of it is in DESIRED already, whatever it is judged anew for."""

    headers: Mapping[str, str]
    deadline: float
    stored: dict[Key, Accepted] = field(default_factory=dict)


class Store:
    """The one writer of DESIRED. `on_stored` hears of each object right after its acknowledgement."""

    def __init__(self, bus: Bus, known: Known, on_stored: OnStored) -> None:
        self._bus = bus
        self._known = known
        self._on_stored = on_stored
        self._locks = Locks()

    async def carry_out(
        self,
        keys: Sequence[Key],
        judge: Callable[[], Verdict],
        *,
        headers: Mapping[str, str],
        patience: float,
        done: Mapping[Key, Accepted] | None = None,
    ) -> tuple[list[Accepted], list[Fault]]:
        """Judge and write, again while somebody else writes in between or a deletion is in progress.

        keys: all objects that may be written. patience: real seconds to go on for. done: objects that an earlier
        delivery of the same submission has written. Raises BusUnavailable once patience ends: then a part may be
        stored, and the same submission completes it.
        """
        submission = _Submission(headers, anyio.current_time() + patience, dict(done or {}))
        while True:
            async with self._locks.held(keys):
                verdict = judge()
                if verdict.faults:
                    waits = verdict.waits and anyio.current_time() < submission.deadline
                    if not waits:
                        return [], verdict.faults
                elif await self._write_all(verdict.writes, submission):
                    return [submission.stored[write.desired.ref.key] for write in verdict.writes], []
            if verdict.faults:
                await anyio.sleep(DELETION_POLL)

    async def _write_all(self, writes: list[Write], submission: _Submission) -> bool:
        """False where something was written by somebody else since: judge anew."""
        due = [write for write in writes if write.desired.ref.key not in submission.stored]
        if len(due) == 1:
            return await self._write(due[0], submission)
        return all(await asyncio.gather(*(self._write(write, submission) for write in due)))

    async def _write(self, write: Write, submission: _Submission) -> bool:
        key = write.desired.ref.key
        if write.payload is None:
            submission.stored[key] = write.accepted(write.expected)
            return True
        retries = Retries(RETRY)
        while True:
            try:
                sequence = await self._publish(write, write.payload, submission.headers)
            except WriteConflict:
                found = await self._look(write)
                if found is None:
                    return False
                sequence = found
            except BusUnavailable:
                delay = retries.next_delay()
                if anyio.current_time() + delay > submission.deadline:
                    raise
                await anyio.sleep(delay)
                continue
            self._known.put(write.desired, sequence)
            submission.stored[key] = write.accepted(sequence)
            self._on_stored(write.desired, submission.headers)
            return True

    async def _publish(self, write: Write, payload: bytes, headers: Mapping[str, str]) -> int:
        if write.superseded is not None:
            revision = write.superseded
            await self._bus.publish(
                subjects.revision(revision.uid, revision.number), revision.encode(), event=Revision.TYPE
            )
        return await self._bus.publish(
            subjects.desired(write.desired.ref),
            payload,
            headers=headers,
            expected_last_sequence=write.expected,
            event=Desired.TYPE,
        )

    async def _look(self, write: Write) -> int | None:
        """After a conflict: the sequence, where an earlier attempt was stored after all; else learn what is there."""
        message = await self._bus.last("DESIRED", subjects.desired(write.desired.ref))
        key = write.desired.ref.key
        if message is None:
            self._known.remove(key, 0)
            self._known.forget_removal(key)
        elif message.removed:
            self._known.remove(key, message.sequence)
        elif message.data == write.payload:
            return message.sequence
        elif (desired := legible(Desired, message)) is None:
            self._known.fence(key, message.sequence)
        elif self._known.put(desired, message.sequence):
            self._on_stored(desired, message.headers)
        return None

    async def written_by(self, refs: Sequence[ObjectRef], header: str, submission: str) -> dict[Key, Accepted]:
        """What an earlier delivery of a submission has stored: a redelivery must not undo what came after it."""
        found: dict[Key, Accepted] = {}
        for ref in refs:
            for message in await self._bus.history("DESIRED", subjects.desired(ref)):
                if message.headers.get(header) != submission or message.removed:
                    continue
                if (desired := legible(Desired, message)) is not None:
                    found[ref.key] = Accepted(
                        ref=desired.ref,
                        uid=desired.uid,
                        generation=desired.generation,
                        change="unchanged",
                        sequence=message.sequence,
                    )
        return found
