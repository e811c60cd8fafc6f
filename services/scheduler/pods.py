"""Pod template → shape: what one pod asks of a node."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import JsonValue

from services.scheduler.core.values import Expression, Operator, Shape, Term, Toleration
from shared import quantities
from shared.contracts.base import JsonObject

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
    terms = tuple(_terms(spec))
    return Shape.of(
        requests_of(spec),
        {key: str(value) for key, value in _map(spec.get("nodeSelector")).items()},
        terms,
        tuple(_tolerations(spec)),
    )


def requests_of(spec: JsonObject) -> dict[str, int]:
    """Amounts that a pod's scheduler sets aside.

    Kubernetes' rule (k8s.io/component-helpers, resource.PodRequests): the containers and restartable init
    containers together, or the greatest moment of the init phase, whichever is more, plus the overhead; what the
    pod as a whole asks for replaces that.
    """
    together = _sum(_asked(container) for container in _maps(spec.get("containers")))
    sidecars: dict[str, int] = {}
    greatest: dict[str, int] = {}
    for container in _maps(spec.get("initContainers")):
        asked = _asked(container)
        if container.get("restartPolicy") == "Always":
            sidecars = _sum((sidecars, asked))
            asked = sidecars
        else:
            asked = _sum((sidecars, asked))
        greatest = _most(greatest, asked)
    total = _most(_sum((together, sidecars)), greatest)
    total |= _asked({"resources": spec.get("resources")})
    return _sum((total, _amounts(spec.get("overhead"))))


def _asked(container: JsonObject) -> dict[str, int]:
    """Requests; where there is only a limit, Kubernetes takes it for the request."""
    resources = _map(container.get("resources"))
    return _amounts(resources.get("limits")) | _amounts(resources.get("requests"))


def _amounts(given: JsonValue) -> dict[str, int]:
    return {name: quantities.amount(name, str(value)) for name, value in _map(given).items()}


def _sum(parts: Iterable[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0) + amount
    return total


def _most(one: dict[str, int], other: dict[str, int]) -> dict[str, int]:
    return {name: max(one.get(name, 0), other.get(name, 0)) for name in one.keys() | other.keys()}


def _terms(spec: JsonObject) -> Iterator[Term]:
    """The required node affinity, and `nodeName`, which is one more requirement on the node's name."""
    required = _map(_map(_map(spec.get("affinity")).get("nodeAffinity")).get(_REQUIRED))
    pinned = spec.get("nodeName")
    here = (Expression("metadata.name", "In", (str(pinned),)),) if pinned else ()
    terms = _maps(required.get("nodeSelectorTerms"))
    for term in terms:
        expressions = tuple(_expression(entry) for entry in _maps(term.get("matchExpressions")))
        fields = tuple(_expression(entry) for entry in _maps(term.get("matchFields")))
        yield Term(expressions, (*fields, *here))
    if here and not terms:
        yield Term((), here)


def _expression(entry: JsonObject) -> Expression:
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
