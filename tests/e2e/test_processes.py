"""The services as processes of their own: how they start, show themselves, end when asked to, and die."""

from __future__ import annotations

import signal
from pathlib import Path

import aiohttp

from cli.demo.observer import names
from cli.services import SERVICES
from tests.e2e.harness import QWEN3, WAIT, Census
from tests.e2e.processes import START, complaints, in_processes, status


async def test_each_shows_itself_and_ends_well_when_asked_to(tmp_path: Path) -> None:
    async with in_processes(tmp_path) as (play, processes):
        addresses = await processes.ready()
        async with aiohttp.ClientSession() as session:
            for name, address in addresses.items():
                assert await status(session, address + "/healthz") == 200, name
                async with session.get(address + "/metrics") as response:
                    page = await response.text()
                assert response.content_type == "text/plain", name
                assert f"brim_{name}_" in page, f"{name} shows no figures of its own:\n{page[:500]}"
        await play.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml")
        await play.eventually(lambda: play.ready("test", "qwen3", "idc") == 2)
        assert await processes.end(signal.SIGTERM) == dict.fromkeys(SERVICES, 0)
        assert complaints(processes.log(name) for name in SERVICES) == []


async def test_all_are_killed_in_the_middle_of_a_scale_out_and_one_by_one_on_the_way_back(tmp_path: Path) -> None:
    """Nothing is handed back: those who come next wait for the leases to run out, and find all in the streams."""
    async with in_processes(tmp_path) as (play, processes):
        await play.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml")
        await play.eventually(lambda: play.ready("test", "qwen3", "idc") == 2)
        kept = names(play.observer.pods("test", "qwen3", "idc"))
        census = Census(play)
        census.remember_pods("test", "qwen3")
        census.follow("asked", lambda: sum(play.asked(QWEN3).values()))
        await play.scale(QWEN3, 4)
        await processes.end(signal.SIGKILL)
        await processes.start()
        await play.eventually(lambda: play.ready("test", "qwen3", "ack") == 2, timeout=START + WAIT)
        assert names(play.observer.pods("test", "qwen3", "idc")) == kept
        assert census.most("asked") == 4
        assert len(census.pods) == 4, f"pods were started twice: {sorted(census.pods)}"
        census.follow("at home", lambda: play.ready("test", "qwen3", "idc"))
        await play.scale(QWEN3, 2)
        for name in SERVICES:
            await processes.end(signal.SIGKILL, name)
            await processes.start(name)
        await play.eventually(lambda: not play.held("test", "qwen3", "ack"), timeout=START + WAIT)
        assert census.least("at home") == 2
        assert len(census.pods) == 4, f"pods were started on the way back: {sorted(census.pods)}"
        assert names(play.observer.pods("test", "qwen3", "idc")) == kept
