"""How many pods a CloneSet is to make, end and replace: its controller's arithmetic. Pure.

Source: the expectations that Kruise's CloneSet controller computes. Scaling comes first; pods are replaced only where
there is nothing to scale. Pods that are updated already are never taken back by a partition that rises.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from simulator.controllers.rollout import resolve
from simulator.objects import Object


@dataclass(frozen=True, slots=True)
class Pods:
    """Of one revision. available: of so many, those that have been ready for long enough."""

    count: int = 0
    available: int = 0

    @property
    def unavailable(self) -> int:
        return self.count - self.available


@dataclass(frozen=True, slots=True)
class Bounds:
    """replicas: wanted. partition: pods that stay as they are. surge, unavailable: the update's bounds, as counts."""

    replicas: int
    partition: int = 0
    surge: int = 0
    unavailable: int = 1
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Plan:
    """create, create_old: pods to make in all, and those of the revision that the partition keeps. delete,
    delete_old: likewise to end; only so many ready ones as ready_limit says. replace: old pods that are to come again
    as new ones; replace_limit: the pods that may be unavailable with them, see `replaceable`."""

    create: int = 0
    create_old: int = 0
    delete: int = 0
    delete_old: int = 0
    ready_limit: int = 0
    replace: int = 0
    replace_limit: int = 0


def bounds_of(spec: Object) -> Bounds:
    """As the CloneSet's spec says; a percentage of unavailable pods rounds up where nothing may surge."""
    replicas = int(spec.get("replicas", 1))
    strategy = spec.get("updateStrategy") or {}
    paused = bool(strategy.get("paused"))
    surge = 0 if paused else resolve(strategy.get("maxSurge") or 0, replicas, up=True)
    unavailable = resolve(strategy.get("maxUnavailable", "20%"), replicas, up=surge == 0)
    partition = min(replicas, resolve(strategy.get("partition") or 0, replicas, up=True))
    return Bounds(replicas, partition, surge, unavailable, paused)


def plan(bounds: Bounds, old: Pods, new: Pods) -> Plan:
    """What is to be done at once."""
    outdated = max(0, old.count - bounds.partition)
    lacking = max(0, bounds.replicas - bounds.partition - new.count)
    total, unavailable = old.count + new.count, old.unavailable + new.unavailable
    expected = bounds.replicas + (min(bounds.surge, outdated) if lacking else 0)
    if total < expected:
        return Plan(
            create=expected - total,
            create_old=min(expected - total, max(0, bounds.partition - old.count)),
        )
    if total > expected:
        surplus = total - expected
        return Plan(
            delete=surplus,
            delete_old=min(surplus, outdated),
            ready_limit=max(0, bounds.unavailable + total - bounds.replicas - unavailable),
        )
    replace = min(outdated, lacking)
    if bounds.paused or not replace:
        return Plan()
    return Plan(replace=replace, replace_limit=bounds.unavailable + total - bounds.replicas)


def replaceable(limit: int, new_unavailable: int, unavailable: int, candidates: Sequence[bool]) -> int:
    """How many of the old pods may go now. candidates: the first to go first, whether each is available."""
    count = 0
    for available in candidates:
        if new_unavailable + count >= limit or (available and unavailable >= limit):
            break
        unavailable += available
        count += 1
    return count
