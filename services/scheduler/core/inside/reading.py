"""A pod's message → what it asks of a node and of its neighbours.

Missing parts mean what Kubernetes takes for them. matchLabelKeys become requirements of the selector, as the API
server itself does for pod affinity, and kube-scheduler for topology spread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache

from pydantic import JsonValue

from services.scheduler.core.constraints import Expression, LabelSelector, Term
from services.scheduler.core.inside.values import ANY_ADDRESS, HostPort, Labels, Needs, PodTerm, TopologySpread
from services.scheduler.core.values import Shape
from services.scheduler.pods import expression_of, shape_with, term_of
from shared.contracts.base import JsonObject
from shared.contracts.pod import Pod

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def needs_of(pod: Pod) -> Needs:
    """Equal pods share one value. A spec that Kubernetes would not let through counts as not supported."""
    packed = json.dumps(pod.spec, sort_keys=True)
    labels = sorted_labels(pod.labels) if "LabelKeys" in packed else ()  # they count only where looked up by key
    requests = tuple(sorted(pod.requests.items()))
    try:
        return _needs(packed, pod.namespace, requests, labels)
    except (KeyError, ValueError) as error:
        shape = Shape.of(dict(requests))
        return Needs(shape, (), (), (), (), (), (), (f"its spec ({error} cannot be understood)",))


def sorted_labels(labels: Mapping[str, str]) -> Labels:
    return tuple(sorted(labels.items()))


@lru_cache(maxsize=4096)
def _needs(packed: str, namespace: str, requests: tuple[tuple[str, int], ...], labels: Labels) -> Needs:
    spec: JsonObject = json.loads(packed)
    affinity = _map(spec.get("affinity"))
    own = dict(labels)
    near, apart = _map(affinity.get("podAffinity")), _map(affinity.get("podAntiAffinity"))
    return Needs(
        shape=shape_with(dict(requests), spec),
        preferred_nodes=tuple(_preferred_nodes(_map(affinity.get("nodeAffinity")))),
        affinity=tuple(_pod_term(entry, namespace, own) for entry in _maps(near.get(_REQUIRED))),
        anti_affinity=tuple(_pod_term(entry, namespace, own) for entry in _maps(apart.get(_REQUIRED))),
        preferred=(*_weighted(near, namespace, own, 1), *_weighted(apart, namespace, own, -1)),
        spread=tuple(_spread(entry, own) for entry in _maps(spec.get("topologySpreadConstraints"))),
        ports=tuple(_ports(spec)),
        unsupported=tuple(_unsupported(spec)),
    )


def _preferred_nodes(affinity: JsonObject) -> Iterator[tuple[Term, int]]:
    for entry in _maps(affinity.get(_PREFERRED)):
        yield term_of(_map(entry.get("preference"))), _number(entry.get("weight"), 1)


def _weighted(affinity: JsonObject, namespace: str, own: Mapping[str, str], sign: int) -> Iterator[tuple[PodTerm, int]]:
    for entry in _maps(affinity.get(_PREFERRED)):
        weight = sign * _number(entry.get("weight"), 1)
        yield _pod_term(_map(entry.get("podAffinityTerm")), namespace, own), weight


def _pod_term(entry: JsonObject, namespace: str, own: Mapping[str, str]) -> PodTerm:
    named = frozenset(_texts(entry.get("namespaces")))
    by_label = _selector(entry.get("namespaceSelector"))
    if not named and by_label is None:
        named = frozenset([namespace])
    selector = _selector(entry.get("labelSelector"))
    if selector is not None:
        same = [Expression(key, "In", (own[key],)) for key in _texts(entry.get("matchLabelKeys")) if key in own]
        other = [Expression(key, "NotIn", (own[key],)) for key in _texts(entry.get("mismatchLabelKeys")) if key in own]
        selector = LabelSelector((*selector.expressions, *same, *other))
    return PodTerm(str(entry.get("topologyKey") or ""), selector, named, by_label)


def _spread(entry: JsonObject, own: Mapping[str, str]) -> TopologySpread:
    selector = _selector(entry.get("labelSelector"))
    if selector is not None:
        keys = [Expression(key, "In", (own[key],)) for key in _texts(entry.get("matchLabelKeys")) if key in own]
        selector = LabelSelector((*selector.expressions, *keys))
    return TopologySpread(
        topology=str(entry["topologyKey"]),
        selector=selector,
        max_skew=_number(entry.get("maxSkew"), 1),
        hard=entry.get("whenUnsatisfiable", "DoNotSchedule") == "DoNotSchedule",
        min_domains=_number(entry.get("minDomains"), 1),
        honor_affinity=entry.get("nodeAffinityPolicy", "Honor") == "Honor",
        honor_taints=entry.get("nodeTaintsPolicy", "Ignore") == "Honor",
    )


def _ports(spec: JsonObject) -> Iterator[HostPort]:
    for entry in _maps(spec.get("ports")):
        port = _number(entry.get("hostPort"), 0)
        if port:
            yield HostPort(str(entry.get("protocol") or "TCP"), port, str(entry.get("hostIP") or ANY_ADDRESS))


def _unsupported(spec: JsonObject) -> Iterator[str]:
    """Constraints that brim does not implement: to bind such a pod would break them."""
    for entry in _maps(spec.get("volumes")):
        claim = _map(entry.get("persistentVolumeClaim")).get("claimName")
        yield f"volume {entry.get('name')} (PersistentVolumeClaim {claim})" if claim else f"volume {entry.get('name')}"
    for entry in _maps(spec.get("resourceClaims")):
        yield f"resource claim {entry.get('name')}"


def _selector(written: JsonValue) -> LabelSelector | None:
    if not isinstance(written, dict):
        return None
    exact = (Expression(key, "In", (str(value),)) for key, value in sorted(_map(written.get("matchLabels")).items()))
    return LabelSelector((*exact, *(expression_of(entry) for entry in _maps(written.get("matchExpressions")))))


def _number(value: JsonValue, default: int) -> int:
    return default if value is None else int(str(value))


def _texts(value: JsonValue) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _map(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _maps(value: JsonValue) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
