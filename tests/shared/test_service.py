"""How a service runs and ends: root tasks, signals, exit statuses, and the same inside one process."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp
import anyio
import anyio.to_thread
import pytest

from shared.bus import Bus, BusSettings
from shared.clock import Clock
from shared.errors import MemberUnavailable
from shared.nats_server import NatsServer, binary
from shared.service import root_tasks, service_context
from shared.settings import ClockSettings, Settings

SERVICE = """
import sys
import anyio
from shared.service import ServiceContext, root_tasks, run

async def main(context: ServiceContext) -> None:
    async def handle(message):
        print("handling", flush=True)
        await anyio.sleep({work})
        print("handled", flush=True)

    async def crash():
        {crash}
        await anyio.sleep_forever()

    context.health.add_check("scheduler", lambda: True)
    print("port", context.health.port, flush=True)
    await root_tasks({{
        "intake": lambda: context.bus.consume("SUBMIT", "intake", handle, grace=5),
        "other": crash,
    }})

sys.exit(run("scheduler", main))
"""


@contextmanager
def service(url: str, *, crash: str = "pass", work: float = 0.0, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """A service as a process of its own; killed at the end if it still runs."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("BRIM_") and name != "NATS_URL"}
    own |= {
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "BRIM_BUS__URL": url,
        "BRIM_HEALTH__PORT": "0",
        **environment,
    }
    command = [sys.executable, "-c", SERVICE.format(crash=crash, work=work)]
    with subprocess.Popen(command, env=own, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def log(process: subprocess.Popen[str]) -> list[dict[str, object]]:
    _, errors = process.communicate(timeout=15)
    return [json.loads(text) for text in errors.splitlines()]


class TestProcess:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    async def test_a_signal_finishes_what_is_in_flight(
        self, bus: Bus, nats_server: str, number: signal.Signals, eventually: Callable
    ) -> None:
        await bus.publish("brim.submit.x", b"")
        with service(nats_server, work=0.5) as process:
            assert line(process).startswith("port")
            assert line(process) == "handling"
            process.send_signal(number)
            assert line(process) == "handled"
            assert process.wait(timeout=10) == 0

        async def empty() -> bool:
            return (await bus.stream_info("SUBMIT")).messages == 0

        await eventually(empty)

    async def test_what_does_not_end_is_cut_off(self, bus: Bus, nats_server: str) -> None:
        await bus.publish("brim.submit.x", b"")
        with service(nats_server, work=60, BRIM_GRACE="0.3") as process:
            line(process)
            assert line(process) == "handling"
            process.terminate()
            assert process.wait(timeout=4) == 1
            assert "cut off" in str(log(process)[-1]["message"])

    async def test_a_failed_root_task_ends_it_with_one_clear_line(self, bus: Bus, nats_server: str) -> None:
        crash = "from shared.errors import MemberUnavailable; raise MemberUnavailable('idc does not answer')"
        with service(nats_server, crash=crash) as process:
            lines = log(process)
            assert process.returncode == 1
        errors = [entry for entry in lines if entry["level"] == "error"]
        assert [entry["message"] for entry in errors] == [
            "root task other failed: idc does not answer",
            "scheduler stopped: idc does not answer",
        ]
        assert not any("exception" in entry for entry in errors)

    async def test_a_bug_shows_where_it_is(self, bus: Bus, nats_server: str) -> None:
        with service(nats_server, crash="1 / 0") as process:
            last_error = [entry for entry in log(process) if entry["level"] == "error"][-1]
        assert "ZeroDivisionError" in str(last_error["message"])
        assert "1 / 0" in str(last_error["exception"]) or "crash" in str(last_error["exception"])

    async def test_a_wrong_setting_is_one_sentence_and_status_2(self, nats_server: str) -> None:
        with service(nats_server, BRIM_SCHEDULER__REST_BASE="-1") as process:
            (entry,) = log(process)
            assert process.returncode == 2
        assert "BRIM_SCHEDULER__REST_BASE" in str(entry["message"])

    async def test_streams_that_cannot_be_made_yet_are_waited_for(self, tmp_path: Path) -> None:
        """A server that starts, a cluster without a leader; here one without JetStream that becomes one with it."""
        server = NatsServer(tmp_path)
        async with server:
            pass  # it has a port now
        poor = [binary(), "-a", "127.0.0.1", "-p", server.url.rpartition(":")[2]]
        with service(server.url) as process:
            assert process.stderr is not None
            with subprocess.Popen(poor, stderr=subprocess.DEVNULL) as without:
                while "JetStream does not answer" not in await anyio.to_thread.run_sync(process.stderr.readline):
                    assert process.poll() is None
                without.terminate()
            async with server:
                assert (await anyio.to_thread.run_sync(line, process)).startswith("port")
                process.terminate()
                await anyio.to_thread.run_sync(process.communicate)
                assert process.returncode == 0

    async def test_health_is_served_before_the_bus_is_there(self, eventually: Callable) -> None:
        port = free_port()
        with service("nats://127.0.0.1:1", BRIM_HEALTH__PORT=str(port)) as process:
            async with aiohttp.ClientSession() as session:

                async def answers() -> bool:
                    return await ready(session, port) is not None

                await eventually(answers)
                assert await ready(session, port) == (503, ["scheduler", "bus"])
            process.terminate()
            assert process.wait(timeout=10) == 0


async def ready(session: aiohttp.ClientSession, port: int) -> tuple[int, list[str]] | None:
    try:
        async with session.get(f"http://127.0.0.1:{port}/readyz") as response:
            return response.status, (await response.json())["failing"]
    except aiohttp.ClientConnectionError:
        return None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestInsideOneProcess:
    async def test_a_context_has_a_bus_of_its_own(self, bus: Bus, nats_server: str) -> None:
        settings = Settings(bus=BusSettings(url=nats_server), clock=ClockSettings(speed=60, epoch=1000.0))
        async with service_context("scheduler", settings) as context:
            assert context.bus.connected
            assert context.bus is not bus
            assert context.health.failing() == ["scheduler"], "the service itself has not spoken yet"
            context.health.add_check("scheduler", lambda: True)
            assert context.health.ready
            assert context.clock == Clock(speed=60, epoch=1000.0)
            assert context.log.name == "brim.scheduler"
            context.metrics.counter("x", "X.").add()
        assert not context.health.ready

    async def test_or_shares_one(self, bus: Bus) -> None:
        clock = Clock(speed=9)
        async with service_context("executor", Settings(), bus=bus, clock=clock) as context:
            assert context.bus is bus
            assert context.clock is clock
        assert bus.connected


class TestRootTasks:
    async def test_the_first_to_end_ends_all(self) -> None:
        cancelled: list[str] = []

        async def forever() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                cancelled.append("forever")

        async def short() -> None:
            await anyio.lowlevel.checkpoint()

        with anyio.fail_after(5):
            await root_tasks({"forever": forever, "short": short})
        assert cancelled == ["forever"]

    async def test_a_failure_is_raised_itself_and_names_its_task(self, caplog: pytest.LogCaptureFixture) -> None:
        async def fail() -> None:
            raise MemberUnavailable("idc does not answer")

        with pytest.raises(MemberUnavailable, match="idc"):
            await root_tasks({"watch idc": fail, "forever": anyio.sleep_forever})
        assert caplog.messages == ["root task watch idc failed: idc does not answer"]
