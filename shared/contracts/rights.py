"""What each user of the NATS server may do there: what the catalogue says that it writes and reads, and no more.

Kept by the server (deploy/nats/nats-server.conf is generated from this). What NATS' permissions cannot say: a reply
may be asked for on any subject, and who may read a stream may touch the other readers' consumers of it, which those
make anew. They bound mistakes and a password that leaked; where users do not trust each other, use accounts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from shared.bus import streams
from shared.bus.streams import STREAMS, StreamSpec
from shared.contracts.catalogue import CHANNELS, CLI, INTAKE, PEOPLE, SCHEDULER, SERVICES, Channel

API: Final = "$JS.API"
USERS: Final = (*SERVICES, PEOPLE)

_CONNECT_AS: Final = {INTAKE: SCHEDULER, CLI: PEOPLE}
_PURGES: Final = {SCHEDULER: (streams.REVISION,)}
_LOOKS: Final = {SCHEDULER: (streams.BINDING,)}  # into a queue that others work off


@dataclass(frozen=True, slots=True)
class Rights:
    """Subjects, as NATS' permissions take them. answers: whether it may answer requests that reach it."""

    user: str
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    answers: bool


def rights_of(user: str) -> Rights:
    """user: one of USERS."""
    written = [channel for channel in CHANNELS if _is_among(user, channel.writers)]
    read = [channel for channel in CHANNELS if _is_among(user, channel.readers)]
    return Rights(
        user,
        publish=tuple(dict.fromkeys([*_messages(user, written), *_reading(user, read), *_upkeep(user)])),
        subscribe=tuple(dict.fromkeys([*_inboxes(user), *_live(user, read)])),
        answers=any(channel.is_request for channel in read),
    )


def _is_among(user: str, names: Sequence[str]) -> bool:
    return user in (_CONNECT_AS.get(name, name) for name in names)


def _filter(channel: Channel, user: str) -> str:
    """Its subjects, as far as the user writes them."""
    if channel.stream is streams.LEASE:
        return f"brim.lease.{user}.*"
    own = channel.subject.replace("<service>", user) if channel.stream is streams.REJECTED else channel.subject
    return re.sub(r"<\w+>", "*", own)


def _messages(user: str, written: Sequence[Channel]) -> Iterator[str]:
    for channel in written:
        yield _filter(channel, user)


def _reading(user: str, read: Sequence[Channel]) -> Iterator[str]:
    """Calls of JetStream's API."""
    for spec in dict.fromkeys(channel.stream for channel in read if channel.stream is not None):
        if spec is streams.LEASE:
            yield f"{API}.STREAM.MSG.GET.{spec.name}"
        elif spec.work_queue:
            yield f"{API}.CONSUMER.CREATE.{spec.name}.*"
            yield f"{API}.CONSUMER.MSG.NEXT.{spec.name}.*"
            yield f"$JS.ACK.{spec.name}.>"
        else:
            yield from _kept(user, spec)
    for spec in _LOOKS.get(user, ()):
        yield f"{API}.STREAM.MSG.GET.{spec.name}"


def _kept(user: str, spec: StreamSpec) -> Iterator[str]:
    yield f"{API}.STREAM.INFO.{spec.name}"
    yield f"{API}.STREAM.MSG.GET.{spec.name}"
    for verb in ("CREATE", "INFO", "DELETE", "MSG.NEXT"):
        yield f"{API}.CONSUMER.{verb}.{spec.name}.*"
    if user == PEOPLE:
        yield from _with_any_client(spec)


def _with_any_client(spec: StreamSpec) -> Iterator[str]:
    """Other clients read a stream in more ways than brim's own: without a name for the consumer, with the filter in the
    subject, pushed and acknowledged."""
    yield f"{API}.INFO"
    yield f"{API}.STREAM.LIST"
    yield f"{API}.DIRECT.GET.{spec.name}"
    yield f"{API}.DIRECT.GET.{spec.name}.>"
    yield f"{API}.CONSUMER.CREATE.{spec.name}"
    yield f"{API}.CONSUMER.CREATE.{spec.name}.*.>"
    yield f"$JS.ACK.{spec.name}.>"
    yield f"$JS.FC.{spec.name}.>"


def _upkeep(user: str) -> Iterator[str]:
    yield f"{API}.STREAM.NAMES"
    if user == streams.KEEPER:
        for name in STREAMS:
            yield f"{API}.STREAM.CREATE.{name}"
            yield f"{API}.STREAM.UPDATE.{name}"
    for spec in _PURGES.get(user, ()):
        yield f"{API}.STREAM.PURGE.{spec.name}"


def _inboxes(user: str) -> Iterator[str]:
    yield f"_INBOX_{user}.>"
    if user == PEOPLE:  # what every NATS client uses unless told otherwise; no service does
        yield "_INBOX.>"


def _live(user: str, read: Sequence[Channel]) -> Iterator[str]:
    """Requests to serve, and messages that are heard as they are published."""
    for channel in read:
        if channel.stream is None:
            yield _filter(channel, user)
        elif channel.stream is streams.LEASE:
            yield f"brim.lease.{user}.holder"
        elif user == PEOPLE:
            yield from channel.stream.subjects
