"""What cannot be read in DESIRED or PLACEMENT is written over by the last that could.

Both streams keep a few messages per subject. Without this a restart would forget a wish, or place anew what is
placed already, because of one broken message on top of a good one.
"""

from __future__ import annotations

import logging
from typing import Final, TypeVar

import anyio

from shared.backoff import Backoff, Retries
from shared.bus import Bus, Message
from shared.contracts import subjects
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.status import Status
from shared.errors import BusUnavailable, Invalid, WriteConflict

log = logging.getLogger("brim.scheduler")

RETRY = Backoff(base=0.05, maximum=2.0)
SERVERS_OWN: Final = "nats-"  # headers by which the server stored it
ObjectT = TypeVar("ObjectT", Desired, Placement, Status, Outcome)


def legible(contract: type[ObjectT], message: Message, *, skip: int = 2) -> ObjectT | None:
    """What a message says; None where it is no such thing, or is about another object than its subject.

    skip: tokens of the subject before the object's, as for `subjects.object_key`.
    """
    try:
        found = contract.decode(message.data)
    except Invalid as error:
        log.error("%s holds what is no %s and is left alone: %s", message.subject, contract.TYPE, error)
        return None
    if found.ref.key != subjects.object_key(message.subject, skip=skip):
        log.error("%s holds a message about %s and is left alone", message.subject, found.ref)
        return None
    return found


async def mended(bus: Bus, stream: str, contract: type[ObjectT], broken: Message) -> tuple[Message, ObjectT] | None:
    """The last good message of the subject, as it is stored anew; None where there is none, or somebody wrote
    meanwhile. Waits for a bus that is away."""
    retries = Retries(RETRY)
    while True:
        try:
            return await _mended(bus, stream, contract, broken)
        except WriteConflict:
            return None
        except BusUnavailable as error:
            log.info("%s is mended later: %s", broken.subject, error)
            await anyio.sleep(retries.next_delay())


async def _mended(bus: Bus, stream: str, contract: type[ObjectT], broken: Message) -> tuple[Message, ObjectT] | None:
    for message in reversed(await bus.history(stream, broken.subject)):
        if message.removed:
            return None
        found = legible(contract, message) if message.sequence < broken.sequence else None
        if found is None:
            continue
        headers = {name: text for name, text in message.headers.items() if not name.lower().startswith(SERVERS_OWN)}
        sequence = await bus.publish(
            broken.subject, message.data, headers=headers, expected_last_sequence=broken.sequence
        )
        log.warning("%s: the last good message is stored anew over a broken one", broken.subject)
        return Message(broken.subject, message.data, sequence, headers, published_at=message.published_at), found
    return None
