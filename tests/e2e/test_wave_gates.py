"""A wave's gate that asks a Prometheus server: what it lets pass, what it stops, and what people are told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import playing
from tests.e2e.rollouts import CHAT, FILES, MEMBERS, V1, V2, V3, Metrics, Show, fleet, prometheus, shipped, waves

QUERY = 'sum(rate(errors{cluster="{member}"}[5m]))'
ALL = dict.fromkeys(MEMBERS, 2)


def gated(metrics: Metrics, on_failure: str = "Pause", **gate: Any) -> dict[str, Any]:
    query = {"url": metrics.url, "query": QUERY, "max": 0.05}
    return waves(
        {"name": "canary", "members": ["canary"], "gate": {"prometheus": query, **gate}},
        {"name": "production"},
        onFailure=on_failure,
        maxUnavailableClusters=2,
    )


@asynccontextmanager
async def chatting(folder: Path, metrics: Metrics, **gate: Any) -> AsyncIterator[Show]:
    """Version 1 in every member, and a FleetRollout whose canary is asked about."""
    async with playing(folder, fleet(*MEMBERS)) as play:
        show = Show.of(play, CHAT)
        await show.apply(gated(metrics, **gate), shipped(FILES[CHAT], "PropagationPolicy"))
        await show.release(V1, replicas=2)
        await show.sees(lambda: show.serving(V1) == ALL)
        yield show


async def test_a_value_within_its_bounds_lets_the_next_wave_start(tmp_path: Path) -> None:
    async with prometheus() as metrics, chatting(tmp_path, metrics) as show:
        assert metrics.queries == [], "there is nothing to ask about"
        await show.release(V2, replicas=2)
        await show.sees(lambda: show.serving(V2) == ALL)
        assert set(metrics.queries) == {QUERY.replace("{member}", "canary")}
        await show.says("rollout", "status", "fleetrollout/chat", "-n", "demo", shows="all waves, done", status=0)


@pytest.mark.parametrize("on_failure", ["Pause", "Undo"])
async def test_a_value_out_of_its_bounds_stops_it(tmp_path: Path, on_failure: str) -> None:
    async with prometheus() as metrics, chatting(tmp_path, metrics, on_failure=on_failure) as show:
        metrics.value = "0.2"
        await show.release(V2, replicas=2)
        state = "failed" if on_failure == "Pause" else "undone"
        told = await show.says("rollout", "status", "deploy/chat", "-n", "demo", shows=f"{state}: wave canary failed")
        assert told.status == 1
        assert "canary: the query's value is 0.2, outside of its bounds" in told.out
        if on_failure == "Undo":
            await show.sees(lambda: show.serving(V1) == ALL and not show.started(V2))
            return
        await show.play.settles(lambda: show.serving(V2) == {"canary": 2}, lambda: show.started(V2) == {"canary"})
        metrics.value = "0.01"
        assert (await show.rollout("resume", "fleetrollout/chat")).out
        await show.sees(lambda: show.serving(V2) == ALL)


NONSENSE = {
    "no JSON": (b"<html>not found</html>", "does not answer as Prometheus does"),
    "an error": (json.dumps({"status": "error", "error": "parse error"}).encode(), "cannot be evaluated: parse error"),
    "nothing": (json.dumps({"status": "success", "data": {"resultType": "vector", "result": []}}).encode(), "nothing"),
}


async def test_nonsense_is_no_value_and_people_see_why_it_waits(tmp_path: Path) -> None:
    async with prometheus() as metrics, chatting(tmp_path, metrics) as show:
        metrics.say = b""
        await show.release(V2, replicas=2)
        await show.sees(lambda: show.serving(V2) == {"canary": 2})
        for body, words in NONSENSE.values():
            metrics.say = body
            told = await show.says("rollout", "status", "fleetrollout/chat", "-n", "demo", shows=words)
            assert "canary: the query has no value yet" in told.out
        assert show.started(V2) == {"canary"}
        metrics.say = None
        await show.sees(lambda: show.serving(V2) == ALL)


async def test_a_server_that_is_away_holds_the_wave_until_it_is_back(tmp_path: Path) -> None:
    async with prometheus() as metrics:
        pass
    async with chatting(tmp_path, metrics) as show:
        await show.release(V2, replicas=2)
        told = await show.says("rollout", "status", "fleetrollout/chat", "-n", "demo", shows="does not answer")
        assert (told.status, metrics.url in told.out) == (0, True)
        await show.play.settles(lambda: show.started(V2) == {"canary"})
        port = int(metrics.url.rpartition(":")[2])
        async with prometheus(port, metrics):
            await show.sees(lambda: show.serving(V2) == ALL)


async def test_a_server_that_stays_away_fails_the_wave_after_its_timeout(tmp_path: Path) -> None:
    async with prometheus() as metrics:
        pass
    async with chatting(tmp_path, metrics, on_failure="Undo", timeout="5m") as show:
        await show.release(V2, replicas=2)
        told = await show.says(
            "rollout", "status", "fleetrollout/chat", "-n", "demo", shows="undone: wave canary failed"
        )
        assert "after 300 s the query has no value yet" in told.out
        await show.sees(lambda: show.serving(V1) == ALL and not show.started(V2))
        await show.release(V3, replicas=2)
        await show.sees(lambda: show.started(V3) == {"canary"}, "a newer version tries again")


@pytest.mark.parametrize("allowed", [1, None])
async def test_a_version_that_restarts_too_often_is_taken_back(tmp_path: Path, allowed: int | None) -> None:
    """It is Ready at first, and between two crashes: only its restarts, or a bake that never ends, give it away."""
    canary = {"name": "canary", "members": ["canary"], "bake": "10m", "gate": {"maxRestarts": allowed}}
    wanted = waves(canary, {"name": "production"}, onFailure="Undo")
    if allowed is None:
        del canary["gate"]
    crashing = {"simulator.brim.dev/run-seconds": "30", "simulator.brim.dev/exit-code": "1"}
    async with playing(tmp_path, fleet(*MEMBERS)) as play:
        show = Show.of(play, CHAT)
        await show.apply(wanted, shipped(FILES[CHAT], "PropagationPolicy"))
        await show.release(V1, replicas=2)
        await show.sees(lambda: show.serving(V1) == ALL)
        await show.release(V2, replicas=2, template__metadata__annotations=crashing)
        if allowed is None:
            await show.sees(lambda: show.serving(V2) == {"canary": 2})
            await show.play.settles(lambda: show.started(V2) == {"canary"}, fleet_seconds=300)
            return
        words = "undone: wave canary failed"
        told = await show.says("rollout", "status", "fleetrollout/chat", "-n", "demo", shows=words)
        assert "restarts, 1 are allowed" in told.out
        await show.sees(lambda: show.serving(V1) == ALL and not show.started(V2))
