"""Publishes the pods of a member that the scheduler has to know; what is told of one goes with it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from services.inventory.core.facts import Key
from services.inventory.last_values import LastValues
from services.inventory.metrics import InventoryMetrics
from services.inventory.mirror import NAMESPACES, NODES, PODS, Mirror
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.pod import Pod
from shared.settings import InventorySettings


class PodPublisher(LastValues[Key, Pod]):
    STREAM = "PODS"
    TIMES = ("observed_at", "counted_at")

    def __init__(
        self, bus: Bus, clock: Clock, settings: InventorySettings, mirror: Mirror, metrics: InventoryMetrics
    ) -> None:
        super().__init__(bus, clock, settings, mirror.member, mirror.told_pods.changed, metrics)
        self._mirror = mirror

    async def compare(self) -> None:
        self._mirror.told_pods.settle()
        await super().compare()

    @property
    def _form(self) -> type[Pod]:
        return Pod

    @property
    def _subjects(self) -> str:
        return subjects.pods(self._member)

    def _subject(self, key: Key) -> str:
        return subjects.pod(self._member, *key)

    def _key(self, subject: str) -> Key:
        _, namespace, name = subjects.pod_of(subject)
        return (namespace, name)

    def _now(self, key: Key) -> Pod | None:
        return self._mirror.told_pods.value(key) if PODS in self._mirror.synced else None

    def _is_settled(self, key: Key) -> bool:
        """A pod that is there is only left out once it is known where it runs and what counts; one that is gone,
        once it is known that no instance of its is left."""
        mirror, told = self._mirror, self._told.get(key)
        if key in mirror.pods.items:
            return {NODES, PODS, NAMESPACES} <= mirror.synced
        has_instance = told is not None and told.instance is not None
        return PODS in mirror.synced and (mirror.instances.known or not has_instance)

    def _trace(self, key: Key, before: Pod | None, after: Pod) -> tuple[AbstractContextManager[object], str]:
        """It belongs to the change that made the pod, where brim made it."""
        return nullcontext(), self._mirror.traceparent_of(after.workload) if after.workload else ""

    def _stored(self, key: Key) -> None:
        self._metrics.pod_messages.add(member=self._member)
        self._metrics.pods_told.set(len(self._told), member=self._member)
