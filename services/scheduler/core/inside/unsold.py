"""Pods that have a virtual node but no instance: its stock was gone when the instance was to start.

Such a pod waits there, and starts when the node can have an instance after all. Where a pod like it would be bound to
another node at once it is deleted instead, so that its controller makes one that goes there; it serves nobody, so none
that serves is lost. The node then rests for the workload: it gets none of its pods for a while, doubling with every
time in a row, or until it tells that it has more to sell. So pods do not go round among nodes that all have nothing.

Left alone are pods that nobody would make again, and those of a Job, to which a deleted pod is a failure.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from math import inf
from typing import Final, TypeAlias

from services.scheduler.core.inside.deciding import decide
from services.scheduler.core.inside.member import Member
from services.scheduler.core.inside.orders import Orders
from services.scheduler.core.inside.records import PodRecord
from services.scheduler.core.inside.trial import Case, Choice
from services.scheduler.core.inside.values import Decided, Owner
from shared.contracts.annotations import DELETION_COST, UNIT_ANNOTATION

AFTER: Final = 15.0  # seconds for which a pod has had its node: a virtual kubelet has asked again by then
AGAIN: Final = 5.0  # seconds between two looks at the same pod
PAUSE: Final = 3.0  # seconds between two pods of one workload: the first one's successor is seen by then
LOOKED_AT: Final = 16  # pods in one go, so that decisions do not wait behind thousands
_LONGEST: Final = 400  # characters of the node's words

CaseOf: TypeAlias = Callable[[Member, PodRecord], Case]
MOVED: Final = "NoInstance"


class Unsold:
    """case_of: the pod as one that looks for a node. kind_of: equal for pods that would be decided alike."""

    def __init__(
        self,
        members: Mapping[str, Member],
        orders: Orders,
        case_of: CaseOf,
        kind_of: Callable[[PodRecord], Hashable],
    ) -> None:
        self._members = members
        self._orders = orders
        self._case_of = case_of
        self._kind_of = kind_of
        self._look_at: dict[PodRecord, float] = {}
        self._moved: dict[tuple[str, Owner], float] = {}
        self.next_due = inf

    def consider(self, record: PodRecord) -> None:
        """The pod changed."""
        pod = record.pod
        told = pod.no_instance is not None and pod.node and record.is_alive and not pod.terminating
        if not told or not record.names_brim or pod.owner is None or (pod.owner.kind, pod.owner.group) == _JOB:
            self.forget(record)
        elif record not in self._look_at:
            self._look_at[record] = (pod.bound_at or pod.observed_at) + AFTER
            self.next_due = min(self.next_due, self._look_at[record])

    def forget(self, record: PodRecord) -> None:
        self._look_at.pop(record, None)

    def next(self, now: float) -> Decided | None:
        """A pod that is to go elsewhere; comes without orders where there is more to look at."""
        if now < self.next_due:
            return None
        hopeless: set[Hashable] = set()
        for record in [record for record, at in self._look_at.items() if at <= now]:
            kind = self._kind_of(record)
            self._look_at[record] = now + AGAIN
            if kind in hopeless:
                continue
            if len(hopeless) == LOOKED_AT:
                self._look_at[record] = now
                return Decided(("", "", ""), "", ())
            decided = self._move(record, now)
            if decided is not None:
                return decided
            hopeless.add(kind)
        self._moved = {key: at for key, at in self._moved.items() if now < at + PAUSE}
        self.next_due = min(self._look_at.values(), default=inf)
        return None

    def _move(self, record: PodRecord, now: float) -> Decided | None:
        member = self._members[record.pod.member]
        if not member.is_ready or record.evicted_at is not None or not self._is_its_turn(member, record, now):
            return None
        node = record.pod.node
        case = self._case_of(member, _successor(record, now))
        case.avoid |= {node}
        with member.without([record]):
            found = decide(case, now)
        if not isinstance(found, Choice):
            return None
        other = member.nodes.names[found.row]
        member.rests.put(record.owner, node, now)
        self._moved[member.name, record.owner] = now
        record.evicted_at = now
        member.recount([record])
        message = f"{node} has no instance for it ({(record.pod.no_instance or '')[:_LONGEST]}): node {other} has room"
        return Decided(
            record.key, record.uid, (self._orders.evict(record, MOVED, message, now),), code=MOVED, message=message
        )

    def _is_its_turn(self, member: Member, record: PodRecord, now: float) -> bool:
        """One after the other: where one went is only seen by the next when its successor is there."""
        if now < self._moved.get((member.name, record.owner), -inf) + PAUSE:
            return False
        mates = (other for other in member.pods.values() if other.owner == record.owner)
        return not any(mate.is_unbound or (mate.evicted_at is not None and mate.is_alive) for mate in mates)


def _successor(record: PodRecord, now: float) -> PodRecord:
    """The pod that its controller will make in its place, but for what a unit or a profile wrote on this one."""
    ours = (UNIT_ANNOTATION, DELETION_COST)
    annotations = {key: value for key, value in record.pod.annotations.items() if key not in ours}
    fresh = {"node": "", "bound_at": None, "created_at": now, "annotations": annotations, "no_instance": None}
    return PodRecord.of(record.pod.model_copy(update=fresh))


_JOB: Final = ("Job", "batch")
