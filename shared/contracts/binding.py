"""BINDING: what the executor is to do with one pod of a member, decided by the scheduler.

Each order names the pod's uid: a pod of the same name that came later is left alone. An order that is older than ten
minutes is void; whatever is still to be done is then decided anew.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from shared.contracts.base import Contract, faults_of
from shared.contracts.refs import Order
from shared.errors import Invalid
from shared.units import Unit


class _OfPod(Contract):
    """order: (epoch of the writer's lease, its counter); newer is greater. at: Unix seconds."""

    member: str
    namespace: str
    name: str
    uid: str
    order: Order
    at: float


class Bind(_OfPod):
    """Give the pod this node, and these labels and annotations with it, in one request.

    annotations hold controller.kubernetes.io/pod-deletion-cost where the pod's controller honours it, and for a
    virtual node what chooses the instance. per_hour: what it adds to the bill.
    """

    TYPE: ClassVar[str] = "dev.brim.binding.bind.v1"

    form: Literal["bind"] = "bind"
    node: str
    unit: Unit
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    per_hour: float = 0.0


class Pend(_OfPod):
    """Say in the pod's status that it fits nowhere now (PodScheduled=False, reason Unschedulable).

    nominated: the node where room is being made for it, empty for none.
    """

    TYPE: ClassVar[str] = "dev.brim.binding.pend.v1"

    form: Literal["pend"] = "pend"
    message: str
    nominated: str = ""


class Annotate(_OfPod):
    """Set annotations of a pod that is bound already: its deletion cost changed. None removes one."""

    TYPE: ClassVar[str] = "dev.brim.binding.annotate.v1"

    form: Literal["annotate"] = "annotate"
    annotations: dict[str, str | None]


class Evict(_OfPod):
    """Delete the pod: a pod of higher priority needs its place, its virtual node is gone, or has no instance for it.

    reason and message become an event about the pod.
    """

    TYPE: ClassVar[str] = "dev.brim.binding.evict.v1"

    form: Literal["evict"] = "evict"
    reason: str
    message: str


class Note(_OfPod):
    """An event about a pod that is left alone otherwise."""

    TYPE: ClassVar[str] = "dev.brim.binding.note.v1"

    form: Literal["note"] = "note"
    reason: str
    message: str
    warning: bool = True


class Release(_OfPod):
    """Give back a serverless instance whose pod is no more. name, namespace, uid: of the pod it was for."""

    TYPE: ClassVar[str] = "dev.brim.binding.release.v1"

    form: Literal["release"] = "release"
    instance: str


Binding: TypeAlias = Bind | Pend | Annotate | Evict | Note | Release

_BINDING: TypeAdapter[Binding] = TypeAdapter(
    Annotated[Bind | Pend | Annotate | Evict | Note | Release, Field(discriminator="form")]
)


def decode_binding(data: bytes) -> Binding:
    """Read any message of the BINDING stream. Raises Invalid."""
    try:
        return _BINDING.validate_json(data)
    except ValidationError as error:
        raise Invalid(faults_of(error, "binding message")) from error
