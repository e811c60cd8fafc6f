"""FleetRollouts in force: which workload's members go over to new revisions in which order."""

from __future__ import annotations

import logging
from collections.abc import Set

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import WorkloadKey
from services.scheduler.normalise import plan_of
from shared.contracts.desired import Desired
from shared.contracts.fleet_rollout import FleetRollout, PrometheusGate
from shared.contracts.refs import ObjectRef
from shared.errors import Invalid

log = logging.getLogger("brim.scheduler")
_NOBODY: frozenset[WorkloadKey] = frozenset()


class FleetRollouts:
    def __init__(self, state: SchedulerState) -> None:
        self._state = state
        self._written: dict[tuple[str, str, str, str], FleetRollout] = {}

    def take(self, desired: Desired) -> Set[WorkloadKey]:
        """One as DESIRED has it now; returns the workloads that became due."""
        if desired.deleted is not None:
            return self.remove(desired.ref)
        try:
            written = FleetRollout.read(desired.manifest)
        except Invalid as error:
            log.error("%s in DESIRED cannot be understood and is left alone: %s", desired.ref, error)
            return _NOBODY
        before = self._written.get(desired.ref.key)
        moved = before is not None and before.workload.key != written.workload.key
        due = self.remove(desired.ref) if moved else _NOBODY
        self._written[desired.ref.key] = written
        return due | self._state.on_rollout(written.workload.key, plan_of(written, desired.generation))

    def remove(self, ref: ObjectRef) -> Set[WorkloadKey]:
        """It is no more: its workload goes on without waves."""
        written = self._written.pop(ref.key, None)
        return self._state.on_rollout(written.workload.key, None) if written is not None else _NOBODY

    def gate(self, workload: WorkloadKey, wave: int) -> PrometheusGate | None:
        """The query of a workload's wave."""
        for written in self._written.values():
            if written.workload.key == workload and wave < len(written.spec.waves):
                return written.spec.waves[wave].gate.prometheus
        return None
