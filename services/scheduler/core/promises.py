"""What one workload was promised in one member, as long as its pods are not bound."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.scheduler.core.nodes import HEADROOM, READY, UPCOMING, VIRTUAL, Table
from services.scheduler.core.values import Shape

ORDER: Final = (READY, UPCOMING, HEADROOM, VIRTUAL)
SERVERLESS: Final = (READY, VIRTUAL, UPCOMING, HEADROOM)  # given virtual nodes, and none that are to be added


@dataclass(eq=False, slots=True)
class Part:
    """One component's replicas in one member. placed: by the placement; of these are reserved, because they are not
    bound yet, `housed` on rows (the member's own numbers) and `deficit` nowhere.

    order: of the phases of nodes in which rows are looked for. choices, on_virtual: see Component.
    """

    table: Table
    shape: Shape
    placed: int = 0
    order: Sequence[int] = ORDER
    choices: tuple[Shape, ...] = ()
    on_virtual: bool = False
    rows: dict[int, int] = field(default_factory=dict)
    housed: int = 0
    deficit: int = 0

    @property
    def count(self) -> int:
        return self.housed + self.deficit


def counted(parts: Sequence[Part], bound: int, virtual: int) -> Iterator[tuple[Part, int]]:
    """How many of the bound replicas are of each part, at most as many as are placed. virtual: those on virtual nodes.

    Beyond that it is not told of which part a bound pod is: the largest stay reserved to the end.
    """
    if len(parts) == 1:
        yield parts[0], min(bound, parts[0].placed)
        return
    parts = sorted(parts, key=lambda part: part.shape.requests)
    virtual = min(virtual, bound) if any(part.on_virtual for part in parts) else 0
    left = [bound - virtual, virtual]
    counts = []
    for part in parts:
        counts.append(min(left[part.on_virtual], part.placed))
        left[part.on_virtual] -= counts[-1]
    rest = sum(left)  # pods that went elsewhere than was planned
    for part, count in zip(parts, counts, strict=True):
        more = min(rest, part.placed - count)
        rest -= more
        yield part, count + more
