"""A brim under test whose services are processes of their own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import anyio
import pytest

from cli.demo.observer import Observer, node_of, observing
from cli.demo.stage import Stage
from cli.json_values import text
from cli.running import Brim, join_members, run_brim
from cli.services import SERVICES
from shared.bus import Bus
from shared.clock import Clock
from shared.kube import PODS
from shared.settings import Settings
from tests.e2e.harness import SPEED, Play, example_fleet

ROOT = Path(__file__).parents[2]
LINES = 40  # of a log that are shown
START = 30.0  # real seconds for four interpreters on a busy machine, and for the leases of those that were killed
HEALTH = re.compile(r"health at (http://[^/]+)/readyz")


@dataclass
class Processes:
    """`python -m services.<name>`, each with its log in a file. environment: more variables for a service."""

    brim: Brim
    folder: Path
    environment: Callable[[str], Mapping[str, str]] = lambda _: {}
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
                    sys.executable,
                    "-m",
                    f"services.{name}",
                    env=environment | self.environment(name),
                    cwd=ROOT,
                    stderr=log,
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
            pytest.fail(f"only {sorted(found)} became ready")
        return found

    def told(self) -> str:
        """The end of each log."""
        return "\n".join(f"{name}: {line}" for name in SERVICES for line in self.log(name).splitlines()[-LINES:])

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
async def in_processes(
    folder: Path,
    *,
    fleet_file: str = "hybrid.yaml",
    settings: Settings | None = None,
    environment: Callable[[str], Mapping[str, str]] = lambda _: {},
) -> AsyncIterator[tuple[Play, Processes]]:
    """A fleet of examples/ with a real server and each service in a process of its own, all ready.

    settings: of a server that runs already. environment: more variables for a service.
    """
    fleet, clock = example_fleet(fleet_file), Clock(speed=SPEED)
    async with (
        run_brim(settings or Settings(), clock, fleet, folder, services=(), own_server=settings is None) as brim,
        Bus.connect(brim.settings.bus, name="test") as bus,
    ):
        assert brim.kubeconfig is not None
        processes = Processes(brim, folder, environment)
        async with observing(fleet, brim.kubeconfig) as observer:
            try:
                await processes.start()
                await processes.ready()
                await join_members(bus, brim)
                yield Play(Stage(brim, bus, observer, lambda _: None), folder), processes
            finally:
                print(processes.told(), _shown(observer), sep="\n")  # pytest shows it where a test fails
                await processes.end(signal.SIGKILL)


def _shown(observer: Observer) -> str:
    pods = ((entry.member, entry.manifest) for entry in observer.objects(PODS))
    return "\n".join(
        f"{member}: {text(pod, 'metadata', 'name')} on {node_of(pod) or 'no node'}, {text(pod, 'status', 'phase')}"
        for member, pod in pods
    )


def complaints(logs: Iterable[str]) -> list[str]:
    found = [line for log in logs for line in log.splitlines()]
    return [line for line in found if '"level":"error"' in line.replace(" ", "").lower() or "Traceback" in line]
