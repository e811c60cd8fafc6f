"""Traces: the one part of brim that knows OpenTelemetry.

Without an endpoint nothing is recorded, but contexts still travel: a message that came in with a `traceparent`
goes out with it. Spans are named `{operation} {destination template}`, never after raw subjects. One-to-one
messages continue the trace (parent) and link to it; fan-in, batches and periodic work begin their own and only
link to what caused them. A process may hold several services (`brim up`): each has a tracer of its own, so that every
span says whose it is.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Literal

import anyio
import anyio.to_thread
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from shared.errors import BrimError
from shared.settings import TelemetrySettings

Kind = Literal["internal", "producer", "consumer", "client", "server"]
Attributes = Mapping[str, str | int | float | bool | Sequence[str]]

TRACEPARENT = "traceparent"

_KINDS = {
    "internal": SpanKind.INTERNAL,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
    "client": SpanKind.CLIENT,
    "server": SpanKind.SERVER,
}
_propagator = TraceContextTextMapPropagator()

# What the exporter complains of goes where the process logs, and nowhere in a command, which says it in its own words.
logging.getLogger("opentelemetry").addHandler(logging.NullHandler())

_NOTHING: trace.Tracer = trace.NoOpTracer()
_service: ContextVar[str] = ContextVar("brim_service", default="")


class _Exporter(SpanExporter):
    """Another one, of which is known whether something that it was given never arrived."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner
        self.lost = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        self.lost = self.lost or result is not SpanExportResult.SUCCESS
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._inner.force_flush(timeout_millis)


class _Tracing:
    """The process' tracers, by service. Not OpenTelemetry's global one: that can be set only once, tests need it anew.

    service: whose spans those are that no service of this process claims. exporter: of the processor, where it sends.
    """

    def __init__(
        self,
        processor: SpanProcessor | None = None,
        service: str = "",
        ratio: float = 1.0,
        exporter: _Exporter | None = None,
    ) -> None:
        self.processor = processor
        self.exporter = exporter
        self._service = service
        self._sampler = ParentBased(TraceIdRatioBased(ratio))
        self._tracers: dict[str, trace.Tracer] = {}

    def tracer(self) -> trace.Tracer:
        if self.processor is None:
            return _NOTHING
        service = _service.get() or self._service
        found = self._tracers.get(service)
        if found is None:
            found = self._tracers[service] = self._made(self.processor, service)
        return found

    def _made(self, processor: SpanProcessor, service: str) -> trace.Tracer:
        resource = Resource.create({"service.name": service, "service.namespace": "brim"})
        provider = TracerProvider(resource=resource, sampler=self._sampler, shutdown_on_exit=False)
        provider.add_span_processor(processor)
        return provider.get_tracer("brim")


_tracing = _Tracing()


