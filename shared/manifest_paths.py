"""Dotted paths into manifests: `*` is every value of a map, `[*]` every item of a list."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from pydantic import JsonValue

from shared.contracts.base import JsonObject

_STEP = re.compile(r"\[\*\]|[^.\[\]]+")


@lru_cache(maxsize=512)
def steps_of(path: str) -> tuple[str, ...]:
    return tuple(_STEP.findall(path))


def holder_of(path: str) -> tuple[str, ...]:
    """The steps up to the last wildcard: what a count and its template have in common."""
    steps = steps_of(path)
    last = max((place for place, step in enumerate(steps) if "*" in step), default=-1)
    return steps[: last + 1]


def values_at(node: JsonValue, steps: tuple[str, ...]) -> list[JsonValue]:
    """All that a path leads to; nulls and what is not there yield nothing."""
    found = [node]
    for step in steps:
        below: list[JsonValue] = []
        for value in found:
            if step == "[*]" and isinstance(value, list):
                below += value
            elif step == "*" and isinstance(value, dict):
                below += value.values()
            elif isinstance(value, dict) and step in value:
                below.append(value[step])
        found = [value for value in below if value is not None]
    return found


def with_value(manifest: JsonObject, steps: tuple[str, ...], value: JsonValue) -> JsonObject:
    *above, last = steps
    return updated(manifest, tuple(above), lambda holder: {**holder, last: value}, create=True)


def without(holder: JsonObject, key: str) -> JsonObject:
    return {name: value for name, value in holder.items() if name != key}


def updated(
    node: JsonObject,
    steps: tuple[str, ...] | list[str],
    change: Callable[[JsonObject], JsonObject],
    *,
    create: bool = False,
) -> JsonObject:
    """A copy with `change` applied to each map that a path leads to; create: also where there is none yet."""
    changed = _changed(node, tuple(steps), change, create)
    assert isinstance(changed, dict)
    return changed


def _changed(
    node: JsonValue, steps: tuple[str, ...], change: Callable[[JsonObject], JsonObject], create: bool
) -> JsonValue:
    if not steps:
        return change(node) if isinstance(node, dict) else node
    step, rest = steps[0], steps[1:]
    if step == "[*]":
        return [_changed(item, rest, change, create) for item in node] if isinstance(node, list) else node
    if not isinstance(node, dict):
        return node
    if step == "*":
        return {key: _changed(value, rest, change, create) for key, value in node.items()}
    below = node.get(step)
    if below is None:
        if not create:
            return node
        below = {}
    return {**node, step: _changed(below, rest, change, create)}
