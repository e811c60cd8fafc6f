"""A whole brim over real members: `really_playing` is to them what `playing` is to simulated ones.

The fleet file is the same; each of its members becomes a control plane with the nodes that it describes, and its node
pools are those of an autoscaler that this module plays.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from pathlib import Path

from cli.demo.observer import Observer, leaving, node_of
from cli.demo.stage import staged
from cli.json_values import objects_of, table_of, text
from cli.up import example
from shared import fleet as fleet_file
from shared.clock import Clock
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef
from shared.described import pool_node
from shared.errors import MemberUnavailable
from shared.fleet import Fleet, Kubeconfig, Member, NodeGroup, NodePool, Simulated, Stock
from shared.kube import PODS
from shared.settings import Settings
from tests.e2e.harness import WAIT, Play
from tests.real.control_plane import ControlPlane, kubeconfig
from tests.real.machines import node, populate
from tests.real.rights import both

PATIENCE = 4.0  # real programs on a busy machine: three control planes share it with everything else


EDGE = Member(
    id="edge",
    alias="cluster-edge-demo",
    region="hangzhou",
    simulated=Simulated(nodes=(NodeGroup(name="edge", count=2, allocatable={"cpu": "8", "memory": "32Gi"}),)),
)


def three(name: str) -> Fleet:
    """A packaged fleet of two members, and a third that its policies do not name."""
    fleet = fleet_file.parse(example(name), source=name)
    return fleet.model_copy(update={"members": (*fleet.members, EDGE)})


class Autoscaler:
    """A node for each pod that fits nowhere and asks for what the pool's nodes have, up to the pool's maximum; nodes
    that stay empty are removed. A node holds one replica here.

    boots, idle: real seconds until a node is Ready, and until an empty one goes.
    """

    def __init__(self, observer: Observer, member: Member, pool: NodePool, *, boots: float, idle: float) -> None:
        self._observer = observer
        self._member = member
        self._pool = pool
        self._boots = boots
        self._idle = idle
        self._empty_since: dict[str, float] = {}
        self._made = 0

    async def run(self) -> None:
        while True:
            seen = self._observer.changes
            with suppress(MemberUnavailable):  # its API server crashed, maybe by a test's will
                await self._look()
            await self._observer.until(partial(self._has_changed_since, seen), 0.5)

    def _has_changed_since(self, seen: int) -> bool:
        return self._observer.changes != seen

    async def _look(self) -> None:
        pods = [entry.manifest for entry in self._observer.objects(PODS, member=self._member.id)]
        nodes = [text(one, "metadata", "name") for one in self._nodes()]
        empty = [name for name in nodes if all(node_of(pod) != name for pod in pods)]
        waiting = sum(self._would_help(pod) for pod in pods)
        for _ in range(min(waiting - len(empty), self._pool.max - len(nodes))):
            await self._add()
        await self._remove(empty if not waiting else [])

    def _nodes(self) -> list[JsonObject]:
        return self._observer.nodes(self._member.id, pool=self._pool.id)

    def _would_help(self, pod: JsonObject) -> bool:
        stuck = any(
            (text(one, "type"), text(one, "status"), text(one, "reason")) == ("PodScheduled", "False", "Unschedulable")
            for one in objects_of(pod, "status", "conditions")
        )
        containers = objects_of(pod, "spec", "containers")
        asked = {name for one in containers for name in table_of(one, "resources", "requests")}
        extended = {name for name in self._pool.allocatable if "/" in name}
        return stuck and not node_of(pod) and not leaving(pod) and extended <= asked

    async def _add(self) -> None:
        self._made += 1
        described = pool_node(self._member, self._pool, f"{self._pool.id}-{self._made}")
        client = self._observer.clients[self._member.id]
        await client.create(node(described, boots=f"{self._boots:g}s"), manager="autoscaler")
        await self._observer.until(
            lambda: any(text(one, "metadata", "name") == described.name for one in self._nodes()), 5.0
        )

    async def _remove(self, empty: Iterable[str]) -> None:
        now = asyncio.get_running_loop().time()
        self._empty_since = {name: self._empty_since.get(name, now) for name in empty}
        for name, since in self._empty_since.items():
            if now - since >= self._idle:
                ref = ObjectRef(group="", version="v1", kind="Node", name=name)
                await self._observer.clients[self._member.id].delete(ref)


@asynccontextmanager
async def really_playing(
    folder: Path,
    fleet: Fleet,
    planes: Sequence[ControlPlane],
    *,
    boots: float = 4.0,
    idle: float = 8.0,
    settings: Settings | None = None,
) -> AsyncIterator[Play]:
    """Everything up and ready, as `playing`; brim has no more rights than deploy/rbac gives. planes: empty ones, in the
    order of the members.

    boots, idle: of added nodes, in seconds.
    """
    file = folder / "kubeconfig"
    by_member = {member.id: plane for member, plane in zip(fleet.members, planes, strict=True)}
    kubeconfig(by_member, file)
    for member in fleet.members:
        populate(by_member[member.id], member)
        (folder / member.id).mkdir()
    real = Fleet(
        members=tuple(
            _real(member, both(by_member[member.id], folder / member.id, way))
            for way, member in enumerate(fleet.members)
        )
    )
    async with AsyncExitStack() as stack:
        stage = await stack.enter_async_context(
            staged(
                settings or Settings(), real, folder, Clock(), say=lambda _: None, kubeconfig=file, patience=PATIENCE
            )
        )
        scalers = [
            Autoscaler(stage.observer, member, pool, boots=boots, idle=idle)
            for member in fleet.members
            if member.simulated is not None
            for pool in member.simulated.pools
        ]
        tasks = [asyncio.create_task(scaler.run()) for scaler in scalers]
        stack.push_async_callback(_end, tasks)
        yield Play(stage, folder, WAIT * PATIENCE)


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    for found in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(found, Exception):
            raise found


def _real(member: Member, file: Path) -> Member:
    assert member.simulated is not None
    told = member.simulated.stock.model_copy(update={"source": "static"})
    return member.model_copy(
        update={
            "simulated": None,
            "kubeconfig": Kubeconfig(context="ctx", path=str(file)),
            "stock": Stock.model_validate(told.model_dump()),
        }
    )
