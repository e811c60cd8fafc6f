"""The services as processes of their own: how they start, show themselves, end when asked to, and die."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import anyio
import pytest

from cli.demo.observer import names, observing
from cli.demo.stage import Stage
from cli.running import Brim, join_members, run_brim
from cli.services import SERVICES
from shared.bus import Bus
from shared.clock import Clock
from shared.settings import Settings
from tests.e2e.harness import QWEN3, SPEED, WAIT, Census, Play, example_fleet

ROOT = Path(__file__).parents[2]
START = 30.0  # real seconds for four interpreters on a busy machine, and for the leases of those that were killed
HEALTH = re.compile(r"health at (http://[^/]+)/readyz")


@dataclass
class Processes:
    """`python -m services.<name>`, each with its log in a file."""

    brim: Brim
    folder: Path
    running: dict[str, Process] = field(default_factory=dict)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    async def start(self, *names: str) -> None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("BRIM_")}
        environment |= {
            "BRIM_BUS__URL": self.brim.settings.bus.url,
            "BRIM_CLOCK__SPEED": str(self.brim.clock.speed),
            "BRIM_CLOCK__EPOCH": repr(self.brim.clock.epoch),
            "BRIM_HEALTH__PORT": "0",
        }
        for name in names or SERVICES:
            with (self.folder / f"{name}.log").open("wb") as log:
                self.running[name] = await asyncio.create_subprocess_exec(
                    sys.executable, "-m", f"services.{name}", env=environment, cwd=ROOT, stderr=log
                )

    async def ready(self) -> dict[str, str]:
        """Wait until all are; the address of each."""
        found: dict[str, str] = {}
        try:
            async with asyncio.timeout(START), aiohttp.ClientSession() as session:
                while len(found) < len(SERVICES):
                    for name in set(SERVICES) - set(found):
                        match = HEALTH.search(self.log(name))
                        if match and await status(session, match.group(1) + "/readyz") == 200:
                            found[name] = match.group(1)
                    await anyio.sleep(0.05)
        except TimeoutError:
            logs = "\n".join(f"{name}: {self.log(name)}" for name in SERVICES)
            pytest.fail(f"only {sorted(found)} became ready\n{logs}")
        return found

    async def end(self, number: signal.Signals, *names: str) -> dict[str, int]:
        """Send these, or all of them, a signal; the exit status of each."""
        ending = {name: self.running.pop(name) for name in names or list(self.running)}
        for process in ending.values():
            process.send_signal(number)
        async with asyncio.timeout(START):
            return {name: await process.wait() for name, process in ending.items()}


async def status(session: aiohttp.ClientSession, url: str) -> int:
    try:
        async with session.get(url) as response:
            return response.status
    except aiohttp.ClientConnectionError:
        return 0


@asynccontextmanager
async def in_processes(folder: Path) -> AsyncIterator[tuple[Play, Processes]]:
    """The hybrid fleet with a real server and each service in a process of its own, all ready."""
    fleet, clock = example_fleet("hybrid.yaml"), Clock(speed=SPEED)
    async with (
        run_brim(Settings(), clock, fleet, folder, services=(), own_server=True) as brim,
        Bus.connect(brim.settings.bus, name="test") as bus,
    ):
        assert brim.kubeconfig is not None
        processes = Processes(brim, folder)
        async with observing(fleet, brim.kubeconfig) as observer:
            try:
                await processes.start()
                await processes.ready()
                await join_members(bus, brim)
                yield Play(Stage(brim, bus, observer, lambda _: None), folder), processes
            finally:
                await processes.end(signal.SIGKILL)


def complaints(logs: Iterable[str]) -> list[str]:
    found = [line for log in logs for line in log.splitlines()]
    return [line for line in found if '"level":"error"' in line.replace(" ", "").lower() or "Traceback" in line]


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
