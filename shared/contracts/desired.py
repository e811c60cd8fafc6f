"""DESIRED and REVISION: what people want, as the intake accepted it."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from shared.contracts.base import Contract, JsonObject, Part
from shared.contracts.refs import ObjectRef, Order


class Tombstone(Part):
    """A deletion. Only this, or a newer placement, deletes anything in a member.

    preserve: the members' objects stay, without brim's marks.
    """

    at: float
    preserve: bool = False


class Asked(Part):
    """The command that a change carries out. change: what it did. members: where; empty is everywhere. revision: that
    members went back to, 0 for none. who: a name for people, as whoever asked gave it."""

    change: Literal["undone", "restarted", "paused", "resumed"]
    who: str = ""
    members: tuple[str, ...] = ()
    revision: int = 0


class Desired(Contract):
    """The newest accepted state of one object: a workload, a policy, a member (`Cluster`), anything else.

    uid: given at the first acceptance; deleted and created again is another uid.
    generation: grows by one with each change of what is wanted.
    revision: number of the pod template inside `manifest`; 0 for kinds without one. An older template that a
    placement still names is in REVISION.
    manifest: normalised JSON of what the user wrote; in a tombstone the last one.
    pins: the older revision that a member stays at ("*": every member) until a newer template comes.
    same_since: the revision from which on templates differ by restarts alone; 0 for `revision` itself.
    asked: the command that made this generation, None where a manifest or a scale did.
    """

    TYPE: ClassVar[str] = "dev.brim.desired.v1"

    ref: ObjectRef
    uid: str
    generation: int = Field(ge=1)
    revision: int = Field(0, ge=0)
    order: Order
    manifest: JsonObject
    created_at: float
    changed_at: float
    pins: dict[str, int] = {}
    same_since: int = Field(0, ge=0)
    asked: Asked | None = None
    deleted: Tombstone | None = None


class Revision(Contract):
    """A superseded pod template, kept while any placement names it."""

    TYPE: ClassVar[str] = "dev.brim.revision.v1"

    uid: str
    number: int = Field(ge=1)
    manifest: JsonObject
    superseded_at: float


class ClusterTaint(Part):
    key: str = Field(min_length=1)
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
