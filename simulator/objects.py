"""Small reads and copies of Kubernetes objects.

An object in the store is never changed in place: whoever wants another one builds it from copies of the
levels that differ (`with_meta`, `with_status`), so that watchers, caches and indices may keep references.
"""

import copy
import json
from typing import Any

from shared.clock import rfc3339

Object = dict[str, Any]


def encode(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def deep(value: Any) -> Any:
    """An independent copy of a JSON value."""
    if isinstance(value, dict):
        return {key: deep(item) for key, item in value.items()}
    if isinstance(value, list):
        return [deep(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else copy.deepcopy(value)


def without_nulls(value: Any) -> Any:
    """An independent copy without fields that are null: a typed API never keeps one."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def name(obj: Object) -> str:
    return str(obj["metadata"]["name"])


def namespace(obj: Object) -> str:
    """Empty for cluster-scoped objects."""
    return str(obj["metadata"].get("namespace") or "")


def uid(obj: Object) -> str:
    return str(obj["metadata"]["uid"])


def labels(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def annotations(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("annotations") or {}


def spec(obj: Object) -> Object:
    return obj.get("spec") or {}


def status(obj: Object) -> Object:
    return obj.get("status") or {}


def deleting(obj: Object) -> bool:
    return obj["metadata"].get("deletionTimestamp") is not None


def controller(obj: Object) -> Object | None:
    """The owner reference marked `controller`, if there is one."""
    for reference in obj["metadata"].get("ownerReferences") or ():
        if reference.get("controller"):
            return reference  # type: ignore[no-any-return]
    return None


def controller_reference(owner: Object) -> Object:
    """An owner reference that makes `owner` the controller of something."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": name(owner),
        "uid": uid(owner),
        "controller": True,
        "blockOwnerDeletion": True,
    }


def reference(obj: Object) -> Object:
    """An ObjectReference, as events carry it."""
    return {
        "kind": obj["kind"],
        "apiVersion": obj["apiVersion"],
        "name": name(obj),
        "uid": uid(obj),
        "resourceVersion": obj["metadata"].get("resourceVersion", ""),
        **({"namespace": namespace(obj)} if namespace(obj) else {}),
    }


def with_meta(obj: Object, **changes: Any) -> Object:
    """A copy with metadata fields replaced; a value of None removes the field."""
    metadata = {**obj["metadata"], **changes}
    for key, value in changes.items():
        if value is None:
            del metadata[key]
    return {**obj, "metadata": metadata}


def with_annotations(obj: Object, **changes: str | None) -> Object:
    """A copy with annotations set or (None) removed. Keys are given with `**{...}`."""
    merged = {**annotations(obj), **{k: v for k, v in changes.items() if v is not None}}
    for key, value in changes.items():
        if value is None:
            merged.pop(key, None)
    return with_meta(obj, annotations=merged or None) if merged or annotations(obj) else obj


def with_status(obj: Object, **changes: Any) -> Object:
    """A copy with status fields replaced; a value of None removes the field."""
    merged = {**status(obj), **changes}
    for key, value in changes.items():
        if value is None:
            del merged[key]
    return {**obj, "status": merged}


def with_spec(obj: Object, **changes: Any) -> Object:
    """A copy with spec fields replaced; a value of None removes the field."""
    merged = {**spec(obj), **changes}
    for key, value in changes.items():
        if value is None:
            del merged[key]
    return {**obj, "spec": merged}


def condition(obj: Object, kind: str) -> Object | None:
    for entry in status(obj).get("conditions") or ():
        if entry.get("type") == kind:
            return entry  # type: ignore[no-any-return]
    return None


def condition_is(obj: Object, kind: str, value: str) -> bool:
    found = condition(obj, kind)
    return found is not None and found.get("status") == value


def ready(pod_or_node: Object) -> bool:
    return condition_is(pod_or_node, "Ready", "True")


def finished(pod: Object) -> bool:
    return status(pod).get("phase") in ("Succeeded", "Failed")


def set_condition(
    conditions: list[Object],
    kind: str,
    value: str,
    now: float,
    reason: str = "",
    message: str = "",
    **more: Any,
) -> list[Object]:
    """The conditions with one of them set. Its transition time moves only when its status does."""
    stamp = rfc3339(now)
    entry: Object = {"type": kind, "status": value, "lastTransitionTime": stamp, **more}
    if reason:
        entry["reason"] = reason
    if message:
        entry["message"] = message
    result, placed = [], False
    for old in conditions:
        if old["type"] != kind:
            result.append(old)
            continue
        if old["status"] == value:
            entry["lastTransitionTime"] = old.get("lastTransitionTime", stamp)
        if all(old.get(k) == v for k, v in entry.items() if k != "lastUpdateTime"):
            entry = old
        result.append(entry)
        placed = True
    return result if placed else [*conditions, entry]
