"""A trace as Jaeger gives it back, or an error that says what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web

from shared.jaeger import JaegerUnavailable, Span, page, spans_of
from tests.shared.test_prometheus import serving

TRACE, OTHER = "0af7651916cd43dd8448eb211c80319c", "1af7651916cd43dd8448eb211c80319c"


def span(name: str, identifier: str, *references: tuple[str, str, str], **tags: Any) -> dict[str, Any]:
    return {
        "traceID": TRACE,
        "spanID": identifier,
        "operationName": name,
        "references": [{"refType": kind, "traceID": trace, "spanID": other} for kind, trace, other in references],
        "startTime": 1_000_000 + int(identifier) * 1000,
        "duration": 1500,
        "tags": [{"key": key.replace("_", "."), "type": "string", "value": value} for key, value in tags.items()],
        "processID": "p1",
        "logs": [],
    }


async def asked(answer: Any, status: int = 200) -> list[Span]:
    async def trace(_: web.Request) -> web.Response:
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return web.Response(body=body, status=status, content_type="application/json")

    async with serving("GET", f"/api/traces/{TRACE}", trace) as url:
        return await spans_of(url + "/", TRACE)


async def test_spans_come_with_parents_links_and_what_brim_says() -> None:
    spans = [
        span("decide", "2", ("FOLLOWS_FROM", TRACE, "1"), ("FOLLOWS_FROM", OTHER, "9"), brim_cause="scaled", x="y"),
        span("ask", "1"),
        span("apply", "3", ("CHILD_OF", TRACE, "2"), error=True, error_type="no answer"),
    ]
    found = await asked({"data": [{"traceID": TRACE, "spans": spans, "processes": {"p1": {"serviceName": "up"}}}]})
    assert [(one.name, one.parent_id, one.links, one.error) for one in found] == [
        ("ask", "", (), ""),
        ("decide", "1", (OTHER,), ""),
        ("apply", "2", (), "no answer"),
    ]
    assert dict(found[1].attributes) == {"brim.cause": "scaled"}
    assert (found[0].begin, round(found[0].end - found[0].begin, 6), found[0].service) == (1.001, 0.0015, "up")


async def test_a_trace_that_is_not_known_has_no_spans() -> None:
    assert await asked({"data": None, "errors": [{"code": 404, "msg": "trace not found"}]}, status=404) == []


@pytest.mark.parametrize(
    ("answer", "status"), [(b"<html>", 200), (b"", 502), ({"data": 5}, 200)], ids=["another server", "no storage", "?"]
)
async def test_what_is_no_answer_is_said(answer: Any, status: int) -> None:
    with pytest.raises(JaegerUnavailable, match="answer"):
        await asked(answer, status)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense"])
async def test_one_that_is_not_there_is_said(url: str) -> None:
    with pytest.raises(JaegerUnavailable):
        await spans_of(url, TRACE)


def test_people_find_the_page() -> None:
    assert page("http://jaeger:16686/", TRACE) == f"http://jaeger:16686/trace/{TRACE}"
