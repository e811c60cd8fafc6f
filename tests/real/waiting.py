"""Waiting for programs of other people's, in fixtures that have no event loop."""

from __future__ import annotations

import time
from collections.abc import Callable

LOOK_EVERY = 0.05  # seconds between two looks


def until(condition: Callable[[], bool], seconds: float, otherwise: Callable[[], str]) -> None:
    """Blocks until the condition holds. Raises RuntimeError with what `otherwise` says, after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(otherwise())
        time.sleep(LOOK_EVERY)
