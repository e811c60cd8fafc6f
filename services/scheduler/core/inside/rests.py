"""Nodes that a workload avoids for a while, after they could not start its pods."""

from __future__ import annotations

from math import inf
from typing import Final

from services.scheduler.core.inside.values import Owner

BASE: Final = 60.0  # seconds; doubling with every time in a row
LONGEST: Final = 1800.0
_NOTHING: Final[frozenset[str]] = frozenset()


class Rests:
    """One member's virtual nodes. next_end: when the first may be used again."""

    def __init__(self) -> None:
        self._until: dict[Owner, dict[str, float]] = {}
        self._steps: dict[tuple[Owner, str], tuple[int, float]] = {}  # how many in a row, and when that is forgotten
        self.next_end = inf

    def of(self, owner: Owner) -> frozenset[str]:
        """Nodes that the workload avoids now."""
        return frozenset(self._until[owner]) if owner in self._until else _NOTHING

    def put(self, owner: Owner, node: str, now: float) -> None:
        """The node could not start a pod of the workload. While it rests already this changes nothing."""
        if node in self._until.get(owner, ()):
            return
        step = self._steps.get((owner, node), (0, 0.0))[0] + 1
        until = now + min(LONGEST, BASE * 2.0 ** min(step - 1, 10))
        self._until.setdefault(owner, {})[node] = until
        self._steps[owner, node] = (step, until + LONGEST)
        self.next_end = min(self.next_end, until)

    def lift(self, node: str) -> None:
        """It has more to sell: nobody avoids it any more."""
        for key in [key for key in self._steps if key[1] == node]:
            del self._steps[key]
        for nodes in self._until.values():
            nodes.pop(node, None)
        self._tidy()

    def expire(self, now: float) -> bool:
        """Whether some are over by now."""
        if now < self.next_end:
            return False
        for nodes in self._until.values():
            for node in [node for node, until in nodes.items() if until <= now]:
                del nodes[node]
        self._steps = {key: entry for key, entry in self._steps.items() if now < entry[1]}
        self._tidy()
        return True

    def _tidy(self) -> None:
        self._until = {owner: nodes for owner, nodes in self._until.items() if nodes}
        self.next_end = min((until for nodes in self._until.values() for until in nodes.values()), default=inf)
