"""Rollouts in force: FleetRollouts, by which members go over to new revisions in turn, and Kruise's, inside members."""

from __future__ import annotations

import logging
from collections.abc import Set
from dataclasses import replace

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import Beside, Workload, WorkloadKey
from services.scheduler.intake.known import Known
from services.scheduler.normalise import beside_of, plan_of
from shared.contracts.desired import Desired
from shared.contracts.fleet_rollout import FleetRollout, PrometheusGate
from shared.contracts.refs import ObjectRef
from shared.contracts.rollout import Rollout
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


class KruiseRollouts:
    """Which workloads members' own Rollouts take over step by step, and what those start beside the old pods, for which
    there has to be room."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._beside: dict[WorkloadKey, tuple[WorkloadKey, Beside | None]] = {}  # by Rollout: of which workload

    def take(self, desired: Desired) -> list[Desired]:
        """One as DESIRED has it now; returns the workloads to look at anew."""
        if desired.deleted is not None:
            return self.remove(desired.ref)
        try:
            written = Rollout.read(desired.manifest)
        except Invalid as error:
            log.error("%s in DESIRED cannot be understood and is left alone: %s", desired.ref, error)
            return []
        before = self._beside.pop(desired.ref.key, None)
        now = (written.workload.key, beside_of(written)) if not written.spec.disabled else None
        if now is not None:
            self._beside[desired.ref.key] = now
        return [] if before == now else self._present(*(one[0] for one in (before, now) if one is not None))

    def remove(self, ref: ObjectRef) -> list[Desired]:
        before = self._beside.pop(ref.key, None)
        return self._present(before[0]) if before is not None else []

    def apply(self, workload: Workload) -> Workload:
        """With what its Rollout makes of it."""
        found = next((one for one in self._beside.values() if one[0] == workload.key), None)
        stepwise, beside = found is not None, found[1] if found is not None else None
        same = (stepwise, beside) == (workload.stepwise, workload.beside)
        return workload if same else replace(workload, stepwise=stepwise, beside=beside)

    def _present(self, *keys: WorkloadKey) -> list[Desired]:
        found = (self._known.live(key) for key in dict.fromkeys(keys))
        return [desired for desired in found if desired is not None]
