"""A new version that goes over the members in waves: their order, people who stop it, and a fleet that changes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.services import SERVICES
from shared.contracts import subjects
from shared.contracts.placement import Placement, Waves
from shared.settings import ExecutorSettings, Settings
from tests.e2e.harness import playing
from tests.e2e.rollouts import CHAT, FILES, V1, V2, V3, Show, deployment_ref, fleet, shipped, waves

NAME = "fleetrollout/chat"
REGIONS = ("east", "north", "south")
ALL = ("canary", *REGIONS)
CANARY: dict[str, Any] = {"name": "canary", "members": ["canary"]}
PRODUCTION: dict[str, Any] = {"name": "production", "labelSelector": {"matchLabels": {"stage": "production"}}}
LONG = {**CANARY, "bake": "24h"}  # longer than any test, which ends it by hand
HASTY = Settings(executor=ExecutorSettings(resync=1.0))  # each object is looked at again every second


@asynccontextmanager
async def chatting(
    folder: Path, *listed: dict[str, Any], without: str = "", settings: Settings | None = None, **spec: Any
) -> AsyncIterator[Show]:
    """Version 1 twice in every member, and a FleetRollout. without: a member that is not in the fleet yet."""
    async with playing(folder, fleet(*ALL), settings=settings) as play:
        show = Show.of(play, CHAT)
        if without:
            await show.leaves(without)
        await show.apply(waves(*(listed or (CANARY, PRODUCTION)), **spec), shipped(FILES[CHAT], "PropagationPolicy"))
        await show.release(V1, replicas=2)
        await show.sees(lambda: show.serving(V1) == {name: 2 for name in ALL if name != without})
        yield show


async def state(show: Show) -> Waves:
    message = await show.play.bus.last("PLACEMENT", subjects.placement(deployment_ref(CHAT)))
    assert message is not None
    found = Placement.decode(message.data).waves
    assert found is not None
    return found


async def baking(show: Show) -> None:
    """Version 2 serves in the canary, which has to stay healthy now."""
    await show.release(V2, replicas=2)
    await show.says("rollout", "status", NAME, "-n", "demo", shows="wave 1 of 2, baking", status=0)
    assert show.serving(V2) == {"canary": 2}


class Census:
    """At every change: how many members were in the middle of an update at once, and in which order they began."""

    def __init__(self, show: Show) -> None:
        self.most = 0
        self.order: list[str] = []

        def look() -> None:
            begun, through = show.started(V2), {name for name, count in show.serving(V2).items() if count == 2}
            self.order += sorted(begun - set(self.order))
            self.most = max(self.most, len(begun - through))

        show.play.observer.gauges.append(look)


class TestOrder:
    @pytest.mark.parametrize("at_once", [1, 2])
    async def test_the_canary_first_then_so_many_at_once(self, tmp_path: Path, at_once: int) -> None:
        async with chatting(tmp_path, maxUnavailableClusters=at_once) as show:
            census = Census(show)
            await show.release(V2, replicas=2)
            await show.sees(lambda: show.serving(V2) == dict.fromkeys(ALL, 2))
            assert (census.order[0], set(census.order)) == ("canary", set(ALL))
            assert census.most <= at_once
            await show.says("rollout", "status", NAME, "-n", "demo", shows="all waves, done", status=0)

    async def test_a_bad_version_does_not_pass_behind_the_pods_of_the_good_one(self, tmp_path: Path) -> None:
        """All of it starts beside the old pods, which go on serving: the canary seems to have all that it needs."""
        gate = {**CANARY, "gate": {"timeout": "5m"}}
        beside = {"strategy": {"rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 0}}}
        async with chatting(tmp_path, gate, PRODUCTION, onFailure="Undo") as show:
            census = Census(show)
            await show.release(V2, ready=False, replicas=2, **beside)
            told = await show.says("rollout", "status", NAME, "-n", "demo", shows="undone: wave canary failed")
            assert (told.status, "pods of before are still there" in told.out) == (1, True)
            await show.sees(lambda: not show.started(V2))
            assert (census.order, show.serving(V1)) == (["canary"], dict.fromkeys(ALL, 2))


class TestPeople:
    async def test_paused_and_resumed(self, tmp_path: Path) -> None:
        async with chatting(tmp_path) as show:
            assert (await show.rollout("pause", NAME)).lines == ["fleetrollout/chat paused"]
            await show.release(V2, replicas=2)
            await show.says(
                "rollout", "status", NAME, "-n", "demo", shows="wave 1 of 2, paused: paused by its manifest"
            )
            await show.play.settles(lambda: not show.started(V2))
            refused = await show.rollout("pause", NAME, "-m", "canary", expect=1)
            assert "a FleetRollout is paused as a whole" in refused.err
            assert (await show.rollout("resume", NAME)).lines == ["fleetrollout/chat resumed"]
            await show.sees(lambda: show.serving(V2) == dict.fromkeys(ALL, 2))

    async def test_aborted(self, tmp_path: Path) -> None:
        async with chatting(tmp_path, LONG, PRODUCTION) as show:
            await baking(show)
            told = await show.rollout("abort", NAME)
            assert told.lines == [
                "fleetrollout/chat paused",
                *(f"cluster({name}): deployment/chat undone to revision 1" for name in ALL),
            ]
            await show.sees(lambda: show.serving(V1) == dict.fromkeys(ALL, 2) and not show.started(V2))
            shows = "undone: every member was taken back to revision 1"
            await show.says("rollout", "status", NAME, "-n", "demo", shows=shows, status=1)

    async def test_a_canary_that_was_taken_back_holds_the_others(self, tmp_path: Path) -> None:
        async with chatting(tmp_path, LONG, PRODUCTION, settings=HASTY) as show:
            await baking(show)
            await show.rollout("undo", f"deploy/{CHAT}", "-m", "canary")
            await show.sees(lambda: show.serving(V1) == dict.fromkeys(ALL, 2))
            await show.play.restart("scheduler")
            await show.play.restart("executor")
            await show.play.stage.brim.ready()
            await show.apply(waves(CANARY, PRODUCTION))
            await show.play.settles(lambda: not show.started(V2), fleet_seconds=90.0)
            told = await show.says("rollout", "status", NAME, "-n", "demo", shows="it was taken back to revision 1")
            assert "wave 1 of 2, running" in told.out
            await show.release(V3, replicas=2)
            await show.sees(lambda: show.serving(V3) == dict.fromkeys(ALL, 2), "a newer version goes over all waves")


class TestAFleetThatChanges:
    async def test_a_member_that_joins_starts_with_the_version_before(self, tmp_path: Path) -> None:
        async with chatting(tmp_path, LONG, PRODUCTION, without="east") as show:
            await baking(show)
            before = await state(show)
            await show.joins("east")
            await show.sees(lambda: show.serving(V1) == dict.fromkeys(REGIONS, 2))
            assert (await state(show)).since == before.since, "the bake goes on"
            assert show.started(V2) == {"canary"}
            await show.apply(waves(CANARY, PRODUCTION))
            await show.sees(lambda: show.serving(V2) == dict.fromkeys(ALL, 2))

    async def test_a_member_that_joins_a_wave_that_is_through_has_the_new_version(self, tmp_path: Path) -> None:
        held = {"name": "production", "members": ["north", "south"], "bake": "24h"}
        async with chatting(tmp_path, {"name": "first", "members": ["canary", "east"]}, held, without="east") as show:
            await show.release(V2, replicas=2)
            await show.says("rollout", "status", NAME, "-n", "demo", shows="wave 2 of 2, baking")
            await show.joins("east")
            await show.sees(lambda: show.serving(V2).get("east") == 2)
            await show.says("rollout", "status", NAME, "-n", "demo", shows="wave 2 of 2, baking")

    async def test_a_member_that_leaves_in_the_middle_of_its_update_is_not_waited_for(self, tmp_path: Path) -> None:
        async with chatting(tmp_path) as show:
            await show.play.stage.brim.members["east"].pause()
            await show.release(V2, replicas=2)
            told = await show.says(
                "rollout", "status", NAME, "-n", "demo", shows="- east: it has not taken the revision yet"
            )
            assert "MemberUnavailable" in told.out or "does not answer" in told.out
            assert set(show.serving(V2)) == {"canary"}
            await show.leaves("east")
            await show.sees(lambda: show.serving(V2) == dict.fromkeys(("canary", "north", "south"), 2))
            await show.says("rollout", "status", NAME, "-n", "demo", shows="all waves, done", status=0)


@pytest.mark.parametrize("service", [service for service in SERVICES if service != "descheduler"])
async def test_any_part_ends_in_the_middle_of_a_wave(tmp_path: Path, service: str) -> None:
    """Nothing goes forward by it, and the bake does not begin anew."""
    async with chatting(tmp_path, LONG, PRODUCTION, settings=HASTY) as show:
        await baking(show)
        before = await state(show)
        await show.play.restart(service)
        await show.play.stage.brim.ready()
        await show.play.settles(
            lambda: show.serving(V2) == {"canary": 2},
            lambda: show.serving(V1) == dict.fromkeys(REGIONS, 2),
            fleet_seconds=90.0,
        )
        assert await state(show) == before
        await show.apply(waves(CANARY, PRODUCTION))
        await show.sees(lambda: show.serving(V2) == dict.fromkeys(ALL, 2))
