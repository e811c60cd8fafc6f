"""A bare HTTP client for the Kubernetes contract, and the API servers it is held against.

Against a real one: BRIM_TEST_APISERVER_URL, BRIM_TEST_APISERVER_TOKEN, and BRIM_TEST_APISERVER_CA, a file, where its
certificate is not signed by an authority that everybody knows; nodes node-0 and node-1 are there. Otherwise a simulated
member whose delays are zero.
"""

from __future__ import annotations

import json
import os
import secrets
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import anyio

from shared.clock import Clock
from shared.fleet import Delays, Member, NodeGroup, Simulated
from simulator import SimulatedMember

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

INSTANT = Delays(
    schedule=0, start=0, stop=0, scale_up_trigger=0, node_create=0, node_ready=0, node_idle=600, eci_start=0
)
DEADLINE = 60.0  # seconds for one answer: a real server tries an eviction again for ten, though the pod is another


@dataclass
class Answer:
    """body: text where the server does not answer with JSON."""

    status: int
    body: Any


@dataclass
class Api:
    """One API server and a namespace of the test's own."""

    session: aiohttp.ClientSession
    url: str
    namespace: str = ""

    async def call(self, method: str, path: str, body: Any = None, kind: str = "", **query: str) -> Answer:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": kind or "application/json"} if data is not None else {}
        async with self.session.request(method, self.url + path, data=data, headers=headers, params=query) as response:
            if response.content_type != "application/json":
                return Answer(response.status, await response.text())
            return Answer(response.status, await response.json())

    async def get(self, path: str, **query: str) -> Answer:
        return await self.call("GET", path, **query)

    async def until(self, path: str, condition: Callable[[Answer], bool]) -> None:
        """Ask again and again until the answer is so: some things real controllers do in their own time."""
        with anyio.fail_after(DEADLINE):
            while True:
                if condition(await self.get(path)):
                    return
                await anyio.sleep(0.02)

    async def create(self, path: str, body: Any, **query: str) -> Answer:
        return await self.call("POST", path, body, **query)

    async def patch(self, path: str, body: Any, kind: str = MERGE_PATCH, **query: str) -> Answer:
        return await self.call("PATCH", path, body, kind, **query)

    async def apply(self, path: str, body: Any, manager: str, **query: str) -> Answer:
        return await self.call("PATCH", path, body, APPLY_PATCH, fieldManager=manager, **query)

    async def delete(self, path: str, body: Any = None, **query: str) -> Answer:
        return await self.call("DELETE", path, body, **query)

    async def watch(self, path: str, **query: str) -> AsyncIterator[Any]:
        """Events until the server ends the watch."""
        params = {"watch": "1", "timeoutSeconds": "5", **query}
        async with self.session.get(self.url + path, params=params) as response:
            assert response.status == 200, await response.text()
            async for line in response.content:
                yield json.loads(line)

    def core(self, plural: str, name: str = "", sub: str = "") -> str:
        return self._path("/api/v1", plural, name, sub)

    def apps(self, plural: str, name: str = "", sub: str = "") -> str:
        return self._path("/apis/apps/v1", plural, name, sub)

    def _path(self, prefix: str, plural: str, name: str, sub: str) -> str:
        parts = [prefix, "namespaces", self.namespace, plural, *filter(None, (name, sub))]
        return "/".join(parts)


@asynccontextmanager
async def kubernetes_api() -> AsyncIterator[Api]:
    """An API server with a fresh namespace."""
    if url := os.environ.get("BRIM_TEST_APISERVER_URL"):
        trusted = ssl.create_default_context(cafile=os.environ.get("BRIM_TEST_APISERVER_CA"))
        async with _connected(url, os.environ.get("BRIM_TEST_APISERVER_TOKEN", ""), trusted) as api:
            await _admits_pods(api)
            yield api
            await api.delete(f"/api/v1/namespaces/{api.namespace}")
        return
    nodes = (NodeGroup(name="node", count=2, allocatable={"cpu": "8", "memory": "32Gi"}),)
    member = Member(id="contract", simulated=Simulated(nodes=nodes, delays=INSTANT))
    async with SimulatedMember(member, Clock()) as running, _connected(running.url, running.token) as api:
        yield api


@asynccontextmanager
async def _connected(url: str, token: str, trusted: ssl.SSLContext | None = None) -> AsyncIterator[Api]:
    headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    connector = aiohttp.TCPConnector(ssl=trusted or True)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector) as session:
        api = Api(session, url, f"contract-{secrets.token_hex(4)}")
        made = await api.create("/api/v1/namespaces", {"metadata": {"name": api.namespace}})
        assert made.status == 201, made.body
        yield api


async def _admits_pods(api: Api) -> None:
    """A controller gives a new namespace its service account, without which no pod is admitted."""
    await api.until(api.core("serviceaccounts", "default"), lambda answer: answer.status == 200)


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels or {}},
        "data": data,
    }


def deployment(name: str = "web", replicas: int | None = 2, **labels: str) -> dict[str, Any]:
    labels = labels or {"app": name}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "main", "image": "image:1"}]},
        },
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    containers = [{"name": "main", "image": "image:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"containers": containers, **spec},
    }
