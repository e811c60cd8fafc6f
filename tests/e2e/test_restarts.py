"""Every part may end in the middle of every scenario: nothing is lost, and nothing is doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from cli import running
from cli.demo.observer import names
from cli.services import SERVICES
from shared.clock import Clock
from shared.contracts.refs import ObjectRef
from shared.service import ServiceContext
from shared.settings import Settings
from tests.e2e.harness import QUICK, QWEN3, SPEED, Census, Play, example_fleet, playing, reference, web

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


@dataclass(frozen=True)
class Overflow:
    """One of the set-ups. home, cloud: the members of the first and the second tier. peak: replicas of both in the
    end, and how many of them on nodes that have to be added."""

    fleet: str
    policies: str
    home: str
    cloud: str
    peak: tuple[tuple[int, int], tuple[int, int]]

    @property
    def most(self) -> int:
        return sum(replicas for replicas, _ in self.peak)

    @property
    def room(self) -> dict[str, tuple[int, int]]:
        return dict(zip((self.home, self.cloud), self.peak, strict=True))


HYBRID = Overflow("hybrid.yaml", "qwen3-hybrid-policies.yaml", "idc", "ack", ((2, 0), (2, 2)))
MULTI_REGION = Overflow(
    "multi-region.yaml", "qwen3-multi-region-policies.yaml", "shanghai", "beijing", ((3, 1), (2, 0))
)
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
            stayed = await _out(play, setup, name, blow)
            await _back(play, setup, name, blow)
            assert names(play.observer.pods("test", "qwen3", setup.home)) <= stayed, "a pod at home was replaced"


async def _out(play: Play, setup: Overflow, name: str, blow: Blow) -> frozenset[str]:
    """Scale out, and end the part twice on the way. Returns the pods at home."""
    kept = names(play.observer.pods("test", "qwen3", setup.home))
    census = Census(play)
    census.remember_pods("test", "qwen3")
    census.follow("asked", lambda: sum(play.asked(QWEN3).values()))
    census.follow("ready", lambda: play.ready("test", "qwen3"))
    await play.scale(QWEN3, setup.most)
    await blow(play)
    await play.eventually(lambda: play.held("test", "qwen3", setup.cloud) == 2, f"the cloud's replicas after {name}")
    await blow(play)
    await play.eventually(lambda: play.ready("test", "qwen3") == setup.most, f"all of them after {name}")
    assert sum(play.asked(QWEN3).values()) == setup.most
    assert census.most("asked") == setup.most, f"{name}: more replicas were asked for than people wanted"
    assert census.least("ready") == 2, f"{name}: one that ran was lost"
    assert len(census.pods) == setup.most, (
        f"{name}: pods were started twice: {sorted(census.pods)}\n{await play.decisions()}"
    )
    census.close()
    at_home = names(play.observer.pods("test", "qwen3", setup.home))
    assert at_home >= kept
    return at_home


async def _back(play: Play, setup: Overflow, name: str, blow: Blow) -> None:
    census = Census(play)
    census.remember_pods("test", "qwen3")
    census.follow("ready", lambda: play.ready("test", "qwen3", setup.home))
    await play.scale(QWEN3, 2)
    await blow(play)
    await play.eventually(
        lambda: play.ready("test", "qwen3") == 2 and not play.held("test", "qwen3", setup.cloud),
        f"back at home after {name}",
    )
    assert play.asked(QWEN3)[setup.home] == 2
    assert census.least("ready") >= 2, f"{name}: one at home was taken while the cloud had some"
    assert len(census.pods) == setup.most, f"{name}: pods were started on the way back\n{await play.decisions()}"
    census.close()


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
