"""Which placement of a workload is in force, and the room that is reserved for it."""

from __future__ import annotations

from services.scheduler.core.decision_queue import DecisionQueue
from services.scheduler.core.records import Record, Records, components_in, kept
from services.scheduler.core.room import FleetRoom
from shared.contracts.placement import Placement


class InForce:
    def __init__(self, records: Records, room: FleetRoom, queue: DecisionQueue) -> None:
        self._records = records
        self._room = room
        self._queue = queue

    def put(self, record: Record, placement: Placement, at: float) -> None:
        """From here on what it promises is reserved. at: Unix seconds since when."""
        previous = record.put(placement)
        self._records.index_placement(placement.ref.key, previous, placement)
        self.reserve(record, previous, placement, at)
        self._queue.wait(record)
        self._queue.set_timers(placement)

    def reserve(self, record: Record, previous: Placement | None, placement: Placement, at: float) -> None:
        """In place of what `previous` promised."""
        staying = set(members_of(placement)) if previous and previous.uid == placement.uid else set()
        if previous is not None:
            ended = [member for member in members_of(previous) if member not in staying]
            if ended:
                self._room.release(previous.uid, ended)
        workload = record.workload
        if workload is None or not workload.components:
            return
        if workload.uid != placement.uid:
            self._room.release(placement.uid, members_of(placement))
            return
        placed = [
            (share.member, components_in(workload, share, record.succeeded(workload, share.member)))
            for share in placement.shares
        ]
        self._room.place(placement.uid, placed, at)
        self._queue.wake()

    def confirm(self, record: Record, placement: Placement) -> None:
        """It is stored."""
        if record.stored is None or record.stored.order < placement.order:
            same = record.placement is not None and record.placement.order == placement.order
            record.stored = record.placement if same else kept(placement)

    def forget(self, record: Record, placement: Placement) -> bool:
        """Back to the last one that is stored. False where a later one is in force already."""
        previous = record.placement
        if previous is None or previous.order != placement.order:
            return False
        if record.stored is not None:
            record.put(record.stored)
            self._records.index_placement(placement.ref.key, previous, record.stored)
            self.reserve(record, previous, record.stored, record.stored.decided_at)
        else:
            record.placement, record.leaving = None, {}
            self._records.index_placement(placement.ref.key, previous, None)
            self._room.release(previous.uid, members_of(previous))
        self._queue.wake()
        return True


def members_of(placement: Placement) -> list[str]:
    return [share.member for share in placement.shares]
