"""The arithmetic of a rolling update. Source: Kubernetes' deployment controller."""

from __future__ import annotations

import math
from dataclasses import dataclass

from simulator.kruise import marks
from simulator.objects import Object


def resolve(value: int | str, total: int, *, up: bool) -> int:
    """A count or a percentage of `total`, rounded up or down."""
    if isinstance(value, str) and value.endswith("%"):
        share = int(value[:-1]) * total
        return -(-share // 100) if up else share // 100
    return int(value)


def fenceposts(max_surge: int | str, max_unavailable: int | str, replicas: int) -> tuple[int, int]:
    """(surge, unavailable) as counts: surge rounds up, unavailable down, and never are both zero."""
    surge = resolve(max_surge, replicas, up=True)
    unavailable = resolve(max_unavailable, replicas, up=False)
    return (surge, 1) if surge == 0 and unavailable == 0 else (surge, min(unavailable, max(replicas, 1)))


def surge_and_unavailable(deployment: Object) -> tuple[int, int]:
    """The rolling update's bounds as counts; (0, 0) for Recreate, unless Kruise put the bounds aside."""
    rolling = marks.rolling_held(deployment) or deployment["spec"]["strategy"].get("rollingUpdate")
    if rolling is None:
        return 0, 0
    return fenceposts(
        rolling.get("maxSurge", "25%"), rolling.get("maxUnavailable", "25%"), deployment["spec"]["replicas"]
    )


@dataclass(frozen=True, slots=True)
class SetSize:
    """One ReplicaSet in a scaling: its replicas, and the deployment size it last saw (0: none)."""

    replicas: int
    max_replicas: int = 0


def proportional(sizes: list[SetSize], wanted: int, surge: int) -> list[int]:
    """New sizes when a deployment is scaled in mid-rollout: the change is shared by size.

    `sizes` come largest first (and newest first among equals when growing); the remainder falls to the first.
    """
    allowed = wanted + surge if wanted > 0 else 0
    total = sum(size.replicas for size in sizes)
    to_add = allowed - total
    added, result = 0, []
    for size in sizes:
        share = _share(size, wanted, surge, to_add, added) if to_add else 0
        result.append(size.replicas + share)
        added += share
    if sizes and to_add:
        result[0] = max(0, result[0] + to_add - added)
    return result


def _share(size: SetSize, wanted: int, surge: int, to_add: int, added: int) -> int:
    if size.replicas == 0 or wanted == 0:
        return -size.replicas
    before = size.max_replicas or wanted + surge
    after = math.floor(size.replicas * (wanted + surge) / before + 0.5)
    fraction, left = after - size.replicas, to_add - added
    return min(fraction, left) if to_add > 0 else max(fraction, left)
