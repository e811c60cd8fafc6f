"""Following a stream: every message from a place on, exactly in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import anyio

from shared.backoff import Backoff, Retries
from shared.bus import jetstream
from shared.bus.connection import Connection
from shared.bus.message import Message
from shared.bus.ordered import OrderedRead, Start
from shared.errors import BusUnavailable, NotFound

log = logging.getLogger("brim.bus")

RETRY = Backoff(base=0.05, maximum=2.0)


class Follower:
    """Hands every message to `handler`, in order, once in the life of this object.

    A message that a rollup, a purge or a limit removed before it was read is not seen: what the stream holds is
    the truth. After the stream itself was deleted and made anew (or lost its end in a crash) it is read from its
    beginning. An exception of the handler ends `run`.

    sequence: of the last message handled, 0 before the first.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        subjects: tuple[str, ...],
        handler: Callable[[Message], Awaitable[None]],
        start: int,
        resync: float,
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._subjects = subjects
        self._handler = handler
        self._resync = resync
        self._created = ""
        self._in_hand: Message | None = None
        self._ready = asyncio.Event()
        self.sequence = max(0, start - 1)

    @property
    def caught_up(self) -> bool:
        """All that the stream held was handled, at one moment at least."""
        return self._ready.is_set()

    async def ready(self) -> None:
        """Wait until caught up."""
        await self._ready.wait()

    async def run(self) -> None:
        """Follow until cancelled. Raises what the handler raises, and Permanent for a filter that NATS refuses."""
        retries = Retries(RETRY)
        with self._connection.lags.reading(self._stream, self._oldest):
            while True:
                try:
                    await self._follow(retries)
                except (BusUnavailable, NotFound) as error:
                    log.debug("stream %s is read on from %d: %s", self._stream, self.sequence + 1, error)
                    await anyio.sleep(retries.next_delay())

    def _oldest(self) -> float | None:
        return self._in_hand.published_at if self._in_hand is not None else None

    async def _follow(self, retries: Retries) -> None:
        await self._notice_new_stream()
        start = Start(sequence=self.sequence + 1)
        async with OrderedRead(self._connection, self._stream, self._subjects, start) as read:
            verify_at = anyio.current_time() + self._resync
            while True:
                if read.caught_up:
                    self._ready.set()
                for message in await read.next(timeout=min(1.0, self._resync)):
                    self._in_hand = message
                    await self._handler(message)
                    self.sequence = message.sequence
                    retries.succeeded()
                self._in_hand = None
                if anyio.current_time() >= verify_at:
                    await read.verify()
                    verify_at = anyio.current_time() + self._resync

    async def _notice_new_stream(self) -> None:
        info = await jetstream.stream_info(self._connection, self._stream)
        if self._created and (info.created != self._created or info.last_sequence < self.sequence):
            log.warning("stream %s was made anew or cut: it is read from its beginning", self._stream)
            self.sequence = 0
        self._created = info.created
