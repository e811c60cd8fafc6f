"""JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge patch.

Each takes an object and a patch and returns a new object; inputs stay as they were. What cannot be applied
raises PatchError with a sentence.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulator.objects import deep
from simulator.schema import Schema


class PatchError(ValueError):
    """The patch does not fit its document."""


class OrderError(PatchError):
    """A strategic patch names an order of which its own list is no part."""


# -- merge patch


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return deep(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


# -- JSON patch


def json_patch(document: Any, operations: Any) -> Any:
    """RFC 6902, all six operations, all or nothing."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations")
    result = deep(document)
    for operation in operations:
        result = _operate(result, operation)
    return result


def _operate(document: Any, operation: Any) -> Any:
    try:
        verb, path = operation["op"], _pointer(operation["path"])
        match verb:
            case "add":
                return _add(document, path, deep(operation["value"]))
            case "remove":
                return _remove(document, path)
            case "replace":
                _read(document, path)
                return _put(document, path, deep(operation["value"]))
            case "move":
                source = _pointer(operation["from"])
                value = _read(document, source)
                return _add(_remove(document, source), path, value)
            case "copy":
                return _add(document, path, deep(_read(document, _pointer(operation["from"]))))
            case "test":
                if _read(document, path) != operation["value"]:
                    raise PatchError(f"testing value {operation['path']} failed")
                return document
    except (KeyError, TypeError, IndexError, ValueError) as error:
        if isinstance(error, PatchError):
            raise
        raise PatchError(f"the patch operation {operation!r} does not fit: {error}") from error
    raise PatchError(f"unknown patch operation {verb!r}")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise PatchError(f"{text!r} is no JSON pointer")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _read(document: Any, path: list[str]) -> Any:
    for step in path:
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document


def _put(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _read(document, path[:-1])
    if isinstance(parent, list):
        parent[int(path[-1])] = value
    else:
        parent[path[-1]] = value
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _read(document, path[:-1])
    if isinstance(parent, list):
        index = len(parent) if path[-1] == "-" else int(path[-1])
        if not 0 <= index <= len(parent):
            raise PatchError(f"index {index} is out of bounds")
        parent.insert(index, value)
    elif isinstance(parent, dict):
        parent[path[-1]] = value
    else:
        raise PatchError(f"the parent of /{'/'.join(path)} is no container")
    return document


def _remove(document: Any, path: list[str]) -> Any:
    parent = _read(document, path[:-1])
    if isinstance(parent, list):
        del parent[int(path[-1])]
    else:
        del parent[path[-1]]
    return document


# -- strategic merge patch

_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"
_RETAIN = "$retainKeys"
_DIRECTIVE = "$patch"


def strategic(target: Any, patch: Any, schema: Schema) -> Any:
    """Kubernetes' strategic merge: keyed lists merge by key; $patch, $retainKeys, $setElementOrder and
    $deleteFromPrimitiveList as its API conventions describe them."""
    return _strategic_map(target, patch, schema)


def _strategic_map(target: Any, patch: Any, schema: Schema) -> Any:
    if not isinstance(patch, dict):
        return deep(patch)
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return deep({k: v for k, v in patch.items() if k != _DIRECTIVE})
    if directive == "delete":
        return {}
    result = dict(target) if isinstance(target, dict) else {}
    if isinstance(retained := patch.get(_RETAIN), list):
        result = {key: value for key, value in result.items() if key in retained}
    for key, value in patch.items():
        if key.startswith(_DELETE):
            name = key.removeprefix(_DELETE)
            result[name] = [item for item in result.get(name) or () if item not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, list):
            result[key] = _strategic_list(key, result.get(key) or [], value, schema)
        else:
            result[key] = _strategic_map(result.get(key), value, schema)
    for key, order in patch.items():
        if key.startswith(_ORDER):
            name = key.removeprefix(_ORDER)
            _check_order(name, patch.get(name), order, schema)
            _reorder(result, name, order, schema)
    return result


def _strategic_list(name: str, target: list[Any], patch: list[Any], schema: Schema) -> list[Any]:
    if name in schema.sets:
        return [*target, *(item for item in patch if item not in target)]
    key = schema.merge_key(name)
    if key is None or not all(isinstance(item, dict) for item in patch):
        return [deep(item) for item in patch]
    if any(item.get(_DIRECTIVE) == "replace" for item in patch):
        return [deep(item) for item in patch if item.get(_DIRECTIVE) != "replace"]
    result = list(target)
    for item in patch:
        if key not in item:
            raise PatchError(f"map: {item!r} does not contain declared merge key: {key}")
        places = [index for index, old in enumerate(result) if old.get(key) == item[key]]
        if item.get(_DIRECTIVE) == "delete":
            result = [old for old in result if old.get(key) != item[key]]
        elif places:
            result[places[0]] = _strategic_map(result[places[0]], item, schema)
        else:
            result.append(_strategic_map({}, item, schema))
    return result


def _check_order(name: str, items: Any, order: list[Any], schema: Schema) -> None:
    """The list of a patch must stand in the order that it asks for."""
    kept = [item for item in items or () if not (isinstance(item, dict) and _DIRECTIVE in item)]
    identity = _identity(schema.merge_key(name))
    wanted = iter([identity(entry) for entry in order])
    if not all(identity(item) in wanted for item in kept):
        raise OrderError(f"The order in patch list:\n{kept}\n doesn't match {_ORDER.rstrip('/')} list:\n{order}\n")


def _identity(key: str | None) -> Callable[[Any], Any]:
    return lambda item: item.get(key) if isinstance(item, dict) and key else item


def _reorder(result: dict[str, Any], name: str, order: list[Any], schema: Schema) -> None:
    items = result.get(name)
    if not isinstance(items, list):
        return
    identity = _identity(schema.merge_key(name))
    ranks = {identity(entry): rank for rank, entry in enumerate(order)}
    result[name] = sorted(items, key=lambda item: ranks.get(identity(item), len(ranks)))
