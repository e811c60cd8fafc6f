"""The values that cross the bus: what a handler, a view or a follower sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from shared.bus import headers as names

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Message:
    """One message.

    sequence: its place in the stream, 0 for core NATS (requests, `send`).
    delivered: how often this consumer was given it, 1 for the first time.
    published_at: Unix seconds at which the stream stored it, 0.0 for core NATS.
    """

    subject: str
    data: bytes
    sequence: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    delivered: int = 1
    published_at: float = 0.0

    @property
    def removed(self) -> bool:
        """A tombstone of `Bus.remove`: the subject holds nothing any more. Views translate it to absence."""
        return names.REMOVED in self.headers

    def without_words(self) -> Message:
        """That it is there, and nothing of what it says."""
        return Message(self.subject, b"", self.sequence, NO_HEADERS, self.delivered, self.published_at)


@dataclass(frozen=True, slots=True)
class Change:
    """What became of one subject of a view: its newest message, or None where it was removed."""

    subject: str
    message: Message | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message as JetStream handed it to a consumer.

    consumer_sequence: counts deliveries of one consumer without a gap; a gap means that one got lost.
    pending: how many more messages waited for this consumer when it was sent.
    """

    message: Message
    reply: str
    consumer_sequence: int
    pending: int


def delivery(subject: str, data: bytes, reply: str, headers: Mapping[str, str] | None) -> Delivery:
    """Read the metadata that JetStream puts into the reply subject.

    `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<nanoseconds>.<pending>`, or with
    `<domain>.<account>` after ACK (and a random token at the end) in the newer form.
    """
    tokens = reply.split(".")
    first = 4 if len(tokens) == 9 else 6
    message = Message(
        subject=subject,
        data=data,
        sequence=int(tokens[first + 1]),
        headers=headers or NO_HEADERS,
        delivered=int(tokens[first]),
        published_at=int(tokens[first + 3]) / 1e9,
    )
    return Delivery(message, reply, int(tokens[first + 2]), int(tokens[first + 4]))
