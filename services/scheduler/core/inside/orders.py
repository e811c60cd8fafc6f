"""Decisions → orders on BINDING, numbered."""

from __future__ import annotations

from typing import TypedDict

from services.scheduler.core.inside.costs import cost_of, honours
from services.scheduler.core.inside.records import PodRecord
from services.scheduler.core.inside.trial import Case, Choice
from shared.contracts.annotations import DELETION_COST, UNIT_ANNOTATION
from shared.contracts.binding import Annotate, Bind, Evict, Note, Pend, Release
from shared.contracts.refs import Order


class _Of(TypedDict):
    member: str
    namespace: str
    name: str
    uid: str
    order: Order
    at: float


class Orders:
    """The orders of one leader. epoch: of its lease, to be set before the first."""

    def __init__(self) -> None:
        self.epoch = 0
        self._counter = 0

    def bind(self, case: Case, choice: Choice, now: float) -> Bind:
        """With the node go the unit's marks, what a profile adds, and the deletion cost."""
        record, stage = case.record, choice.stage
        unit = case.member.nodes.unit(choice.row)
        labels: dict[str, str] = {}
        annotations: dict[str, str] = {}
        if case.wish is not None:
            pod = record.pod
            labels = {key: value for key, value in case.wish.labels.items() if key not in pod.labels}
            annotations = {key: value for key, value in case.wish.annotations.items() if key not in pod.annotations}
        elif stage.rule is not None:
            labels, annotations = dict(stage.rule.pod_labels), dict(stage.rule.pod_annotations)
        annotations[UNIT_ANNOTATION] = unit
        if case.policy is not None and stage.place is not None and honours(record):
            annotations[DELETION_COST] = cost_of(case.policy, stage.place)
        return Bind(
            **self._of(record, now),
            node=case.member.nodes.names[choice.row],
            unit=unit,
            labels=labels,
            annotations=annotations,
            per_hour=choice.per_hour,
        )

    def again(self, bind: Bind, now: float) -> Bind:
        """The same order once more."""
        self._counter += 1
        order = Order(epoch=self.epoch, counter=self._counter)
        return bind.model_copy(update={"order": order, "at": now})

    def pend(self, record: PodRecord, message: str, nominated: str, now: float) -> Pend:
        return Pend(**self._of(record, now), message=message, nominated=nominated)

    def evict(self, record: PodRecord, reason: str, message: str, now: float) -> Evict:
        return Evict(**self._of(record, now), reason=reason, message=message)

    def note(self, record: PodRecord, reason: str, message: str, now: float) -> Note:
        return Note(**self._of(record, now), reason=reason, message=message)

    def annotate(self, record: PodRecord, annotations: dict[str, str | None], now: float) -> Annotate:
        return Annotate(**self._of(record, now), annotations=annotations)

    def release(self, record: PodRecord, instance: str, now: float) -> Release:
        return Release(**self._of(record, now), instance=instance)

    def _of(self, record: PodRecord, now: float) -> _Of:
        self._counter += 1
        pod = record.pod
        return {
            "member": pod.member,
            "namespace": pod.namespace,
            "name": pod.name,
            "uid": pod.uid,
            "order": Order(epoch=self.epoch, counter=self._counter),
            "at": now,
        }
