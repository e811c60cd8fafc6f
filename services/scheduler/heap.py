"""Garbage collection suited to a heap that is nearly all state.

Python walks the whole heap in a full collection whenever it has grown by a quarter. The scheduler's is millions of
objects that live on (placements, node names), so those walks are its longest pauses and free nothing: what is dropped
of them goes by reference counts. Here only the youngest garbage is collected as ever, in small portions, and the rest
once in a long while, in a moment when nothing is due: for cycles that other parts of the process may make.
"""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio

YOUNG: Final = (1_000, 1_000_000, 1_000_000)  # allocations, young collections, middle-aged ones: these are never
EVERY: Final = 3600.0  # real seconds between two walks through all that came since the start


@contextmanager
def mostly_state() -> Iterator[None]:
    """For the process, while this is held."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*YOUNG)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


async def collect_when_idle(idle: Callable[[], Awaitable[None]]) -> None:
    """Until cancelled. idle: returns when nothing is due, or after a while anyway."""
    while True:
        await anyio.sleep(EVERY)
        await idle()
        gc.collect()
