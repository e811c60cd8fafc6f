"""The circuit breaker of one member: after some failures in a row it is only probed.

A member that is away must not fill the executor with requests that wait for their timeouts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf


@dataclass(frozen=True, slots=True)
class Breaker:
    """threshold: failures in a row that open it. pause: seconds between two probes. Times are a monotonic clock's.

    probe_at: when the next request may go, −inf while closed.
    """

    threshold: int
    pause: float
    failures: int = 0
    probe_at: float = -inf

    @property
    def is_open(self) -> bool:
        return self.failures >= self.threshold

    def allows(self, now: float) -> bool:
        """Whether a request may go now."""
        return not self.is_open or now >= self.probe_at

    def probing(self, now: float) -> Breaker:
        """A request goes: while open, the next one only after another pause."""
        return replace(self, probe_at=now + self.pause) if self.is_open else self

    def failed(self, now: float, wish: float = 0.0) -> Breaker:
        """wish: seconds that the member itself asks to be left alone for (Retry-After)."""
        counted = replace(self, failures=self.failures + 1)
        if not counted.is_open:
            return counted
        return replace(counted, probe_at=max(self.probe_at, now + max(self.pause, wish)))

    def succeeded(self) -> Breaker:
        """Any answer of the member's API counts, a refusal too."""
        return Breaker(self.threshold, self.pause) if self.failures else self
