"""Every part may end in the middle of every scenario: nothing is lost, and nothing is doubled."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from cli import running
from cli.demo.observer import names
from shared.clock import Clock
from shared.contracts.refs import ObjectRef
from shared.service import ServiceContext
from shared.settings import Settings
from tests.e2e.harness import QUICK, QWEN3, SPEED, Census, Play, example_fleet, playing, reference, web
from tests.e2e.overflow import BLOWS, HYBRID, MULTI_REGION, Overflow, back, out

HASTY = QUICK.model_copy(update={"node_idle": 20})  # so that each part finds the nodes gone that the last one needed


@pytest.mark.parametrize("setup", [HYBRID, MULTI_REGION], ids=["hybrid", "multi-region"])
async def test_any_part_ends_while_replicas_overflow_and_come_back(tmp_path: Path, setup: Overflow) -> None:
    """Each part ends when people have just asked for more, when the cloud's replicas are there and maybe wait for
    nodes, and when people have just asked for less."""
    async with playing(tmp_path, example_fleet(setup.fleet, HASTY), speed=2 * SPEED) as play:
        await play.apply("qwen3.yaml", setup.policies)
        await play.eventually(lambda: play.ready("test", "qwen3", setup.home) == 2)
        for name, blow in BLOWS.items():
            await play.eventually(lambda: not any(map(play.added_nodes, (setup.home, setup.cloud))))
            await play.has_room(QWEN3, setup.room)
            stayed = await out(play, setup, name, blow)
            await back(play, setup, name, blow)
            assert names(play.observer.pods("test", "qwen3", setup.home)) <= stayed, "a pod at home was replaced"


async def test_any_part_ends_while_stuck_replicas_move(tmp_path: Path) -> None:
    """All nodes at home are tainted. One workload after the other is restarted there, and each time a part ends
    as soon as the first stuck replica is being moved."""
    async with playing(tmp_path, "hybrid.yaml") as play:
        apps = {name: f"web-{number}" for number, name in enumerate(BLOWS)}
        await play.submit(*(manifest for app in apps.values() for manifest in web(app)))
        await play.eventually(
            lambda: all(
                play.ready("default", app) == 4 and play.ready("default", app, "idc") > 0 for app in apps.values()
            )
        )
        census = Census(play)
        for app in apps.values():
            census.follow(app, lambda app=app: play.ready("default", app))  # type: ignore[misc]
        await play.stage.taint_nodes("idc", "foo", "bar")
        for app in apps.values():
            await play.stage.restart("idc", reference(app))
            await play.eventually(lambda app=app: play.waiting("default", app, "idc") > 0)  # type: ignore[misc]
        for name, app in apps.items():
            await play.decided(reference(app), lambda placement: placement.cause == "rebalance")
            await BLOWS[name](play)
        await play.eventually(lambda: all(moved(play, reference(app)) for app in apps.values()))
        for app in apps.values():
            assert census.least(app) >= 4, f"{app} served with {census.least(app)} replicas for a moment"
            assert play.asked(reference(app)) == {"ack": 4} or play.asked(reference(app)) == {"ack": 4, "idc": 0}


def moved(play: Play, ref: ObjectRef) -> bool:
    return not play.held(ref.namespace, ref.name, "idc") and play.ready(ref.namespace, ref.name, "ack") == 4


async def test_a_service_ends_though_a_library_swallowed_that_it_was_cancelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As asyncio.wait_for of Python 3.11 does where the answer comes at the same moment."""
    waits = anyio.Event()

    async def main(_context: ServiceContext) -> None:
        with suppress(asyncio.CancelledError):
            waits.set()
            await anyio.sleep_forever()
        await anyio.sleep_forever()

    monkeypatch.setattr(running, "service", lambda _name: main)
    async with running.run_brim(
        Settings(), Clock(), example_fleet("hybrid.yaml"), tmp_path, services=(), own_server=True
    ) as brim:
        brim.start("scheduler")
        await waits.wait()
        with anyio.fail_after(10):
            await brim.stop("scheduler")
