"""Publishing generated capacity as inventory does: its own numbering and cutting, without any cluster behind it."""

from __future__ import annotations

import asyncio
import gc
import itertools
import time
from collections.abc import Iterator

from benchmarks.generate import Size, churn, coalesced, member_ids, whole
from services.inventory.core.capacity import Changes, Row
from services.inventory.core.deltas import Ledger
from shared.bus import Bus
from shared.contracts import subjects

HEARTBEAT = 10.0  # seconds, inventory's default
COALESCE = 0.05  # seconds, inventory's default
EPOCH = 1
IN_FLIGHT = 256


class Room:
    """The capacity of a generated fleet. Nobody else may publish for these members."""

    def __init__(self, bus: Bus, size: Size, seed: int) -> None:
        self._bus = bus
        self.size = size
        self._seed = seed
        self._ledgers = {member: Ledger(member, EPOCH) for member in member_ids(size)}
        self._churn: Iterator[tuple[str, Row]] = churn(size, seed)
        self._playing = False
        self.bytes = 0

    async def publish(self) -> None:
        """A snapshot of every member, each as one atomic batch."""
        for member, ledger in self._ledgers.items():
            chunks = ledger.snapshot(whole(self.size, member, self._seed), (), time.time())
            self.bytes += sum(map(len, chunks))
            await self._bus.publish_batch(subjects.capacity(member), chunks, rollup=True)

    async def heartbeats(self) -> None:
        """Until cancelled. None while deltas are played: those are numbered beforehand, and a heartbeat that names
        a number which was not sent yet would tell of a gap."""
        while True:
            now = time.time()
            for member, ledger in self._ledgers.items():
                if self._playing:
                    break
                await self._bus.publish(subjects.capacity(member), ledger.heartbeat(now, now, lost=False))
            await asyncio.sleep(HEARTBEAT)

    def deltas(self, rate: float, seconds: float) -> list[list[tuple[str, bytes]]]:
        """(subject, message) per interval: `rate` node changes a second, at most one delta a member and interval.

        They are encoded beforehand, so that measuring does not pay for it. Publish all of them, in order; until
        that is done there are no heartbeats.
        """
        self._playing = True
        now = time.time()
        intervals = []
        for number in range(int(seconds / COALESCE)):
            changes = list(itertools.islice(self._churn, round(rate * COALESCE)))
            intervals.append([self._delta(member, part, now) for member, part in coalesced(changes).items()])
            now += COALESCE * (number > 0)
        gc.freeze()  # half a million generated nodes: to walk them would stop whoever offers the load
        return intervals

    def _delta(self, member: str, changes: Changes, now: float) -> tuple[str, bytes]:
        data = self._ledgers[member].delta(changes, None, now)
        assert data is not None
        return subjects.capacity(member), data

    async def play(self, intervals: list[list[tuple[str, bytes]]]) -> tuple[int, float]:
        """Publish prepared deltas at their pace; returns how many, and the seconds that it took."""
        begun = asyncio.get_running_loop().time()
        slots = asyncio.Semaphore(IN_FLIGHT)
        sent = 0

        async def one(subject: str, data: bytes) -> None:
            async with slots:
                await self._bus.publish(subject, data)

        async with asyncio.TaskGroup() as group:
            for number, interval in enumerate(intervals):
                await asyncio.sleep(max(0.0, begun + number * COALESCE - asyncio.get_running_loop().time()))
                for subject, data in interval:
                    group.create_task(one(subject, data))
                    sent += 1
        self._playing = False
        return sent, asyncio.get_running_loop().time() - begun
