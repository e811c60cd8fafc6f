"""Durable work: at least once, with heartbeats for long work, retries with jitter, and an end for poison."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass

import anyio

from shared import telemetry
from shared.backoff import Backoff, Retries
from shared.bus import jetstream
from shared.bus.connection import Connection
from shared.bus.message import Delivery, Message
from shared.bus.pull import Pull
from shared.bus.streams import template_of
from shared.errors import BusUnavailable, NotFound, Permanent, Retryable

log = logging.getLogger("brim.bus")

BatchHandler = Callable[[list[Message]], Awaitable[None]]
PoisonHandler = Callable[[Message, Exception], Awaitable[None]]

ACK = b"+ACK"
NAK = b"-NAK"
IN_PROGRESS = b"+WPI"
TERM = b"+TERM"

RECREATE = Backoff(base=0.05, maximum=2.0)
FORGOTTEN = 86_400.0  # seconds after which the server drops a consumer that nobody asks for: of a member that left


@dataclass(frozen=True, slots=True)
class Options:
    """See `Bus.consume`. Times in seconds."""

    stream: str
    durable: str
    subjects: tuple[str, ...]
    concurrency: int
    batch: int
    max_in_flight: int
    ack_wait: float
    max_deliver: int
    retry: Backoff
    grace: float

    def config(self) -> dict[str, object]:
        """The server's ConsumerConfig. It redelivers for ever: giving up is decided, and told of, here."""
        return {
            "durable_name": self.durable,
            "deliver_policy": "all",
            "ack_policy": "explicit",
            "ack_wait": int(self.ack_wait * 1e9),
            "max_deliver": -1,
            "max_ack_pending": self.max_in_flight,
            "inactive_threshold": int(FORGOTTEN * 1e9),
            "replay_policy": "instant",
            **jetstream.filters(self.subjects),
        }


async def consume(
    connection: Connection, options: Options, handler: BatchHandler, on_poison: PoisonHandler | None
) -> None:
    await _Consumer(connection, options, handler, on_poison).run()


