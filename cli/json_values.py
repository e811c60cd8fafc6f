"""Reading JSON values whose form is not promised: a path that leads nowhere gives the default, never an error."""

from __future__ import annotations

from pydantic import JsonValue

from shared.contracts.base import JsonObject


def dig(value: JsonValue, *path: str) -> JsonValue:
    """The value at a path of keys; None where a part of it is missing."""
    for key in path:
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def text(value: JsonValue, *path: str) -> str:
    found = dig(value, *path)
    return "" if found is None else str(found)


def number(value: JsonValue, *path: str) -> int:
    found = dig(value, *path)
    return int(found) if isinstance(found, int | float) else 0


def table_of(value: JsonValue, *path: str) -> dict[str, str]:
    """A map of strings, as labels are."""
    found = dig(value, *path)
    return {key: str(item) for key, item in found.items()} if isinstance(found, dict) else {}


def object_of(value: JsonValue, *path: str) -> JsonObject:
    """The object at a path; an empty one where there is none."""
    found = dig(value, *path)
    return found if isinstance(found, dict) else {}


def objects_of(value: JsonValue, *path: str) -> list[JsonObject]:
    """The objects in a list; whatever else stands there is left out."""
    found = dig(value, *path)
    return [item for item in found if isinstance(item, dict)] if isinstance(found, list) else []


def labels_of(manifest: JsonValue) -> dict[str, str]:
    return table_of(manifest, "metadata", "labels")


def name_of(manifest: JsonValue) -> str:
    return text(manifest, "metadata", "name")


def namespace_of(manifest: JsonValue) -> str:
    return text(manifest, "metadata", "namespace")
