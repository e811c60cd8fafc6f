"""A decision as a span: what it says of itself, and which stories meet in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

from services.scheduler.core.values import WorkloadKey
from shared import telemetry
from shared.contracts.placement import Placement

SPAN = "decide brim.placement.<kind>.<namespace>.<name>"
CAUSES = 8  # traces that one decision remembers, the newest ones
LISTED = 32  # members or reasons that a span names

Trace: TypeAlias = Mapping[str, str]  # in the form of headers

_NONE: Trace = {}


@dataclass(frozen=True, slots=True)
class Story:
    """parent: the trace that a decision goes on with, empty for one of its own. links: all that meet in it."""

    parent: Trace
    links: tuple[Trace, ...]


def joined(traces: tuple[Trace, ...], trace: Trace) -> tuple[Trace, ...]:
    """With one cause more, oldest first. An event without a trace, such as room that grew, hides none."""
    return traces if not trace or trace in traces else (*traces, trace)[-CAUSES:]


class Stories:
    """The trace of each workload's last decision: what happens to it by itself is told as a part of that."""

    def __init__(self) -> None:
        self._last: dict[WorkloadKey, Trace] = {}

    def of(self, key: WorkloadKey, causes: tuple[Trace, ...], *, waits: bool) -> Story:
        """Of a decision with these causes. waits: replicas were pending, so that the last decision's story goes on
        where nobody asked for anything new; once all is placed, room or time begins another, with a link."""
        last = self._last.get(key)
        links = joined(causes, last) if last else causes
        if causes:
            return Story(causes[-1], links)
        return Story(last if last and waits else _NONE, links)

    def told(self, key: WorkloadKey, trace: Trace) -> None:
        if trace:
            self._last[key] = trace

    def gone(self, key: WorkloadKey) -> None:
        self._last.pop(key, None)


@contextmanager
def deciding(placement: Placement, story: Story) -> Iterator[Trace]:
    """Around the publishing of a decision. Yields the trace to send along, and to go on with."""
    if not telemetry.recording():
        yield story.parent
        return
    with telemetry.span(SPAN, parent=story.parent, links=story.links, attributes=attributes_of(placement)):
        yield telemetry.current()


def attributes_of(placement: Placement) -> telemetry.Attributes:
    """What was decided, the room that was seen, and why the rest is where it is."""
    shares = [f"{s.member}: {s.replicas}" if s.present else f"{s.member}: removed" for s in placement.shares]
    reasons = [f"{r.code}: {r.message}" for r in placement.reasons]
    return {
        "brim.workload": str(placement.ref),
        "brim.order": str(placement.order),
        "brim.cause": placement.cause,
        "brim.policy": placement.policy,
        "brim.wanted": placement.wanted,
        "brim.pending": placement.pending,
        "brim.shares": _listed(shares),
        "brim.room": _listed(_room(placement)),
        "brim.reasons": _listed(reasons),
    }


def _room(placement: Placement) -> list[str]:
    seen = placement.seen
    return [
        f"{member}: tier {tier + 1}, free {free}, elastic {elastic}, virtual {virtual}, given {given}"
        for member, tier, free, elastic, virtual, given in zip(
            seen.members, seen.tiers, seen.free, seen.elastic, seen.virtual, seen.given, strict=True
        )
    ]


def _listed(lines: Sequence[str]) -> list[str]:
    """Not all of a large fleet: spans are kept in memory, and sent, for every decision."""
    rest = len(lines) - LISTED
    return list(lines) if rest <= 0 else [*lines[:LISTED], f"and {rest} more"]
