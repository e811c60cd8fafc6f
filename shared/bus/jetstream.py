"""JetStream's management API, as JSON over request and reply: streams, consumers, single messages.

nats-py's own manager is not used: it has no one place where errors could be mapped.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nats.aio.msg import Msg

from shared.bus.connection import NO_RESPONDERS, Connection, status_of
from shared.bus.message import Message
from shared.bus.streams import KEEPER, STREAMS
from shared.clock import parse_rfc3339
from shared.errors import BrimError, BusUnavailable, NotFound, Permanent, TooLarge, WriteConflict

API = "$JS.API."
TIMEOUT = 5.0

Json = Mapping[str, object]

_WRONG_LAST_SEQUENCE = frozenset({10071, 10164})
_TOO_LARGE = frozenset({10054})
_BATCH_CUT_OFF = frozenset({10175, 10176})  # a part without its number, or a gap: the server forgot the beginning


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """created: RFC 3339; it changes when a stream was deleted and made anew. age: seconds since then.
    subjects: how many there are of which the stream holds a message, tombstones too."""

    name: str
    subjects: int
    messages: int
    bytes: int
    first_sequence: int
    last_sequence: int
    created: str
    age: float


@dataclass(frozen=True, slots=True)
class ConsumerInfo:
    """delivered: the consumer sequence of its last delivery. pending: not delivered yet.
    unacknowledged: delivered, and neither acknowledged nor given up."""

    name: str
    delivered: int
    pending: int
    unacknowledged: int


def error_of(reply: Json, what: str) -> BrimError | None:
    """The error in a JetStream answer, in brim's terms."""
    error = reply.get("error")
    if not isinstance(error, dict):
        return None
    code, number = error.get("code"), error.get("err_code")
    sentence = f"{what}: {error.get('description', 'refused by NATS')}"
    if number in _WRONG_LAST_SEQUENCE:
        return WriteConflict(f"{what}: somebody else wrote first ({error.get('description')})")
    if number in _TOO_LARGE:
        return TooLarge(f"{sentence}: make the message smaller")
    if number in _BATCH_CUT_OFF:
        return BusUnavailable(f"{what}: the batch was cut off on the way and nothing of it is stored")
    if code == 404:
        return NotFound(sentence)
    if code == 400:
        return Permanent(sentence)
    return BusUnavailable(sentence)  # 408, 429, 500, 503: overload, no leader, no space


async def api(connection: Connection, verb: str, body: Json | None = None, *, what: str) -> dict[str, object]:
    """One call of the management API. Raises NotFound, Permanent, BusUnavailable."""
    payload = json.dumps(body).encode() if body is not None else b""
    reply = await connection.ask(API + verb, payload, timeout=TIMEOUT)
    if status_of(reply) == NO_RESPONDERS:
        raise BusUnavailable(f"{what}: JetStream does not answer: start nats-server with JetStream (-js)")
    answer = read_json(reply)
    error = error_of(answer, what)
    if error is not None:
        raise error
    return answer


def read_json(message: Msg) -> dict[str, object]:
    try:
        answer = json.loads(message.data)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise BusUnavailable(f"NATS gave an answer that cannot be read: {message.data[:80]!r}")
    return answer


def _section(answer: Json, key: str) -> Json:
    value = answer.get(key)
    return value if isinstance(value, dict) else {}


def number(answer: Json, key: str) -> int:
    value = answer.get(key, 0)
    return value if isinstance(value, int) else 0


async def ensure_streams(connection: Connection, replicas: int, duplicate_window: float) -> None:
    for spec in STREAMS.values():
        config = spec.config(replicas, duplicate_window)
        what = f"stream {spec.name}"
        try:
            await api(connection, f"STREAM.CREATE.{spec.name}", config, what=what)
        except Permanent as error:
            # Exists with another configuration (an equal one is accepted): bring it up to date. An error that
            # is not about that comes back from the update in its own words.
            try:
                await api(connection, f"STREAM.UPDATE.{spec.name}", config, what=what)
            except NotFound:
                raise error from None


async def create_missing_streams(connection: Connection, replicas: int, duplicate_window: float) -> list[str]:
    """Create the streams that are not there; returns their names. Others are left as they are."""
    missing = await missing_streams(connection)
    for name in missing:
        config = STREAMS[name].config(replicas, duplicate_window)
        await api(connection, f"STREAM.CREATE.{name}", config, what=f"stream {name}")
    return missing


async def missing_streams(connection: Connection) -> list[str]:
    present = await _stream_names(connection)
    return [name for name in STREAMS if name not in present]


async def require_streams(connection: Connection) -> None:
    """Raises BusUnavailable where one is missing."""
    if missing := await missing_streams(connection):
        raise BusUnavailable(
            f"the {KEEPER} makes the streams, and has not made {', '.join(missing)} yet: does it run?", code="NoStreams"
        )


