"""What a person sees while the demo waits: one line that is written over on a terminal, one now and then elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import TextIO

import anyio

from cli import colours
from shared.clock import Clock

AFTER = 1.0  # real seconds until a wait is worth a word
EVERY = 5.0  # real seconds between two lines where nothing can be written over
TICK = 0.2  # real seconds between two looks at the clock on a terminal

_BACK = "\r\x1b[2K"  # to the beginning of an emptied line


async def tell(what: str, clock: Clock, stream: TextIO, say: Callable[[str], None]) -> None:
    """Say for how long something has been waited for, until cancelled. What stood on a terminal's line is gone then."""
    begun = clock.now()
    await anyio.sleep(AFTER)
    if not colours.wanted(stream):
        while True:
            await anyio.sleep(EVERY)
            say(f"  … waiting until {what}  ({clock.now() - begun:.0f} s of fleet time so far)")
    try:
        while True:
            text = f"  … waiting until {what}  ({clock.now() - begun:.0f} s of fleet time so far)"
            stream.write(_BACK + colours.painted(text, stream, dim=True))
            stream.flush()
            await anyio.sleep(TICK)
    finally:
        stream.write(_BACK)
        stream.flush()
