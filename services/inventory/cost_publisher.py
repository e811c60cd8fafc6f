"""Publishes what workloads cost in a member, and lets go of accounts whose owners are long gone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from services.inventory.core.costs import MOST
from services.inventory.core.facts import ObjectKey
from services.inventory.last_values import LastValues
from services.inventory.metrics import InventoryMetrics
from services.inventory.spending import Spending
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.capacity import Heartbeat, decode_capacity
from shared.contracts.cost import Cost
from shared.contracts.refs import ObjectRef
from shared.errors import Invalid
from shared.settings import InventorySettings

SWEEP: Final = 3600.0  # fleet seconds between two looks at whose owners are gone
SWEEP_AT_LEAST: Final = 0.2  # real seconds
LAST_WORDS: Final = 1.0  # real seconds for what is left to tell at the end
METER, OTHERS = 480, 16_384  # bytes that one meter takes of a message at most, and all else together
SLOWER: Final = 10  # than other streams: each message holds all meters of a workload


class CostPublisher(LastValues[ObjectKey, Cost]):
    """exists: whether an owner is still there; None where nobody can say now."""

    STREAM = "COST"

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        settings: InventorySettings,
        spending: Spending,
        metrics: InventoryMetrics,
        exists: Callable[[ObjectRef], Awaitable[bool | None]],
    ) -> None:
        super().__init__(bus, clock, settings, spending.accounts.member, spending.changed, metrics)
        self._spending = spending
        self._exists = exists
        self._most = max(1, min(MOST, (bus.max_payload - OTHERS) // METER))

    async def run(self) -> None:
        """As all do; what is not told yet when it ends is told before."""
        try:
            await super().run()
        finally:
            with anyio.move_on_after(LAST_WORDS, shield=True):
                for key in self._flags.take():
                    await self._publish(key)

    async def take_up(self) -> None:
        """Go on where a predecessor stopped."""
        await self.compare()
        self._spending.take_up(self.told, await watched_until(self._bus, self._member))

    async def sweep(self) -> None:
        """Until cancelled."""
        while True:
            await anyio.sleep(max(SWEEP_AT_LEAST, self._clock.real(SWEEP)))
            for ref in self._spending.accounts.idle:
                there = await self._exists(ref)
                if there is not None:
                    self._spending.flag(self._spending.accounts.owner_is(ref, there=there, now=self._clock.now()))

    @property
    def _coalesce(self) -> float:
        return SLOWER * self._settings.coalesce

    @property
    def _form(self) -> type[Cost]:
        return Cost

    @property
    def _subjects(self) -> str:
        return subjects.costs(self._member)

    def _subject(self, key: ObjectKey) -> str:
        kind, group, namespace, name = key
        return subjects.cost(
            self._member, ObjectRef(group=group, version="", kind=kind, namespace=namespace, name=name)
        )

    def _key(self, subject: str) -> ObjectKey:
        return subjects.object_key(subject, skip=3)

    def _now(self, key: ObjectKey) -> Cost | None:
        return self._spending.value(key, self._most)

    def _is_settled(self, key: ObjectKey) -> bool:
        return True

    def _stored(self, key: ObjectKey) -> None:
        accounts, member = self._spending.accounts, self._member
        for unit, amount in accounts.take_booked().items():
            self._metrics.cost.add(amount, member=member, unit=unit)
        for unit, per_hour in accounts.per_hour.items():
            self._metrics.cost_per_hour.set(per_hour, member=member, unit=unit)


async def watched_until(bus: Bus, member: str) -> float:
    """Until when an inventory watched a member, as far as its last message says; Unix seconds."""
    last = await bus.last("CAPACITY", subjects.capacity(member))
    if last is None or last.removed:
        return float("-inf")
    try:
        found = decode_capacity(last.data)
    except Invalid:
        return float("-inf")
    return found.reachable_at if isinstance(found, Heartbeat) else found.observed_at
