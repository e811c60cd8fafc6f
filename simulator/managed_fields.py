"""Who owns which field: metadata.managedFields, as server-side apply and updates keep it.

A field set is a set of paths; a path is a tuple of Kubernetes' own path elements (`f:spec`,
`k:{"name":"web"}`, `v:"x"`). Leaves are scalars, empty or atomic values, and list items themselves.
Source of the rules: the structured-merge-diff specification and the server-side apply documentation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from shared.clock import rfc3339
from simulator.objects import Object
from simulator.schema import Schema

Path = tuple[str, ...]
Fields = frozenset[Path]

ITEM: Final = object()  # the value of a path that stands for a list item itself

_NEVER_OWNED = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        ("f:metadata", "f:name"),
        ("f:metadata", "f:namespace"),
        ("f:metadata", "f:uid"),
        ("f:metadata", "f:creationTimestamp"),
        ("f:metadata", "f:resourceVersion"),
        ("f:metadata", "f:generation"),
        ("f:metadata", "f:selfLink"),
        ("f:metadata", "f:deletionTimestamp"),
        ("f:metadata", "f:deletionGracePeriodSeconds"),
        ("f:metadata", "f:generateName"),
    }
)


@dataclass(frozen=True, slots=True)
class Manager:
    """Who writes. `operation` is Apply or Update; `subresource` is empty for the object itself."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


Owners = dict[Manager, Fields]


def leaves(obj: Object, schema: Schema) -> dict[Path, Any]:
    """Every ownable path of an object with its value (ITEM for a list item itself)."""
    found: dict[Path, Any] = {}
    for key, value in obj.items():
        if key == "metadata":
            value = {k: v for k, v in value.items() if k != "managedFields"}
        _walk((f"f:{key}",), key, value, schema, found)
    for path in _NEVER_OWNED:
        found.pop(path, None)
    return found


def _walk(path: Path, name: str, value: Any, schema: Schema, found: dict[Path, Any]) -> None:
    if isinstance(value, dict) and value and name not in schema.atomic:
        for key, item in value.items():
            _walk((*path, f"f:{key}"), key, item, schema, found)
    elif isinstance(value, list) and value and (name in schema.keys or name in schema.sets):
        for item in value:
            step = item_element(name, item, schema)
            found[(*path, step)] = ITEM
            if isinstance(item, dict):
                for key, inner in item.items():
                    _walk((*path, step, f"f:{key}"), key, inner, schema, found)
    else:
        found[path] = value


def item_element(name: str, item: Any, schema: Schema) -> str:
    """The path element of one item of a keyed list or a set."""
    if name in schema.sets or not isinstance(item, dict):
        return "v:" + json.dumps(item, separators=(",", ":"))
    defaults = {"protocol": "TCP"}
    keys = {key: item.get(key, defaults.get(key)) for key in schema.keys[name]}
    return "k:" + json.dumps(keys, separators=(",", ":"), sort_keys=True)


def show(path: Path) -> str:
    """`.spec.template.spec.containers[name="web"].image`"""
    text = ""
    for element in path:
        kind, _, rest = element.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "v":
            text += f"[={rest}]"
        else:
            pairs = json.loads(rest).items()
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in pairs) + "]"
    return text


def owners_of(obj: Object) -> Owners:
    """metadata.managedFields, read."""
    owners: Owners = {}
    for entry in obj["metadata"].get("managedFields") or ():
        manager = Manager(
            entry.get("manager", ""),
            entry.get("operation", "Update"),
            entry.get("apiVersion", ""),
            entry.get("subresource", ""),
        )
        paths: set[Path] = set()
        _read_tree((), entry.get("fieldsV1") or {}, paths)
        owners[manager] = frozenset(paths)
    return owners


def _read_tree(path: Path, tree: Object, paths: set[Path]) -> None:
    if not tree and path:
        paths.add(path)
    for element, below in tree.items():
        if element == ".":
            if path[-1][0] != "f":
                paths.add(path)
        else:
            _read_tree((*path, element), below, paths)


def write_owners(obj: Object, owners: Owners, now: float) -> Object:
    """A copy of the object with these owners; an entry whose fields did not change keeps its time."""
    before = owners_of(obj)
    times = {
        (e.get("manager"), e.get("operation"), e.get("subresource", "")): e.get("time")
        for e in obj["metadata"].get("managedFields") or ()
    }
    entries = []
    for manager, fields in owners.items():
        if not fields:
            continue
        known = times.get((manager.name, manager.operation, manager.subresource))
        entries.append(
            {
                "manager": manager.name,
                "operation": manager.operation,
                "apiVersion": manager.api_version,
                "time": known if known and before.get(manager) == fields else rfc3339(now),
                "fieldsType": "FieldsV1",
                "fieldsV1": _tree(fields),
                **({"subresource": manager.subresource} if manager.subresource else {}),
            }
        )
    metadata = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if entries:
        metadata["managedFields"] = entries
    return {**obj, "metadata": metadata}


def _tree(fields: Fields) -> Object:
    root: Object = {}
    for path in sorted(fields):
        node = root
        for element in path:
            node = node.setdefault(element, {})
        if path[-1][0] == "k":
            node["."] = {}
    return root


def after_update(old: Object | None, new: Object, manager: Manager, schema: Schema, now: float) -> Object:
    """The new object with ownership moved: the updater takes what it changed, all lose what it removed."""
    past = leaves(old, schema) if old is not None else {}
    present = leaves(new, schema)
    changed = {path for path, value in present.items() if path not in past or _differ(past[path], value)}
    removed = past.keys() - present.keys()
    owners = owners_of(new)
    if not changed and not removed:
        return new
    result: Owners = {}
    for owner, fields in owners.items():
        result[owner] = fields - removed if owner == manager else fields - changed - removed
    own = result.get(manager, frozenset()) | changed
    result[manager] = frozenset(own)
    return write_owners(new, result, now)


def _differ(one: Any, other: Any) -> bool:
    return one is not other and bool(one != other)
