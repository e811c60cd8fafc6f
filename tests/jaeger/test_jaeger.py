"""What brim sends over OTLP, read back from a real Jaeger: whole stories, and `brim trace` out of them."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from shared import telemetry
from shared.contracts.refs import ObjectRef
from shared.settings import Settings, TelemetrySettings
from tests.e2e.command_line import CommandLine
from tests.e2e.harness import QWEN3, WEB_DEMO, Play, playing
from tests.e2e.test_traces import DECIDE, serves
from tests.jaeger.reading import story
from tests.jaeger.running import Jaeger

pytestmark = pytest.mark.jaeger


async def newest(brim: CommandLine, ref: ObjectRef) -> str:
    """The trace of an object's newest decision, as `brim trace` names it."""
    told = json.loads((await brim("trace", f"deploy/{ref.name}", "-n", ref.namespace, "-o", "json")).out)
    return str(told["trace"])


async def test_one_trace_tells_one_story(running: Jaeger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = time.time()
    monkeypatch.setenv("BRIM_TELEMETRY__JAEGER", running.url)
    sent = TelemetrySettings(otlp_endpoint=running.otlp)
    async with telemetry.exporting(sent, service="up"), playing(tmp_path, "hybrid.yaml", settings=Settings()) as play:
        brim = CommandLine.of(play)
        await play.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml", "web-demo.yaml")
        await serves(play, QWEN3)
        assert (await brim("scale", "deploy/qwen3", "-n", "test", "--replicas", "4")).status == 0
        await play.eventually(lambda: play.ready("test", "qwen3", "ack") == 2)
        await _wish(play, running, brim, begun)
        await _stuck(play, running, brim, begun)


async def _wish(play: Play, running: Jaeger, brim: CommandLine, begun: float) -> None:
    trace_id = await newest(brim, QWEN3)
    trace = await story(
        running,
        trace_id,
        ("brim scale", {}),
        ("process brim.scale", {}),
        (DECIDE, {"cause": "scaled", "wanted": 4}),
        ("apply Deployment", {"member": "ack", "replicas": 2}),
        ("observe running", {"member": "ack", "ready": 2}),
    )
    assert trace.services == {"up", "scheduler", "executor", "inventory"}, trace  # the command runs in this process
    assert len(trace.roots) == 1, trace
    assert not trace.implausible(begun, time.time()), trace

    shown = await brim("trace", "deploy/qwen3", "-n", "test")
    assert shown.status == 0, shown.err
    assert f"{running.url}/trace/{trace_id}" in shown.out
    order = [
        shown.out.index(step)
        for step in ("process brim.scale", "decide: scaled", "Deployment in ack", "running in ack")
    ]
    assert order == sorted(order), shown.out


async def _stuck(play: Play, running: Jaeger, brim: CommandLine, begun: float) -> None:
    await serves(play, WEB_DEMO)
    before = await newest(brim, WEB_DEMO)
    await play.stage.taint_nodes("idc", "foo", "bar")
    await play.stage.restart("idc", WEB_DEMO)
    await play.eventually(lambda: play.observer.gone("default", "web-demo", "idc"))
    await play.eventually(lambda: play.ready("default", "web-demo", "ack") == 5)
    trace_id = before
    while trace_id == before:
        trace_id = await newest(brim, WEB_DEMO)
    trace = await story(
        running,
        trace_id,
        ("observe unschedulable", {"member": "idc"}),
        ("ask rebalance", {}),
        ("process brim.rebalance.<kind>.<namespace>.<name>", {}),
        (DECIDE, {"cause": "rebalance"}),
        ("apply Deployment", {"member": "ack"}),
        ("observe running", {"member": "ack"}),
    )
    assert trace.services == {"inventory", "descheduler", "scheduler", "executor"}, trace
    (root,) = trace.roots
    assert root.links == (before,), trace
    assert not trace.implausible(begun, time.time()), trace
    shown = await brim("trace", "web-demo")
    assert shown.out.index("unschedulable") < shown.out.index("decide: rebalance"), shown.out
