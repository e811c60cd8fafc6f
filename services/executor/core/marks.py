"""The manifests that brim applies: what people wrote, plus brim's marks, minus what a server fills in."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from pydantic import JsonValue

from services.executor.core.live import Live, digest, is_brims, mapping
from services.executor.core.target import Target
from shared.contracts.annotations import (
    APPLIED_ANNOTATION,
    MANAGED_LABEL,
    ORDER_ANNOTATION,
    REVISION_ANNOTATION,
    TRACEPARENT_ANNOTATION,
    WORKLOAD_LABEL,
)
from shared.contracts.base import JsonObject
from shared.contracts.refs import Order
from shared.contracts.rollout import BLUE_GREEN
from shared.workloads import mark_templates, with_replicas, without_replicas

SERVERS_OWN: Final = frozenset(
    {"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "deletionTimestamp"}
)
# What Kruise takes over of a workload in a blue-green rollout, and gives back at its end.
TAKEN_OVER: Final = frozenset({"strategy", "updateStrategy", "minReadySeconds", "progressDeadlineSeconds", "paused"})
ALL_ANNOTATIONS: Final = (ORDER_ANNOTATION, REVISION_ANNOTATION, APPLIED_ANNOTATION, TRACEPARENT_ANNOTATION)


def body(target: Target, without: Collection[str] = ()) -> JsonObject:
    """What the manager `brim` applies: all but order and, of a divided kind, the replica count.

    It says the same for every placement of one manifest, share of completions and revision, and carries a digest
    of itself. without: fields of the spec that are somebody else's for now. Raises ValueError without a manifest.
    """
    if target.manifest is None:
        raise ValueError(f"{target.ref} has no manifest to apply")
    manifest = _clean(target.manifest, target)
    if without:
        spec: JsonObject = {key: value for key, value in mapping(manifest.get("spec")).items() if key not in without}
        manifest = {**manifest, "spec": spec}
    if target.divided and target.kind is not None:
        if target.completions is not None:
            manifest = with_replicas(target.kind, manifest, target.replicas, target.completions)
        manifest = without_replicas(target.kind, manifest)
    if target.kind is not None:
        manifest = mark_templates(target.kind, manifest, {WORKLOAD_LABEL: target.uid})
    manifest = _annotated(_labelled(manifest, target.uid), {REVISION_ANNOTATION: str(target.revision)})
    return _annotated(manifest, {APPLIED_ANNOTATION: digest(manifest)})


def says_how_to_update(target: Target) -> bool:
    """Whether the manifest has settings that Kruise takes over in a blue-green rollout."""
    spec = mapping(target.manifest.get("spec")) if target.manifest is not None else {}
    return (target.ref.kind, target.ref.group) in BLUE_GREEN and not TAKEN_OVER.isdisjoint(spec)


def recreates(target: Target) -> bool:
    """Whether the manifest is a Deployment's whose pods all go before new ones come."""
    spec = mapping(target.manifest.get("spec")) if target.manifest is not None else {}
    is_deployment = (target.ref.kind, target.ref.group) == ("Deployment", "apps")
    return is_deployment and mapping(spec.get("strategy")).get("type") == "Recreate"


def without_bounds(uid: str) -> JsonObject:
    """A merge patch after which a Deployment's strategy is Recreate: its API refuses that beside another manager's
    bounds of a rolling update, which no apply takes away."""
    return {"metadata": {"uid": uid}, "spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}


def digest_of(applied: JsonObject) -> str:
    """The digest that `body` put on a manifest."""
    annotations = mapping(mapping(applied.get("metadata")).get("annotations"))
    return str(annotations[APPLIED_ANNOTATION])


def created(target: Target, applied: JsonObject) -> JsonObject:
    """The first manifest of an object: the replica count must be in it, or one replica would start too early."""
    manifest = ordered(target, applied)
    if target.divided and target.kind is not None:
        manifest = with_replicas(target.kind, manifest, target.replicas)
    return manifest


def ordered(target: Target, manifest: JsonObject) -> JsonObject:
    return _annotated(manifest, order_marks(target, target.order))


def count(target: Target, replicas: int, order: Order) -> JsonObject:
    """What the manager `brim-replicas` applies: one field, and which placement it is from."""
    assert target.kind is not None
    return with_replicas(target.kind, _annotated(_named(target), order_marks(target, order)), replicas)


def order_marks(target: Target, order: Order) -> dict[str, str]:
    marks = {ORDER_ANNOTATION: str(order)}
    if target.traceparent:
        marks[TRACEPARENT_ANNOTATION] = target.traceparent
    return marks


def order_patch(target: Target) -> JsonObject:
    """A merge patch that says which placement was carried out, and nothing else."""
    annotations: JsonObject = dict(order_marks(target, target.order))
    return {"metadata": {"annotations": annotations}}


def release_patch(live: Live) -> JsonObject:
    """A merge patch that takes brim's marks and its field ownership off an object that stays.

    The pod template keeps its label: without it every pod would be replaced. An empty list would leave the
    owners as they are; one empty entry clears them (Kubernetes, server-side apply, "Clearing managedFields").
    """
    rest: list[JsonValue] = [entry for entry in live.managers if not is_brims(entry)]
    return {
        "metadata": {
            "resourceVersion": live.resource_version,
            "labels": {MANAGED_LABEL: None, WORKLOAD_LABEL: None},
            "annotations": dict.fromkeys(ALL_ANNOTATIONS),
            "managedFields": rest or [{}],
        }
    }


def with_uid(manifest: JsonObject, uid: str) -> JsonObject:
    """A precondition: the API refuses (409) where the object is gone or another one of its name stands there."""
    return {**manifest, "metadata": {**mapping(manifest.get("metadata")), "uid": uid}}


def with_version(manifest: JsonObject, version: str) -> JsonObject:
    """A precondition: the API refuses (409) where anybody wrote the object since it was seen at this version."""
    return {**manifest, "metadata": {**mapping(manifest.get("metadata")), "resourceVersion": version}}


def _named(target: Target) -> JsonObject:
    metadata: JsonObject = {"name": target.ref.name}
    if target.ref.namespace:
        metadata["namespace"] = target.ref.namespace
    return {"apiVersion": target.ref.api_version, "kind": target.ref.kind, "metadata": metadata}


def _clean(manifest: JsonObject, target: Target) -> JsonObject:
    metadata = {key: value for key, value in mapping(manifest.get("metadata")).items() if key not in SERVERS_OWN}
    if target.ref.namespace:
        metadata["namespace"] = target.ref.namespace
    return {**{key: value for key, value in manifest.items() if key != "status"}, "metadata": metadata}


def _labelled(manifest: JsonObject, uid: str) -> JsonObject:
    metadata = mapping(manifest.get("metadata"))
    labels = {**mapping(metadata.get("labels")), MANAGED_LABEL: "true", WORKLOAD_LABEL: uid}
    return {**manifest, "metadata": {**metadata, "labels": labels}}


def _annotated(manifest: JsonObject, marks: dict[str, str]) -> JsonObject:
    metadata = mapping(manifest.get("metadata"))
    annotations = {**mapping(metadata.get("annotations")), **marks}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
