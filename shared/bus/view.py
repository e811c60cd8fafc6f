"""Views: the newest message of every subject, as a live map."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping
from types import MappingProxyType

import anyio

from shared.backoff import Backoff, Retries
from shared.bus import jetstream
from shared.bus.connection import Connection
from shared.bus.message import Change, Message
from shared.bus.ordered import OrderedRead, Start
from shared.bus.pull import Interrupted
from shared.errors import BusUnavailable, NotFound

log = logging.getLogger("brim.bus")

RETRY = Backoff(base=0.05, maximum=2.0)
LATEST = Start(policy="last_per_subject")
THOROUGH = 10  # of so many comparisons one lists all subjects, even where their number is right


class _Feed:
    """Changes that one iterator has not seen yet: at most one per subject, the newest."""

    def __init__(self, known: Iterable[Change]) -> None:
        self.pending = {change.subject: change for change in known}
        self.filled = asyncio.Event()
        if self.pending:
            self.filled.set()

    def put(self, change: Change) -> None:
        self.pending[change.subject] = change
        self.filled.set()

    def oldest(self) -> float | None:
        """When the change that has waited longest was stored; removals do not tell."""
        return next((change.message.published_at for change in self.pending.values() if change.message), None)


class View:
    """Replays the last message per subject, then follows. `run` it in a task group, await `ready`.

    After a reconnection, a loss or a deleted consumer everything is replayed; every `resync` seconds the subjects
    are compared with the stream's, which finds purged ones. What `Bus.remove` took away goes at once.

    lean: for one reader, who keeps what he needs: once `changes` has begun, the map forgets what messages say.
    """

    def __init__(
        self, connection: Connection, stream: str, subjects: tuple[str, ...], resync: float, *, lean: bool
    ) -> None:
        self._connection = connection
        self._stream = stream
        self._subjects = subjects
        self._resync = resync
        self._lean = lean
        self._items: dict[str, Message] = {}
        self._tombstones: set[str] = set()
        self._feeds: set[_Feed] = set()
        self._ready = asyncio.Event()
        self._compared = 0

    async def ready(self) -> None:
        """Wait until the first replay is complete."""
        await self._ready.wait()

    @property
    def is_ready(self) -> bool:
        return self._ready.is_set()

    def get(self, subject: str) -> Message | None:
        return self._items.get(subject)

    def items(self) -> Mapping[str, Message]:
        """The live map, read-only: copy it before awaiting anything while iterating."""
        return MappingProxyType(self._items)

    async def changes(self) -> AsyncGenerator[Change, None]:
        """All subjects known now, then every change, without end. A subject that changes several times before
        it is taken comes once, with its newest state. Iterators are independent of each other."""
        feed = _Feed(Change(subject, message) for subject, message in self._items.items())
        self._feeds.add(feed)
        if self._lean:
            self._items.update({subject: message.without_words() for subject, message in self._items.items()})
        try:
            while True:
                await feed.filled.wait()
                while feed.pending:
                    yield feed.pending.pop(next(iter(feed.pending)))
                feed.filled.clear()
        finally:
            self._feeds.discard(feed)

    async def run(self) -> None:
        """Keep the map true until cancelled. Raises Permanent for a filter that NATS refuses."""
        retries = Retries(RETRY)
        with self._connection.lags.reading(self._stream, self._oldest):
            while True:
                try:
                    await self._replay_and_follow(retries)
                except (BusUnavailable, NotFound) as error:
                    log.debug("the view of stream %s is rebuilt: %s", self._stream, error)
                    await anyio.sleep(retries.next_delay())

    def _oldest(self) -> float | None:
        return min((stored for feed in self._feeds if (stored := feed.oldest()) is not None), default=None)

    async def _replay_and_follow(self, retries: Retries) -> None:
        async with OrderedRead(self._connection, self._stream, self._subjects, LATEST) as read:
            seen: set[str] = set()
            while not read.caught_up:
                messages = await read.next()
                seen.update(message.subject for message in messages)
                self._apply(messages)
            await self._drop_absent(self._items.keys() - seen)
            self._ready.set()
            retries.succeeded()
            resync_at = anyio.current_time() + self._resync
            while True:
                self._apply(await read.next(timeout=min(1.0, self._resync)))
                if anyio.current_time() >= resync_at:
                    await self._compare(read)
                    resync_at = anyio.current_time() + self._resync

    def _apply(self, messages: list[Message]) -> None:
        for message in messages:
            known = self._items.get(message.subject)
            if message.removed:
                self._tombstones.add(message.subject)
                self._drop(message.subject)
            elif known is None or known.sequence != message.sequence or known.published_at != message.published_at:
                self._tombstones.discard(message.subject)
                self._items[message.subject] = message.without_words() if self._lean and self._feeds else message
                self._tell(Change(message.subject, message))

    def _drop(self, subject: str) -> None:
        if self._items.pop(subject, None) is not None:
            self._tell(Change(subject, None))

    def _tell(self, change: Change) -> None:
        for feed in self._feeds:
            feed.put(change)

    async def _drop_absent(self, subjects: Iterable[str]) -> None:
        """Drop what a replay or a list did not show, after asking for each: lists can be older than messages."""
        for subject in list(subjects):
            known = self._items.get(subject)
            last = await jetstream.last(self._connection, self._stream, subject)
            if last is None and known is self._items.get(subject):
                self._drop(subject)

    async def _compare(self, read: OrderedRead) -> None:
        await read.verify()
        self._compared += 1
        if self._compared % THOROUGH and not self._subjects:
            info = await jetstream.stream_info(self._connection, self._stream)
            if info.subjects == len(self._items) + len(self._tombstones):
                return  # to list tens of thousands stops whoever reads the list
        subjects = await jetstream.subjects_of(self._connection, self._stream, self._subjects)
        await self._drop_absent(self._items.keys() - subjects)
        self._tombstones &= subjects
        for subject in subjects - self._items.keys() - self._tombstones:
            last = await jetstream.last(self._connection, self._stream, subject)
            if last is not None and last.sequence <= read.last_sequence:
                raise Interrupted(f"{subject} was missing from the view of stream {self._stream}")
