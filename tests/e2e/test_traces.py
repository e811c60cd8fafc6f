"""One trace tells one story, over all services: from a wish to pods that run, from a stuck pod to the next one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from shared import telemetry
from shared.contracts import subjects
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from shared.telemetry import RecordedSpans
from tests.e2e.harness import QWEN3, WEB_DEMO, Play, playing
from tests.e2e.traced import Trace

DECIDE = "decide brim.placement.<kind>.<namespace>.<name>"


def traces(spans: RecordedSpans) -> list[Trace]:
    by_id: dict[str, list[telemetry.FinishedSpan]] = {}
    for span in spans.finished():
        by_id.setdefault(span.trace_id, []).append(span)
    return [Trace(tuple(found)) for found in by_id.values()]


async def told(play: Play, spans: RecordedSpans, is_told: Callable[[Trace], bool]) -> Trace:
    """Wait until a trace tells it: its last spans end after what they tell of."""
    found: list[Trace] = []

    def look() -> bool:
        found[:] = [trace for trace in traces(spans) if not trace.orphans and is_told(trace)]
        return bool(found)

    await play.eventually(look, "a trace that tells it all")
    return found[0]


async def serves(play: Play, ref: ObjectRef) -> None:
    """Wait until the streams say so of every member that has a share of the newest placement."""
    while True:
        placement = await play.decided(ref, lambda _: True)
        last = await play.bus.last("PLACEMENT", subjects.placement(ref))
        assert last is not None
        placement = type(placement).decode(last.data)
        messages = await play.bus.history("STATUS", subjects.status_everywhere(ref))
        statuses = [Status.decode(message.data) for message in messages if not message.removed]
        if {s.member: (s.ready, s.updated, s.order) for s in statuses} == {
            share.member: (share.replicas, share.replicas, placement.order) for share in placement.shares
        }:
            return
        await play.stage.clock.sleep(1)


async def test_a_wish_is_followed_from_being_asked_for_until_its_pods_run(tmp_path: Path) -> None:
    begun = time.time()
    with telemetry.recorded("cli") as spans:
        async with playing(tmp_path, "hybrid.yaml") as play:
            await play.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml")
            await serves(play, QWEN3)
            await play.stage.scale(QWEN3, 4)
            await play.eventually(lambda: play.ready("test", "qwen3", "ack") == 2)
            trace = await told(
                play,
                spans,
                lambda trace: trace.has_path(
                    ("send brim.scale", {}),
                    ("process brim.scale", {}),
                    (DECIDE, {"cause": "scaled"}),
                    ("apply Deployment", {"member": "ack", "replicas": 2}),
                    ("observe running", {"member": "ack", "bound": 2, "ready": 2}),
                ),
            )
    assert trace.services == {"cli", "scheduler", "executor", "inventory"}, trace
    assert [root.name for root in trace.roots] == ["send brim.scale"], trace
    assert trace.has_path(("process brim.scale", {}), ("validate scale", {})), trace
    assert trace.has_path((DECIDE, {}), ("apply Deployment", {"member": "idc", "replicas": 2})), trace
    assert trace.has_path(("apply Deployment", {"member": "ack"}), ("observe unschedulable", {"member": "ack"})), trace
    assert not trace.implausible(begun, time.time()), trace

    (decided, *_) = trace.find(DECIDE, cause="scaled")
    says = dict(decided.attributes)
    assert set(says["brim.shares"]) == {"idc: 2", "ack: 2"}, trace
    assert list(says["brim.room"]) == [
        "idc: tier 1, free 0, elastic 0, virtual 0, given 0",
        "ack: tier 2, free 0, elastic 4, virtual 0, given 2",
    ], trace
    assert (says["brim.wanted"], says["brim.pending"]) == (4, 0)


async def test_a_stuck_replica_is_followed_from_its_condition_to_its_replacement(tmp_path: Path) -> None:
    begun = time.time()
    with telemetry.recorded("cli") as spans:
        async with playing(tmp_path, "hybrid.yaml") as play:
            await play.apply("web-demo.yaml")
            await play.eventually(lambda: play.ready("default", "web-demo") == 5)
            await serves(play, WEB_DEMO)
            await play.stage.taint_nodes("idc", "foo", "bar")
            await play.stage.restart("idc", WEB_DEMO)
            trace = await told(
                play,
                spans,
                lambda trace: trace.has_path(
                    ("observe unschedulable", {"member": "idc", "unschedulable": 1}),
                    ("ask rebalance", {}),
                    ("process brim.rebalance.<kind>.<namespace>.<name>", {}),
                    (DECIDE, {"cause": "rebalance"}),
                    ("apply Deployment", {"member": "ack"}),
                    ("observe running", {"member": "ack"}),
                ),
            )
            (applied, *_) = [found for found in traces(spans) if found.find(DECIDE, cause="created")]
    assert trace.services == {"inventory", "descheduler", "scheduler", "executor"}, trace
    (root,) = trace.roots
    assert root.name.startswith("observe "), trace
    assert not trace.implausible(begun, time.time()), trace
    assert trace.spans[0].trace_id != applied.spans[0].trace_id
    assert applied.spans[0].trace_id in root.links, trace
