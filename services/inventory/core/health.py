"""Which members are lost: unreachable for so long that their replicas should go elsewhere.

A watch that comes and goes says nothing; only the time since a member last answered counts. Where more than a
third of the fleet vanishes at once, the fault is likely to be on this side, and nobody new is called lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

AT_ONCE = 3  # no more than one in so many members may be lost
PAUSED = 60.0  # seconds between two looks after which this process itself was asleep


@dataclass(slots=True)
class Watchman:
    """lost_after: seconds. A member's silence counts from when this process began to look, at the earliest."""

    lost_after: float
    began_at: float
    paused: float = PAUSED
    lost: frozenset[str] = frozenset()
    _looked_at: float = field(default=float("-inf"))

    def look(self, reachable_at: Mapping[str, float], now: float) -> frozenset[str]:
        """The lost members. reachable_at: when each member last answered, Unix seconds, all members of the fleet."""
        if self._looked_at > float("-inf") and now - self._looked_at > self.paused:
            self.began_at = now
        self._looked_at = now
        silent = {member for member, at in reachable_at.items() if now - max(at, self.began_at) >= self.lost_after}
        # A lost member is back as soon as it answers, whatever this process missed in between.
        still = {m for m in self.lost if m in reachable_at and now - reachable_at[m] >= self.lost_after}
        fresh = silent - still
        if len(still | fresh) * AT_ONCE > len(reachable_at):
            fresh = set()
        self.lost = frozenset(still | fresh)
        return self.lost
