"""A small fleet of simulated members, an inventory that watches it over a real nats-server, and readers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import pytest

from services.inventory import app, member
from shared.backoff import Backoff
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.capacity import (
    Capacity,
    Delta,
    DisruptionBudget,
    Heartbeat,
    Pool,
    Snapshot,
    Surroundings,
    decode_capacity,
)
from shared.contracts.cluster import cluster_of
from shared.contracts.desired import Desired, Tombstone
from shared.contracts.read import Read, ReadAnswer
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status
from shared.fleet import Fleet, Kubeconfig, Member, Stock
from shared.health import Health
from shared.kube import MemberClient
from shared.service import ServiceContext, service_context
from shared.settings import BusSettings, InventorySettings, Settings
from simulator.members import Running, run_members, write_kubeconfig

Node = tuple[object, str, dict[str, int], dict[str, int]]  # (class, phase, allocatable, free)


@dataclass
class Replay:
    """What a reader of CAPACITY makes of one member's messages; gaps are faults here."""

    epoch: int = 0
    number: int = 0
    nodes: dict[str, Node] = field(default_factory=dict)
    classes: dict[int, object] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    bound: dict[str, int] = field(default_factory=dict)
    surroundings: Surroundings | None = None
    budgets: dict[str, DisruptionBudget] = field(default_factory=dict)
    heartbeat: Heartbeat | None = None
    snapshots: int = 0

    def take(self, message: Capacity) -> None:
        if message.epoch < self.epoch:
            return
        match message:
            case Heartbeat():
                self.heartbeat = message
                return
            case Snapshot() if message.chunk == 0:
                self.epoch, self.snapshots = message.epoch, self.snapshots + 1
                self.nodes, self.classes, self.pools, self.bound = {}, {}, {}, {}
                self.surroundings, self.budgets = None, {}
            case Delta():
                assert (message.epoch, message.number) == (self.epoch, self.number + 1), "a gap"
                for name in message.removed:
                    del self.nodes[name]
        self.number = message.number
        self.classes |= message.classes
        if message.pools is not None:
            self.pools = (self.pools if isinstance(message, Snapshot) else {}) | {p.id: p for p in message.pools}
        self.surroundings = message.surroundings or self.surroundings
        changed = self.budgets | message.budgets
        self.budgets = {name: budget for name, budget in changed.items() if budget is not None}
        self.bound = {uid: n for uid, n in (self.bound | message.bound).items() if n}
        columns = message.nodes
        for place, name in enumerate(columns.names):
            self.nodes[name] = (
                self.classes[columns.classes[place]],
                columns.phases[place],
                {resource: column[place] for resource, column in columns.allocatable.items()},
                {resource: column[place] for resource, column in columns.free.items()},
            )

    @property
    def free_cpu(self) -> dict[str, int]:
        return {name: free["cpu"] for name, (_, _, _, free) in self.nodes.items()}


@pytest.fixture
def replay() -> type[Replay]:
    return Replay


@dataclass
class Fleetside:
    """What a test holds: the members, the bus, and ways to change DESIRED."""

    members: Running
    fleet: Fleet
    kubeconfig: Path
    bus: Bus
    clock: Clock
    settings: Settings
    eventually: Callable[[Callable[[], object]], Awaitable[None]]

    def member(self, name: str) -> Member:
        return next(one for one in self.fleet.members if one.id == name)

    async def join(self, name: str, *, stock: Stock | None = None) -> None:
        """Put a Cluster into DESIRED."""
        reached = Kubeconfig(context=name, path=str(self.kubeconfig))
        manifest = cluster_of(self.member(name), reached)
        if stock is not None:
            manifest = manifest.model_copy(update={"spec": manifest.spec.model_copy(update={"stock": stock})})
        await self.want(manifest.to_manifest(), uid=f"cluster-{name}")

    async def leave(self, name: str) -> None:
        manifest = cluster_of(self.member(name), Kubeconfig(context=name, path=str(self.kubeconfig)))
        await self.want(manifest.to_manifest(), uid=f"cluster-{name}", deleted=True)

    async def want(self, manifest: dict[str, object], *, uid: str = "w-1", deleted: bool = False) -> None:
        ref = ObjectRef.of(manifest)  # type: ignore[arg-type]
        now = self.clock.now()
        desired = Desired(
            ref=ref,
            uid=uid,
            generation=1,
            order=Order(epoch=1, counter=1),
            manifest=manifest,  # type: ignore[arg-type]
            created_at=now,
            changed_at=now,
            deleted=Tombstone(at=now) if deleted else None,
        )
        await self.bus.publish(subjects.desired(ref), desired.encode())

    @asynccontextmanager
    async def client(self, name: str) -> AsyncIterator[MemberClient]:
        async with MemberClient.connect(member=name, context=name, kubeconfig=self.kubeconfig) as client:
            yield client

    async def status(self, member: str, ref: ObjectRef) -> Status | None:
        last = await self.bus.last("STATUS", subjects.status(member, ref))
        return None if last is None or last.removed else Status.decode(last.data)

    async def replayed(self, member: str) -> Replay:
        """What a reader that starts now would know of a member."""
        found = Replay()
        for message in await self.bus.history("CAPACITY", subjects.capacity(member)):
            if not message.removed:
                found.take(decode_capacity(message.data))
        return found

    async def read(self, member: str, **question: object) -> ReadAnswer:
        question = Read.model_validate(question).encode()  # type: ignore[assignment]
        return ReadAnswer.decode(await self.bus.request(subjects.read(member), question))  # type: ignore[arg-type]

    async def _leads(self, context: ServiceContext) -> bool:
        """Every member is heard of in an epoch of this instance, and all are synced."""
        holder = await self.bus.last("LEASE", "brim.lease.inventory.holder")
        return holder is not None and not holder.removed and context.health.ready

    @asynccontextmanager
    async def inventory(self) -> AsyncIterator[ServiceContext]:
        """An inventory of its own connection, ready; it ends as a process would on SIGTERM."""
        health = Health()
        async with (
            service_context("inventory", self.settings, clock=self.clock, health=health) as context,
            anyio.create_task_group() as group,
        ):
            group.start_soon(app.run, context)
            await self.eventually(lambda: self._leads(context))
            yield context
            group.cancel_scope.cancel()


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that failed is asked again sooner than in production: what follows is the same."""
    monkeypatch.setattr(member, "RETRY", Backoff(base=0.02, maximum=0.5))


@pytest.fixture
def fleetside(
    bus: Bus, nats_server: str, tmp_path: Path, eventually: Callable[[Callable[[], object]], Awaitable[None]]
) -> Callable[..., object]:
    """`async with fleetside(fleet_yaml, join=[...]) as side`: members that run, and are wanted where named."""

    @asynccontextmanager
    async def run(
        fleet: Fleet, *, join: list[str] | None = None, speed: float = 1.0, **inventory: float
    ) -> AsyncIterator[Fleetside]:
        clock = Clock(speed=speed)
        settings = Settings(
            bus=BusSettings(url=nats_server),
            inventory=InventorySettings(**inventory),  # type: ignore[arg-type]
        )
        async with run_members(fleet, clock) as members:
            path = tmp_path / "kubeconfig"
            write_kubeconfig(members, path)
            side = Fleetside(members, fleet, path, bus, clock, settings, eventually)
            for name in [member.id for member in fleet.members] if join is None else join:
                await side.join(name)
            yield side

    return run
