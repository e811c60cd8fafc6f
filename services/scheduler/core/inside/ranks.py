"""What pods of each priority hold on each node: where one of higher priority would find room if they went."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from services.scheduler.core.inside.nodes import Amounts, Nodes
from services.scheduler.core.nodes import Floats


class Ranks:
    """By priority, one column per node; only priorities that somebody has."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes
        self._amounts: dict[int, Floats] = {}
        self._pods: dict[int, int] = {}

    def count(self, priority: int, row: int, requests: Amounts, sign: int) -> None:
        columns = [(self._nodes.column(resource), amount) for resource, amount in requests]
        here = self._amounts.get(priority)
        if here is None or here.shape != self._nodes.avail.shape:
            here = self._amounts[priority] = _fitted(here, self._nodes.avail.shape)
        for column, amount in columns:
            here[column, row] += sign * amount
        self._pods[priority] = self._pods.get(priority, 0) + sign
        if not self._pods[priority]:
            del self._pods[priority], self._amounts[priority]

    def below(self, priority: int) -> Iterator[tuple[int, Floats]]:
        """(level, what all pods up to that priority hold), from the lowest level on."""
        total = np.zeros(self._nodes.avail.shape)
        for level in sorted(level for level in self._amounts if level < priority):
            total = total + _fitted(self._amounts[level], total.shape)
            yield level, total

    def all_below(self, priority: int) -> Floats:
        """What all pods of lower priority hold."""
        found = np.zeros(self._nodes.avail.shape)
        for _, total in self.below(priority):
            found = total
        return found


def _fitted(array: Floats | None, shape: tuple[int, ...]) -> Floats:
    if array is not None and array.shape == shape:
        return array
    wider = np.zeros(shape)
    if array is not None:
        wider[: array.shape[0], : array.shape[1]] = array
    return wider
