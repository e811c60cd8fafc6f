"""Server-side apply: merge what a manager wants into the live object, keep owners, report conflicts."""

from __future__ import annotations

from typing import Any

from simulator import managed_fields
from simulator.managed_fields import ITEM, Fields, Manager, Owners, Path
from simulator.objects import Object, deep
from simulator.schema import Schema
from simulator.statuses import ApiError, Cause


def apply(live: Object | None, wanted: Object, manager: Manager, schema: Schema, *, force: bool, now: float) -> Object:
    """The object after `manager` applied `wanted`. Raises ApiError 409 with one cause per conflict.

    Fields that the manager applied before, leaves out now and nobody else owns are removed. Equal values
    are shared. With force, conflicting fields change hands.
    """
    applied = managed_fields.leaves(wanted, schema)
    owners = managed_fields.owners_of(live) if live is not None else {}
    present = managed_fields.leaves(live, schema) if live is not None else {}
    previous = owners.get(manager) or _same_manager(owners, manager)
    others = {owner: fields for owner, fields in owners.items() if not _is_same(owner, manager)}
    contested = _contested(others, applied, present)
    if contested and not force:
        raise _conflict(contested)
    for owner, path in contested:
        others[owner] = others[owner] - {path}
    base = live if live is not None else {"metadata": {}}
    merged = _merge("", base, wanted, schema)
    kept: set[Path] = set(applied)
    for fields in others.values():
        kept |= fields
    merged = _without(merged, previous - applied.keys(), kept, schema)
    result: Owners = {**others, manager: frozenset(applied)}
    return managed_fields.write_owners(merged, result, now)


def _is_same(one: Manager, other: Manager) -> bool:
    """apiVersion aside: an upgrade of the version is still the same applier."""
    return (one.name, one.operation, one.subresource) == (other.name, other.operation, other.subresource)


def _same_manager(owners: Owners, manager: Manager) -> Fields:
    return next((fields for owner, fields in owners.items() if _is_same(owner, manager)), frozenset())


def _contested(others: Owners, applied: dict[Path, Any], present: dict[Path, Any]) -> list[tuple[Manager, Path]]:
    found = []
    for owner, fields in others.items():
        for path in sorted(fields & applied.keys()):
            value = applied[path]
            if value is not ITEM and path in present and present[path] != value:
                found.append((owner, path))
    return found


def _conflict(contested: list[tuple[Manager, Path]]) -> ApiError:
    causes = tuple(
        Cause("FieldManagerConflict", f"conflict with {_called(owner)}", managed_fields.show(path))
        for owner, path in contested
    )
    if len(contested) == 1:
        message = f"Apply failed with 1 conflict: {causes[0].message}: {causes[0].field}"
    else:
        by_manager: dict[str, list[str]] = {}
        for owner, path in contested:
            by_manager.setdefault(_called(owner), []).append(f"- {managed_fields.show(path)}")
        listed = "\n".join(
            f"conflicts with {called}:\n" + "\n".join(paths) for called, paths in sorted(by_manager.items())
        )
        message = f"Apply failed with {len(contested)} conflicts: {listed}"
    return ApiError(409, "Conflict", message, causes=causes)


def _called(manager: Manager) -> str:
    text = f'"{manager.name}"'
    if manager.subresource:
        text += f' with subresource "{manager.subresource}"'
    return f"{text} using {manager.api_version}" if manager.operation == "Update" else text


def _merge(name: str, live: Any, wanted: Any, schema: Schema) -> Any:
    if isinstance(wanted, dict) and isinstance(live, dict) and name not in schema.atomic:
        result = dict(live)
        for key, value in wanted.items():
            if value is not None:
                result[key] = _merge(key, result.get(key), value, schema)
        return result
    if isinstance(wanted, list) and isinstance(live, list) and (name in schema.keys or name in schema.sets):
        return _merge_items(name, live, wanted, schema)
    return deep(wanted)


def _merge_items(name: str, live: list[Any], wanted: list[Any], schema: Schema) -> list[Any]:
    """Items in the live order, new ones at the end."""
    wishes = {managed_fields.item_element(name, item, schema): item for item in wanted}
    result = []
    for item in live:
        wish = wishes.pop(managed_fields.item_element(name, item, schema), None)
        result.append(item if wish is None else _merge("", item, wish, schema))
    return [*result, *(deep(item) for item in wishes.values())]


def _without(obj: Object, dropped: set[Path] | Fields, kept: set[Path], schema: Schema) -> Object:
    """The object without the dropped paths that nobody keeps; containers left empty go too."""
    alive = {path[:length] for path in kept for length in range(1, len(path) + 1)}
    for path in sorted(dropped, key=len):
        if path not in alive:
            obj = _drop(obj, path, schema, "")
    return obj


def _drop(value: Any, path: Path, schema: Schema, name: str) -> Any:
    element, rest = path[0], path[1:]
    if element.startswith("f:") and isinstance(value, dict):
        key = element[2:]
        if key not in value:
            return value
        result = dict(value)
        below = _drop(value[key], rest, schema, key) if rest else None
        if below in (None, {}, []):
            del result[key]
        else:
            result[key] = below
        return result
    if isinstance(value, list):
        result_items = []
        for item in value:
            if managed_fields.item_element(name, item, schema) != element:
                result_items.append(item)
            elif rest:
                result_items.append(_drop(item, rest, schema, ""))
        return result_items
    return value