class _Consumer:
    """One task pulls, `concurrency` workers handle, one keeps alive what takes long."""

    def __init__(
        self, connection: Connection, options: Options, handler: BatchHandler, on_poison: PoisonHandler | None
    ) -> None:
        self._connection = connection
        self._options = options
        self._handler = handler
        self._on_poison = on_poison
        self._waiting: asyncio.Queue[Delivery] = asyncio.Queue()  # bounded by max_in_flight
        self._touched: dict[str, float] = {}  # reply subject → when the server last heard of it
        self._stored: dict[str, float] = {}  # likewise, when the message was stored
        self._freed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        names = [f"{self._options.durable} worker {number}" for number in range(self._options.concurrency)]
        workers = [asyncio.create_task(self._work(), name=name) for name in names]
        alive = asyncio.create_task(self._keep_alive(), name=f"{self._options.durable} keep alive")
        pull = asyncio.create_task(self._pull_for_ever(), name=f"{self._options.durable} pull")
        try:
            with self._connection.lags.reading(self._options.stream, self._oldest):
                done, _ = await asyncio.wait([*workers, alive, pull], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # none of them ends by itself but with an error
        finally:
            with anyio.CancelScope(shield=True):
                await _cancel([pull])
                await self._settle(self._drain_waiting(), NAK)
                if self._touched:
                    await self._finish()
                await _cancel([*workers, alive])
                await self._settle(list(self._touched), NAK)

    def _oldest(self) -> float | None:
        return min(self._stored.values(), default=None)

    # -- taking ----------------------------------------------------------------------------------------------

    async def _pull_for_ever(self) -> None:
        """Survives a deleted consumer, a deleted stream and a restarted server: it begins anew."""
        retries = Retries(RECREATE)
        options = self._options
        while True:
            try:
                await jetstream.create_consumer(self._connection, options.stream, options.durable, options.config())
                await self._pull(retries)
            except (BusUnavailable, NotFound) as error:
                log.debug("consumer %s of stream %s begins anew: %s", options.durable, options.stream, error)
                await asyncio.sleep(retries.next_delay())

    async def _pull(self, retries: Retries) -> None:
        options = self._options
        async with Pull(self._connection, options.stream, options.durable, options.max_in_flight) as pull:
            try:
                while True:
                    await self._take(pull)
                    retries.succeeded()
            finally:
                with anyio.CancelScope(shield=True):
                    await self._settle([delivery.reply for delivery in await pull.rest()], NAK)

    async def _take(self, pull: Pull) -> None:
        most = self._options.max_in_flight
        room = most - len(self._touched)
        if room * 4 < most:  # asking for every single one that was freed would cost more than the messages
            self._freed.clear()
            await self._freed.wait()
            return
        now = self._loop.time()
        for delivery in await pull.next(room, room=room):
            self._touched[delivery.reply] = now
            self._stored[delivery.reply] = delivery.message.published_at
            self._waiting.put_nowait(delivery)

    # -- handling --------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            deliveries = [await self._waiting.get()]
            while len(deliveries) < self._options.batch and not self._waiting.empty():
                deliveries.append(self._waiting.get_nowait())
            await self._handle(deliveries)

    async def _handle(self, deliveries: list[Delivery]) -> None:
        error = await self._attempt(deliveries)
        if error is None:
            await self._settle([delivery.reply for delivery in deliveries], ACK)
        elif isinstance(error, Retryable):
            for delivery in deliveries:
                await self._again(delivery, error)
        elif len(deliveries) > 1:
            for delivery in deliveries:
                await self._handle([delivery])
        else:
            await self._failed(deliveries[0], error)

    async def _attempt(self, deliveries: list[Delivery]) -> Exception | None:
        messages = [delivery.message for delivery in deliveries]
        try:
            one = messages[0].headers if len(messages) == 1 else None
            if not telemetry.recording() and not (one and telemetry.TRACEPARENT in one):
                await self._handler(messages)
                return None
            with telemetry.span(
                f"process {template_of(messages[0].subject)}",
                kind="consumer",
                parent=one,
                links=[message.headers for message in messages],
                attributes={"messaging.batch.message_count": len(messages)},
            ):
                await self._handler(messages)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return RuntimeError("the handler was cancelled from inside")
        except Exception as error:  # noqa: BLE001 - returned, and settled by kind: retried, or told of as poison
            return error
        return None

    async def _failed(self, delivery: Delivery, error: Exception) -> None:
        message = delivery.message
        poison = isinstance(error, Permanent) or message.delivered >= self._options.max_deliver
        if not isinstance(error, Permanent):
            log.error(
                "%s: delivery %d of %s failed%s",
                self._options.durable,
                message.delivered,
                message.subject,
                "; it is given up" if poison else "; it comes again",
                exc_info=error,
            )
        if not poison or not await self._report(message, error):
            await self._again(delivery, error)
            return
        await self._settle([delivery.reply], TERM)

    async def _report(self, message: Message, error: Exception) -> bool:
        """Whether whoever must know of the poison does: until then it is not dropped."""
        if self._on_poison is None:
            log.error("%s: %s is dropped: %s", self._options.durable, message.subject, error)
            return True
        try:
            await self._on_poison(message, error)
        except Exception:  # the message comes again, and with it this report
            log.exception("%s: %s is poison and could not be reported", self._options.durable, message.subject)
            return False
        return True

    async def _again(self, delivery: Delivery, error: Exception) -> None:
        delay = self._options.retry.delay(delivery.message.delivered)
        if isinstance(error, Retryable) and error.retry_after is not None:
            delay = max(delay, error.retry_after)
        if isinstance(error, Retryable):
            log.info("%s: %s again in %.1f s: %s", self._options.durable, delivery.message.subject, delay, error)
        nak = NAK + b" " + json.dumps({"delay": int(delay * 1e9)}).encode()
        await self._settle([delivery.reply], nak)

    # -- settling --------------------------------------------------------------------------------------------

    async def _settle(self, replies: Iterable[str], verdict: bytes) -> None:
        """Tell the server. A verdict that gets lost costs a redelivery, which handlers must stand anyway."""
        for reply in replies:
            self._touched.pop(reply, None)
            self._stored.pop(reply, None)
            await self._tell(reply, verdict)
        self._freed.set()

    async def _tell(self, reply: str, word: bytes) -> None:
        try:
            await self._connection.send(reply, word)
        except BusUnavailable as error:
            log.debug("a message will be delivered again: %s", error)

    async def _keep_alive(self) -> None:
        """Handling, or waiting for a worker, may take longer than ack_wait."""
        while True:
            await asyncio.sleep(self._options.ack_wait / 4)
            now = self._loop.time()
            for reply, touched in list(self._touched.items()):
                if now - touched >= self._options.ack_wait / 2 and self._connection.connected:
                    self._touched[reply] = now
                    await self._tell(reply, IN_PROGRESS)

    # -- ending ----------------------------------------------------------------------------------------------

    def _drain_waiting(self) -> list[str]:
        replies = []
        while not self._waiting.empty():
            replies.append(self._waiting.get_nowait().reply)
        return replies

    async def _finish(self) -> None:
        """Give running handlers their grace."""
        deadline = self._loop.time() + self._options.grace
        while self._touched and (left := deadline - self._loop.time()) > 0:
            self._freed.clear()
            with anyio.move_on_after(left):
                await self._freed.wait()


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
