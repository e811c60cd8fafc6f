"""Leaks: serverless instances without a pod, pods on a virtual node that is gone, room held for nobody.

Every message may be lost, so that now and then all is looked at. What is found is told, counted and mended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

from services.scheduler.core.inside.member import Member
from services.scheduler.core.inside.orders import Orders
from services.scheduler.core.inside.records import PodRecord
from shared.contracts.annotations import UNIT_ANNOTATION
from shared.contracts.binding import Evict, Release

Leak: TypeAlias = Literal["instance", "pod", "reservation"]
EVERY: Final = 120.0  # seconds between two sweeps
AFTER: Final = 120.0  # seconds for which a pod, or a node, must have been gone: what is only late is no leak


class Sweep:
    """found: how many of each kind; each counts once."""

    def __init__(self, orders: Orders) -> None:
        self.found: Counter[Leak] = Counter()
        self._orders = orders

    def member(self, member: Member, now: float) -> Iterator[tuple[PodRecord, Release | Evict, str]]:
        """Orders that mend what is wrong in a member, with the reason in words; again at every sweep until it is so."""
        for record in list(member.pods.values()):
            if record.pod.gone:
                yield from self._instance(record, now)
            elif member.is_ready:
                yield from self._stranded(member, record, now)
        self.found["reservation"] += member.holds.expire(now)

    def _instance(self, record: PodRecord, now: float) -> Iterator[tuple[PodRecord, Release, str]]:
        instance = record.pod.instance
        if instance is None or record.missing_since is None or now - record.missing_since < AFTER:
            return
        self._count(record, "instance")
        message = f"instance {instance.name} runs without its pod {record.pod.namespace}/{record.pod.name}"
        yield record, self._orders.release(record, instance.name, now), message

    def _stranded(self, member: Member, record: PodRecord, now: float) -> Iterator[tuple[PodRecord, Evict, str]]:
        pod = record.pod
        virtual = pod.instance is not None or pod.annotations.get(UNIT_ANNOTATION) == "eci"
        if not (virtual and pod.node and record.is_alive) or pod.terminating or pod.node in member.nodes.rows:
            record.missing_since = None
            return
        if record.missing_since is None:
            record.missing_since = now
        if now - record.missing_since < AFTER:
            return
        self._count(record, "pod")
        message = f"its virtual node {pod.node} is gone"
        yield record, self._orders.evict(record, "VirtualNodeGone", message, now), message

    def _count(self, record: PodRecord, leak: Leak) -> None:
        if not record.leaked:
            record.leaked = True
            self.found[leak] += 1
