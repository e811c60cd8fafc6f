"""What the last leader of a process knew is written again where the streams were lost, and nowhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.scheduler import restoring
from services.scheduler.core.engine import SchedulerState
from services.scheduler.intake.known import Known
from services.scheduler.publishing import Sequences
from services.scheduler.restoring import Legacy, Restoring
from shared.bus import Bus, jetstream
from shared.contracts import subjects

LOST = ("DESIRED", "PLACEMENT", "LEASE")


async def lose(bus: Bus) -> None:
    """The streams are gone, and were made again."""
    for stream in LOST:
        await jetstream.api(bus._connection, f"STREAM.DELETE.{stream}", what=stream)
    await bus.ensure_streams(patience=10)


def new(bus: Bus) -> Restoring:
    return Restoring(bus, SchedulerState(), Known(), Sequences())


@pytest.fixture
async def legacy(stage: Any, bus: Bus) -> Legacy:
    """Of a fleet of one member, in which a Deployment of two replicas is placed under one policy."""
    async with stage.scheduler():
        await stage.member("idc", 4)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=2))
        placement = await stage.until({"idc": 2})
        wish = await stage.desired()
    return Legacy((await bus.stream_info("DESIRED")).created, (wish,), (placement,))


async def test_a_wish_comes_back_with_its_placement(stage: Any, bus: Bus, legacy: Legacy) -> None:
    await lose(bus)
    created = await new(bus).begin(legacy)
    assert created != legacy.created
    assert (await stage.desired(), await stage.placement()) == (legacy.wishes[0], legacy.placements[0])


async def test_an_attempt_whose_outcome_is_unknown_is_finished(stage: Any, bus: Bus, legacy: Legacy) -> None:
    await lose(bus)
    await bus.publish(subjects.desired(stage.WEB), legacy.wishes[0].encode())
    await new(bus).begin(legacy)
    assert await stage.placement() == legacy.placements[0]


async def deleted(stage: Any, bus: Bus, legacy: Legacy) -> None:
    await bus.publish(subjects.desired(stage.WEB), legacy.wishes[0].encode())
    await bus.remove(subjects.desired(stage.WEB))


async def submitted_again(stage: Any, bus: Bus, legacy: Legacy) -> None:
    wish = legacy.wishes[0].model_copy(update={"uid": "another"})
    await bus.publish(subjects.desired(stage.WEB), wish.encode())


@pytest.mark.parametrize("change", [deleted, submitted_again])
async def test_what_another_leader_took_in_since_wins(
    stage: Any, bus: Bus, legacy: Legacy, change: Callable[[Any, Bus, Legacy], Awaitable[None]]
) -> None:
    await lose(bus)
    await change(stage, bus, legacy)
    before = await bus.last("DESIRED", subjects.desired(stage.WEB))
    await new(bus).begin(legacy)
    assert await bus.last("DESIRED", subjects.desired(stage.WEB)) == before
    assert await stage.placement() is None


async def test_not_where_tombstones_may_be_gone_already(
    stage: Any, bus: Bus, legacy: Legacy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restoring, "FRESH", 0.0)
    await lose(bus)
    await new(bus).begin(legacy)
    assert await stage.desired() is None


async def test_not_where_the_stream_is_the_same(stage: Any, bus: Bus, legacy: Legacy) -> None:
    """The lease alone was lost: what is not there any more was deleted by whoever led."""
    await bus.purge_subject("DESIRED", subjects.desired(stage.WEB))
    await new(bus).begin(legacy)
    assert await stage.desired() is None
