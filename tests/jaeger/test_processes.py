"""The services and the command line as processes of their own, each of which tells a real Jaeger its part."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import anyio
import pytest

from shared import jaeger as adapter
from shared.contracts import subjects
from tests.e2e.harness import QWEN3, WEB_DEMO, Play
from tests.e2e.processes import ROOT, in_processes
from tests.e2e.test_traces import DECIDE, serves
from tests.e2e.traced import Trace
from tests.jaeger.reading import WAIT, story
from tests.jaeger.running import Jaeger

pytestmark = pytest.mark.jaeger

APPLIED = ("brim apply", "send brim.apply", "process brim.apply", DECIDE)
TELLS = {"scheduler", "executor", "inventory"}


@dataclass(frozen=True, slots=True)
class Told:
    """A brim whose processes send their spans to `jaeger`."""

    play: Play
    jaeger: Jaeger

    async def brim(self, *words: str, status: int = 0) -> str:
        """What a command prints, as a process of its own."""
        bus = self.play.stage.brim.settings.bus.urls[0]
        clock = self.play.stage.brim.clock
        environment = {
            "BRIM_BUS__URL": bus,
            "BRIM_CLOCK__SPEED": str(clock.speed),
            "BRIM_CLOCK__EPOCH": repr(clock.epoch),
            "BRIM_TELEMETRY__JAEGER": self.jaeger.url,
            "BRIM_TELEMETRY__FAREWELL": str(WAIT),
        }
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", *words),
            env={**not_brims(), **environment, **exports(self.jaeger)},
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == status, (words, out, err)
        return out.decode() + err.decode()

    async def decided_by(self) -> str:
        """The trace of the newest decision for qwen3, as the streams have it."""
        last = await self.play.bus.last("PLACEMENT", subjects.placement(QWEN3))
        assert last is not None
        return trace_of(last.headers)


def not_brims() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("BRIM_")}


def exports(jaeger: Jaeger) -> dict[str, str]:
    return {"BRIM_TELEMETRY__OTLP_ENDPOINT": jaeger.otlp}


def trace_of(headers: Mapping[str, str]) -> str:
    return headers["traceparent"].split("-")[1]


@asynccontextmanager
async def told(folder: Path, jaeger: Jaeger) -> AsyncIterator[Told]:
    async with in_processes(folder, environment=lambda _: exports(jaeger)) as (play, _):
        yield Told(play, jaeger)


async def test_a_command_is_the_root_of_all_that_it_brings_about(running: Jaeger, tmp_path: Path) -> None:
    """And what it joins with, said by another command before it, is linked to."""
    begun = time.time()
    async with told(tmp_path, running) as it:
        await it.brim("apply", "-f", "examples/qwen3.yaml")
        wish = await it.play.bus.last("DESIRED", subjects.desired(QWEN3))
        assert wish is not None
        await it.brim("apply", "-f", "examples/qwen3-hybrid-policies.yaml")
        await it.play.decided(QWEN3, lambda placement: placement.wanted == 2)
        trace_id = await it.decided_by()
        applied = [(name, {}) for name in APPLIED]
        trace = await story(
            running,
            trace_id,
            *applied,
            ("apply Deployment", {"member": "idc", "replicas": 2}),
            ("observe running", {"member": "idc", "ready": 2}),
        )
        assert trace.has_path(("process brim.apply", {}), ("validate apply", {})), trace
        seen = [name for name in ("observe scheduled", "observe running") if trace.find(name, member="idc", bound=2)]
        assert seen, "that they have a node is told by itself, or with that they run where one look shows both"
        assert trace.services == {"cli", *TELLS}, trace
        (root,) = trace.roots
        assert (root.service, root.name) == ("cli", "brim apply"), trace
        assert not trace.implausible(begun, time.time()), trace
        asked = trace_of(wish.headers)
        assert asked != trace_id
        assert any(asked in span.links for span in trace.find(DECIDE)), trace

        before = await story(running, asked, *((name, {}) for name in APPLIED[:3]))
        assert [(root.service, root.name) for root in before.roots] == [("cli", "brim apply")], before

        shown = await it.brim("trace", "deploy/qwen3", "-n", "test")
        (page,) = re.findall(r"^Jaeger: +(\S+)$", shown, re.MULTILINE)
        assert page == f"{running.url}/trace/{trace_id}"
        async with aiohttp.ClientSession() as session, session.get(page) as response:
            assert response.status == 200
        steps = ("brim apply", "process brim.apply", "decide: ", "Deployment in idc", "running in idc")
        places = [shown.index(step) for step in steps]
        assert places == sorted(places), shown


async def test_a_stuck_replicas_story_is_whole_though_five_processes_tell_it(running: Jaeger, tmp_path: Path) -> None:
    begun = time.time()
    async with told(tmp_path, running) as it:
        play = it.play
        await it.brim("apply", "-f", "examples/web-demo.yaml")
        await serves(play, WEB_DEMO)
        last = await play.bus.last("PLACEMENT", subjects.placement(WEB_DEMO))
        assert last is not None
        before = trace_of(last.headers)
        await play.stage.taint_nodes("idc", "foo", "bar")
        await play.stage.restart("idc", WEB_DEMO)
        await play.eventually(lambda: play.observer.gone("default", "web-demo", "idc"))
        await play.eventually(lambda: play.ready("default", "web-demo", "ack") == 5)
        for trace in [await story(running, trace_id, (DECIDE, {})) for trace_id in await rebalanced(play)]:
            assert len(trace.roots) == 1, trace
            assert not trace.implausible(begun, time.time()), trace
        trace = await one_that_tells(
            running,
            await rebalanced(play),
            ("observe unschedulable", {"member": "idc"}),
            ("ask rebalance", {}),
            ("process brim.rebalance.<kind>.<namespace>.<name>", {}),
            (DECIDE, {"cause": "rebalance"}),
            ("apply Deployment", {"member": "ack"}),
            ("observe running", {"member": "ack"}),
        )
        assert trace.services == {"descheduler", *TELLS}, trace
        (root,) = trace.roots
        assert root.links == (before,), trace


async def rebalanced(play: Play) -> list[str]:
    """Traces of web-demo's decisions that moved replicas, oldest first."""
    found: dict[str, None] = {}
    for message in await play.bus.history("PLACEMENT", subjects.placement(WEB_DEMO)):
        if b'"cause":"rebalance"' in message.data.replace(b" ", b""):
            found[trace_of(message.headers)] = None
    return list(found)


