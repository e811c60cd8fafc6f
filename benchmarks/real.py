"""Rows about real members: two real API servers on the same machine, and brim's services as processes of their own.

Only etcd and kube-apiserver run in a member: what is measured ends where the member's own controllers begin.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.decisions import fleet_is_known, offer
from benchmarks.generate import PER_POLICY, Batch, deployment
from benchmarks.report import Figure, percentile
from benchmarks.scenarios import NAMESPACE, SERVICES, SLOT, dividing
from benchmarks.stage import DidNotHappen, Stage, stage
from shared.contracts.cluster import cluster_of
from shared.described import DescribedNode
from shared.fleet import Kubeconfig, Member
from shared.kube import Changed, KubeObject, MemberClient, Resource, Synced
from tests.real import binaries
from tests.real.control_plane import ControlPlane, call, kubeconfig
from tests.real.local import LocalControlPlane
from tests.real.machines import node

DEPLOYMENTS = Resource("apps", "v1", "Deployment", "deployments")
MEMBERS = ("first", "second")
NODES, SLOTS = 75, 200  # per member: room for all rounds
RATE = 10.0  # workloads a second
WITHIN = 120.0


@dataclass(slots=True)
class Applied:
    """When each Deployment was first seen in each member, as its API tells it. Unix seconds."""

    at: dict[str, dict[str, float]] = field(default_factory=lambda: {name: {} for name in MEMBERS})
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self, client: MemberClient) -> None:
        seen = self.at[client.member]
        async with aclosing(client.watch(DEPLOYMENTS, KubeObject, namespace=NAMESPACE)) as events:
            async for event in events:
                now = time.time()
                match event:
                    case Synced(items):
                        seen.update({item.metadata.name: now for item in items if item.metadata.name not in seen})
                    case Changed(item):
                        seen.setdefault(item.metadata.name, now)
                self.news.set()

    def first(self, name: str) -> float | None:
        return min((seen[name] for seen in self.at.values() if name in seen), default=None)

    async def everywhere(self, names: list[str]) -> None:
        """Wait until every member has every Deployment."""
        try:
            async with asyncio.timeout(WITHIN):
                while not all(name in seen for seen in self.at.values() for name in names):
                    self.news.clear()
                    await self.news.wait()
        except TimeoutError:
            missing = {member: len([name for name in names if name not in self.at[member]]) for member in self.at}
            raise DidNotHappen(f"not applied within {WITHIN:g} s: {missing}") from None


async def latency(folder: Path, quick: bool) -> list[Figure]:
    """Workloads at a steady rate, each until the first member has it."""
    made = workloads("steady", 20 if quick else 300)
    async with world(folder) as (it, applied):
        sent = await offer(it.bus, made, RATE)
        await applied.everywhere(list(sent))
        seconds = [(applied.first(name) or 0.0) - begun for name, begun in sent.items()]
    note = f"two real API servers, {RATE:g} workloads/s offered, {len(seconds)} of them; until the first member has it"
    return [
        Figure("real", "P50", "ms", (percentile(seconds, 0.5) * 1000,), 50, note=note),
        Figure("real", "P99", "ms", (percentile(seconds, 0.99) * 1000,), 250, note=note),
    ]


async def burst(folder: Path, quick: bool) -> list[Figure]:
    """Workloads at once, until all members have all of them. Again and again."""
    count, rounds = (30, 1) if quick else (300, 3)
    seconds = []
    async with world(folder) as (it, applied):
        for number in range(rounds):
            made = workloads(f"burst-{number}", count)
            begun = time.time()
            sent = await offer(it.bus, made, None)
            await applied.everywhere(list(sent))
            seconds.append(time.time() - begun)
    note = f"two real API servers, {count} workloads at once; until both members have all of them"
    return [Figure("real-burst", "all applied", "s", tuple(seconds), 4.0, note=note)]


def workloads(name: str, count: int) -> list[Batch]:
    """Of 2 to 50 replicas, so that both of two equal members get some; ten per policy."""
    chance = random.Random(1)
    made = []
    for first in range(0, count, PER_POLICY):
        group = f"{name}-{first // PER_POLICY:03d}"
        numbers = range(first, min(first + PER_POLICY, count))
        some = tuple(
            deployment(f"{name}-{number:04d}", NAMESPACE, group, chance.randint(2, 50), SLOT) for number in numbers
        )
        made.append(Batch(dividing(group), some))
    return made


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[tuple[Stage, Applied]]:
    """Two members with room for everything, the services, and the members known to the scheduler."""
    try:
        programs = binaries.find()
    except binaries.Missing as missing:
        raise DidNotHappen(str(missing)) from None
    file = folder / "kubeconfig"
    async with AsyncExitStack() as stack:
        planes = {
            name: stack.enter_context(LocalControlPlane(programs, name, folder / name, lives=False)) for name in MEMBERS
        }
        for plane in planes.values():
            _populate(plane)
        kubeconfig(planes, file)
        it = await stack.enter_async_context(stage(folder))
        await asyncio.gather(*(it.service(name) for name in SERVICES))
        reached = {name: Kubeconfig(context=name, path=str(file)) for name in MEMBERS}
        await it.apply(*(cluster_of(Member(id=name, kubeconfig=reached[name])).to_manifest() for name in MEMBERS))
        await fleet_is_known(it.bus, len(MEMBERS))
        async with _watched(file) as applied:
            yield it, applied


def _populate(plane: ControlPlane) -> None:
    """Nodes that are Ready, with nobody there to say so."""
    call(plane, "POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    room: Mapping[str, str] = {"cpu": str(SLOTS), "memory": f"{4 * SLOTS}Gi", "pods": "250"}
    for number in range(NODES):
        made = call(plane, "POST", "/api/v1/nodes", node(DescribedNode(f"node-{number}", {}, room, room)))
        made["spec"]["taints"] = []
        path = f"/api/v1/nodes/node-{number}"
        call(plane, "PUT", path, made)
        made = call(plane, "GET", path)
        made["status"]["conditions"] = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
        call(plane, "PUT", f"{path}/status", made)


@asynccontextmanager
async def _watched(file: Path) -> AsyncIterator[Applied]:
    applied = Applied()
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(MemberClient.connect(member=name, context=name, kubeconfig=file))
            for name in MEMBERS
        ]
        following = [asyncio.create_task(applied.follow(client)) for client in clients]
        try:
            yield applied
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
