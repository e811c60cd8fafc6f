"""What a pod asks for, as Kubernetes' scheduler counts it.

Containers are summed. Init containers run one after the other before them, so that the largest is a floor; a
sidecar (an init container that restarts always) keeps running and adds to all that starts after it. Pod-level
requests replace what the containers say. Overhead comes on top. Source of the rule: PodRequests in
k8s.io/component-helpers/resource.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

Amounts: TypeAlias = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class InitContainer:
    """sidecar: restartPolicy Always."""

    requests: Amounts
    sidecar: bool = False


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


def _add(total: dict[str, int], more: Amounts) -> None:
    for resource, amount in more.items():
        total[resource] = total.get(resource, 0) + amount


def _raise(total: dict[str, int], floor: Amounts) -> None:
    for resource, amount in floor.items():
        if amount > total.get(resource, 0):
            total[resource] = amount
