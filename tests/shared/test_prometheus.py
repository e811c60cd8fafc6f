"""One number from a Prometheus server, or an error that says what is wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from shared.prometheus import BadQuery, Prometheus, PrometheusUnavailable


@asynccontextmanager
async def server(answer: Any, status: int = 200) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that speaks Prometheus' query API; yields its address and the queries that it got."""
    asked: list[str] = []

    async def query(request: web.Request) -> web.Response:
        asked.append(str((await request.post())["query"]))
        body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        return web.Response(body=body, status=status, content_type="application/json")

    async with serving("POST", "/api/v1/query", query) as url:
        yield url, asked


@asynccontextmanager
async def serving(method: str, path: str, handler: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route(method, path, handler)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}"
    finally:
        await runner.cleanup()


def vector(*values: str) -> dict[str, Any]:
    result = [{"metric": {}, "value": [1.0, value]} for value in values]
    return {"status": "success", "data": {"resultType": "vector", "result": result}}


SCALAR = {"status": "success", "data": {"resultType": "scalar", "result": [1.0, "2.5"]}}
VALUES: dict[str, tuple[Any, float | None]] = {
    "a vector of one": (vector("0.25"), 0.25),
    "a scalar": (SCALAR, 2.5),
    "nothing matches": (vector(), None),
    "not a number": (vector("NaN"), None),
    "infinity": (vector("+Inf"), float("inf")),
}


@pytest.mark.parametrize("name", VALUES)
async def test_values(name: str) -> None:
    answer, expected = VALUES[name]
    async with server(answer) as (url, asked), Prometheus.connect() as prometheus:
        assert await prometheus.value(url, "sum(up)") == expected
        assert asked == ["sum(up)"]


async def test_several_values_are_a_bad_query() -> None:
    async with server(vector("1", "2")) as (url, _), Prometheus.connect() as prometheus:
        with pytest.raises(BadQuery, match="aggregate"):
            await prometheus.value(url, "up")


async def test_a_query_that_cannot_be_evaluated() -> None:
    answer = {"status": "error", "errorType": "bad_data", "error": "parse error"}
    async with server(answer, 400) as (url, _), Prometheus.connect() as prometheus:
        with pytest.raises(BadQuery, match="parse error"):
            await prometheus.value(url, "up(")


@pytest.mark.parametrize(("answer", "status"), [(b"rubbish", 200), ({"status": "success"}, 503)])
async def test_a_server_that_does_not_answer_as_it_should(answer: Any, status: int) -> None:
    async with server(answer, status) as (url, _), Prometheus.connect() as prometheus:
        with pytest.raises(PrometheusUnavailable):
            await prometheus.value(url, "up")


async def test_a_server_that_is_away() -> None:
    async with Prometheus.connect() as prometheus:
        with pytest.raises(PrometheusUnavailable):
            await prometheus.value("http://127.0.0.1:9", "up")


async def test_an_answer_that_arrives_in_pieces_is_read_whole() -> None:
    async def query(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in json.dumps(SCALAR).partition("scalar"):
            await response.write(piece.encode())
            await asyncio.sleep(0)
        await response.write_eof()
        return response

    async with serving("POST", "/api/v1/query", query) as url, Prometheus.connect() as prometheus:
        assert await prometheus.value(url, "sum(up)") == 2.5
