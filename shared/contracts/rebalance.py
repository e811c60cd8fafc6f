"""REBALANCE: a wish that replicas move."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from shared.contracts.base import Contract, Part
from shared.contracts.refs import ObjectRef, Order


class Stuck(Part):
    """`count` replicas are stuck in `member`. ready: replicas serving there when this was seen."""

    member: str
    count: int = Field(ge=1)
    ready: int = Field(0, ge=0)
    since: float
    message: str = ""


class Rebalance(Contract):
    """order: of the placement that was in force when this was seen; a newer one makes the request void, and
    whoever still sees a stuck replica asks again. cause manual: divide afresh, moving what has to move."""

    TYPE: ClassVar[str] = "dev.brim.rebalance.v1"

    ref: ObjectRef
    uid: str
    order: Order
    cause: Literal["stuck", "manual"]
    stuck: tuple[Stuck, ...] = ()
    asked_at: float
