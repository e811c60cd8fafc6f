"""How far those who read streams are behind: what was taken, or lies ready to be, and is not handled yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Lags:
    """Readers of one connection, while they read."""

    def __init__(self) -> None:
        self._readers: dict[object, tuple[str, Callable[[], float | None]]] = {}

    @contextmanager
    def reading(self, stream: str, oldest: Callable[[], float | None]) -> Iterator[None]:
        """oldest: when the oldest message that is not handled was stored, Unix seconds; None where all are."""
        reader = object()
        self._readers[reader] = stream, oldest
        try:
            yield
        finally:
            del self._readers[reader]

    def seconds(self, now: float) -> dict[str, float]:
        """Per stream that is read, how old the oldest message is that some reader has not handled; 0 for none."""
        found: dict[str, float] = {}
        for stream, oldest in self._readers.values():
            stored = oldest()
            found[stream] = max(found.get(stream, 0.0), 0.0 if stored is None else now - stored)
        return found
