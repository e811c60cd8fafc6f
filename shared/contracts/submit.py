"""SUBMIT and its request/reply twins: what people send to the intake, and what it answers.

brim.apply / brim.submit.apply take the manifests themselves, YAML (many documents) or JSON (an object, a
List, or an array). The other verbs take the small contracts below.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from pydantic import Field

from shared.contracts.base import Contract, Part
from shared.contracts.outcome import FieldFault
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef


class Delete(Contract):
    """preserve: None follows the policy's preserveResourcesOnDeletion."""

    TYPE: ClassVar[str] = "dev.brim.delete.v1"

    refs: tuple[ObjectRef, ...] = Field(min_length=1)
    preserve: bool | None = None


class Scale(Contract):
    TYPE: ClassVar[str] = "dev.brim.scale.v1"

    ref: ObjectRef
    replicas: int = Field(ge=0, le=1_000_000)


class Cordon(Contract):
    """The lasting wish for a member. cordoned: no new replicas; drained: and what is there moves away."""

    TYPE: ClassVar[str] = "dev.brim.cordon.v1"

    member: str
    wish: Literal["open", "cordoned", "drained"]


class Roll(Contract):
    """A lasting wish about the revisions of a workload, or about a Rollout or FleetRollout of it.

    undo: the members stay at `revision` (default: the one before the newest) until a newer template comes; on a
    Rollout or FleetRollout it is about its workload. restart: a new revision of the same template. pause, resume: of a
    Rollout or FleetRollout. abort: undo, and pause. members: empty is every member, those that join later too. who: a
    name for people, as whoever asks gives it.
    """

    TYPE: ClassVar[str] = "dev.brim.roll.v1"

    verb: Literal["undo", "restart", "pause", "resume", "abort"]
    ref: ObjectRef
    members: tuple[str, ...] = ()
    revision: int | None = None
    who: str = ""


Changed: TypeAlias = Literal[
    "created",
    "configured",
    "unchanged",
    "scaled",
    "deleted",
    "cordoned",
    "drained",
    "uncordoned",
    "undone",
    "restarted",
    "paused",
    "resumed",
]


class Accepted(Part):
    """change: what this did to DESIRED. warnings: accepted, but a person should know."""

    ref: ObjectRef
    uid: str
    generation: int
    change: Changed
    sequence: int = 0
    warnings: tuple[str, ...] = ()


class Answer(Contract):
    """The intake's answer. All or nothing: with any fault, nothing was accepted."""

    TYPE: ClassVar[str] = "dev.brim.answer.v1"

    accepted: tuple[Accepted, ...] = ()
    faults: tuple[FieldFault, ...] = ()


class Plan(Contract):
    """Ask what the scheduler would decide now. manifests: text as for brim.apply; empty plans what is there."""

    TYPE: ClassVar[str] = "dev.brim.plan.v1"

    manifests: str = ""
    refs: tuple[ObjectRef, ...] = ()


class Planned(Contract):
    TYPE: ClassVar[str] = "dev.brim.planned.v1"

    placements: tuple[Placement, ...] = ()
    faults: tuple[FieldFault, ...] = ()
    warnings: tuple[str, ...] = ()
