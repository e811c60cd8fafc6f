"""`brim trace`: the tree of a trace's spans, and the same story out of what the streams hold."""

from __future__ import annotations

import asyncio
import os
import sys

import anyio

from cli.traces import Step, Told, as_json, ids, of_messages, of_spans, render, seconds
from shared.bus import Bus
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement, Reason, Seen, Share
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status
from shared.jaeger import Span

REF = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web")
SPANS = [
    Span("cli", "brim scale", "1", "", 100.0, 100.02),
    Span("cli", "send brim.scale", "2", "1", 100.0, 100.02),
    Span("scheduler", "process brim.scale", "3", "2", 100.004, 100.006),
    Span(
        "scheduler",
        "decide brim.placement.<kind>.<namespace>.<name>",
        "4",
        "3",
        100.005,
        100.0063,
        attributes={
            "brim.cause": "scaled",
            "brim.wanted": 4,
            "brim.pending": 1,
            "brim.shares": '["idc: 3"]',
            "brim.room": '["idc: tier 1, free 3, elastic 0, virtual 0, given 3"]',
            "brim.reasons": '["Pending: 1 replica fits nowhere"]',
        },
    ),
    Span("scheduler", "send brim.placement.<kind>.<namespace>.<name>", "5", "4", 100.005, 100.006),
    Span("executor", "apply Deployment", "6", "5", 100.007, 101.5, attributes={"brim.member": "idc"}, error="too late"),
]


def test_spans_are_a_tree_in_which_messages_are_no_steps() -> None:
    assert render(of_spans(SPANS)).splitlines() == [
        "   +0.0 ms     20 ms  cli          brim scale",
        "   +4.0 ms    2.0 ms  scheduler    └─ process brim.scale",
        "   +5.0 ms    1.3 ms  scheduler       └─ decide: scaled",
        "                                         │  4 wanted, 1 pending",
        "                                         │  idc: 3",
        "                                         │  idc: tier 1, free 3, elastic 0, virtual 0, given 3",
        "                                         │  Pending: 1 replica fits nowhere",
        "   +7.0 ms    1.49 s  executor           └─ apply Deployment in idc",
        "                                               failed: too late",
    ]


def test_a_span_whose_parent_is_missing_is_shown_all_the_same() -> None:
    assert [step.what for step in of_spans(SPANS[3:])] == ["decide: scaled"]


def told() -> list[Told]:
    wish = Desired(ref=REF, uid="u", generation=2, order=Order(), manifest={}, created_at=0.0, changed_at=0.0)
    placement = Placement(
        ref=REF,
        uid="u",
        generation=2,
        order=Order(epoch=1, counter=5),
        wanted=4,
        pending=1,
        shares=(Share(member="idc", replicas=3, free=3),),
        seen=Seen(members=["idc"], tiers=[0], free=[3], elastic=[0], virtual=[0], given=[3]),
        reasons=(Reason(code="Pending", message="1 replica fits nowhere"),),
        cause="scaled",
        decided_at=0.0,
    )
    old = placement.model_copy(update={"generation": 1, "order": Order(epoch=1, counter=4), "cause": "created"})
    outcome = Outcome(member="idc", ref=REF, uid="u", order=placement.order, result="applied", at=0.0)
    status = Status(member="idc", ref=REF, order=placement.order, observed_at=0.0, bound=3, ready=2)
    return [
        Told(wish.model_copy(update={"generation": 1}), 90.0, "a"),
        Told(old, 90.1, "a"),
        Told(wish, 100.0, "b"),
        Told(placement, 100.004, "b"),
        Told(outcome, 100.01, "b"),
        Told(status, 101.0, "b"),
    ]


def test_the_streams_tell_the_newest_wish_and_what_followed() -> None:
    (wish,) = of_messages(told())
    (decided,) = wish.children
    (applied,) = decided.children
    (observed,) = applied.children
    assert [step.what for step in (wish, decided, applied, observed)] == [
        "wish accepted, generation 2",
        "decide: scaled",
        "applied in idc",
        "observed in idc",
    ]
    assert [step.service for step in (wish, decided, applied, observed)] == [
        "scheduler",
        "scheduler",
        "executor",
        "inventory",
    ]
    assert "4 wanted, 1 pending" in decided.notes
    assert "idc: tier 1, free 3, elastic 0, virtual 0, given 3" in decided.notes
    assert "Pending: 1 replica fits nowhere" in decided.notes
    assert observed.notes == ("3 scheduled, 2 running",)


def test_without_a_wish_there_is_nothing_to_tell() -> None:
    assert of_messages([one for one in told() if not isinstance(one.says, Desired)]) == []
    assert render([]) == ""


def test_traces_are_listed_once_the_newest_last() -> None:
    assert ids(told()) == ["a", "b"]
    assert ids([*told(), Told(told()[3].says, 200.0, "a")]) == ["b", "a"]


def test_a_step_as_json_keeps_all() -> None:
    step = Step("decide", "scheduler", 100.0, 0.5, ("note",), (Step("apply", "executor", 101.0),))
    found = as_json(step)
    assert (found["what"], found["seconds"], found["notes"]) == ("decide", 0.5, ["note"])
    assert [child["what"] for child in found["children"]] == ["apply"]


def test_durations_are_short() -> None:
    assert [seconds(value) for value in (0.0004, 0.0123, 0.25, 3.411, 95.2)] == [
        "0.4 ms",
        "12 ms",
        "0.25 s",
        "3.41 s",
        "95 s",
    ]


async def test_a_command_ends_soon_though_its_collector_never_answers(bus: Bus, nats_server: str) -> None:
    """Not when the exporter gives up, which takes ten seconds, nor with the exporter's last words."""
    asked = asyncio.get_running_loop().create_future()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        if not asked.done():
            asked.set_result(anyio.current_time())
        await reader.read()  # until the command has gone
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as collector:
        port = collector.sockets[0].getsockname()[1]
        own = {name: value for name, value in os.environ.items() if not name.startswith("BRIM_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", "get", "clusters", "--server", nats_server),
            env={**own, "BRIM_TELEMETRY__OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "BRIM_TELEMETRY__FAREWELL": "0.5"},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate()
        assert process.returncode == 0, err
        assert anyio.current_time() - await asked < 8
        assert err.decode().splitlines()[-1].startswith("This command's part of its trace is lost: http://127.0.0.1:")
        assert b"Traceback" not in err
        assert b"HTTPConnectionPool" not in err
