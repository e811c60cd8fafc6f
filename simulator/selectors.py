"""Label and field selectors, as the API's query parameters and objects' spec.selector write them."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulator.objects import Object

_SET = re.compile(r"^\s*([^\s,!=()]+)\s+(in|notin)\s+\(([^)]*)\)\s*$")
_EQUALITY = re.compile(r"^\s*([^\s,!=()]+)\s*(==|=|!=)\s*([^\s,()]*)\s*$")
_EXISTS = re.compile(r"^\s*(!?)\s*([^\s,!=()]+)\s*$")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One label requirement; `operator` is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        try:
            left, right = int(value or ""), int(self.values[0])
        except (ValueError, IndexError):
            return False
        return left > right if self.operator == "Gt" else left < right


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; no requirement selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: dict[str, str]) -> bool:
        return all(requirement.matches(labels) for requirement in self.requirements)


def parse_labels(text: str) -> LabelSelector:
    """`a=b,c!=d,e in (f,g),h,!i`. Raises ValueError with a sentence."""
    return LabelSelector(tuple(_requirement(part) for part in _split(text) if part.strip()))


def _split(text: str) -> list[str]:
    parts, depth, current = [], 0, ""
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += letter
    return [*parts, current]


def _requirement(text: str) -> Requirement:
    if found := _SET.match(text):
        key, operator, values = found.groups()
        listed = tuple(value.strip() for value in values.split(","))
        return Requirement(key, "In" if operator == "in" else "NotIn", listed)
    if found := _EQUALITY.match(text):
        key, operator, value = found.groups()
        return Requirement(key, "NotIn" if operator == "!=" else "In", (value,))
    if found := _EXISTS.match(text):
        return Requirement(found.group(2), "DoesNotExist" if found.group(1) else "Exists")
    raise ValueError(f"unable to parse requirement: {text.strip()!r}")


def from_spec(selector: Object | None) -> LabelSelector:
    """A LabelSelector object ({matchLabels, matchExpressions}). An absent one selects nothing."""
    if selector is None:
        return LabelSelector((Requirement("", "Exists"),))
    equal = [Requirement(key, "In", (value,)) for key, value in (selector.get("matchLabels") or {}).items()]
    return LabelSelector((*equal, *expressions(selector.get("matchExpressions") or [])))


def expressions(entries: list[Object]) -> tuple[Requirement, ...]:
    """matchExpressions of a label selector, a node selector term or match fields."""
    return tuple(
        Requirement(entry["key"], entry["operator"], tuple(map(str, entry.get("values") or ()))) for entry in entries
    )


def show(selector: Object | None) -> str:
    """A LabelSelector object as the query string that selects the same, as /scale publishes it."""
    parts = []
    for requirement in from_spec(selector).requirements if selector else ():
        values = ",".join(sorted(requirement.values))
        match requirement.operator:
            case "In" if len(requirement.values) == 1:
                parts.append(f"{requirement.key}={values}")
            case "Exists":
                parts.append(requirement.key)
            case "DoesNotExist":
                parts.append(f"!{requirement.key}")
            case operator:
                parts.append(f"{requirement.key} {operator.lower()} ({values})")
    return ",".join(parts)


FieldTest = Callable[[Object], bool]

_COMMON = ("metadata.name", "metadata.namespace")
_SUPPORTED: dict[str, tuple[str, ...]] = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
    "secrets": ("type",),
    "jobs.batch": ("status.successful",),
    "replicasets.apps": ("status.replicas",),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}


def parse_fields(text: str, shelf: str) -> list[tuple[str, str, bool]]:
    """`metadata.name=a,status.phase!=Running` as (path, value, wanted equal). Raises ValueError."""
    terms = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        path, operator, value = _field_term(part)
        if path not in _COMMON and path not in _SUPPORTED.get(shelf, ()):
            raise ValueError(f"field label not supported: {path}")
        terms.append((path, value, operator != "!="))
    return terms


def _field_term(part: str) -> tuple[str, str, str]:
    for operator in ("!=", "==", "="):
        if operator in part:
            path, _, value = part.partition(operator)
            return path.strip(), operator, value.strip()
    raise ValueError(f"invalid selector: {part!r}; can't understand {part!r}")


def field_value(obj: Object, path: str) -> str:
    """The field as text; empty where it is absent, as the API compares it."""
    if path == "source":
        path = "source.component"
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if value is None:
        return "false" if path in ("spec.unschedulable", "spec.hostNetwork") else ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def fields_match(obj: Object, terms: list[tuple[str, str, bool]]) -> bool:
    return all((field_value(obj, path) == value) is wanted for path, value, wanted in terms)
