"""A fleet of simulated members, a real bus, and an executor that can be started and stopped at will."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest

from services.executor.app import run
from services.executor.core.live import read
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.annotations import REPLICAS_MANAGER
from shared.contracts.base import JsonObject
from shared.contracts.cluster import cluster_of, cluster_ref
from shared.contracts.desired import Desired, Revision
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement, Share
from shared.contracts.refs import ObjectRef, Order
from shared.errors import Invalid
from shared.fleet import Delays, Fleet, Kubeconfig, Member, NodeGroup, Simulated
from shared.health import Health
from shared.service import ServiceContext, service_context
from shared.settings import ExecutorSettings, Settings
from shared.workloads import kind_of
from simulator import Running, run_members, write_kubeconfig
from simulator.faults import Fault
from simulator.resources import Catalogue

UID = "workload-1"
NO_DELAYS = Delays(start=0, stop=0, scale_up_trigger=0, node_create=0, node_ready=0)
QUICK = ExecutorSettings(
    request_timeout=0.5, backoff_base=0.02, backoff_max=0.2, breaker_threshold=3, breaker_pause=0.2, resync=60
)
NODES = NodeGroup(allocatable={"cpu": "64", "memory": "256Gi", "pods": "110"})

Eventually = Callable[[Callable[[], object]], Awaitable[None]]


class Requests(Fault):
    """No fault at all: notes each request that reaches the member as "VERB path"."""

    def __init__(self) -> None:
        super().__init__("status")
        self.seen: list[str] = []

    def takes(self, method: str, path: str) -> bool:
        if "/apis/" in path or "/api/" in path:
            self.seen.append(f"{method} {path.partition('?')[0]}")
        return False

    def of(self, name: str) -> list[str]:
        """The verbs of those about one object."""
        return [line.partition(" ")[0] for line in self.seen if line.endswith(f"/{name}")]


@dataclass
class Executing:
    """One executor. `scope.cancel()` ends it."""

    health: Health = field(default_factory=Health)
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def ready(self) -> bool:
        return self.health.ready

    async def run(self, context: ServiceContext) -> None:
        with self.scope:
            await run(context)


@dataclass
class World:
    """What a test acts on. Orders count up by themselves."""

    bus: Bus
    members: Running
    settings: Settings
    clock: Clock
    eventually: Eventually
    counter: int = 0
    health: Health = field(default_factory=Health)

    # -- what people and the scheduler say -------------------------------------------------------------------

    async def join(self, *names: str, generation: int = 1, **fields: Any) -> None:
        """fields: of the member, as a fleet file has them."""
        for name in names:
            kubeconfig = Kubeconfig(context=name, path=str(self.settings.kubeconfig))
            member = self.members[name].member.model_copy(update=fields)
            manifest = cluster_of(member, kubeconfig).to_manifest()
            await self.desire(manifest, uid=f"cluster-{name}", generation=generation)

    async def leave(self, name: str) -> None:
        await self.bus.remove(subjects.desired(cluster_ref(name)))

    async def desire(self, manifest: JsonObject, *, revision: int = 1, generation: int = 1, uid: str = UID) -> None:
        ref = ObjectRef.of(manifest)
        desired = Desired(
            ref=ref,
            uid=uid,
            generation=generation,
            revision=revision,
            order=Order(counter=generation),
            manifest=manifest,
            created_at=1.0,
            changed_at=1.0,
        )
        await self.bus.publish(subjects.desired(ref), desired.encode())

    async def supersede(self, manifest: JsonObject, number: int) -> None:
        revision = Revision(uid=UID, number=number, manifest=manifest, superseded_at=1.0)
        await self.bus.publish(subjects.revision(UID, number), revision.encode())

    def placement(self, manifest: JsonObject, *shares: Share, order: Order | None = None, **fields: Any) -> Placement:
        self.counter += order is None
        return Placement(
            **{
                "ref": ObjectRef.of(manifest),
                "uid": UID,
                "generation": 1,
                "order": order or Order(epoch=1, counter=self.counter),
                "shares": shares,
                "cause": "created",
                "decided_at": 1.0,
                **fields,
            }
        )

    async def place(self, manifest: JsonObject, *shares: Share, **fields: Any) -> Placement:
        placement = self.placement(manifest, *shares, **fields)
        await self.publish(placement)
        return placement

    async def publish(self, placement: Placement) -> None:
        await self.bus.publish(subjects.placement(placement.ref), placement.encode())

    # -- what is to be seen ----------------------------------------------------------------------------------

    def live(self, member: str, manifest: JsonObject) -> Any:
        return self.live_at(member, ObjectRef.of(manifest))

    def live_at(self, member: str, ref: ObjectRef) -> Any:
        resource = next(r for r in Catalogue().shelves().values() if (r.kind, r.group) == (ref.kind, ref.group))
        return self.members[member].store.get(resource.shelf, ref.namespace, ref.name)

    async def outcome(self, member: str, manifest: JsonObject) -> Outcome | None:
        message = await self.bus.last("OUTCOME", subjects.outcome(member, ObjectRef.of(manifest)))
        return None if message is None or message.removed else Outcome.decode(message.data)

    async def said(self, member: str, placement: Placement, result: str) -> Outcome:
        """Wait for the outcome of this very placement."""
        subject = subjects.outcome(member, placement.ref)
        found: list[Outcome] = []

        async def done() -> bool:
            message = await self.bus.last("OUTCOME", subject)
            if message is None or message.removed:
                return False
            try:
                found[:] = [Outcome.decode(message.data)]
            except Invalid:
                return False  # a test's rubbish is still there
            return (found[0].order, found[0].result) == (placement.order, result)

        try:
            await self.eventually(done)
        except TimeoutError:
            pytest.fail(f"no outcome {result} of {placement.order} in {member}, but {found}")
        return found[0]

    async def settled(self, member: str, placement: Placement) -> Outcome:
        """Wait until it is applied and `brim` has let go of the count too: all writes that it takes are done."""
        outcome = await self.said(member, placement, "applied")
        await self.eventually(lambda: self._is_handed_over(member, placement.ref))
        return outcome

    def _is_handed_over(self, member: str, ref: ObjectRef) -> bool:
        kind = kind_of(ref.kind, ref.group)
        assert kind is not None
        live = self.live_at(member, ref)
        return live is not None and read(live, kind).count_owners == {REPLICAS_MANAGER}

    @contextmanager
    def requests(self, member: str) -> Iterator[Requests]:
        """Note the requests that a member gets. Begin before any fault that is to be noted too."""
        requests = Requests()
        faults = self.members[member].faults
        faults._rules.insert(0, requests)
        try:
            yield requests
        finally:
            faults.clear(requests)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over all label sets that contain these."""
        text = b"".join(metrics.render() for metrics in self.health._metrics).decode()
        total = 0.0
        for line in text.splitlines():
            match = re.fullmatch(rf"brim_executor_{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and all(f'{key}="{value}"' in (match[1] or "") for key, value in labels.items()):
                total += float(match[2])
        return total

    @asynccontextmanager
    async def executor(self, *, ready: bool = True) -> AsyncIterator[Executing]:
        """An executor; leaving the block stops it as SIGTERM would. ready: wait until it has read the streams."""
        executing = Executing()
        health = self.health = executing.health
        async with (
            service_context("executor", self.settings, bus=self.bus, clock=self.clock, health=health) as own,
            anyio.create_task_group() as group,
        ):
            group.start_soon(executing.run, own)
            await self.eventually(lambda: "executor" in health._checks and health.ready >= ready)
            yield executing
            group.cancel_scope.cancel()


OpenWorld = Callable[..., Any]


@pytest.fixture
def world(bus: Bus, nats_server: str, tmp_path: Path, eventually: Eventually) -> OpenWorld:
    """`async with world("idc", "cloud") as w:` runs these members, which have joined the fleet."""

    @asynccontextmanager
    async def open_world(
        *names: str, settings: ExecutorSettings = QUICK, version: str = "v1.34.1"
    ) -> AsyncIterator[World]:
        simulated = Simulated(nodes=(NODES,), delays=NO_DELAYS, version=version)
        members = tuple(Member(id=name, simulated=simulated) for name in (names or ("idc",)))
        clock = Clock()
        async with run_members(Fleet(members=members), clock) as running:
            path = tmp_path / "kubeconfig"
            write_kubeconfig(running, path)
            opened = World(bus, running, Settings(kubeconfig=path, executor=settings), clock, eventually)
            await opened.join(*running)
            yield opened

    return open_world
