"""brim.plan: what would be decided now, without deciding it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import Policy, Workload, WorkloadKey
from services.scheduler.intake import changes
from services.scheduler.intake.changes import Stamp
from services.scheduler.intake.checking import Checked, named
from services.scheduler.intake.intake import read_manifests
from services.scheduler.intake.known import Known
from services.scheduler.normalise import gone, is_member, policy_of, wanted_of, workload_of
from services.scheduler.units import Units
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.desired import Desired
from shared.contracts.outcome import FieldFault
from shared.contracts.own_kinds import is_for_brim
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.submit import Plan, Planned
from shared.errors import Fault, Invalid

log = logging.getLogger("brim.scheduler")

NEW_UID = "planned"


class Planner:
    """Answers brim.plan. Nothing awaits between taking planned policies in and putting them back."""

    def __init__(self, bus: Bus, clock: Clock, state: SchedulerState, known: Known, units: Units) -> None:
        self._bus = bus
        self._clock = clock
        self._state = state
        self._known = known
        self._units = units
        self.is_serving = False

    async def run(self) -> None:
        await self._bus.serve(subjects.PLAN, self._answer, concurrency=1, on_serving=self._on_serving)

    def _on_serving(self) -> None:
        self.is_serving = True

    async def _answer(self, message: Message) -> bytes:
        try:
            return self._plan(Plan.decode(message.data)).encode()
        except Invalid as error:
            return Planned(faults=tuple(FieldFault.of(fault) for fault in error.faults)).encode()

    def _plan(self, request: Plan) -> Planned:
        sound = read_manifests(request.manifests.encode()) if request.manifests else []
        verdict = changes.apply(sound, self._known, self._stamp())
        keys = self._keys(request.refs)
        if verdict.faults:
            raise Invalid(verdict.faults)
        policies = [checked for checked in sound if checked.policy is not None]
        planned: list[Workload | WorkloadKey] = [
            self._units.apply(workload_of(write.desired), write.desired)
            for write, checked in zip(verdict.writes, sound, strict=True)
            if not is_for_brim(checked.ref)
        ]
        if not planned and not keys:
            keys = self._all()
        with self._as_if(policies):
            decisions = self._state.plan([*planned, *keys], self._clock.now())
        warnings = [warning for write in verdict.writes for warning in write.warnings]
        warnings += [f"{c.ref} is left out: a plan is made for the fleet as it is" for c in sound if is_member(c.ref)]
        return Planned(
            placements=tuple(decision.placement(Order()) for decision in decisions), warnings=tuple(warnings)
        )

    def _stamp(self) -> Stamp:
        return Stamp(self._clock.now(), 0, lambda: NEW_UID, self._bus.max_payload)

    def _keys(self, refs: Sequence[ObjectRef]) -> list[WorkloadKey]:
        found = [named(ref) for ref in refs]
        unknown = [ref for ref in found if self._known.live(ref.key) is None]
        if unknown:
            raise Invalid([Fault(str(ref), "", "there is no such object to plan", "NotFound") for ref in unknown])
        return [ref.key for ref in found]

    def _all(self) -> list[WorkloadKey]:
        live = (entry.desired for entry in self._known if entry.desired.deleted is None)
        return [desired.ref.key for desired in live if isinstance(wanted_of(desired), Workload)]

    @contextmanager
    def _as_if(self, policies: Sequence[Checked]) -> Iterator[None]:
        """With these policies instead of those in force. What this makes due turns out to be unchanged."""
        try:
            for checked in policies:
                if checked.policy is not None:
                    self._state.on_desired(policy_of(checked.policy, checked.ref))
            yield
        finally:
            for checked in policies:
                present = self._known.live(checked.ref.key)
                self._state.on_desired(_policy(present) if present else gone(checked.ref))


def _policy(desired: Desired) -> Policy:
    value = wanted_of(desired)
    assert isinstance(value, Policy)
    return value
