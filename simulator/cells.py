"""What all of `kubectl get`'s tables are made from: a kind's columns, and how ages and templates look in a cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from shared.clock import parse_rfc3339
from simulator import selectors
from simulator.objects import Object, spec, status

Cells = list[Any]


@dataclass(frozen=True, slots=True)
class Printer:
    """columns: (name, wide only). cells: one value per column, for an object and now."""

    columns: tuple[tuple[str, bool], ...]
    cells: Callable[[Object, float], Cells]


def age(stamp: str | None, now: float) -> str:
    """`5s`, `3m10s`, `2d`: Kubernetes' human duration since a timestamp."""
    if not stamp:
        return "<unknown>"
    return duration(now - parse_rfc3339(stamp))


def duration(seconds: float) -> str:
    """Kubernetes' HumanDuration: at most two units, fewer as it grows."""
    total = int(seconds)
    if total < -1:
        return "<invalid>"
    total = max(0, total)
    minutes, hours, days = total // 60, total // 3600, total // 86400
    if total < 120:
        return f"{total}s"
    if minutes < 10:
        return f"{minutes}m{total % 60}s" if total % 60 else f"{minutes}m"
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return f"{hours}h{minutes % 60}m" if minutes % 60 else f"{hours}h"
    if days < 2:
        return f"{hours}h"
    if days < 8:
        return f"{days}d{hours % 24}h" if hours % 24 else f"{days}d"
    years = days // 365
    if years < 2:
        return f"{days}d"
    return f"{years}y{days % 365}d" if years < 8 and days % 365 else f"{years}y"


def scheduled(obj: Object) -> Cells:
    """What a DaemonSet's status counts, of Kubernetes' own and of Kruise's."""
    counted = (
        *("desiredNumberScheduled", "currentNumberScheduled", "numberReady"),
        *("updatedNumberScheduled", "numberAvailable"),
    )
    return [status(obj).get(name, 0) for name in counted]


def born(obj: Object, now: float) -> str:
    return age(obj["metadata"].get("creationTimestamp"), now)


def columns(*names: str) -> tuple[tuple[str, bool], ...]:
    """A leading + marks a column that only -o wide shows."""
    return tuple((text.removeprefix("+"), text.startswith("+")) for text in names)


def containers(obj: Object) -> tuple[str, str]:
    template = spec(obj).get("template") or {}
    listed = (template.get("spec") or {}).get("containers") or ()
    return ",".join(c["name"] for c in listed), ",".join(c.get("image", "") for c in listed)


def selector(obj: Object) -> str:
    return selectors.show(spec(obj).get("selector")) or "<none>"
