"""The FleetRollouts of workloads, and what their gates' queries said of members."""

from __future__ import annotations

from collections.abc import Mapping

from services.scheduler.core import waves
from services.scheduler.core.filtering import Fleet
from services.scheduler.core.records import Record, Records
from services.scheduler.core.values import Workload, WorkloadKey
from services.scheduler.core.waves import Measured, Plan, Update
from shared.contracts.placement import Waves


class FleetRollouts:
    def __init__(self, records: Records, fleet: Fleet) -> None:
        self._records = records
        self._fleet = fleet
        self._plans: dict[WorkloadKey, Plan] = {}
        self._measured: dict[WorkloadKey, dict[str, Measured]] = {}

    def plan(self, key: WorkloadKey) -> Plan | None:
        return self._plans.get(key)

    def measured(self, key: WorkloadKey) -> Mapping[str, Measured]:
        """By member."""
        return self._measured.get(key, {})

    def put(self, key: WorkloadKey, plan: Plan | None) -> bool:
        """Whether it is another than before. None: the workload has none any more."""
        if self._plans.get(key) == plan:
            return False
        self.forget_measures(key)  # it may be asked something else from now on
        if plan is None:
            del self._plans[key]
        else:
            self._plans[key] = plan
        return True

    def measure(self, key: WorkloadKey, member: str, measured: Measured) -> bool:
        """Whether it says anything new. What was said of another revision is forgotten."""
        known = self._measured.get(key, {})
        if key not in self._plans or known.get(member) == measured:
            return False
        of_this = {name: entry for name, entry in known.items() if entry.revision == measured.revision}
        self._measured[key] = {**of_this, member: measured}
        return True

    def forget_measures(self, key: WorkloadKey) -> None:
        self._measured.pop(key, None)

    def asking(self) -> list[tuple[WorkloadKey, Waves, list[str]]]:
        """Workloads whose wave under way has a query, and the members that it is to be asked about."""
        found = []
        for key, plan in self._plans.items():
            record = self._records.peek(key)
            state = record.placement.waves if record.placement is not None else None
            if record.workload is None or state is None:
                continue
            members = waves.asked(plan, state, self._updates(record, record.workload))
            if members:
                found.append((key, state, members))
        return found

    def _updates(self, record: Record, workload: Workload) -> list[Update]:
        statuses = record.statuses_of(workload.uid)
        shares = record.placement.shares if record.placement is not None else ()
        return [
            Update(self._fleet.members[share.member], share.revision, share.replicas, statuses.get(share.member))
            for share in shares
            if share.present and share.member in self._fleet.members
        ]
