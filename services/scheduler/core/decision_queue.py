"""Which workloads are due, and which wait for what room: told to the turns as the state changes."""

from __future__ import annotations

from collections.abc import Iterable, Set

from services.scheduler.core import spread
from services.scheduler.core.filtering import Fleet
from services.scheduler.core.matching import Policies
from services.scheduler.core.records import Record, Records
from services.scheduler.core.room import FleetRoom
from services.scheduler.core.turns import Turns
from services.scheduler.core.values import Rules, Shape, WorkloadKey
from shared.contracts.placement import Placement

_HOUR = 3600.0


class DecisionQueue:
    def __init__(self, records: Records, policies: Policies, fleet: Fleet, room: FleetRoom, rules: Rules) -> None:
        self._records = records
        self._policies = policies
        self._fleet = fleet
        self._room = room
        self._rules = rules
        self.turns = Turns(room.watch, self._has_room, self._wants)

    def put(self, keys: Iterable[WorkloadKey], *, later: bool = False) -> Set[WorkloadKey]:
        """They are due now. later: something around them changed, not they themselves."""
        found = set(keys)
        put = self.turns.put_again if later else self.turns.put
        for key in found:
            workload = self._records.peek(key).workload
            if workload is not None:
                put(key, workload.priority)
        return found

    def wait(self, record: Record) -> None:
        """It waits for room from now on, if its placement leaves anything to wish for."""
        workload, placement = record.workload, record.placement
        if workload is None or placement is None:
            return
        could_move = placement.pending or _lacks_groups(placement) or self._could_return(placement)
        if workload.deleted is None and could_move:
            shapes = tuple(dict.fromkeys(component.shape for component in workload.components))
            self.turns.waiting.put(workload.key, workload.priority, shapes)
        else:
            self.turns.waiting.discard(workload.key)

    def set_timers(self, placement: Placement) -> None:
        """What it waits for besides room ends by time: rests, and the hour of its failbacks."""
        times = [rest.until for rest in placement.rests]
        times += [placement.failbacks[0].at + _HOUR] if placement.failbacks else []
        if times and placement.ref.key in self.turns.waiting:
            self.turns.set_timers(placement.ref.key, times)

    def wake(self) -> None:
        """Those who wait for what grew since the last time."""
        for shape, member in self._room.take_grown():
            self.turns.waiting.grant(shape, member)

    def _could_return(self, placement: Placement) -> bool:
        """Replicas in a later tier that the policy would have back in an earlier one."""
        policy = self._policies.by_key.get(placement.policy)
        if policy is None or not policy.failback or not self._rules.failback:
            return False
        tiers = self._fleet.candidates(policy).tier_of
        return any(share.replicas and tiers.get(share.member, 0) > 0 for share in placement.shares)

    def _wants(self, key: WorkloadKey, member: int) -> bool:
        placement = self._records.peek(key).placement
        policy = self._policies.by_key.get(placement.policy) if placement is not None else None
        return policy is not None and self._fleet.candidates(policy).verdicts.get(self._room.member(member)) == "open"

    def _has_room(self, shape: Shape, member: int) -> bool:
        room = self._room.room(shape, self._room.member(member))
        return bool(room.free or room.elastic or room.virtual)


def _lacks_groups(placement: Placement) -> bool:
    """Its replicas are in fewer groups than its policy asks for, as there was no room in others."""
    return any(reason.code == spread.CODE for reason in placement.reasons)
