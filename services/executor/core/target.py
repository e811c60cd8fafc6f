"""What one member is to hold of one object, drawn from a placement, its share and the manifest."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from services.executor.core.live import mapping, text
from shared.contracts.annotations import PAUSED_ANNOTATION, UNDONE_ANNOTATION
from shared.contracts.base import JsonObject
from shared.contracts.placement import Placement, Share
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.rollout import is_rollout
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
    def undone(self) -> str:
        """Of a Rollout that is paused here: when it was last undone, "" where it was not."""
        if self.manifest is None or not is_rollout(self.ref.kind, self.ref.group):
            return ""
        paused = mapping(mapping(self.manifest.get("spec")).get("strategy")).get("paused") is True
        annotations = mapping(mapping(self.manifest.get("metadata")).get("annotations"))
        return text(annotations.get(UNDONE_ANNOTATION)) if paused else ""

    def let_back(self) -> Target:
        """A Rollout that was undone, as it has to be until it is back: it does not stand still yet."""
        assert self.manifest is not None
        return replace(self, manifest=with_pause(without_annotations(self.manifest, {UNDONE_ANNOTATION}), False))

    @property
    def is_namespace(self) -> bool:
        return self.ref.kind == "Namespace" and self.ref.group == ""


def target_of(placement: Placement, share: Share, manifest: JsonObject | None, traceparent: str = "") -> Target:
    """The wish of `share`, which is one of the placement's. manifest: at share.revision."""
    kind = kind_of(placement.ref.kind, placement.ref.group)
    if manifest is not None and is_rollout(placement.ref.kind, placement.ref.group):
        manifest = _rollout_in(share.member, manifest)
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


def _rollout_in(member: str, manifest: JsonObject) -> JsonObject:
    """A Rollout as one member gets it: it stands still where people paused it. The list of those members stays home,
    and so does an undo that is not this member's."""
    annotations = mapping(mapping(manifest.get("metadata")).get("annotations"))
    given = {PAUSED_ANNOTATION, UNDONE_ANNOTATION} & annotations.keys()
    if not given:
        return manifest
    paused = member in text(annotations.get(PAUSED_ANNOTATION)).split(",")
    undone = text(annotations.get(UNDONE_ANNOTATION)).split()
    dropped = given - {UNDONE_ANNOTATION} if member in undone[1:] or len(undone) == 1 else given
    found = without_annotations(manifest, dropped)
    return with_pause(found, True) if paused else found


def without_annotations(manifest: JsonObject, names: Collection[str]) -> JsonObject:
    metadata = mapping(manifest.get("metadata"))
    left = {key: value for key, value in mapping(metadata.get("annotations")).items() if key not in names}
    rest = {key: value for key, value in metadata.items() if key != "annotations"}
    return {**manifest, "metadata": {**rest, "annotations": left} if left else rest}


def with_pause(rollout: JsonObject, paused: bool) -> JsonObject:
    spec = mapping(rollout.get("spec"))
    return {**rollout, "spec": {**spec, "strategy": {**mapping(spec.get("strategy")), "paused": paused}}}
