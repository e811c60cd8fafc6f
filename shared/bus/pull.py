"""Pulling from a consumer: one request for messages, renewed when it has run dry.

nats-py's `fetch` makes a task per message, and burns its whole timeout when the server restarts. Here one request
is open at all times, with heartbeats; a reconnection renews it at once, silence is taken for loss. Never two: a
message does not say which request it answers and the server serves requests in turns, so that what is left of
each could not be told.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from types import TracebackType

from nats.aio.msg import Msg

from shared.bus import headers as names
from shared.bus.connection import Connection, Subscribed, status_of
from shared.bus.message import Delivery, delivery
from shared.errors import BusUnavailable

EXPIRES = 5.0  # seconds that one request stays open
HEARTBEAT = 1.0  # seconds between signs of life from the server while there is nothing to send
QUIET = 0.05  # seconds without a message after which no more is on its way
SILENCE = 3.0  # seconds without any sign after which the request is taken for lost


class Interrupted(BusUnavailable):
    """The consumer is gone, or nothing is heard of it: look at it (`consumer_info`) and make it anew."""

    code = "Interrupted"


class Pull:
    """Messages of one pull consumer. Use as a context manager; `next` from one task only.

    limit: how many messages may be asked for beyond those taken by `next`: the bound of the buffer.
    """

    def __init__(self, connection: Connection, stream: str, consumer: str, limit: int) -> None:
        self._connection = connection
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = connection.new_inbox()
        self._limit = limit
        self._buffer: deque[Delivery] = deque()
        self._arrived = asyncio.Event()
        self._asked = 0  # messages that the open request may still bring
        self._requests = 0
        self._heard = 0.0
        self._lost = ""
        self._subscribed: Subscribed | None = None
        self._forget: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Pull:
        self._subscribed = await self._connection.subscribe(f"{self._inbox}.*", self._on_message)
        self._forget = self._connection.on_reconnect(self._on_reconnect)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._forget is not None:
            self._forget()
        if self._subscribed is not None:
            await self._connection.unsubscribe(self._subscribed)

    async def next(self, maximum: int, *, room: int | None = None, timeout: float = 1.0) -> list[Delivery]:
        """Up to `maximum` messages, as soon as there is one; none after `timeout` seconds without any.

        room: how many messages the caller can take now, all in all (default: the limit).
        Raises Interrupted.
        """
        self._check()
        if not self._buffer:
            self._arrived.clear()
        await self._ask(self._limit if room is None else min(room, self._limit))
        if not self._buffer:
            await self._wait(timeout)
        return [self._buffer.popleft() for _ in range(min(maximum, len(self._buffer)))]

    async def rest(self) -> list[Delivery]:
        """Before the end: what arrived and was never taken, to be handed back.

        A request cannot be taken back, and what the server sends to nobody waits for ack_wait: so open requests
        are let run out as long as messages keep coming, for at most a second.
        """
        deadline = self._loop.time() + 1.0
        while self._asked and self._connection.connected and self._loop.time() < deadline:
            self._arrived.clear()
            try:
                async with asyncio.timeout(QUIET):
                    await self._arrived.wait()
            except TimeoutError:
                break
        rest, self._buffer = list(self._buffer), deque()
        return rest

    async def _wait(self, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._arrived.wait()
        except TimeoutError:
            self._check()

    def _check(self) -> None:
        if self._buffer:
            return  # what arrived before is taken first
        if self._lost:
            raise Interrupted(self._lost)
        if not self._asked or not self._connection.connected:
            return
        if self._loop.time() - self._heard > SILENCE:
            self._asked = 0
            raise Interrupted(f"nothing is heard of {self._subject} any more")

    async def _ask(self, room: int) -> None:
        free = room - len(self._buffer)
        if self._asked or free <= 0 or not self._connection.connected:
            return
        self._requests += 1
        self._heard = self._loop.time()
        self._asked = free
        body = {
            "batch": free,
            "expires": int(EXPIRES * 1e9),
            "idle_heartbeat": int(HEARTBEAT * 1e9),
        }
        await self._connection.send(self._subject, json.dumps(body).encode(), reply=self._reply)

    @property
    def _reply(self) -> str:
        """Where the open request is answered."""
        return f"{self._inbox}.{self._requests:x}"

    async def _on_message(self, raw: Msg) -> None:
        self._heard = self._loop.time()
        status = status_of(raw)
        if status is not None and not raw.reply.startswith("$JS.ACK"):
            self._on_status(status, raw)
            return
        self._buffer.append(delivery(raw.subject, raw.data, raw.reply, raw.headers))
        self._asked = max(0, self._asked - 1)
        self._arrived.set()

    def _on_status(self, status: str, raw: Msg) -> None:
        if status == "100":  # heartbeat
            return
        if raw.subject != self._reply:
            return  # of a request that is over
        self._asked = 0
        description = (raw.headers or {}).get(names.DESCRIPTION, "")
        if status in ("404", "408"):  # nothing (more) within the time asked for
            self._arrived.set()
            return
        # 503: nobody answers for the consumer; 409: it was deleted, its leader went away, it has too many
        # requests: the caller looks, and backs off.
        self._lost = f"{self._subject}: {description or 'the consumer does not exist'}"
        self._arrived.set()

    def _on_reconnect(self) -> None:
        """The server forgot what was asked for; what it had sent in between is lost or comes again."""
        self._asked = 0
        self._lost = "the connection to NATS was renewed"
        self._arrived.set()
