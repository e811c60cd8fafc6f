"""ACTION: one-shot verbs for a service, and what came of them.

Lasting wishes are fields of DESIRED; these are done once. Whoever may publish them may act, and `who` goes into the
trace and the event that tells of it.
"""

from __future__ import annotations

from typing import ClassVar, Final, Literal, Self, TypeAlias

from shared.contracts.base import Contract
from shared.contracts.refs import ObjectRef

CATCHING_UP: Final = "CatchingUp"  # code: the member is away, and the action is done when it is back

Verb: TypeAlias = Literal["approve"]  # lasting wishes (pause, undo, …) are Rolls: see shared.contracts.submit


class Action(Contract):
    """One verb for one Rollout.

    id: made by whoever asks; a second message of the same id does nothing more. members: where; empty is every
    member that has the object. who: a name for people, as whoever asks gives it. reply: a subject on which each
    member's `Acted` is said, as it comes; empty where nobody listens. catch_up: members that do not answer now get it
    when they do, for a day at most.
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
    """What came of an action in one member, or in the fleet where member is empty.

    verb, ref, who: of the action. code: why it was not done; CatchingUp where it is done later. at: fleet time, Unix
    seconds. last: nothing more follows.
    """

    TYPE: ClassVar[str] = "dev.brim.acted.v1"

    id: str
    verb: Verb
    ref: ObjectRef
    who: str = ""
    at: float
    member: str = ""
    done: bool
    code: str = ""
    message: str
    last: bool = False

    @classmethod
    def of(
        cls,
        action: Action,
        at: float,
        *,
        done: bool,
        message: str,
        member: str = "",
        code: str = "",
        last: bool = False,
    ) -> Self:
        return cls(
            id=action.id,
            verb=action.verb,
            ref=action.ref,
            who=action.who,
            at=at,
            member=member,
            done=done,
            code=code,
            message=message,
            last=last,
        )
