"""What the member's object says about itself: whose it is, what was applied, who owns the replica count."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

from pydantic import JsonValue

from shared.contracts.annotations import (
    APPLIED_ANNOTATION,
    FIELD_MANAGER,
    MANAGED_LABEL,
    ORDER_ANNOTATION,
    REPLICAS_MANAGER,
    REVISION_ANNOTATION,
    TRACEPARENT_ANNOTATION,
    UNDONE_ANNOTATION,
    WORKLOAD_LABEL,
)
from shared.contracts.base import JsonObject
from shared.contracts.refs import Order
from shared.contracts.rollout import IN_PROGRESS_ANNOTATION, ORIGINAL_ANNOTATION
from shared.numbers import whole
from shared.workloads import WorkloadKind, completions_of, count_of

_MOVING = {f"f:{ORDER_ANNOTATION}", f"f:{TRACEPARENT_ANNOTATION}"}


@dataclass(frozen=True, slots=True)
class Live:
    """The parts of a member's object that decide what is written to it.

    workload: the uid in brim's mark, "" without one. order, revision, applied: brim's annotations; None, None
    and "" where they are missing or no good. fields: a digest of what the manager `brim` owns, so that a field
    taken away by somebody else shows. replicas: at the kind's one count. in_progress: a Kruise rollout is under way.
    taken_over: Kruise changed settings for one in blue-green style, and has not given them back. progressing, undone:
    of a Rollout, whether it is in the middle, and the last undo that it came back from. rolls: its strategy has bounds
    of a rolling update. managers: the managedFields entries. count_owners: managers that own the count.
    """

    uid: str
    resource_version: str = ""
    managed: bool = False
    workload: str = ""
    order: Order | None = None
    revision: int | None = None
    applied: str = ""
    fields: str = ""
    replicas: int | None = None
    completions: int | None = None
    succeeded: int = 0
    terminating: bool = False
    in_progress: bool = False
    taken_over: bool = False
    progressing: bool = False
    undone: str = ""
    rolls: bool = False
    managers: tuple[JsonObject, ...] = ()
    count_owners: frozenset[str] = frozenset()

    @property
    def brims(self) -> bool:
        """Whether brim applied it: it says so, or brim owns fields of it although somebody took the label off."""
        return self.managed or any(is_brims(entry) for entry in self.managers)


def read(obj: JsonObject, kind: WorkloadKind | None) -> Live:
    """Read an object as the member's API answered it. Fields of a wrong type count as missing."""
    metadata = mapping(obj.get("metadata"))
    labels, annotations = mapping(metadata.get("labels")), mapping(metadata.get("annotations"))
    entries = metadata.get("managedFields")
    managers = tuple(entry for entry in entries if isinstance(entry, dict)) if isinstance(entries, list) else ()
    succeeded = mapping(obj.get("status")).get("succeeded")
    return Live(
        uid=text(metadata.get("uid")),
        resource_version=text(metadata.get("resourceVersion")),
        managed=labels.get(MANAGED_LABEL) == "true",
        workload=text(labels.get(WORKLOAD_LABEL)),
        order=_order(annotations.get(ORDER_ANNOTATION)),
        revision=_number(annotations.get(REVISION_ANNOTATION)),
        applied=text(annotations.get(APPLIED_ANNOTATION)),
        fields=_fields_of(managers),
        replicas=count_of(kind, obj) if kind else None,
        completions=completions_of(kind, obj) if kind else None,
        succeeded=succeeded if isinstance(succeeded, int) else 0,
        terminating="deletionTimestamp" in metadata,
        in_progress=IN_PROGRESS_ANNOTATION in annotations,
        taken_over=ORIGINAL_ANNOTATION in annotations,
        progressing=mapping(obj.get("status")).get("phase") == "Progressing",
        rolls="rollingUpdate" in mapping(mapping(obj.get("spec")).get("strategy")),
        undone=text(annotations.get(UNDONE_ANNOTATION)),
        managers=managers,
        count_owners=frozenset(_owners(managers, kind.scale_path)) if kind and kind.scale_path else frozenset(),
    )


def is_brims(manager: JsonObject) -> bool:
    """Whether a managedFields entry is one of brim's own."""
    return manager.get("manager") in (FIELD_MANAGER, REPLICAS_MANAGER)


def digest(value: JsonValue) -> str:
    """A short digest of a JSON value, equal for equal values."""
    data = json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(data).hexdigest()[:16]


def mapping(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def text(value: JsonValue) -> str:
    return value if isinstance(value, str) else ""


def _order(value: JsonValue) -> Order | None:
    try:
        return Order.parse(text(value)) if value else None
    except ValueError:
        return None


def _number(value: JsonValue) -> int | None:
    return whole(value) if isinstance(value, str) else None


def _fields_of(managers: tuple[JsonObject, ...]) -> str:
    """The order's ownership moves between managers with every write: it is left out."""
    for entry in managers:
        if entry.get("manager") == FIELD_MANAGER and entry.get("operation") == "Apply":
            fields = mapping(entry.get("fieldsV1"))
            metadata = mapping(fields.get("f:metadata"))
            annotations = {k: v for k, v in mapping(metadata.get("f:annotations")).items() if k not in _MOVING}
            return digest({**fields, "f:metadata": {**metadata, "f:annotations": annotations}})
    return ""


def _owners(managers: tuple[JsonObject, ...], path: str) -> list[str]:
    found = []
    for entry in managers:
        node: JsonValue = entry.get("fieldsV1")
        for step in path.split("."):
            node = node.get(f"f:{step}") if isinstance(node, dict) else None
        if node is not None:
            found.append(text(entry.get("manager")))
    return found
