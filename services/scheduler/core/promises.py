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
    """One component's replicas in one member. placed: by the placement; of these are reserved, because they are not
    bound yet, `housed` on rows (the member's own numbers) and `deficit` nowhere.

    order: of the phases of nodes in which rows are looked for.
    """

    table: Table
    shape: Shape
    placed: int = 0
    order: Sequence[int] = ORDER
    rows: dict[int, int] = field(default_factory=dict)
    housed: int = 0
    deficit: int = 0

    @property
    def count(self) -> int:
        return self.housed + self.deficit
