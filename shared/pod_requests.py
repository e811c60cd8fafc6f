"""What a pod asks for, as Kubernetes' scheduler counts it.

Containers are summed. Init containers run one after the other before them, so that the largest is a floor; a
sidecar (an init container that restarts always) keeps running and adds to all that starts after it. Pod-level
requests replace what the containers say. Overhead comes on top. Source of the rule: PodRequests in
k8s.io/component-helpers/resource; of what an API server fills in first: the defaults of core/v1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import JsonValue

from shared import quantities

Amounts: TypeAlias = Mapping[str, int]
Spec: TypeAlias = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class InitContainer:
    """sidecar: restartPolicy Always."""

    requests: Amounts
    sidecar: bool = False


def requests_of(spec: Spec) -> dict[str, int]:
    """`pod_requests` of a pod's spec as people or an API server write it. Raises ValueError for what is no quantity.

    A limit counts where there is no request: of a container, and of the pod where no container asks either.
    """
    containers = [_asked(container) for container in _maps(spec.get("containers"))]
    init = [
        InitContainer(_asked(one), one.get("restartPolicy") == "Always") for one in _maps(spec.get("initContainers"))
    ]
    whole = _map(spec.get("resources"))
    level = _amounts(whole.get("limits"))
    if level:
        level = {name: limit for name, limit in level.items() if name not in pod_requests(containers, init)}
    level |= _amounts(whole.get("requests"))
    return pod_requests(
        containers,
        init,
        overhead=_amounts(spec.get("overhead")),
        pod_level={name: asked for name, asked in level.items() if is_pod_level(name)},
    )


def is_pod_level(resource: str) -> bool:
    """Whether a pod as a whole can ask for it."""
    return resource in ("cpu", "memory") or resource.startswith("hugepages-")


def pod_requests(
    containers: Iterable[Amounts],
    init_containers: Iterable[InitContainer] = (),
    *,
    overhead: Amounts | None = None,
    pod_level: Amounts | None = None,
) -> dict[str, int]:
    """Whole base units per resource (`shared.quantities.amount`); the slot in "pods" is not included."""
    total: dict[str, int] = {}
    for requests in containers:
        _add(total, requests)
    running: dict[str, int] = {}
    floor: dict[str, int] = {}
    for init in init_containers:
        if init.sidecar:
            _add(total, init.requests)
            _add(running, init.requests)
            _raise(floor, running)
        else:
            now = dict(running)
            _add(now, init.requests)
            _raise(floor, now)
    _raise(total, floor)
    total.update(pod_level or {})
    _add(total, overhead or {})
    return total


def dominant_share(requests: Mapping[str, int], allocatable: Mapping[str, int]) -> float:
    """The part of a node that a pod pays for: of the resource of which it takes the most, at most the whole node.

    Its slot (pods) is no resource in this.
    """
    shares = (
        amount / allocatable[name] for name, amount in requests.items() if name != "pods" and allocatable.get(name)
    )
    return min(1.0, max(shares, default=0.0))


def _add(total: dict[str, int], more: Amounts) -> None:
    for resource, amount in more.items():
        total[resource] = total.get(resource, 0) + amount


def _raise(total: dict[str, int], floor: Amounts) -> None:
    for resource, amount in floor.items():
        if amount > total.get(resource, 0):
            total[resource] = amount


def _asked(container: Spec) -> dict[str, int]:
    resources = _map(container.get("resources"))
    return _amounts(resources.get("limits")) | _amounts(resources.get("requests"))


def _amounts(given: JsonValue) -> dict[str, int]:
    return {name: quantities.amount(name, str(value)) for name, value in _map(given).items()}


def _map(value: JsonValue) -> Spec:
    return value if isinstance(value, dict) else {}


def _maps(value: JsonValue) -> list[Spec]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
