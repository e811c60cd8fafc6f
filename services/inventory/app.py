"""Inventory: watches every member and tells the bus what room it has and how its objects fare."""

from __future__ import annotations

import anyio

from services.inventory.fleet import Fleet
from services.inventory.kinds import Kinds
from services.inventory.member import Surroundings
from services.inventory.metrics import InventoryMetrics
from shared.backoff import Backoff, Retries
from shared.errors import LeaseLost
from shared.service import ServiceContext

LEASE = "inventory"
RETRY = Backoff(base=0.2, maximum=5.0)


async def run(context: ServiceContext) -> None:
    """Work while holding the lease, wait for it otherwise; until cancelled."""
    metrics = InventoryMetrics.on(context.metrics)
    active: list[Fleet] = []
    context.health.add_check(LEASE, lambda: all(fleet.is_ready for fleet in active))
    retries = Retries(RETRY)
    while True:
        try:
            async with context.bus.lease(LEASE).held() as epoch:
                fleet = Fleet(Surroundings(context.bus, context.clock, context.settings, metrics, Kinds(), epoch))
                active.append(fleet)
                await fleet.run()
        except* LeaseLost as lost:
            context.log.warning("%s", lost.exceptions[0])
        finally:
            active.clear()
        await anyio.sleep(retries.next_delay())
