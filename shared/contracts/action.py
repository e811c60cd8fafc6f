"""ACTION: one-shot verbs for a service, and what came of them.

Lasting wishes are fields of DESIRED; these are done once. Whoever may publish them may act, and `who` goes into the
trace and the event that tells of it.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from shared.contracts.base import Contract
from shared.contracts.refs import ObjectRef

Verb: TypeAlias = Literal["approve"]  # lasting wishes (pause, undo, …) are Rolls: see shared.contracts.submit


class Action(Contract):
    """One verb for one Rollout.

    id: made by whoever asks; a second message of the same id does nothing more. members: where; empty is every
    member that has the object. reply: a subject on which each member's `Acted` is said, as it comes; empty where
    nobody listens. catch_up: members that do not answer now get it when they do, for a day at most.
    """

    TYPE: ClassVar[str] = "dev.brim.action.v1"

    id: str
    verb: Verb
    ref: ObjectRef
    members: tuple[str, ...] = ()
    who: str = ""
    reply: str = ""
    catch_up: bool = False
    asked_at: float


class Acted(Contract):
    """What came of an action in one member, or in the fleet where member is empty. last: nothing more follows."""

    TYPE: ClassVar[str] = "dev.brim.acted.v1"

    id: str
    member: str = ""
    done: bool
    code: str = ""
    message: str
    last: bool = False
