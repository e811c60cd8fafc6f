"""Inventory: watches every member and tells the bus what room it has and how its objects fare."""

from __future__ import annotations

import anyio

from services.inventory.around import Around
from services.inventory.fleet import Fleet
from services.inventory.kinds import Kinds
from services.inventory.metrics import InventoryMetrics
from services.inventory.policies import Policies
from shared.backoff import Backoff, Retries
from shared.errors import LeaseLost, leaves
from shared.service import ServiceContext

LEASE = "inventory"
RETRY = Backoff(base=0.2, maximum=5.0)


async def run(context: ServiceContext) -> None:
    """Work while holding the lease, wait for it otherwise; until cancelled."""
    metrics = InventoryMetrics.on(context.metrics)
    active: list[Fleet] = []
    lease = context.bus.lease(LEASE)
    context.health.add_check(LEASE, lambda: bool(active) and active[0].is_ready, standby=lambda: lease.standing_by)
    retries = Retries(RETRY)
    while True:
        context.metrics.clear_gauges()
        try:
            async with lease.held() as epoch:
                fleet = Fleet(Around(context.bus, context.clock, context.settings, metrics, Kinds(), Policies(), epoch))
                active.append(fleet)
                await fleet.run()
        except* LeaseLost as lost:
            for error in leaves(lost):
                context.log.warning("%s", error)
                lease.exceed(error.epoch)
        finally:
            active.clear()
        await anyio.sleep(retries.next_delay())
