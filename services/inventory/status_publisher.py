"""Publishes how a member's managed objects fare: on change, and a tombstone when an object is gone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext

from services.inventory.core.facts import ObjectKey
from services.inventory.last_values import LastValues
from services.inventory.metrics import InventoryMetrics
from services.inventory.mirror import Mirror, source_of
from shared import telemetry
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from shared.settings import InventorySettings


class StatusPublisher(LastValues[ObjectKey, Status]):
    STREAM = "STATUS"

    def __init__(
        self, bus: Bus, clock: Clock, settings: InventorySettings, mirror: Mirror, metrics: InventoryMetrics
    ) -> None:
        super().__init__(bus, clock, settings, mirror.member, mirror.status_changed, metrics)
        self._mirror = mirror
        self._stories: dict[ObjectKey, Mapping[str, str]] = {}  # traces of what happened after a change was over

    @property
    def _form(self) -> type[Status]:
        return Status

    @property
    def _subjects(self) -> str:
        return subjects.statuses(self._member)

    def _subject(self, key: ObjectKey) -> str:
        kind, group, namespace, name = key
        ref = ObjectRef(group=group, version="", kind=kind, namespace=namespace, name=name)
        return subjects.status(self._member, ref)

    def _key(self, subject: str) -> ObjectKey:
        return subjects.object_key(subject, skip=3)

    def _now(self, key: ObjectKey) -> Status | None:
        return self._mirror.status(key)

    def _is_settled(self, key: ObjectKey) -> bool:
        kind = (key[0], key[1])
        return key in self._mirror or (kind in self._mirror.kinds and source_of(kind) in self._mirror.synced)

    def _trace(
        self, key: ObjectKey, before: Status | None, after: Status
    ) -> tuple[AbstractContextManager[object], str]:
        traceparent = self._mirror.traceparent(key)
        if not traceparent or not telemetry.recording():
            return nullcontext(), traceparent
        return self._observed(key, before, after, {telemetry.TRACEPARENT: traceparent}), traceparent

    @contextmanager
    def _observed(
        self, key: ObjectKey, before: Status | None, after: Status, change: Mapping[str, str]
    ) -> Iterator[None]:
        """A span of the trace of the object's last change, until all of that serves.

        What happens afterwards (a node goes, a pod gets stuck) is a story of its own until all serves again, and only
        links to the change: else a trace would grow for as long as its object lives.
        """
        same = before is not None and before.order == after.order
        begins = same and before is not None and _serves(before)
        if begins or not same:
            self._stories.pop(key, None)
        parent = {} if begins else self._stories.get(key, change)
        links = [change] if begins else []
        name = f"observe {_happened(before, after)}"
        with telemetry.span(name, parent=parent, links=links, attributes=_attributes(after)):
            if begins:
                self._stories[key] = telemetry.current()
            yield

    def _stored(self, key: ObjectKey) -> None:
        self._metrics.statuses.add(member=self._member)
        if key not in self._mirror:
            self._stories.pop(key, None)


def _attributes(status: Status) -> telemetry.Attributes:
    return {
        "brim.member": status.member,
        "brim.workload": str(status.ref),
        "brim.order": str(status.order),
        "brim.bound": status.bound,
        "brim.ready": status.ready,
        "brim.unschedulable": sum(group.count for group in status.unschedulable),
    }


def _serves(status: Status) -> bool:
    """All that was asked for is there, of the newest revision."""
    there = min(status.ready, status.updated) >= status.replicas and status.observed_generation >= status.generation
    return status.finished or (there and not status.pending and not status.unschedulable)


def _happened(told: Status | None, status: Status) -> str:
    """What a story is made of: replicas that got stuck, got a node, or run; "status" for any other change."""
    before = told or Status(member=status.member, ref=status.ref, observed_at=0.0)
    if sum(g.count for g in status.unschedulable) > sum(g.count for g in before.unschedulable):
        return "unschedulable"
    if status.ready > before.ready:
        return "running"
    return "scheduled" if status.bound > before.bound else "status"
