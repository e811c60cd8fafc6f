"""Traces: the one part of brim that knows OpenTelemetry.

Without an endpoint nothing is recorded, but contexts still travel: a message that came in with a `traceparent`
goes out with it. Spans are named `{operation} {destination template}`, never after raw subjects. One-to-one
messages continue the trace (parent) and link to it; fan-in, batches and periodic work begin their own and only
link to what caused them.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Literal

import anyio
import anyio.to_thread
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.errors import BrimError
from shared.settings import TelemetrySettings

Kind = Literal["internal", "producer", "consumer", "client", "server"]
Attributes = Mapping[str, str | int | float | bool]

TRACEPARENT = "traceparent"

_KINDS = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
}
_propagator = TraceContextTextMapPropagator()


class _Tracing:
    """The process' tracer. Not OpenTelemetry's global one: that can be set only once, tests need it anew."""

    def __init__(self) -> None:
        self.provider: TracerProvider | None = None
        self.tracer: trace.Tracer = trace.NoOpTracer()


_tracing = _Tracing()


@dataclass(frozen=True, slots=True)
class FinishedSpan:
    """What a test sees of a span. Ids are hexadecimal; `links` are the trace ids it links to."""

    name: str
    kind: str
    trace_id: str
    parent_id: str
    links: tuple[str, ...]
    attributes: Mapping[str, object]
    failed: bool


@dataclass(frozen=True, slots=True)
class RecordedSpans:
    """Spans kept in memory, for tests."""

    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)

    def finished(self) -> list[FinishedSpan]:
        return [_finished(span) for span in self.exporter.get_finished_spans()]


def _finished(span: ReadableSpan) -> FinishedSpan:
    context = span.get_span_context()
    return FinishedSpan(
        name=span.name,
        kind=span.kind.name.lower(),
        trace_id=trace.format_trace_id(context.trace_id) if context else "",
        parent_id=trace.format_span_id(span.parent.span_id) if span.parent else "",
        links=tuple(trace.format_trace_id(link.context.trace_id) for link in span.links),
        attributes=dict(span.attributes or {}),
        failed=span.status.status_code is StatusCode.ERROR,
    )


def setup(settings: TelemetrySettings, *, service: str) -> bool:
    """Begin to record and export spans, where an endpoint is set. Calling it again changes nothing.

    Returns whether it began now.
    """
    if not settings.otlp_endpoint or _tracing.provider is not None:
        return False
    # Loaded where it is used alone: a command that exports nothing starts sooner without it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = OTLPSpanExporter(endpoint=settings.otlp_endpoint.rstrip("/") + "/v1/traces", timeout=10)
    _record(BatchSpanProcessor(exporter), service, settings.sample_ratio)
    return True


def _record(processor: SpanProcessor, service: str, ratio: float) -> None:
    provider = TracerProvider(
        resource=Resource.create({"service.name": service, "service.namespace": "brim"}),
        sampler=ParentBased(TraceIdRatioBased(ratio)),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(processor)
    _tracing.provider = provider
    _tracing.tracer = provider.get_tracer("brim")


async def shutdown(*, timeout: float = 5.0) -> None:
    """Send what is left. The exporter may block for 30 s: it does so in a thread that is left behind then."""
    provider, _tracing.provider, _tracing.tracer = _tracing.provider, None, trace.NoOpTracer()
    if provider is None:
        return
    done = threading.Event()

    def close() -> None:
        provider.shutdown()
        done.set()

    threading.Thread(target=close, name="telemetry-shutdown", daemon=True).start()
    await anyio.to_thread.run_sync(done.wait, timeout)


@asynccontextmanager
async def command(settings: TelemetrySettings, name: str, attributes: Attributes) -> AsyncIterator[None]:
    """Run one command as the root of a trace, which all that it asks for continues. What it recorded is sent before
    it ends, where an endpoint is set."""
    own = setup(settings, service="cli")
    try:
        with span(name, attributes=attributes):
            yield
    finally:
        if own:
            await shutdown()


@contextmanager
def recorded(service: str = "test") -> Iterator[RecordedSpans]:
    """Record all spans in memory while the block runs, for tests."""
    before = _tracing.provider, _tracing.tracer
    spans = RecordedSpans()
    _record(SimpleSpanProcessor(spans.exporter), service, 1.0)
    try:
        yield spans
    finally:
        _tracing.provider, _tracing.tracer = before


@contextmanager
def span(
    name: str,
    *,
    kind: Kind = "internal",
    parent: Mapping[str, str] | None = None,
    links: Sequence[Mapping[str, str]] = (),
    attributes: Attributes | None = None,
) -> Iterator[Span]:
    """Run a block inside a span.

    parent: headers of the message that this continues; absent, the surrounding span is the parent.
    links: headers of messages that caused this without being its parent. An exception marks the span failed.
    """
    context = _context(parent) if parent is not None else None
    with _tracing.tracer.start_as_current_span(
        name,
        context=context,
        kind=_KINDS[kind],
        attributes=attributes,
        links=[link for headers in links if (link := _link(headers)) is not None],
        record_exception=False,
        set_status_on_exception=False,
    ) as current:
        try:
            yield current
        except Exception as error:
            code = error.code if isinstance(error, BrimError) else type(error).__name__
            current.set_attribute("error.type", code)
            current.set_status(Status(StatusCode.ERROR, str(error)))
            raise


def _context(headers: Mapping[str, str]) -> Context:
    return _propagator.extract(headers, context=Context())


def _link(headers: Mapping[str, str]) -> Link | None:
    if TRACEPARENT not in headers:
        return None
    context = trace.get_current_span(_context(headers)).get_span_context()
    return Link(context) if context.is_valid else None


def inject(headers: MutableMapping[str, str]) -> None:
    """Write the current trace context into headers, in place. Without one, nothing is written."""
    if trace.get_current_span().get_span_context().is_valid:
        _propagator.inject(headers)


def extract(headers: Mapping[str, str]) -> dict[str, str]:
    """Only the trace context of some headers: to be stored with state, and given to `span` later on."""
    return {name: headers[name] for name in (TRACEPARENT, "tracestate") if name in headers}


def current() -> dict[str, str]:
    """The current trace context in the form of headers, empty where there is none."""
    headers: dict[str, str] = {}
    inject(headers)
    return headers


def has_context() -> bool:
    """Whether there is a trace context to pass on. Cheap: for hot paths."""
    return trace.get_current_span().get_span_context().is_valid


def recording() -> bool:
    """Whether spans are recorded at all. Cheap: hot paths skip making spans that nobody would see."""
    return _tracing.provider is not None


def trace_id() -> str:
    """The current trace's id in hexadecimal, empty where there is none."""
    context = trace.get_current_span().get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""
