"""Traces: recorded where asked for, passed on in any case."""

import http.server
import threading
from collections.abc import Iterator

import anyio
import anyio.to_thread
import pytest

from shared import telemetry
from shared.errors import WriteConflict
from shared.settings import TelemetrySettings

PARENT = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
OTHER = {"traceparent": "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_without_an_endpoint_the_context_still_travels() -> None:
    assert not telemetry.recording()
    headers = {"a": "b"}
    with telemetry.span("process", parent=PARENT):
        telemetry.inject(headers)
    assert headers == {"a": "b", **PARENT}


def test_without_a_context_nothing_is_written() -> None:
    headers: dict[str, str] = {}
    telemetry.inject(headers)
    assert (headers, telemetry.current(), telemetry.trace_id()) == ({}, {}, "")


def test_a_parent_continues_the_trace_and_links_do_not() -> None:
    with telemetry.recorded() as spans:
        with telemetry.span("process one", kind="consumer", parent=PARENT, links=[PARENT]):
            assert telemetry.trace_id() == TRACE
        with telemetry.span("process many", links=[PARENT, OTHER, {}, {"traceparent": "rubbish"}]):
            pass
    one, many = spans.finished()
    assert (one.trace_id, one.parent_id, one.kind) == (TRACE, "b7ad6b7169203331", "consumer")
    assert many.trace_id not in (TRACE, "")
    assert many.links == (TRACE, "1af7651916cd43dd8448eb211c80319c")


def test_a_parent_without_a_context_begins_a_new_trace() -> None:
    with telemetry.recorded() as spans, telemetry.span("surrounding"), telemetry.span("process", parent={}):
        pass
    process, surrounding = spans.finished()
    assert process.trace_id != surrounding.trace_id


def test_a_failure_is_marked_with_its_code() -> None:
    with telemetry.recorded() as spans, pytest.raises(WriteConflict), telemetry.span("send", attributes={"n": 1}):
        raise WriteConflict("somebody wrote first")
    (span,) = spans.finished()
    assert span.failed
    assert span.attributes == {"n": 1, "error.type": "WriteConflict"}


async def test_each_service_of_a_process_has_spans_of_its_own() -> None:
    async def serve(service: str) -> None:
        telemetry.serve_as(service)
        async with anyio.create_task_group() as group:
            group.start_soon(work, f"work of {service}")

    async def work(name: str) -> None:
        with telemetry.span(name):
            pass

    with telemetry.recorded("cli") as spans:
        async with anyio.create_task_group() as group:
            group.start_soon(serve, "scheduler")
            group.start_soon(serve, "executor")
        await work("ask")
    assert {(span.service, span.name) for span in spans.finished()} == {
        ("scheduler", "work of scheduler"),
        ("executor", "work of executor"),
        ("cli", "ask"),
    }


def test_the_context_can_be_stored_with_state() -> None:
    headers = {"other": "x", "tracestate": "k=v", **PARENT}
    assert telemetry.extract(headers) == {"tracestate": "k=v", **PARENT}


class _Collector(http.server.BaseHTTPRequestHandler):
    received: list[tuple[str, bytes]]
    status = 200

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).received.append((self.path, body))
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A collector that takes OTLP over HTTP."""
    handler = type("Collector", (_Collector,), {"received": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler.received
        server.shutdown()
        thread.join()


async def test_spans_reach_a_collector_before_shutdown_returns(
    collector: tuple[str, list[tuple[str, bytes]]],
) -> None:
    url, received = collector
    telemetry.setup(TelemetrySettings(otlp_endpoint=url), service="scheduler")
    with telemetry.span("decide"):
        pass
    await telemetry.shutdown()
    assert not telemetry.recording()
    assert [path for path, _ in received] == ["/v1/traces"]
    assert b"decide" in received[0][1]
    assert b"scheduler" in received[0][1]


async def test_shutdown_does_not_wait_for_a_collector_that_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    telemetry.setup(TelemetrySettings(otlp_endpoint="http://127.0.0.1:1"), service="scheduler")
    with telemetry.span("decide"):
        pass
    with anyio.fail_after(3):
        assert not await telemetry.shutdown(timeout=0.2)
    for thread in threading.enumerate():  # what it leaves behind draws random numbers, amid other tests' draws
        if thread.name == "telemetry-shutdown":
            await anyio.to_thread.run_sync(thread.join, 60.0)
            assert not thread.is_alive()


@pytest.mark.parametrize(
    ("status", "told"),
    [
        pytest.param(200, [], id="taken"),
        pytest.param(
            400,
            [
                "This command's part of its trace is lost: {url} did not take it within 30 s "
                "(BRIM_TELEMETRY__OTLP_ENDPOINT, BRIM_TELEMETRY__FAREWELL)"
            ],
            id="refused",
        ),
    ],
)
async def test_a_command_says_in_one_sentence_that_its_spans_did_not_arrive(
    collector: tuple[str, list[tuple[str, bytes]]],
    status: int,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url, _ = collector
    monkeypatch.setattr(_Collector, "status", status)
    said: list[str] = []
    settings = TelemetrySettings(otlp_endpoint=url, farewell=30.0)
    async with telemetry.command(settings, "brim get", {}, said.append):
        pass
    assert said == [line.format(url=url) for line in told]
    assert capsys.readouterr().err == "", "what the library has to say is for logs"


async def test_what_a_block_does_is_sent_when_it_ends(collector: tuple[str, list[tuple[str, bytes]]]) -> None:
    url, received = collector
    async with telemetry.exporting(TelemetrySettings(otlp_endpoint=url), service="cli"):
        with telemetry.span("send brim.apply"):
            pass
    assert not telemetry.recording()
    assert b"send brim.apply" in received[0][1]


async def test_a_block_without_an_endpoint_leaves_alone_what_is_recorded() -> None:
    with telemetry.recorded() as spans:
        async with telemetry.exporting(TelemetrySettings(), service="cli"):
            pass
        with telemetry.span("afterwards"):
            pass
    assert [span.name for span in spans.finished()] == ["afterwards"]
