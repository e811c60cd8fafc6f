"""Unknown fields and wrong types in what clients send, as the API server's decoder treats them.

A wrong type is always refused. An unknown field is dropped; the client is warned of it, or refused where it asked for
strictness, as kubectl does (`fieldValidation`: Strict, Warn or Ignore).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from simulator import models, statuses
from simulator.models import Type
from simulator.objects import Object
from simulator.resources import Resource
from simulator.statuses import ApiError

Strictness = Literal["Strict", "Warn", "Ignore"]

# Maps and fields that hold quantities, which may be written as numbers though their type is a text.
_QUANTITIES = frozenset(
    {
        *("requests", "limits", "capacity", "allocatable", "hard", "used", "overhead", "allocatedResources"),
        *("max", "min", "default", "defaultRequest", "maxLimitRequestRatio", "podFixed", "consumedCapacity"),
        *("sizeLimit", "divisor", "averageValue", "value", "storage"),
    }
)
_SPELT = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}
_GO = {
    "string": "string",
    "integer": "int32",
    "number": "float64",
    "boolean": "bool",
    "list": "[]",
    "map": "map[string]",
}


@dataclass(slots=True)
class _Found:
    unknown: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def admitted(resource: Resource, document: Any, strictness: Strictness) -> tuple[Any, list[str]]:
    """The document without what its kind does not have, and the warnings about that.

    A patch passes as well: parts of an object, with nulls and directives. Raises ApiError 400.
    """
    cleaned, found = _checked(resource, document)
    if found.wrong:
        raise _unreadable(resource, f"json: {found.wrong[0]}")
    if not found.unknown:
        return document, []
    if strictness == "Strict":
        raise _unreadable(resource, "strict decoding error: " + ", ".join(found.unknown))
    return cleaned, found.unknown if strictness == "Warn" else []


def applied(resource: Resource, document: Any, place: str) -> None:
    """Server-side apply takes nothing that it cannot attribute. place: `namespace/name`. Raises ApiError 400, 500."""
    _, found = _checked(resource, document)
    if found.wrong:
        raise _unreadable(resource, f"json: {found.wrong[0]}")
    if found.unknown:
        paths = "\n".join(
            f".{text.partition(' field ')[2].strip(chr(34))}: field not declared in schema" for text in found.unknown
        )
        what = f"{place}; {resource.group_version}, Kind={resource.kind}"
        raise ApiError(500, "", f"failed to create typed patch object ({what}): {paths}")


def _checked(resource: Resource, document: Any) -> tuple[Any, _Found]:
    found = _Found()
    model = models.model_of(resource)
    if model is None or not isinstance(document, dict):
        return document, found
    return _model(document, model, "", found), found


def _unreadable(resource: Resource, why: str) -> ApiError:
    return statuses.bad_request(
        f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: {why}'
    )


def _model(value: Object, model: str, path: str, found: _Found) -> Object:
    """A copy without unknown fields, or the value itself where it has none."""
    known: Mapping[str, Type] = models.fields(model)
    cleaned: Object = {}
    changed = False
    for key, item in value.items():
        here = f"{path}.{key}" if path else key
        if key.startswith("$"):  # a directive of a strategic merge patch
            cleaned[key] = item
        elif key not in known:
            found.unknown.append(f'unknown field "{here}"')
            changed = True
        else:
            cleaned[key] = _value(item, known[key], here, key, model, found)
            changed = changed or cleaned[key] is not item
    return cleaned if changed else value


def _value(value: Any, wanted: Type, path: str, name: str, model: str, found: _Found) -> Any:
    if value is None or wanted.sort == "any":
        return value
    if wanted.sort == "model" and isinstance(value, dict):
        return _model(value, wanted.model, path, found)
    if wanted.sort == "list" and isinstance(value, list):
        assert wanted.of is not None
        items = [_value(item, wanted.of, f"{path}[{place}]", name, model, found) for place, item in enumerate(value)]
        return items if any(one is not other for one, other in zip(items, value, strict=True)) else value
    if wanted.sort == "map" and isinstance(value, dict):
        assert wanted.of is not None
        entries = {key: _value(item, wanted.of, f"{path}.{key}", name, model, found) for key, item in value.items()}
        return entries if any(entries[key] is not value[key] for key in value) else value
    if not _fits(value, wanted, name):
        go = wanted.model if wanted.sort == "model" else _GO[wanted.sort]
        place = f"{model.lstrip('V123456789')}.{path}"
        got = _SPELT.get(type(value), type(value).__name__)
        found.wrong.append(f"cannot unmarshal {got} into Go struct field {place} of type {go}")
    return value


def _fits(value: Any, wanted: Type, name: str) -> bool:
    match wanted.sort:
        case "string":
            return isinstance(value, str) or (
                name in _QUANTITIES and isinstance(value, int | float) and not isinstance(value, bool)
            )
        case "integer":
            return isinstance(value, int | float) and not isinstance(value, bool) and value == int(value)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
    return False
