"""The descheduler: stuck replicas → rebalance requests. One active instance, by lease; others stand by."""

from __future__ import annotations

from services.descheduler.descheduler import Descheduler
from services.descheduler.metrics import DeschedulerMetrics
from shared.errors import LeaseLost
from shared.service import ServiceContext


async def run(context: ServiceContext) -> None:
    """Until cancelled. After a lost lease this instance stands by again."""
    metrics = DeschedulerMetrics.of(context.metrics)
    active: list[Descheduler] = []
    context.metrics.before_rendering(lambda: metrics.tell(active[0].watched() if active else (), context.clock.now()))
    lease = context.bus.lease("descheduler")
    context.health.add_check("descheduler", lambda: bool(active) and active[0].ready, standby=lambda: lease.standing_by)
    while True:
        context.metrics.clear_gauges()
        try:
            async with lease.held() as epoch:
                context.log.info("the descheduler leads (epoch %d)", epoch)
                active[:] = [Descheduler(context, metrics)]
                await active[0].run()
        except LeaseLost as error:
            context.log.warning("%s: standing by", error)
        finally:
            active.clear()
