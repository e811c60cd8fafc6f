"""Publishes how a member's managed objects fare: on change, and a tombstone when an object is gone."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

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
        return _traced(before, after, traceparent), traceparent

    def _stored(self, key: ObjectKey) -> None:
        self._metrics.statuses.add(member=self._member)


def _traced(told: Status | None, status: Status, traceparent: str) -> AbstractContextManager[object]:
    """A span of the object's own trace, so that no status begins another and hides where it comes from."""
    if not traceparent or not telemetry.recording():
        return nullcontext()
    return telemetry.span(
        f"observe {_happened(told, status)}",
        parent={telemetry.TRACEPARENT: traceparent},
        attributes={
            "brim.member": status.member,
            "brim.object": str(status.ref),
            "brim.bound": status.bound,
            "brim.ready": status.ready,
            "brim.unschedulable": sum(group.count for group in status.unschedulable),
        },
    )


def _happened(told: Status | None, status: Status) -> str:
    """What a story is made of: replicas that got stuck, got a node, or run; "status" for any other change."""
    before = told or Status(member=status.member, ref=status.ref, observed_at=0.0)
    if sum(g.count for g in status.unschedulable) > sum(g.count for g in before.unschedulable):
        return "unschedulable"
    if status.bound > before.bound:
        return "scheduled"
    return "running" if status.ready > before.ready else "status"
