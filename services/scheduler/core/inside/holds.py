"""What pods hold of nodes that the member's capacity does not show yet, and when it does.

A pod that was given a node holds its amounts there until it is told to be bound, and then until a capacity message
comes that is at least as new as the moment from which inventory counts it. Holding a moment too long costs time;
letting go too early would give room away twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from services.scheduler.core.inside.nodes import Amounts, Nodes


class Holds:
    """shown_at: all that was counted up to then is in the capacity."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self.shown_at = float("-inf")
        self._assumed: dict[str, str] = {}  # uid → node
        self._bound: dict[str, tuple[float, str]] = {}  # uid → (from when on it is counted, node)
        self._doubtful: dict[str, dict[str, float]] = {}  # uid → node → until when an order for it may be carried out

    def assume(self, uid: str, node: str, amounts: Amounts) -> None:
        """An order to bind the pod there is on its way."""
        self._nodes.hold(uid, node, amounts)
        self._assumed[uid] = node
        self._doubtful.get(uid, {}).pop(node, None)

    def fail(self, uid: str) -> None:
        """The order came to nothing."""
        node = self._assumed.pop(uid, None)
        if node is not None:
            self._nodes.release(uid, node)

    def doubt(self, uid: str, until: float) -> None:
        """Nothing was heard of the order. It may still be carried out, so that its room is not given to others."""
        node = self._assumed.pop(uid, None)
        if node is not None:
            self._doubtful.setdefault(uid, {})[node] = until

    def bound(self, uid: str, node: str, amounts: Amounts, counted_at: float) -> None:
        """The pod is there, whoever bound it, and capacity of that moment and later contains it."""
        is_shown = counted_at <= self.shown_at
        if not is_shown:
            self._nodes.hold(uid, node, amounts)
        held = {self._assumed.pop(uid, ""), *self._doubtful.pop(uid, {}), self._bound.pop(uid, (0.0, ""))[1]}
        for former in held - {node if not is_shown else "", ""}:
            self._nodes.release(uid, former)
        if not is_shown:
            self._bound[uid] = (counted_at, node)

    def clear(self, uid: str) -> None:
        """The pod is no more."""
        self.fail(uid)
        for node in self._doubtful.pop(uid, {}):
            self._nodes.release(uid, node)
        _, node = self._bound.pop(uid, (0.0, ""))
        self._nodes.release(uid, node)

    def shows(self, at: float) -> None:
        """The capacity contains all that was counted up to then."""
        self.shown_at = max(self.shown_at, at)
        for uid, (since, node) in list(self._bound.items()):
            if since <= at:
                del self._bound[uid]
                self._nodes.release(uid, node)

    def expire(self, now: float) -> int:
        """Orders that are void by now hold nothing any more. How many there were."""
        ended = [(uid, node) for uid, nodes in self._doubtful.items() for node, until in nodes.items() if until <= now]
        for uid, node in ended:
            del self._doubtful[uid][node]
            if not self._doubtful[uid]:
                del self._doubtful[uid]
            self._nodes.release(uid, node)
        return len(ended)

    @contextmanager
    def lifted(self, uid: str) -> Iterator[None]:
        """As if the pod's own doubtful orders held nothing: it may have the same room again."""
        before = self._nodes.released
        held = [(node, self._nodes.release(uid, node)) for node in self._doubtful.get(uid, ())]
        try:
            yield
        finally:
            for node, amounts in held:
                if amounts is not None:
                    self._nodes.hold(uid, node, amounts)
            self._nodes.released = before
