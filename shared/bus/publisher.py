"""Publishing: with acknowledgement, fenced, in atomic batches, and as tombstones."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from nats.aio.msg import Msg

from shared import telemetry
from shared.bus import headers as names
from shared.bus.connection import NO_RESPONDERS, Connection, status_of
from shared.bus.jetstream import error_of, number, read_json
from shared.bus.streams import template_of
from shared.errors import BusUnavailable, Permanent

MAX_BATCH = 1000  # messages, the server's limit for an atomic batch
BATCHES_AT_ONCE = 16  # the server takes 50 of a stream at a time, and cuts off any beyond


class Publisher:
    """source: the service's name, for the CloudEvents headers."""

    def __init__(self, connection: Connection, *, source: str) -> None:
        self._connection = connection
        self._source = source
        self._batches = asyncio.Semaphore(BATCHES_AT_ONCE)

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        expected_last_sequence: int | None = None,
        message_id: str | None = None,
        event: str | None = None,
        keep: float | None = None,
        timeout: float = 5.0,
    ) -> int:
        own = self._headers(headers, event, message_id)
        if keep is not None:
            own[names.TTL] = str(max(1, int(keep)))
        if expected_last_sequence is not None:
            own[names.EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expected_last_sequence)
        if message_id is not None:
            own[names.MESSAGE_ID] = message_id
        return await self._store(subject, payload, own, timeout)

    async def remove(
        self, subject: str, payload: bytes, *, expected_last_sequence: int | None, keep: float, timeout: float
    ) -> int:
        own = self._headers(None, None, None)
        own[names.REMOVED] = "true"
        own[names.ROLLUP] = "sub"
        own[names.TTL] = str(max(1, int(keep)))
        if expected_last_sequence is not None:
            own[names.EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expected_last_sequence)
        return await self._store(subject, payload, own, timeout)

    async def publish_batch(
        self,
        subject: str,
        payloads: Sequence[bytes],
        *,
        rollup: bool,
        headers: Mapping[str, str] | None,
        expected_last_sequence: int | None,
        event: str | None,
        timeout: float,
    ) -> int:
        if not 1 <= len(payloads) <= MAX_BATCH:
            raise Permanent(f"a batch on {subject} has {len(payloads)} messages: 1 to {MAX_BATCH} are possible")
        async with self._batches:
            return await self._publish_batch(
                subject, payloads, rollup, headers, expected_last_sequence, event=event, timeout=timeout
            )

    async def _publish_batch(
        self,
        subject: str,
        payloads: Sequence[bytes],
        rollup: bool,
        headers: Mapping[str, str] | None,
        expected_last_sequence: int | None,
        *,
        event: str | None,
        timeout: float,
    ) -> int:
        await self._connection.usable(timeout)
        identifier = names.unique_id()
        for place, payload in enumerate(payloads, start=1):
            own = self._headers(headers, event, None)
            if place == 1 and rollup:
                own[names.ROLLUP] = "sub"
            if place == 1 and expected_last_sequence is not None:
                own[names.EXPECTED_LAST_SUBJECT_SEQUENCE] = str(expected_last_sequence)
            if len(payloads) > 1:
                own[names.BATCH_ID] = identifier
                own[names.BATCH_SEQUENCE] = str(place)
            if place < len(payloads):
                await self._connection.send(subject, payload, headers=own)
            elif len(payloads) > 1:
                own[names.BATCH_COMMIT] = "1"
        return await self._store(subject, payloads[-1], own, timeout)

    async def send(self, subject: str, payload: bytes, headers: Mapping[str, str] | None) -> None:
        await self._connection.usable(timeout=5.0)
        own = dict(headers or {})
        telemetry.inject(own)
        await self._connection.send(subject, payload, headers=own or None)

    def _headers(self, headers: Mapping[str, str] | None, event: str | None, message_id: str | None) -> dict[str, str]:
        """A dict of our own: nats-py writes into the one it is given."""
        own = dict(headers) if headers else {}
        if event is not None:
            own |= names.cloud_event(self._source, event, identifier=message_id)
        return own

    async def _store(self, subject: str, payload: bytes, headers: dict[str, str], timeout: float) -> int:
        handed = telemetry.TRACEPARENT in headers
        # A message without a story (a lease, a capacity delta) begins none: nobody would look for it.
        if not telemetry.recording() or not (handed or telemetry.has_context()):
            telemetry.inject(headers)
            reply = await self._connection.ask(subject, payload, headers=headers or None, timeout=timeout)
            return _acknowledged(reply, subject)
        # Outside of any span the trace that the caller hands over goes on; a new one would cut the story in two.
        parent = headers if handed and not telemetry.has_context() else None
        with telemetry.span(f"send {template_of(subject)}", kind="producer", parent=parent):
            telemetry.inject(headers)
            reply = await self._connection.ask(subject, payload, headers=headers, timeout=timeout)
            return _acknowledged(reply, subject)


def _acknowledged(reply: Msg, subject: str) -> int:
    if status_of(reply) == NO_RESPONDERS:
        raise BusUnavailable(f"no stream stores {subject}: the streams are not set up, or JetStream is starting")
    answer = read_json(reply)
    error = error_of(answer, subject)
    if error is not None:
        raise error
    return number(answer, "seq")
