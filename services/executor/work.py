"""What one member has to do for one object, and the trace of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.executor.reconcile import Memory
from shared import telemetry
from shared.contracts.placement import Placement, Share

TRACED = 10  # failed attempts in a row that are spans: what fails for ever must not fill a trace for ever


@dataclass(frozen=True, slots=True)
class Work:
    """A placement's share, the trace it came with, and when the stream stored it (Unix seconds)."""

    placement: Placement
    share: Share
    context: Mapping[str, str]
    stored_at: float


@dataclass(slots=True)
class Item:
    """One object in this member.

    attempts: without success, in a row. look: see the object itself, whatever is remembered. timed: how long the
    work took was observed; resyncs are not. trace: of the last attempt.
    """

    work: Work
    memory: Memory = field(default_factory=Memory)
    attempts: int = 0
    look: bool = False
    timed: bool = False
    trace: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def traced(member: str, item: Item) -> Iterator[None]:
    """A span around one attempt, where the item's trace goes on. None around a resync: these never end."""
    work = item.work
    if item.timed or item.attempts > TRACED or not telemetry.recording():
        item.trace = item.trace or work.context
        yield
        return
    share, ref = work.share, work.placement.ref
    attributes: telemetry.Attributes = {
        "brim.member": member,
        "brim.workload": str(ref),
        "brim.order": str(work.placement.order),
        "brim.replicas": share.replicas,
        "brim.revision": share.revision,
    }
    name = f"{'apply' if share.present else 'remove'} {ref.kind}"
    with telemetry.span(name, kind="client", parent=work.context, attributes=attributes):
        item.trace = telemetry.current()
        yield
