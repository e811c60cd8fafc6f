"""What one workload was promised in one member, as long as its pods are not bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from services.scheduler.core.nodes import HEADROOM, READY, UPCOMING, VIRTUAL, Table
from services.scheduler.core.values import Shape

ORDER: Final = (READY, UPCOMING, HEADROOM, VIRTUAL)
SERVERLESS: Final = (READY, VIRTUAL, UPCOMING, HEADROOM)  # given virtual nodes, and none that are to be added


@dataclass(eq=False, slots=True)
class Part:
    """Reserved replicas of one shape: on rows (the member's own numbers), and those without one.

    order: of the phases of nodes in which rows are looked for.
    """

    shape: Shape
    order: Sequence[int] = ORDER
    rows: dict[int, int] = field(default_factory=dict)
    housed: int = 0
    deficit: int = 0

    @property
    def count(self) -> int:
        return self.housed + self.deficit


@dataclass(eq=False, slots=True)
class Promise:
    """All that one workload has reserved in one member. placed: replicas per part, by the placement."""

    table: Table
    parts: list[Part]
    placed: list[int]
