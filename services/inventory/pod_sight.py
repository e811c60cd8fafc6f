"""From a pod as Kubernetes writes it to what decides whether it is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydantic import JsonValue

from services.inventory.core.selectors import Requirement
from services.inventory.core.sight import NO_PORTS, NOWHERE, PodSight, Reach, Selector
from services.inventory.projections import HostPort, Pod, PodSpec
from shared.contracts.base import JsonObject
from shared.units import SCHEDULERS

_TERMS: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_WEIGHTED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


def sight_of(pod: Pod, *, on_virtual: bool, instance: bool) -> PodSight:
    metadata, spec = pod.metadata, pod.spec
    return PodSight(
        namespace=metadata.namespace,
        labels=metadata.labels,
        ours=spec.scheduler_name in SCHEDULERS,
        node=spec.node_name,
        finished=pod.status.phase in ("Succeeded", "Failed"),
        terminating=metadata.deletion_timestamp is not None,
        on_virtual=on_virtual,
        instance=instance,
        reach=_reach(spec.affinity, metadata.namespace) if spec.affinity else NOWHERE,
        ports=frozenset(port.host_port for port in host_ports(spec)) or NO_PORTS,
    )


def host_ports(spec: PodSpec) -> Iterator[HostPort]:
    """Of all that runs as long as the pod does."""
    sidecars = (container for container in spec.init_containers if container.restart_policy == "Always")
    for container in (*spec.containers, *sidecars):
        yield from container.ports


def _reach(affinity: JsonObject, own: str) -> Reach:
    """Beyond the pod's own namespace."""
    names: set[str] = set()
    selectors: set[Selector] = set()
    for kind in ("podAffinity", "podAntiAffinity"):
        for term in _terms(affinity.get(kind)):
            names.update(_texts(term.get("namespaces")))
            selector = term.get("namespaceSelector")
            if isinstance(selector, dict):
                selectors.add(_selector(selector))
    names.discard(own)
    return Reach(frozenset(names), frozenset(selectors)) if names or selectors else NOWHERE


def _terms(affinity: JsonValue) -> Iterator[JsonObject]:
    if not isinstance(affinity, dict):
        return
    yield from _objects(affinity.get(_TERMS))
    for weighted in _objects(affinity.get(_WEIGHTED)):
        term = weighted.get("podAffinityTerm")
        if isinstance(term, dict):
            yield term


def _selector(selector: JsonObject) -> Selector:
    exact = selector.get("matchLabels")
    found = [Requirement(k, frozenset({str(v)})) for k, v in exact.items()] if isinstance(exact, dict) else []
    for entry in _objects(selector.get("matchExpressions")):
        operator = entry.get("operator")
        values = frozenset(_texts(entry.get("values"))) if operator in ("In", "NotIn") else None
        found.append(Requirement(str(entry.get("key")), values, operator in ("NotIn", "DoesNotExist")))
    return tuple(sorted(found, key=lambda one: (one.key, one.negated, sorted(one.values or ()))))


def _objects(value: JsonValue) -> Iterator[JsonObject]:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            yield item


def _texts(value: JsonValue) -> Iterator[str]:
    for item in value if isinstance(value, list) else ():
        yield str(item)
