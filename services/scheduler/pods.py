"""Pod template → shape: what one pod asks of a node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from services.scheduler.core.constraints import Expression, Operator, Term, Toleration
from services.scheduler.core.values import Shape
from shared.contracts.base import JsonObject
from shared.pod_requests import requests_of

_OPERATORS: dict[str, Operator] = {
    "In": "In",
    "NotIn": "NotIn",
    "Exists": "Exists",
    "DoesNotExist": "DoesNotExist",
    "Gt": "Gt",
    "Lt": "Lt",
}
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"


def shape_of(template: JsonObject) -> Shape:
    """The shape of a pod template that the intake found sound."""
    spec = _map(template.get("spec"))
    return shape_with(requests_of(spec), spec)


def shape_with(requests: Mapping[str, int], spec: JsonObject) -> Shape:
    """The shape of a pod whose amounts are known, and all else stands in its spec."""
    return Shape.of(
        requests,
        {key: str(value) for key, value in _map(spec.get("nodeSelector")).items()},
        tuple(_terms(spec)),
        tuple(_tolerations(spec)),
    )


def _terms(spec: JsonObject) -> Iterator[Term]:
    """The required node affinity, and `nodeName`, which is one more requirement on the node's name."""
    required = _map(_map(_map(spec.get("affinity")).get("nodeAffinity")).get(_REQUIRED))
    pinned = spec.get("nodeName")
    here = (Expression("metadata.name", "In", (str(pinned),)),) if pinned else ()
    terms = _maps(required.get("nodeSelectorTerms"))
    for entry in terms:
        term = term_of(entry)
        yield Term(term.expressions, (*term.fields, *here))
    if here and not terms:
        yield Term((), here)


def term_of(entry: JsonObject) -> Term:
    """One nodeSelectorTerm."""
    return Term(
        tuple(expression_of(part) for part in _maps(entry.get("matchExpressions"))),
        tuple(expression_of(part) for part in _maps(entry.get("matchFields"))),
    )


def expression_of(entry: JsonObject) -> Expression:
    values = entry.get("values")
    texts = tuple(str(value) for value in values) if isinstance(values, list) else ()
    return Expression(str(entry["key"]), _OPERATORS[str(entry["operator"])], texts)


def _tolerations(spec: JsonObject) -> Iterator[Toleration]:
    for entry in _maps(spec.get("tolerations")):
        yield Toleration(
            key=str(entry.get("key") or ""),
            operator=str(entry.get("operator") or "Equal"),
            value=str(entry.get("value") or ""),
            effect=str(entry.get("effect") or ""),
        )


def _map(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _maps(value: JsonValue) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
