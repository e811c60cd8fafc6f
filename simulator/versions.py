"""One shelf, several versions: how a stored object looks through the version that a client asked for.

Core events and events.k8s.io events are the same objects with differently named fields; versions of a custom
resource differ in `apiVersion` alone (conversion strategy None).
"""

from __future__ import annotations

from simulator.objects import Object
from simulator.resources import Resource

_RENAMED = (  # core/v1, events.k8s.io/v1
    ("message", "note"),
    ("involvedObject", "regarding"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
)


def present(resource: Resource, obj: Object) -> Object:
    """The stored object as this resource's version shows it."""
    if obj.get("apiVersion") == resource.group_version:
        return obj
    shown = {**obj, "apiVersion": resource.group_version}
    if resource.group == "events.k8s.io":
        shown = _rename(shown, [(old, new) for old, new in _RENAMED])
    return shown


def stored(resource: Resource, obj: Object) -> Object:
    """A client's object in the version that the shelf keeps."""
    if resource.group == "events.k8s.io":
        return _rename({**obj, "apiVersion": "v1"}, [(new, old) for old, new in _RENAMED])
    if resource.custom and resource.storage_version and resource.version != resource.storage_version:
        return {**obj, "apiVersion": f"{resource.group}/{resource.storage_version}"}
    return obj


def _rename(obj: Object, pairs: list[tuple[str, str]]) -> Object:
    names = dict(pairs)
    return {names.get(key, key): value for key, value in obj.items()}
