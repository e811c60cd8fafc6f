"""A simulated member to test against, and waiting without sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import aiohttp

from shared.clock import Clock
from shared.fleet import Delays, Member, NodeGroup, NodePool, Simulated, Taint, VirtualNode
from simulator import SimulatedMember
from simulator.objects import Object
from simulator.registry import Deletion, Write
from simulator.resources import built_in
from simulator.subresources import bind

INSTANT = Delays(
    schedule=0, start=0, stop=0, scale_up_trigger=0, node_create=0, node_ready=0, node_idle=600, eci_start=0
)
DEADLINE = 10.0  # real seconds that any wait may take
T = TypeVar("T")

__all__ = ["Delays", "NodeGroup", "NodePool", "Taint", "VirtualNode"]


def nodes(count: int = 2, cpu: str = "8", name: str = "node", **labels: str) -> NodeGroup:
    return NodeGroup(name=name, count=count, allocatable={"cpu": cpu, "memory": "64Gi", "pods": "20"}, labels=labels)


class HandClock(Clock):
    """A clock that a test moves by hand."""

    def now(self) -> float:
        return _HAND[0]

    def move(self, seconds: float) -> None:
        _HAND[0] += seconds


_HAND = [1_800_000_000.0]


class Driver:
    """Writes to a member as its API would, reads its store, waits for what should come."""

    def __init__(self, member: SimulatedMember) -> None:
        self.member = member
        self.store = member.store

    def create(self, shelf: str, body: Object, space: str = "default") -> Object:
        resource = built_in(shelf)
        return self.member.registry.create(resource, space if resource.namespaced else "", body, Write("test"))

    def bind(self, name: str, node: str, space: str = "default") -> None:
        """What a scheduler outside the member does."""
        bind(self.member.registry, space, name, {"target": {"name": node}}, "test")

    def events(self, reason: str) -> list[str]:
        """The messages of the events of that reason."""
        return [event["message"] for event in self.store.every("events") if event["reason"] == reason]

    def patch(self, shelf: str, name: str, body: Object, space: str = "default") -> Object:
        resource = built_in(shelf)
        kind = "application/merge-patch+json"
        space = space if resource.namespaced else ""
        return self.member.registry.patch(resource, space, name, body, kind, Write("test"))[0]

    def delete(self, shelf: str, name: str, space: str = "default", **options: Any) -> None:
        resource = built_in(shelf)
        space = space if resource.namespaced else ""
        self.member.registry.delete(resource, space, name, Deletion(**options))

    def get(self, shelf: str, name: str, space: str = "default") -> Object | None:
        return self.store.get(shelf, space if built_in(shelf).namespaced else "", name)

    def pods(self, **labels: str) -> list[Object]:
        return [
            pod for pod in self.store.every("pods") if labels.items() <= (pod["metadata"].get("labels") or {}).items()
        ]

    def ready_pods(self, **labels: str) -> list[Object]:
        return [pod for pod in self.pods(**labels) if is_ready(pod)]

    async def until(self, check: Callable[[], T], what: str = "") -> T:
        """Wait for something true; looks again after every change in the store."""
        changed = asyncio.Event()
        self.store.subscribe(lambda change: changed.set())
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    changed.clear()
                    if found := check():
                        return found
                    await changed.wait()
        except TimeoutError:
            pods = {p["metadata"]["name"]: p.get("status") for p in self.store.every("pods")}
            raise AssertionError(f"never came true: {what or check}; pods: {pods}") from None

    async def settled(self) -> None:
        """Wait until the controllers have nothing to do at once."""
        async with asyncio.timeout(DEADLINE):
            await self.member.queue.settled()


def is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


@asynccontextmanager
async def cluster(
    *groups: NodeGroup,
    pools: tuple[NodePool, ...] = (),
    virtual: tuple[VirtualNode, ...] = (),
    delays: Delays = INSTANT,
    clock: Clock | None = None,
    data: Path | None = None,
) -> AsyncIterator[Driver]:
    """A running member."""
    simulated = Simulated(nodes=groups, pools=pools, virtual_nodes=virtual, delays=delays)
    member = Member(id="idc", region="r1", zone="r1-a", simulated=simulated)
    async with SimulatedMember(member, clock or Clock(), data) as running:
        yield Driver(running)
        assert running.queue.failures == 0


@asynccontextmanager
async def http(driver: Driver) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP session that carries the member's token."""
    headers = {"Authorization": f"Bearer {driver.member.token}"}
    timeout = aiohttp.ClientTimeout(total=DEADLINE)
    async with aiohttp.ClientSession(driver.member.url, headers=headers, timeout=timeout) as session:
        yield session


def template(labels: dict[str, str], image: str = "image:1", **pod_spec: Any) -> Object:
    cpu = pod_spec.pop("cpu", "1")
    marks = pod_spec.pop("annotations", {})
    container = {"name": "main", "image": image, "resources": {"requests": {"cpu": cpu}}}
    return {"metadata": {"labels": labels, "annotations": marks}, "spec": {"containers": [container], **pod_spec}}


def deployment(name: str = "web", replicas: int = 2, **more: Any) -> Object:
    """`strategy` and other spec fields by name; the rest goes to the pod template."""
    kept = ("strategy", "paused", "revisionHistoryLimit", "progressDeadlineSeconds", "minReadySeconds")
    spec = {key: more.pop(key) for key in kept if key in more}
    labels = {"app": name}
    return {
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": template(labels, **more),
            **spec,
        },
    }


def pod(name: str, **more: Any) -> Object:
    made = template({"app": name}, **more)
    return {"metadata": {**made["metadata"], "name": name}, "spec": made["spec"]}
