"""Which pods go first when there are too many: Kubernetes' orders, to the letter.

Source: ActivePods and ActivePodsWithRanks in k8s.io/kubernetes/pkg/controller. Both compare pair by pair, and end at
the uid where two times are alike, so that they are no plain sort keys.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cmp_to_key

from shared.clock import parse_rfc3339
from simulator import objects
from simulator.objects import Object

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}
_COST = re.compile(r"0|-?[1-9]\d{0,9}")

Order = Callable[[Object, Object], int]


def of_replicaset(owned: list[Object], related: Iterable[Object], now: float) -> list[Object]:
    """A ReplicaSet's pods, the first to go first.

    related: the active pods of all ReplicaSets of the same owner, its own included: of two pods, the one that has
    more of them beside it on its node goes first. Times are compared by powers of two, so that a little difference in
    age does not decide.
    """
    beside = Counter(_node(pod) for pod in related)

    def order(one: Object, other: Object) -> int:
        return (
            _by_state(one, other)
            or deletion_cost(one) - deletion_cost(other)
            or beside[_node(other)] - beside[_node(one)]
            or _by_time(one, other, _ready_since, lambda a, b: _magnitude(now - a) - _magnitude(now - b))
            or _by_restarts(one, other)
            or _by_time(one, other, _born, lambda a, b: _magnitude(now - a) - _magnitude(now - b))
        )

    return sorted(owned, key=cmp_to_key(order))


def of_job(owned: list[Object]) -> list[Object]:
    """A Job's pods, the first to go first: deletion costs and neighbours count for nothing here."""

    def order(one: Object, other: Object) -> int:
        return (
            _by_state(one, other)
            or _by_time(one, other, _ready_since, lambda a, b: -1 if a > b else 1)
            or _by_restarts(one, other)
            or _by_time(one, other, _born, lambda a, b: -1 if a > b else 1)
        )

    return sorted(owned, key=cmp_to_key(order))


def deletion_cost(pod: Object) -> int:
    """The annotation's number; 0 for what is none."""
    text = objects.annotations(pod).get(DELETION_COST, "0")
    return int(text) if is_deletion_cost(text) else 0


def is_deletion_cost(text: str) -> bool:
    """Whether it is a 32-bit integer in its usual form."""
    return bool(_COST.fullmatch(text)) and -(2**31) <= int(text) < 2**31


def _node(pod: Object) -> str:
    return str(pod["spec"].get("nodeName", ""))


def _by_state(one: Object, other: Object) -> int:
    """Unassigned, then pending, then not ready."""
    return (
        bool(_node(one)) - bool(_node(other))
        or _phase(one) - _phase(other)
        or objects.ready(one) - objects.ready(other)
    )


def _phase(pod: Object) -> int:
    return _PHASES.get(str(objects.status(pod).get("phase", "Unknown")), 1)


def _by_time(
    one: Object, other: Object, time_of: Callable[[Object], float | None], differ: Callable[[float, float], int]
) -> int:
    """0 where the times are the same or one has none; where they differ but count as alike, the uid decides."""
    a, b = time_of(one), time_of(other)
    if a is None or b is None or a == b:
        return 0
    return differ(a, b) or (-1 if objects.uid(one) < objects.uid(other) else 1)


def _ready_since(pod: Object) -> float | None:
    found = objects.condition(pod, "Ready")
    if found is None or found["status"] != "True" or "lastTransitionTime" not in found:
        return None
    return parse_rfc3339(found["lastTransitionTime"])


def _born(pod: Object) -> float:
    return parse_rfc3339(pod["metadata"]["creationTimestamp"])


def _magnitude(seconds: float) -> int:
    """The power of two of a duration in nanoseconds; −1 for none."""
    return int(seconds * 1e9).bit_length() - 1 if seconds > 0 else -1


def _by_restarts(one: Object, other: Object) -> int:
    """More restarts first: of containers, then of sidecars."""
    for a, b in zip(_restarts(one), _restarts(other), strict=True):
        if a != b:
            return b - a
    return 0


def _restarts(pod: Object) -> tuple[int, int]:
    sidecars = {c["name"] for c in pod["spec"].get("initContainers") or () if c.get("restartPolicy") == "Always"}
    status = objects.status(pod)
    return (
        max((entry.get("restartCount", 0) for entry in status.get("containerStatuses") or ()), default=0),
        max(
            (
                entry.get("restartCount", 0)
                for entry in status.get("initContainerStatuses") or ()
                if entry["name"] in sidecars
            ),
            default=0,
        ),
    )
