"""One simulated member, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web

from shared.backoff import Backoff
from shared.clock import Clock
from shared.contracts.base import JsonObject
from shared.fleet import parse
from shared.kube import MemberClient, Timeouts, WatchOptions
from simulator.members import SimulatedMember, run_members, write_kubeconfig

FLEET = parse(
    """
members:
- id: idc
  simulated:
    nodes: [{name: node, count: 2, allocatable: {cpu: "4", memory: 8Gi}}]
    delays: {start: 0.01, stop: 0.01}
"""
)
TIMEOUTS = Timeouts(connect=1.0, read=2.0)
OPTIONS = WatchOptions(lasts=60.0, silence=30.0, page=2, backoff=Backoff(base=0.01, maximum=0.05))


@dataclass
class One:
    """A member and its kubeconfig."""

    member: SimulatedMember
    kubeconfig: Path

    def client(
        self, *, timeouts: Timeouts = TIMEOUTS, options: WatchOptions = OPTIONS
    ) -> AbstractAsyncContextManager[MemberClient]:
        return MemberClient.connect(
            member="idc", context="idc", kubeconfig=self.kubeconfig, timeouts=timeouts, options=options
        )


@pytest.fixture
def one_member(tmp_path: Path) -> Callable[[], AbstractAsyncContextManager[One]]:
    """`async with one_member() as one, one.client() as client:`"""

    @asynccontextmanager
    async def run() -> AsyncIterator[One]:
        async with run_members(FLEET, Clock()) as members:
            path = tmp_path / "kubeconfig"
            write_kubeconfig(members, path)
            yield One(members["idc"], path)

    return run


@pytest.fixture
def config_map() -> Callable[..., JsonObject]:
    def make(name: str = "settings", labels: dict[str, str] | None = None, **data: str) -> JsonObject:
        metadata: JsonObject = {"name": name, "namespace": "default", "labels": dict(labels or {})}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}

    return make


@pytest.fixture
def serving() -> Callable[..., AbstractAsyncContextManager[str]]:
    """`async with serving(handler) as url:` answers all requests with an aiohttp handler, for what no member does."""

    @asynccontextmanager
    async def run(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    return run