async def one_that_tells(running: Jaeger, trace_ids: list[str], *path: tuple[str, dict[str, object]]) -> Trace:
    """Wait for a whole trace with the path. Not every decision is carried out: a newer one may overtake it."""
    with anyio.fail_after(WAIT):
        while True:
            for trace_id in trace_ids:
                trace = Trace(tuple(await adapter.spans_of(running.url, trace_id)))
                if not trace.orphans and trace.has_path(*path):
                    return trace
            await anyio.sleep(0.2)


async def test_a_command_that_fails_tells_why(running: Jaeger, tmp_path: Path) -> None:
    async with told(tmp_path, running) as it:
        since = int(time.time() * 1e6)
        await it.brim("scale", "deploy/absent", "--replicas", "3", status=1)
        (root,) = (await story(running, await newest(running, "cli", "brim scale", since), ("brim scale", {}))).spans
        assert isinstance(root, adapter.Span)
        assert "absent" in root.error


async def newest(running: Jaeger, service: str, name: str, since: int) -> str:
    """Wait for a trace with such a span. since: microseconds."""
    query = {"service": service, "operation": name, "start": str(since), "limit": "1"}
    async with aiohttp.ClientSession() as session:
        with anyio.fail_after(WAIT):
            while True:
                async with session.get(f"{running.url}/api/traces", params=query) as response:
                    answer = await response.json()
                if found := answer.get("data"):
                    return str(found[0]["traceID"])
                await anyio.sleep(0.2)
