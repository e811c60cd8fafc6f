"""Time as brim sees it: wall-clock time, or one that runs fast.

Every service and the simulator of one fleet share a clock, so that a demo can live through ten idle
minutes in seconds and all timestamps (a pod's age, a rest's end, a deadline) still agree. Pure cores never
see a clock; they are handed `now`. Timeouts of network calls and leases stay in real seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import anyio


@dataclass(frozen=True, slots=True)
class Clock:
    """`now = epoch + (real time − epoch) × speed`.

    speed: fleet seconds per real second, 1.0 in production.
    epoch: Unix seconds at which fleet time and real time agree. Processes of one fleet must share both.
    """

    speed: float = 1.0
    epoch: float = field(default_factory=time.time)

    def now(self) -> float:
        """Fleet time as Unix seconds."""
        real = time.time()
        return real if self.speed == 1.0 else self.epoch + (real - self.epoch) * self.speed

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.now(), UTC)

    async def sleep(self, seconds: float) -> None:
        """Sleep for so many fleet seconds."""
        await anyio.sleep(max(0.0, seconds) / self.speed)

    def real(self, seconds: float) -> float:
        """How many real seconds so many fleet seconds take."""
        return seconds / self.speed


def rfc3339(unix_seconds: float) -> str:
    """Kubernetes' timestamp format, whole seconds, UTC: 2026-01-02T03:04:05Z."""
    return datetime.fromtimestamp(int(unix_seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_rfc3339(text: str) -> float:
    """Unix seconds of a Kubernetes timestamp. Raises ValueError on anything else."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
