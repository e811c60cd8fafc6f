"""Every part may end while replicas overflow into another real member and come back; the members' API servers too."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from cli.demo.observer import names
from tests.e2e.harness import QWEN3, Play
from tests.e2e.overflow import BLOWS, HYBRID, back, out
from tests.real.control_plane import ControlPlane
from tests.real.play import really_playing, three

pytestmark = pytest.mark.real


async def test_any_part_ends_while_replicas_overflow_and_come_back(tmp_path: Path, planes: list[ControlPlane]) -> None:
    async def api_servers_crash(_: Play) -> None:
        for plane in planes:
            plane.crash_api_server()
        for plane in planes:
            await asyncio.to_thread(plane.ready)

    async with really_playing(tmp_path, three(HYBRID.fleet), planes, boots=2, idle=3) as play:
        await play.apply("qwen3.yaml", HYBRID.policies)
        await play.eventually(lambda: play.ready("test", "qwen3", HYBRID.home) == 2)
        for name, blow in {**BLOWS, "API servers crash": api_servers_crash}.items():
            await play.eventually(lambda: not play.added_nodes(HYBRID.cloud))
            await play.has_room(QWEN3, HYBRID.room)
            stayed = await out(play, HYBRID, name, blow)
            await back(play, HYBRID, name, blow)
            assert names(play.observer.pods("test", "qwen3", HYBRID.home)) <= stayed, "a pod at home was replaced"