@dataclass(frozen=True, slots=True)
class FinishedSpan:
    """What a test sees of a span. Ids are hexadecimal; `links` are the trace ids it links to. begin, end: Unix
    seconds."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    begin: float
    end: float
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
        service=str(span.resource.attributes["service.name"]),
        name=span.name,
        kind=span.kind.name.lower(),
        trace_id=trace.format_trace_id(context.trace_id) if context else "",
        span_id=trace.format_span_id(context.span_id) if context else "",
        parent_id=trace.format_span_id(span.parent.span_id) if span.parent else "",
        begin=(span.start_time or 0) / 1e9,
        end=(span.end_time or 0) / 1e9,
        links=tuple(trace.format_trace_id(link.context.trace_id) for link in span.links),
        attributes=dict(span.attributes or {}),
        failed=span.status.status_code is StatusCode.ERROR,
    )


def setup(settings: TelemetrySettings, *, service: str) -> None:
    """Begin to record and export spans, where an endpoint is set. Calling it again changes nothing."""
    global _tracing
    if not settings.otlp_endpoint or recording():
        return
    # Loaded where it is used alone: commands start sooner without it.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    exporter = _Exporter(OTLPSpanExporter(endpoint=settings.otlp_endpoint.rstrip("/") + "/v1/traces", timeout=10))
    _tracing = _Tracing(BatchSpanProcessor(exporter), service, settings.sample_ratio, exporter)


def serve_as(service: str) -> None:
    """From now on the spans of this task, and of the tasks that it starts, are those of the named service."""
    _service.set(service)


async def shutdown(*, timeout: float = 5.0) -> bool:
    """Send what is left. The exporter may block for 30 s: it does so in a thread that is left behind then.

    timeout: seconds. Returns whether all arrived that was ever sent.
    """
    global _tracing
    processor, exporter, _tracing = _tracing.processor, _tracing.exporter, _Tracing()
    if processor is None:
        return True
    done = threading.Event()

    def close() -> None:
        processor.shutdown()
        done.set()

    threading.Thread(target=close, name="telemetry-shutdown", daemon=True).start()
    in_time = await anyio.to_thread.run_sync(done.wait, timeout)
    return in_time and not (exporter is not None and exporter.lost)


@asynccontextmanager
async def exporting(
    settings: TelemetrySettings, *, service: str, timeout: float = 5.0, lost: Callable[[], None] = lambda: None
) -> AsyncIterator[None]:
    """Record and export spans while the block runs, where an endpoint is set and nothing is recorded yet.

    timeout: seconds for sending the last ones. lost: called in the end where not all of them arrived.
    """
    if not settings.otlp_endpoint or recording():
        yield
        return
    setup(settings, service=service)
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            if not await shutdown(timeout=timeout):
                lost()


@asynccontextmanager
async def command(
    settings: TelemetrySettings, name: str, attributes: Attributes, tell: Callable[[str], None]
) -> AsyncIterator[None]:
    """Run one command as the root of a trace, which all that it asks for continues. What it recorded is sent before
    it ends, where an endpoint is set: for a moment at most, since a person waits. tell: them that it did not arrive."""

    def lost() -> None:
        tell(
            f"This command's part of its trace is lost: {settings.otlp_endpoint} did not take it within "
            f"{settings.farewell:g} s (BRIM_TELEMETRY__OTLP_ENDPOINT, BRIM_TELEMETRY__FAREWELL)"
        )

    async with exporting(settings, service="cli", timeout=settings.farewell, lost=lost):
        with span(name, attributes=attributes):
            yield


@contextmanager
def recorded(service: str = "test") -> Iterator[RecordedSpans]:
    """Record all spans in memory while the block runs, for tests."""
    global _tracing
    spans = RecordedSpans()
    before, _tracing = _tracing, _Tracing(SimpleSpanProcessor(spans.exporter), service)
    try:
        yield spans
    finally:
        _tracing = before


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

    parent: headers of the message that this continues; absent, the surrounding span is the parent; empty, there is
    none.
    links: headers of messages that caused this without being its parent. An exception marks the span failed.
    """
    context = _context(parent) if parent is not None else None
    with _tracing.tracer().start_as_current_span(
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


def mark(attributes: Attributes) -> None:
    """Say more of the surrounding span."""
    for name, value in attributes.items():
        trace.get_current_span().set_attribute(name, value)


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


def here(headers: Mapping[str, str]) -> dict[str, str]:
    """The current trace context, else the one that the headers of the message in hand carry."""
    return current() or extract(headers)


def has_context() -> bool:
    """Whether there is a trace context to pass on. Cheap: for hot paths."""
    return trace.get_current_span().get_span_context().is_valid


def recording() -> bool:
    """Whether spans are recorded at all. Cheap: hot paths skip making spans that nobody would see."""
    return _tracing.processor is not None


def trace_id(headers: Mapping[str, str] | None = None) -> str:
    """The id of the trace that headers carry, else of the current one, in hexadecimal; empty where there is none."""
    span = trace.get_current_span(None if headers is None else _context(headers))
    context = span.get_span_context()
    return trace.format_trace_id(context.trace_id) if context.is_valid else ""
