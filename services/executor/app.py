"""The executor: placements → members. One active instance, by lease; others stand by."""

from __future__ import annotations

from services.executor.executor import Executor
from services.executor.metrics import ExecutorMetrics
from shared.errors import LeaseLost
from shared.service import ServiceContext


async def run(context: ServiceContext) -> None:
    """Until cancelled. A lost lease ends all writing; then this instance stands by again."""
    metrics = ExecutorMetrics.of(context.metrics)
    active: list[Executor] = []
    lease = context.bus.lease("executor")
    context.health.add_check("executor", lambda: bool(active) and active[0].ready, standby=lambda: lease.standing_by)
    while True:
        context.metrics.clear_gauges()
        try:
            async with lease.held() as epoch:
                context.log.info("the executor leads (epoch %d)", epoch)
                active[:] = [Executor(context, metrics)]
                await active[0].run()
        except LeaseLost as error:
            context.log.warning("%s: standing by", error)
        finally:
            active.clear()
