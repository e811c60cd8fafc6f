"""Every part may end in the middle of every scenario: nothing is lost, and nothing is doubled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cli.demo.observer import names
from cli.services import SERVICES
from tests.e2e.harness import QWEN3, Census, Play, playing, reference, web

Blow = Callable[[Play], Awaitable[None]]


def ends(service: str) -> Blow:
    async def blow(play: Play) -> None:
        await play.restart(service)

    return blow


async def bus_restarts(play: Play) -> None:
    await play.restart_bus(kill=False)


async def bus_crashes(play: Play) -> None:
    await play.restart_bus(kill=True)


BLOWS: dict[str, Blow] = {
    **{service: ends(service) for service in SERVICES},
    "nats restarts": bus_restarts,
    "nats crashes": bus_crashes,
}


@pytest.mark.parametrize(
    ("fleet", "policies", "members", "most"),
    [
        ("hybrid.yaml", "qwen3-hybrid-policies.yaml", ("idc", "ack"), 4),
        ("multi-region.yaml", "qwen3-multi-region-policies.yaml", ("shanghai", "beijing"), 5),
    ],
    ids=["hybrid", "multi-region"],
)
async def test_any_part_ends_while_replicas_overflow_and_come_back(
    tmp_path: Path, fleet: str, policies: str, members: tuple[str, str], most: int
) -> None:
    first, second = members
    async with playing(tmp_path, fleet) as play:
        await play.apply("qwen3.yaml", policies)
        await play.eventually(lambda: play.ready("test", "qwen3", first) == 2)
        kept = names(play.observer.pods("test", "qwen3", first))
        for blow in BLOWS.values():
            await play.has_room(QWEN3, {first: most - 2, second: 2})
            census = Census(play)
            census.remember_pods("test", "qwen3")
            census.follow("asked", lambda: sum(play.asked(QWEN3).values()))

            await play.scale(QWEN3, most)
            await blow(play)
            await play.eventually(
                lambda: play.ready("test", "qwen3") == most and play.held("test", "qwen3", second) == 2
            )
            assert sum(play.asked(QWEN3).values()) == most
            assert census.most("asked") == most, "more replicas were asked for than people wanted"
            assert len(census.pods) == most, f"pods were started twice: {sorted(census.pods)}"

            await play.scale(QWEN3, 2)
            await blow(play)
            await play.eventually(lambda: play.ready("test", "qwen3") == 2 and not play.held("test", "qwen3", second))
            assert names(play.observer.pods("test", "qwen3", first)) >= kept or most == 5
            census.close()
        if most == 4:
            assert names(play.observer.pods("test", "qwen3", first)) == kept, "the first tier's pods were touched"


async def test_any_part_ends_while_stuck_replicas_move(tmp_path: Path) -> None:
    """One workload per part that ends, all restarted under the same taint; each end falls among the moves."""
    async with playing(tmp_path, "hybrid.yaml") as play:
        apps = [f"web-{number}" for number in range(3)]
        await play.submit(*(manifest for app in apps for manifest in web(app)))
        await play.eventually(
            lambda: all(play.ready("default", app) == 4 and play.ready("default", app, "idc") > 0 for app in apps)
        )
        census = Census(play)
        for app in apps:
            census.follow(app, lambda app=app: play.ready("default", app))  # type: ignore[misc]
        await play.stage.taint_nodes("idc", "foo", "bar")
        for app in apps:
            await play.stage.restart("idc", reference(app))
        await play.eventually(lambda: all(play.waiting("default", app, "idc") > 0 for app in apps))
        for blow in BLOWS.values():
            await blow(play)
            await play.stage.clock.sleep(6)
        await play.eventually(
            lambda: all(
                not play.held("default", app, "idc") and play.ready("default", app, "ack") == 4 for app in apps
            ),
        )
        for app in apps:
            assert census.least(app) >= 4, f"{app} served with {census.least(app)} replicas for a moment"
            assert sum(play.asked(reference(app)).values()) == 4
