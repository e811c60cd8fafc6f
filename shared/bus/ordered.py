"""Reading a stream in order without losing anything: what views and followers are made of.

nats-py's ordered consumers took 17 s to recover from a restart, and lost messages for good when slow. This one
pulls, so that a slow reader is merely slow; a gap in the consumer's sequence, or the consumer's disappearance, is
reported as Interrupted, and the caller begins again behind what it last saw.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import anyio

from shared.bus import headers as names
from shared.bus import jetstream
from shared.bus.connection import Connection
from shared.bus.message import Message
from shared.bus.pull import Interrupted, Pull
from shared.errors import BusUnavailable, NotFound

log = logging.getLogger("brim.bus")

READ_AHEAD = 2000  # messages asked for at once
IDLE = 60.0  # seconds after which the server drops the consumer of a reader that vanished


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin: at a stream sequence, or with the newest message of every subject."""

    sequence: int = 1
    policy: Literal["by_start_sequence", "last_per_subject"] = "by_start_sequence"

    def config(self) -> dict[str, object]:
        if self.policy == "last_per_subject":
            return {"deliver_policy": self.policy}
        return {"deliver_policy": self.policy, "opt_start_seq": max(1, self.sequence)}


class OrderedRead:
    """One pass over a stream. Use as a context manager; raises Interrupted where order would break.

    caught_up: all that the stream held has been read, at one moment at least.
    last_sequence: of the last message read.
    """

    def __init__(self, connection: Connection, stream: str, subjects: tuple[str, ...], start: Start) -> None:
        self._connection = connection
        self._stream = stream
        self._name = f"read-{names.unique_id()}"
        self._subjects = subjects or (">",)  # last-per-subject wants a filter
        self._start = start
        self._pull = Pull(connection, stream, self._name, READ_AHEAD)
        self._read = 0  # consumer sequence of the last message read
        self._due = 0  # consumer sequence that must have been read by the next `verify`
        self.last_sequence = 0
        self.caught_up = False

    async def __aenter__(self) -> OrderedRead:
        config: dict[str, object] = {
            "ack_policy": "none",
            "replay_policy": "instant",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(IDLE * 1e9),
            **self._start.config(),
            **jetstream.filters(self._subjects),
        }
        info = await jetstream.create_consumer(self._connection, self._stream, self._name, config)
        self.caught_up = info.pending == 0
        await self._pull.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.move_on_after(1.0, shield=True):
            await self._pull.__aexit__(kind, error, trace)
            if self._connection.connected:
                try:
                    await jetstream.delete_consumer(self._connection, self._stream, self._name)
                except (BusUnavailable, NotFound) as gone:
                    log.debug("consumer %s is left to the server to drop: %s", self._name, gone)

    async def next(self, timeout: float = 1.0) -> list[Message]:
        """What has arrived, in order; empty after `timeout` seconds without anything. Raises Interrupted."""
        deliveries = await self._pull.next(READ_AHEAD, timeout=timeout)
        for delivery in deliveries:
            if delivery.consumer_sequence != self._read + 1:
                missing = delivery.consumer_sequence - self._read - 1
                raise Interrupted(f"{missing} messages of stream {self._stream} were lost on the way")
            self._read += 1
        if deliveries:
            self.last_sequence = deliveries[-1].message.sequence
            self.caught_up = self.caught_up or deliveries[-1].pending == 0
        elif not self.caught_up:
            await self.verify()
        return [delivery.message for delivery in deliveries]

    async def verify(self) -> None:
        """Compare with the server's count: notices a loss at the end, which leaves no gap. Raises Interrupted.

        Notices too that nothing is left to come: what was pending may be purged, or expire, before it is delivered.
        """
        if self._read < self._due:
            raise Interrupted(f"the last messages of stream {self._stream} were lost on the way")
        try:
            info = await jetstream.consumer_info(self._connection, self._stream, self._name)
        except NotFound:
            raise Interrupted(f"consumer {self._name} of stream {self._stream} is gone") from None
        self._due = info.delivered
        self.caught_up = self.caught_up or (info.pending == 0 and info.delivered == self._read)


async def history(connection: Connection, stream: str, subject: str) -> list[Message]:
    """All that a stream holds of a subject or filter."""
    messages: list[Message] = []
    async with OrderedRead(connection, stream, (subject,), Start()) as read:
        while not read.caught_up:
            messages += await read.next()
    return messages
