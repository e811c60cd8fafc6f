"""What one member is to hold of one object, drawn from a placement, its share and the manifest."""

from __future__ import annotations

from dataclasses import dataclass

from shared.contracts.base import JsonObject
from shared.contracts.placement import Placement, Share
from shared.contracts.refs import ObjectRef, Order
from shared.workloads import WorkloadKind, kind_of


@dataclass(frozen=True, slots=True)
class Target:
    """The wish for one object in one member.

    uid: the workload's in DESIRED. preserve: of a deletion; a share that moves is removed, whatever the policy says
    of deletions. manifest: at the share's revision; None where none is needed (the object is
    to go). kind: None for a kind without replicas. divided: brim owns the replica count through a field manager
    of its own. traceparent: of the work in hand, written beside the order; "" where there is none.
    """

    ref: ObjectRef
    uid: str
    order: Order
    manifest: JsonObject | None = None
    kind: WorkloadKind | None = None
    divided: bool = False
    replicas: int = 0
    completions: int | None = None
    revision: int = 0
    present: bool = True
    preserve: bool = False
    overwrite: bool = False
    suspended: bool = False
    autoscaled: bool = False
    finished: bool = False
    traceparent: str = ""

    @property
    def is_job(self) -> bool:
        """A kind whose template and completions never change once it exists."""
        return self.kind is not None and bool(self.kind.completions_path)

    @property
    def is_namespace(self) -> bool:
        return self.ref.kind == "Namespace" and self.ref.group == ""


def target_of(placement: Placement, share: Share, manifest: JsonObject | None, traceparent: str = "") -> Target:
    """The wish of `share`, which is one of the placement's. manifest: at share.revision."""
    kind = kind_of(placement.ref.kind, placement.ref.group)
    return Target(
        ref=placement.ref,
        uid=placement.uid,
        order=placement.order,
        manifest=manifest,
        kind=kind,
        divided=kind is not None and kind.divisible and not placement.whole,
        replicas=share.replicas,
        completions=share.completions,
        revision=share.revision,
        present=share.present,
        preserve=placement.preserve and placement.deleted,
        overwrite=placement.overwrite,
        suspended=placement.suspended or share.suspended,
        autoscaled=share.autoscaled,
        finished=share.finished,
        traceparent=traceparent,
    )
