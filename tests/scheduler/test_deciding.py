"""The decision loop leaves room for everything else that its process does."""

from __future__ import annotations

import anyio
import anyio.lowlevel

from services.scheduler.core.engine import SchedulerState
from services.scheduler.deciding import BREATH, Deciding
from services.scheduler.metrics import SchedulerMetrics
from services.scheduler.publishing import Epoch, Publisher, Sequences
from shared.bus import Bus
from shared.clock import Clock
from shared.metrics import Metrics
from tests.scheduler.core_world import World, deployment, fleet, policy


def deciding(bus: Bus, state: SchedulerState) -> Deciding:
    epoch, metrics = Epoch(1), SchedulerMetrics(Metrics("scheduler"))
    publisher = Publisher(bus, state, Sequences(), epoch=epoch, metrics=metrics, on_stored=lambda placement: None)
    return Deciding(state, Clock(), publisher, epoch=epoch, metrics=metrics)


def settled(count: int) -> World:
    world = fleet("a", rooms={"a": count})
    world.want(*[deployment(f"w{number}", 1) for number in range(count)])
    world.run()
    return world


async def test_looking_at_many_that_stay_as_they_are_holds_up_nobody(bus: Bus) -> None:
    world = settled(20 * BREATH)
    world.want(policy("a", priority=1))  # all have to be looked at again, and none changes
    loop = deciding(bus, world.state)
    turns = 0

    async def others() -> None:
        nonlocal turns
        while world.state.is_due:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(loop.run)
        loop.wake()
        await others()
        group.cancel_scope.cancel()
    assert turns > 10
