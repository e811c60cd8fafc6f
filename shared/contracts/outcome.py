"""OUTCOME: what became of a placement in one member; REJECTED: what was refused."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from shared.contracts.base import Contract, Part
from shared.contracts.refs import ObjectRef, Order
from shared.errors import Fault

Result: TypeAlias = Literal["applied", "deleted", "released", "retrying", "failed", "conflict", "suspended"]


class Outcome(Contract):
    """result: applied (also when nothing had to change), deleted, released (kept without brim's marks),
    retrying (the executor goes on trying), failed (a person has to act), conflict (the object belongs to
    somebody else), suspended. code and message say why, for the last four. Where ref is the member's own manifest,
    it is about its `eciLabel`."""

    TYPE: ClassVar[str] = "dev.brim.outcome.v1"

    member: str
    ref: ObjectRef
    uid: str
    order: Order
    result: Result
    code: str = ""
    message: str = ""
    at: float
    attempts: int = 1


class FieldFault(Part):
    """One thing that is wrong, as the wire carries it."""

    object: str
    field: str = ""
    message: str
    code: str = "Invalid"

    @classmethod
    def of(cls, fault: Fault) -> FieldFault:
        return cls(object=fault.object, field=fault.field, message=fault.message, code=fault.code)


class Rejected(Contract):
    """A message that was refused. excerpt: its first 200 characters, never of a Secret."""

    TYPE: ClassVar[str] = "dev.brim.rejected.v1"

    service: str
    subject: str
    sequence: int = 0
    at: float
    faults: tuple[FieldFault, ...]
    excerpt: str = ""