async def _stream_names(connection: Connection) -> set[str]:
    """Of all streams of the account; the server lists them in pages."""
    found: set[str] = set()
    while True:
        answer = await api(connection, "STREAM.NAMES", {"offset": len(found)}, what="the list of streams")
        page = answer.get("streams")
        found.update(str(name) for name in (page if isinstance(page, list) else ()))
        if not page or len(found) >= number(answer, "total"):
            return found


async def stream_info(connection: Connection, stream: str) -> StreamInfo:
    answer = await api(connection, f"STREAM.INFO.{stream}", what=f"stream {stream}")
    state, created = _section(answer, "state"), str(answer.get("created", ""))
    return StreamInfo(
        name=stream,
        subjects=number(state, "num_subjects"),
        messages=number(state, "messages"),
        bytes=number(state, "bytes"),
        first_sequence=number(state, "first_seq"),
        last_sequence=number(state, "last_seq"),
        created=created,
        age=parse_rfc3339(str(answer["ts"])) - parse_rfc3339(created),
    )


async def subjects_of(connection: Connection, stream: str, filters: Sequence[str]) -> set[str]:
    """Every subject of which the stream holds a message; the server lists them in pages."""
    found: set[str] = set()
    for subject_filter in filters or (">",):
        offset = 0
        while True:
            body = {"subjects_filter": subject_filter, "offset": offset}
            answer = await api(connection, f"STREAM.INFO.{stream}", body, what=f"stream {stream}")
            page = _section(_section(answer, "state"), "subjects")
            found.update(page)
            offset += len(page)
            if not page or offset >= number(answer, "total"):
                break
    return found


async def last(connection: Connection, stream: str, subject: str) -> Message | None:
    what = f"the last message of {subject}"
    try:
        answer = await api(connection, f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject}, what=what)
    except NotFound:
        if stream not in STREAMS:
            await stream_info(connection, stream)  # tells a missing stream from a missing message
        return None
    return _stored(_section(answer, "message"))


async def waiting(connection: Connection, stream: str, subject: str) -> list[Message]:
    """What a stream holds now of a subject or filter, oldest first, one message at a time.

    For work queues, where an ordered read is not allowed: what is not acknowledged is in there.
    """
    found: list[Message] = []
    sequence = 1
    while True:
        try:
            body = {"seq": sequence, "next_by_subj": subject}
            answer = await api(connection, f"STREAM.MSG.GET.{stream}", body, what=f"what waits on {subject}")
        except NotFound:
            return found
        found.append(_stored(_section(answer, "message")))
        sequence = found[-1].sequence + 1


def _stored(stored: Json) -> Message:
    raw = base64.b64decode(str(stored.get("hdrs", "")))
    lines = (line.partition(":") for line in raw.decode("utf-8", "replace").split("\r\n")[1:])
    return Message(
        subject=str(stored.get("subject", "")),
        data=base64.b64decode(str(stored.get("data", ""))),
        sequence=number(stored, "seq"),
        headers={key.strip(): value.strip() for key, separator, value in lines if separator},
        published_at=parse_rfc3339(str(stored["time"])),
    )


async def purge_subject(connection: Connection, stream: str, subject: str) -> None:
    await api(connection, f"STREAM.PURGE.{stream}", {"filter": subject}, what=f"purging {subject}")


async def create_consumer(connection: Connection, stream: str, name: str, config: Json) -> ConsumerInfo:
    """Create a consumer, or bring one of that name up to date."""
    body = {"stream_name": stream, "config": {"name": name, **config}}
    answer = await api(connection, f"CONSUMER.CREATE.{stream}.{name}", body, what=f"consumer {name} of stream {stream}")
    return _consumer(name, answer)


async def consumer_info(connection: Connection, stream: str, name: str) -> ConsumerInfo:
    answer = await api(connection, f"CONSUMER.INFO.{stream}.{name}", what=f"consumer {name} of stream {stream}")
    return _consumer(name, answer)


async def delete_consumer(connection: Connection, stream: str, name: str) -> None:
    await api(connection, f"CONSUMER.DELETE.{stream}.{name}", what=f"consumer {name} of stream {stream}")


def _consumer(name: str, answer: Json) -> ConsumerInfo:
    return ConsumerInfo(
        name=name,
        delivered=number(_section(answer, "delivered"), "consumer_seq"),
        pending=number(answer, "num_pending"),
        unacknowledged=number(answer, "num_ack_pending"),
    )


def filters(subjects: Sequence[str]) -> dict[str, object]:
    """A consumer's filter; one subject is given apart, as servers before 2.10 want it."""
    if not subjects:
        return {}
    return {"filter_subject": subjects[0]} if len(subjects) == 1 else {"filter_subjects": list(subjects)}
