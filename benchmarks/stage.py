"""What is measured: a real nats-server, brim's services as processes of their own, and one connection to watch."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from shared.bus import Bus
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.submit import Answer
from shared.errors import BrimError, BusUnavailable
from shared.nats_server import NatsServer
from shared.settings import BusSettings

ROOT = Path(__file__).parents[1]
START = 60.0  # seconds until a process must be ready
STOP = 20.0


class DidNotHappen(BrimError):
    """Something that a row waits for did not come in time."""

    code = "BenchmarkFailed"


@dataclass(slots=True)
class Process:
    """A child process, and where its log is. url: where a service tells how it is."""

    name: str
    child: asyncio.subprocess.Process
    log: Path
    url: str = ""

    def memory(self) -> tuple[int, int]:
        """Resident bytes now, and at most so far. Zero where the system has no /proc."""
        try:
            text = Path(f"/proc/{self.child.pid}/status").read_text(encoding="utf-8")
        except OSError:
            return 0, 0
        sizes = dict(line.split(":", 1) for line in text.splitlines() if line.startswith(("VmRSS", "VmHWM")))
        return int(sizes["VmRSS"].split()[0]) * 1024, int(sizes["VmHWM"].split()[0]) * 1024

    def cpu(self) -> float:
        """Processor seconds used so far. Zero where the system has no /proc."""
        try:
            fields = Path(f"/proc/{self.child.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end_of_log(self) -> str:
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])


@dataclass(slots=True)
class Stage:
    """server, bus: ready for use. Processes are started with `start` and end with the stage."""

    folder: Path
    server: NatsServer
    bus: Bus
    processes: dict[str, Process] = field(default_factory=dict)

    async def service(
        self, name: str, settings: Mapping[str, str] | None = None, *, profile: Path | None = None
    ) -> Process:
        """Start one of brim's services and wait until it says that it is ready.

        profile: a folder for what cProfile finds until the service ends; it runs slower then.
        """
        port = _free_port()
        environment = {"BRIM_BUS__URL": self.server.url, "BRIM_HEALTH__PORT": str(port), "BRIM_LOG__LEVEL": "warning"}
        profiled = ["-m", "cProfile", "-o", str(profile / f"{name}.prof")] if profile is not None else []
        process = await self.start(name, [*profiled, "-m", f"services.{name}"], {**environment, **(settings or {})})
        process.url = f"http://127.0.0.1:{port}"
        await _answers(process, f"{process.url}/readyz")
        return process

    async def start(self, name: str, arguments: list[str], environment: Mapping[str, str] | None = None) -> Process:
        """Start a Python process; its output goes to a file in the stage's folder."""
        log = self.folder / f"{name}.log"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("BRIM_")}
        with log.open("wb") as output:
            child = await asyncio.create_subprocess_exec(
                sys.executable,
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=ROOT,
                env={**inherited, **(environment or {})},
            )
        self.processes[name] = Process(name, child, log)
        return self.processes[name]

    async def stop(self) -> None:
        """End every process, politely, then for good."""
        running = [process for process in self.processes.values() if process.child.returncode is None]
        for process in running:
            process.child.send_signal(signal.SIGTERM)
        for process in running:
            try:
                await asyncio.wait_for(process.child.wait(), STOP)
            except TimeoutError:
                process.child.kill()
                await process.child.wait()
        self.processes.clear()

    async def apply(self, *manifests: JsonObject | str) -> Answer:
        """Ask the intake to accept manifests. Raises Invalid with what is wrong."""
        documents = [text if isinstance(text, str) else json.dumps(text) for text in manifests]
        return Answer.decode(await served(self.bus, subjects.APPLY, "\n---\n".join(documents).encode()))


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """A server with its streams, and a connection."""
    async with (
        NatsServer(folder / "nats") as server,
        Bus.connect(BusSettings(url=server.url), name="benchmark") as bus,
    ):
        await bus.ensure_streams()
        it = Stage(folder, server, bus)
        try:
            yield it
        finally:
            await it.stop()


async def _answers(process: Process, url: str) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session:
        for _ in range(int(START / 0.05)):
            if process.child.returncode is not None:
                raise DidNotHappen(f"{process.name} ended ({process.child.returncode}):\n{process.end_of_log()}")
            try:
                async with session.get(url) as answer:
                    if answer.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.05)
    raise DidNotHappen(f"{process.name} was not ready within {START:g} s:\n{process.end_of_log()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def served(bus: Bus, subject: str, payload: bytes, *, within: float = START) -> bytes:
    """Ask until somebody answers. Raises DidNotHappen."""
    loop = asyncio.get_running_loop()
    until = loop.time() + within
    while loop.time() < until:
        try:
            return await bus.request(subject, payload, timeout=10.0)
        except BusUnavailable:
            await asyncio.sleep(0.1)
    raise DidNotHappen(f"nobody answered on {subject} within {within:g} s")
