"""What one workload was promised in one member, as long as its pods are not bound."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.scheduler.core.nodes import Table
from services.scheduler.core.values import Shape


@dataclass(eq=False, slots=True)
class Part:
    """Reserved replicas of one shape: on rows (the member's own numbers), and those without one."""

    shape: Shape
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
