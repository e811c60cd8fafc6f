"""Exponential backoff with jitter: the one rule that every retry in brim follows.

The "full jitter" form halved: the delay lies between half of the exponential step and the whole of it, so that
many clients spread out and none retries at once.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Backoff:
    """base: seconds before the first retry, about. maximum: seconds that no delay exceeds."""

    base: float = 0.1
    maximum: float = 30.0

    def delay(self, attempt: int, *, jitter: float | None = None) -> float:
        """Seconds to wait after the attempt-th failure (1 = first). jitter: 0..1, random when absent."""
        step = min(self.maximum, self.base * 2.0 ** min(max(attempt, 1) - 1, 60))
        spread = random.random() if jitter is None else jitter
        return step * (0.5 + 0.5 * spread)


@dataclass(slots=True)
class Retries:
    """Counts failures in a row and says how long to wait after each."""

    backoff: Backoff = field(default_factory=Backoff)
    failures: int = 0

    def next_delay(self) -> float:
        self.failures += 1
        return self.backoff.delay(self.failures)

    def succeeded(self) -> None:
        self.failures = 0
