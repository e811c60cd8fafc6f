"""Asking a Jaeger for one trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from shared.errors import Retryable
from shared.http import body_of

TIMEOUT = aiohttp.ClientTimeout(total=10.0, connect=5.0)
LARGEST = 32 * 1024 * 1024  # bytes of an answer that is read


class JaegerUnavailable(Retryable):
    code = "JaegerUnavailable"


@dataclass(frozen=True, slots=True)
class Span:
    """begin, end: Unix seconds. parent_id: empty for a root. links: ids of other traces. error: why it failed."""

    service: str
    name: str
    span_id: str
    parent_id: str
    begin: float
    end: float
    links: tuple[str, ...] = ()
    attributes: Mapping[str, JsonValue] = field(default_factory=dict)
    error: str = ""


def page(url: str, trace_id: str) -> str:
    """Where people see a trace."""
    return f"{url.rstrip('/')}/trace/{trace_id}"


async def spans_of(url: str, trace_id: str) -> list[Span]:
    """A trace's spans, by their begin; none where Jaeger does not know it (yet).

    url: of Jaeger's query service, whose HTTP API answers under /api/traces. Raises JaegerUnavailable.
    """
    address = f"{url.rstrip('/')}/api/traces/{trace_id}"
    try:
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session, session.get(address) as response:
            body = await body_of(response, LARGEST)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise JaegerUnavailable(f"{address} does not answer: {type(error).__name__}") from error
    except ValueError as error:
        raise JaegerUnavailable(f"{url!r} is no address of a Jaeger") from error
    if response.status == 404:
        return []
    if response.status != 200:
        raise JaegerUnavailable(f"{address} answers {response.status}")
    return _read(address, body)


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Tag(_Wire):
    key: str
    value: JsonValue = None


class _Reference(_Wire):
    refType: Literal["CHILD_OF", "FOLLOWS_FROM"]
    traceID: str
    spanID: str


class _Span(_Wire):
    """startTime, duration: microseconds."""

    traceID: str
    spanID: str
    operationName: str
    references: list[_Reference] = Field(default_factory=list)
    startTime: int
    duration: int
    tags: list[_Tag] = Field(default_factory=list)
    processID: str


class _Process(_Wire):
    serviceName: str


class _Trace(_Wire):
    spans: list[_Span]
    processes: dict[str, _Process]


class _Answer(_Wire):
    """Jaeger's own form of a trace."""

    data: list[_Trace]


def _read(address: str, body: bytes) -> list[Span]:
    try:
        answer = _Answer.model_validate_json(body)
    except ValidationError as error:
        raise JaegerUnavailable(f"{address} does not answer as Jaeger does") from error
    found = [_span(span, trace.processes) for trace in answer.data for span in trace.spans]
    return sorted(found, key=lambda span: (span.begin, span.span_id))


def _span(span: _Span, processes: Mapping[str, _Process]) -> Span:
    process = processes.get(span.processID)
    tags = {tag.key: tag.value for tag in span.tags}
    begin = span.startTime / 1e6
    return Span(
        service=process.serviceName if process is not None else "",
        name=span.operationName,
        span_id=span.spanID,
        parent_id=_parent(span),
        begin=begin,
        end=begin + span.duration / 1e6,
        links=tuple(link.traceID for link in span.references if link.traceID != span.traceID),
        attributes={key: value for key, value in tags.items() if key.startswith("brim.")},
        error=str(tags.get("otel.status_description") or tags.get("error.type") or "") if tags.get("error") else "",
    )


def _parent(span: _Span) -> str:
    """A parent that is linked to as well is told only once, as a link."""
    own = [reference for reference in span.references if reference.traceID == span.traceID]
    parents = [reference for reference in own if reference.refType == "CHILD_OF"] or own
    return parents[0].spanID if parents else ""
