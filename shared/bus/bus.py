"""`Bus`: all that brim does with NATS, behind one class. Parts of it live in the modules beside this one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager

import anyio

from shared.backoff import Backoff, Retries
from shared.bus import consumer, endpoint, jetstream, ordered, publisher, upkeep
from shared.bus.connection import Connection
from shared.bus.follow import Follower
from shared.bus.jetstream import ConsumerInfo, StreamInfo
from shared.bus.lease import Lease
from shared.bus.message import Message
from shared.bus.view import View
from shared.errors import BusUnavailable
from shared.settings import BusSettings

log = logging.getLogger("brim.bus")

Handler = Callable[[Message], Awaitable[None]]
BatchHandler = Callable[[list[Message]], Awaitable[None]]
PoisonHandler = Callable[[Message, Exception], Awaitable[None]]

DEFAULT_RETRY = Backoff(base=0.2, maximum=30.0)


class Bus:
    """One connection to NATS, shared by all parts of a process.

    All timeouts are real seconds. Every method raises BusUnavailable (Retryable) when NATS does not answer in
    time; the connection itself is rebuilt in the background for ever.
    """

    def __init__(self, connection: Connection, settings: BusSettings, name: str) -> None:
        self._connection = connection
        self._settings = settings
        self._publisher = publisher.Publisher(connection, source=name)
        self._upkeep: asyncio.Task[None] | None = None
        self.name = name

    @classmethod
    @asynccontextmanager
    async def connect(cls, settings: BusSettings, *, name: str) -> AsyncIterator[Bus]:
        """Connect, waiting as long as it takes for a first server, and reconnect for ever after.

        name: the service, seen in the server's monitoring and in ce-source. On leaving, what was sent is
        flushed and the connection closed. Raises Misconfigured where the first server in reach does not take this
        user, or lets it hear no reply; once it did, a user that is refused is tried again like a server that is away.
        """
        connection = Connection(settings, name)
        await connection.open()
        bus = cls(connection, settings, name)
        try:
            yield bus
        finally:
            with anyio.CancelScope(shield=True):  # on a signal too what was sent last is flushed; two seconds at most
                await bus._end_upkeep()
                await connection.close()

    @property
    def max_payload(self) -> int:
        """The server's limit in bytes for a message with its headers."""
        return self._connection.max_payload

    @property
    def connected(self) -> bool:
        return self._connection.connected

    def lags(self, now: float) -> dict[str, float]:
        """Per stream that is read, the age of the oldest message that is not handled; seconds. now: Unix seconds."""
        return self._connection.lags.seconds(now)

    # -- streams ---------------------------------------------------------------------------------------------

    async def ensure_streams(self, *, patience: float = 0.0) -> None:
        """Create or update every stream of `shared.bus.streams`. Idempotent. In production its KEEPER alone may.

        patience: seconds for which a server that cannot do it yet (it starts, it has no leader) is asked again.
        From then on streams that vanish are made again, as long as this bus is connected: a server that comes back
        without its data is set up anew.
        """
        replicas, window = self._settings.replicas, self._settings.duplicate_window
        retries, deadline = Retries(upkeep.RETRY), anyio.current_time() + patience
        while True:
            try:
                await jetstream.ensure_streams(self._connection, replicas, window)
                break
            except BusUnavailable as error:
                if anyio.current_time() >= deadline:
                    raise
                log.warning("the streams are not there yet: %s", error)
                await anyio.sleep(retries.next_delay())
        if self._upkeep is None:
            keep = upkeep.keep_streams(self._connection, replicas, window)
            self._upkeep = asyncio.create_task(keep, name="bus: upkeep of streams")

    async def await_streams(self, *, patience: float = 0.0) -> None:
        """Wait until the streams are there, which somebody else makes. patience: seconds. Raises BusUnavailable."""
        retries, began = Retries(upkeep.ASK_AGAIN), anyio.current_time()
        while True:
            try:
                await jetstream.require_streams(self._connection)
                return
            except BusUnavailable as error:
                waited = anyio.current_time() - began
                if waited >= patience:
                    raise
                log.log(logging.WARNING if waited > upkeep.NOTICE else logging.DEBUG, "%s", error)
                await anyio.sleep(retries.next_delay())

    async def _end_upkeep(self) -> None:
        if self._upkeep is not None:
            self._upkeep.cancel()
            await asyncio.gather(self._upkeep, return_exceptions=True)

    async def stream_info(self, stream: str) -> StreamInfo:
        """Messages, bytes and sequences of a stream. Raises NotFound."""
        return await jetstream.stream_info(self._connection, stream)

    async def consumer_info(self, stream: str, durable: str) -> ConsumerInfo:
        """How far a durable consumer is: `pending` not yet delivered, `unacknowledged`. Raises NotFound."""
        return await jetstream.consumer_info(self._connection, stream, durable)

    async def last(self, stream: str, subject: str) -> Message | None:
        """The newest message of a subject, as the stream's leader has it; None where there is none.

        A tombstone is returned as a message whose `removed` is True, so that its sequence can be fenced on.
        """
        return await jetstream.last(self._connection, stream, subject)

    async def history(self, stream: str, subject: str) -> list[Message]:
        """Every message that the stream holds for a subject or filter, oldest first."""
        return await ordered.history(self._connection, stream, subject)

    async def waiting(self, stream: str, subject: str) -> list[Message]:
        """What a work queue holds now of a subject or filter, oldest first: not yet acknowledged by its consumer."""
        return await jetstream.waiting(self._connection, stream, subject)

    async def purge_subject(self, stream: str, subject: str) -> None:
        """Drop all messages of a subject. Followers do not see it, and views only at their next resync:
        use `remove` where others must notice at once."""
        await jetstream.purge_subject(self._connection, stream, subject)

    # -- publishing ------------------------------------------------------------------------------------------

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
        """Store a message and return its stream sequence once JetStream has acknowledged it.

        expected_last_sequence: the fence; the sequence of the subject's last message, 0 for "none yet".
        message_id: a second publish with the same id within the duplicate window (120 s) is dropped.
        event: a CloudEvents type; adds the ce- headers.
        keep: seconds after which the message goes by itself, in streams that allow tombstones; None is for ever.
        Raises WriteConflict (somebody wrote first), BusUnavailable, TooLarge. After BusUnavailable the message
        may or may not be stored. Many publishes may be in flight at once. The trace context is added.
        """
        return await self._publisher.publish(
            subject,
            payload,
            headers=headers,
            expected_last_sequence=expected_last_sequence,
            message_id=message_id,
            event=event,
            keep=keep,
            timeout=timeout,
        )

    async def publish_batch(
        self,
        subject: str,
        payloads: Sequence[bytes],
        *,
        rollup: bool = False,
        headers: Mapping[str, str] | None = None,
        expected_last_sequence: int | None = None,
        event: str | None = None,
        timeout: float = 10.0,
    ) -> int:
        """Store 1 to 1000 messages on one subject all or nothing; returns the sequence of the last.

        rollup: they replace everything that the subject held. Only for streams that allow batches (CAPACITY).
        Each payload obeys the server's payload limit; together they may be larger. Raises as `publish` does.
        """
        return await self._publisher.publish_batch(
            subject,
            payloads,
            rollup=rollup,
            headers=headers,
            expected_last_sequence=expected_last_sequence,
            event=event,
            timeout=timeout,
        )

    async def remove(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        expected_last_sequence: int | None = None,
        keep: float = 3600.0,
        timeout: float = 5.0,
    ) -> int:
        """Replace all that a subject holds by a tombstone, which itself goes after `keep` seconds.

        Followers and consumers see it in order (`Message.removed`); views drop the subject at once. Prefer it
        to `purge_subject`, which nobody sees. Returns the tombstone's sequence.
        """
        return await self._publisher.remove(
            subject, payload, expected_last_sequence=expected_last_sequence, keep=keep, timeout=timeout
        )

    async def send(self, subject: str, payload: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Core NATS: to whoever listens now, without acknowledgement. Raises BusUnavailable, TooLarge."""
        await self._publisher.send(subject, payload, headers)

    # -- request and reply -----------------------------------------------------------------------------------

    async def request(
        self,
        subject: str,
        payload: bytes,
        *,
        timeout: float = 5.0,
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """Ask a service that `serve`s the subject. Raises what its handler raised (same class, code, faults),
        or BusUnavailable where nobody serves it or no answer came in time."""
        return await endpoint.request(self._connection, subject, payload, timeout=timeout, headers=headers)

    async def serve(
        self,
        subject: str,
        handler: Callable[[Message], Awaitable[bytes]],
        *,
        queue: str | None = None,
        concurrency: int = 16,
        on_serving: Callable[[], None] | None = None,
    ) -> None:
        """Answer requests on a subject until cancelled; requests in progress are finished then (2 s).

        queue: services of one queue name share the requests. on_serving: called once requests reach it. A
        BrimError of the handler becomes an error reply, any other exception is logged and answered as Internal.
        Raises NotPermitted where the server does not let this user subscribe to it.
        """
        await endpoint.serve(
            self._connection, subject, handler, queue=queue, concurrency=concurrency, on_serving=on_serving
        )

    # -- work ------------------------------------------------------------------------------------------------

    async def consume(
        self,
        stream: str,
        durable: str,
        handler: Handler,
        *,
        subjects: Sequence[str] = (),
        concurrency: int = 1,
        max_in_flight: int = 256,
        ack_wait: float = 30.0,
        max_deliver: int = 5,
        retry: Backoff = DEFAULT_RETRY,
        on_poison: PoisonHandler | None = None,
        grace: float = 2.0,
    ) -> None:
        """Hand every message of a durable consumer to `handler`, one at a time, until cancelled.

        Returning acknowledges. Retryable: again later, for ever (its `retry_after`, or `retry` with jitter).
        Permanent: `on_poison`, then never again. Any other exception: again later, poison after `max_deliver`
        deliveries. Messages are kept alive while a handler takes longer than ack_wait (seconds). At most
        `max_in_flight` are taken at once. With concurrency=1 they come in order, but for redeliveries.
        On cancellation running handlers get `grace` seconds; what is not finished goes back at once.

        At least once: an acknowledgement proves nothing about sole ownership (a late one is accepted even after
        a redelivery), so handlers must be idempotent.
        """

        async def one(messages: list[Message]) -> None:
            await handler(messages[0])

        options = consumer.Options(
            stream, durable, tuple(subjects), concurrency, 1, max_in_flight, ack_wait, max_deliver, retry, grace
        )
        await consumer.consume(self._connection, options, one, on_poison)

    async def consume_batches(
        self,
        stream: str,
        durable: str,
        handler: BatchHandler,
        *,
        subjects: Sequence[str] = (),
        batch: int = 256,
        concurrency: int = 1,
        max_in_flight: int = 1024,
        ack_wait: float = 30.0,
        max_deliver: int = 5,
        retry: Backoff = DEFAULT_RETRY,
        on_poison: PoisonHandler | None = None,
        grace: float = 2.0,
    ) -> None:
        """As `consume`, with up to `batch` messages per call: all that wait, never waiting for more.

        Retryable sends the whole batch back. After any other error its messages are handed over one by one,
        so that one poisoned message does not take its neighbours along.
        """
        options = consumer.Options(
            stream,
            durable,
            tuple(subjects),
            concurrency,
            batch,
            max_in_flight,
            ack_wait,
            max_deliver,
            retry,
            grace,
        )
        await consumer.consume(self._connection, options, handler, on_poison)

    # -- state -----------------------------------------------------------------------------------------------

    def view(self, stream: str, subjects: Sequence[str] = (), *, resync: float = 60.0, lean: bool = False) -> View:
        """A live map subject → newest message. subjects: filters, all of the stream's when empty.
        resync: seconds between two comparisons with the stream. lean: for one reader of `changes`, who keeps what he
        needs: the map forgets what messages say once they were handed out. Run it in a task group."""
        return View(self._connection, stream, tuple(subjects), resync, lean=lean)

    def follow(
        self,
        stream: str,
        subjects: Sequence[str],
        handler: Handler,
        *,
        start: int = 1,
        resync: float = 60.0,
    ) -> Follower:
        """Every message from sequence `start` on, exactly in order and without a gap. Run it in a task group."""
        return Follower(self._connection, stream, tuple(subjects), handler, start, resync)

    def lease(self, name: str, *, ttl: float = 5.0) -> Lease:
        """Leadership: at most one holder of a name at a time. ttl: whole seconds, at least 1."""
        return Lease(self._connection, self._publisher, name, ttl)
