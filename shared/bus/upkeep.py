"""Streams that vanished are made again, while everybody goes on.

A server may come back without its data, and an operator may delete a stream. Whoever set the streams up looks after
them: after every reconnection, and now and then. Only what is missing is made; the configuration of what is there is
`ensure_streams`' business alone, so that two versions of brim do not change it to and fro.
"""

from __future__ import annotations

import asyncio
import logging

from shared.backoff import Backoff, Retries
from shared.bus import jetstream
from shared.bus.connection import Connection
from shared.errors import BusUnavailable, Permanent

log = logging.getLogger("brim.bus")

LOOK_EVERY = 30.0  # seconds between two looks on a connection that stands
RETRY = Backoff(base=0.1, maximum=5.0)
ASK_AGAIN = Backoff(base=0.05, maximum=2.0)  # for streams that somebody else makes
NOTICE = 2.0  # seconds until such a wait is worth a word


async def keep_streams(connection: Connection, replicas: int, duplicate_window: float) -> None:
    """Until cancelled."""
    look = asyncio.Event()
    forget = connection.on_reconnect(look.set)
    retries = Retries(RETRY)
    try:
        while True:
            pause = LOOK_EVERY
            try:
                if made := await jetstream.create_missing_streams(connection, replicas, duplicate_window):
                    log.warning("made anew, for they had vanished with all that they held: %s", ", ".join(made))
                retries.succeeded()
            except (BusUnavailable, Permanent) as error:
                log.debug("the streams are looked after later: %s", error)
                pause = retries.next_delay()
            await _either(look, pause)
    finally:
        forget()


async def _either(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        pass
    event.clear()
