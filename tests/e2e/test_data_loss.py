"""The server comes back with nothing: no wish, no placement, no lease. Members keep what they have."""

from __future__ import annotations

import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio

from cli.demo.observer import names
from cli.running import join_members
from cli.up import example
from shared import documents
from shared.contracts import subjects
from shared.errors import BusUnavailable
from tests.e2e.harness import QWEN3, WAIT, Play, playing


async def loses_everything(play: Play, folder: Path) -> None:
    server = play.stage.brim.server
    assert server is not None
    await server.stop(kill=True)
    shutil.rmtree(next(path for path in folder.rglob("jetstream") if path.is_dir()))
    await server.start()


async def told(play: Play, *members: str) -> None:
    """Wait until inventory has told again what the members hold."""
    missing = {subjects.status(member, QWEN3) for member in members}
    view = play.bus.view("STATUS")
    with anyio.fail_after(WAIT):
        async with anyio.create_task_group() as group, aclosing(view.changes()) as changes:
            group.start_soon(view.run)
            while missing:
                missing.discard((await anext(changes)).subject)
            group.cancel_scope.cancel()


async def patiently(ask: Callable[[], Awaitable[object]]) -> None:
    """As people would: the scheduler takes its lease anew when it hears what the members hold."""
    with anyio.fail_after(WAIT):
        while True:
            with suppress(BusUnavailable):
                await ask()
                return
            await anyio.sleep(0.1)


def qwen3(replicas: int) -> list[Any]:
    found, faults = documents.read(example("qwen3.yaml").encode())
    assert not faults
    manifests = [json.loads(json.dumps(one.manifest)) for one in found]
    for manifest in manifests:
        if manifest["kind"] == "Deployment":
            manifest["spec"]["replicas"] = replicas
    return manifests


@asynccontextmanager
async def four_replicas(folder: Path) -> AsyncIterator[tuple[Play, dict[str, int], frozenset[str]]]:
    """Two in the first tier, whose nodes are full with them, two on nodes that were added for them."""
    async with playing(folder, "hybrid.yaml") as play:
        await play.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml")
        await play.eventually(lambda: play.ready("test", "qwen3", "idc") == 2)
        await play.scale(QWEN3, 4)
        await play.eventually(lambda: play.ready("test", "qwen3") == 4)
        yield play, play.asked(QWEN3), names(play.observer.pods("test", "qwen3"))


async def is_brims_still(play: Play, pods: frozenset[str]) -> None:
    """Scaling in takes the expensive ones, and touches no other."""
    await play.scale(QWEN3, 2)
    await play.eventually(lambda: play.held("test", "qwen3", "ack") == 0)
    await play.settles(lambda: play.ready("test", "qwen3", "idc") == 2)
    assert names(play.observer.pods("test", "qwen3", "idc")) <= pods


async def test_a_scheduler_that_lives_writes_again_what_it_knows(tmp_path: Path) -> None:
    """Nobody has to do anything."""
    async with four_replicas(tmp_path) as (play, before, pods):
        await loses_everything(play, tmp_path)
        await told(play, "idc", "ack")
        await play.stage.brim.ready()
        await play.settles(lambda: play.ready("test", "qwen3") == 4, lambda: play.asked(QWEN3) == before)
        assert names(play.observer.pods("test", "qwen3")) == pods, "no pod was touched"
        await is_brims_still(play, pods)


async def test_what_people_apply_again_is_taken_up_where_it_runs(tmp_path: Path) -> None:
    """The scheduler died, too. The nodes are full of its own replicas: they must not be in its way."""
    async with four_replicas(tmp_path) as (play, before, pods):
        await play.stage.brim.stop("scheduler")
        await loses_everything(play, tmp_path)
        play.stage.brim.start("scheduler")
        await join_members(play.bus, play.stage.brim)
        await told(play, "idc", "ack")
        assert play.asked(QWEN3) == before, "absence never deletes"
        await patiently(lambda: play.apply("qwen3-hybrid-policies.yaml"))
        await patiently(lambda: play.submit(*qwen3(4)))
        await play.settles(lambda: play.ready("test", "qwen3") == 4, lambda: play.asked(QWEN3) == before)
        assert names(play.observer.pods("test", "qwen3")) == pods, "no pod was touched"
        await is_brims_still(play, pods)
