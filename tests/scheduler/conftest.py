"""A scheduler on a real bus, and a fleet that exists only as the messages that inventory and executor would send."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest

from services.scheduler import app
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.capacity import Delta, NodeClass, NodeColumns, Pool, Snapshot, Surroundings
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from shared.contracts.submit import Answer, Cordon, Delete, Plan, Planned, Scale
from shared.errors import Invalid
from shared.service import ServiceContext, service_context
from shared.settings import Settings

Eventually = Callable[[Callable[[], object]], Awaitable[None]]

WEB = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web")


def deployment(name: str = "web", replicas: int = 2, cpu: str = "1", image: str = "a") -> str:
    return (
        f"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: {name}, namespace: test}}, spec: {{"
        f"replicas: {replicas}, selector: {{matchLabels: {{app: {name}}}}}, template: {{metadata: {{labels: "
        f"{{app: {name}}}}}, spec: {{containers: [{{name: c, image: {image}, resources: {{requests: {{cpu: {cpu}}}}}"
        "}]}}}}"
    )


def policy(*tiers: Sequence[str], spec: str = "", name: str = "p", kind: str = "Deployment") -> str:
    """A dynamic division over tiers of members."""
    affinities = ", ".join(
        f"{{affinityName: t{number}, clusterNames: [{', '.join(tier)}]}}" for number, tier in enumerate(tiers)
    )
    return (
        "{apiVersion: policy.one.alibabacloud.com/v1alpha1, kind: PropagationPolicy, "
        f"metadata: {{name: {name}, namespace: test}}, spec: {{resourceSelectors: "
        f"[{{apiVersion: apps/v1, kind: {kind}}}], {spec} placement: {{clusterAffinities: [{affinities}], "
        "replicaScheduling: {replicaSchedulingType: Divided, replicaDivisionPreference: Weighted, "
        "weightPreference: {dynamicWeight: AvailableReplicas}}}}}"
    )


class FakeInventory:
    """One member's capacity: nodes of some CPUs each, published as inventory would."""

    def __init__(self, bus: Bus, member: str, cpus: Sequence[int], pools: Sequence[Pool] = ()) -> None:
        self.bus = bus
        self.member = member
        self.cpus = list(cpus)
        self.pools = tuple(pools)
        self.epoch = 1
        self.number = 0
        self.snapshots_asked = 0
        self.bound: dict[str, int] = {}

    def _nodes(self, indexes: Sequence[int]) -> NodeColumns:
        amounts = {
            "cpu": [self.cpus[i] * 1000 for i in indexes],
            "memory": [2**36 for _ in indexes],
            "pods": [110 for _ in indexes],
        }
        return NodeColumns(
            names=[f"n{i}" for i in indexes],
            classes=[0 for _ in indexes],
            phases=["ready" for _ in indexes],
            allocatable=amounts,
            free=amounts,
        )

    async def snapshot(self) -> None:
        snapshot = Snapshot(
            member=self.member,
            epoch=self.epoch,
            number=self.number,
            observed_at=time.time(),
            classes={0: NodeClass()},
            nodes=self._nodes(range(len(self.cpus))),
            pools=self.pools,
            bound=self.bound,
            surroundings=Surroundings(),
        )
        await self.bus.publish(subjects.capacity(self.member), snapshot.encode())

    def delta(self, node: int, cpus: int) -> Delta:
        """The next delta: one node now has so many free CPUs."""
        if node == len(self.cpus):
            self.cpus.append(cpus)
        self.cpus[node] = cpus
        self.number += 1
        return Delta(
            member=self.member,
            epoch=self.epoch,
            number=self.number,
            observed_at=time.time(),
            nodes=self._nodes([node]),
        )

    async def send(self, delta: Delta) -> None:
        await self.bus.publish(subjects.capacity(self.member), delta.encode())

    async def serve(self) -> None:
        """Answer requests for a snapshot, as inventory does."""

        async def answer(_message: Message) -> bytes:
            self.snapshots_asked += 1
            await self.snapshot()
            return b""

        await self.bus.serve(subjects.snapshot(self.member), answer)


class Stage:
    """What a test says to the scheduler, and what it sees of it."""

    WEB = WEB
    deployment = staticmethod(deployment)
    policy = staticmethod(policy)

    def __init__(self, bus: Bus, eventually: Eventually) -> None:
        self.bus = bus
        self.eventually = eventually

    @asynccontextmanager
    async def scheduler(
        self, bus: Bus | None = None, *, leads: bool = True, clock: Clock | None = None
    ) -> AsyncIterator[ServiceContext]:
        """A running scheduler, on a connection of its own; ready, unless it only stands by."""
        settings = Settings(bus=self.bus._settings)
        async with (
            service_context("scheduler", settings, bus=bus, clock=clock or Clock()) as context,
            anyio.create_task_group() as group,
        ):
            group.start_soon(app.run, context)
            if leads:
                await self.eventually(lambda: context.health.ready)
            yield context
            group.cancel_scope.cancel()

    # -- saying ----------------------------------------------------------------------------------------------

    async def member(self, name: str, *cpus: int, pools: Sequence[Pool] = ()) -> FakeInventory:
        """A member joins, with nodes of so many free CPUs each."""
        await self.apply(
            f"{{apiVersion: brim.dev/v1alpha1, kind: Cluster, metadata: {{name: {name}}},"
            f" spec: {{kubeconfig: {{context: {name}}}}}}}"
        )
        inventory = FakeInventory(self.bus, name, cpus, pools)
        await inventory.snapshot()
        return inventory

    async def inventory_again(self, name: str, *cpus: int) -> FakeInventory:
        """A new instance of inventory, in the next epoch."""
        inventory = FakeInventory(self.bus, name, cpus)
        inventory.epoch = 2
        return inventory

    async def apply(self, *texts: str) -> Answer:
        answer = Answer.decode(await self.bus.request(subjects.APPLY, "\n---\n".join(texts).encode()))
        assert not answer.faults, answer.faults
        return answer

    async def scale(self, replicas: int, ref: ObjectRef = WEB) -> None:
        request = Scale(ref=ref, replicas=replicas).encode()
        assert not Answer.decode(await self.bus.request(subjects.SCALE, request)).faults

    async def delete(self, ref: ObjectRef = WEB) -> None:
        assert not Answer.decode(await self.bus.request(subjects.DELETE, Delete(refs=(ref,)).encode())).faults

    async def wish(self, member: str, wish: str) -> None:
        request = Cordon.model_validate({"member": member, "wish": wish}).encode()
        assert not Answer.decode(await self.bus.request(subjects.CORDON, request)).faults

    async def plan(self, *texts: str) -> Planned:
        request = Plan(manifests="\n---\n".join(texts)).encode()
        return Planned.decode(await self.bus.request(subjects.PLAN, request))

    async def report(self, placement: Placement, member: str, result: str) -> None:
        """The executor's outcome of a share."""
        outcome = Outcome.model_validate(
            {
                "member": member,
                "ref": placement.ref,
                "uid": placement.uid,
                "order": placement.order,
                "result": result,
                "at": time.time(),
            }
        )
        await self.bus.publish(subjects.outcome(member, placement.ref), outcome.encode())

    async def serving(self, placement: Placement, member: str, ready: int) -> None:
        """Inventory's status: so many replicas are ready there."""
        share = placement.share(member)
        status = Status(
            member=member,
            ref=placement.ref,
            uid=placement.uid,
            order=placement.order,
            observed_at=time.time(),
            replicas=share.replicas if share else 0,
            ready=ready,
            updated=ready,
            available=ready,
            bound=ready,
        )
        await self.bus.publish(subjects.status(member, placement.ref), status.encode())

    # -- seeing ----------------------------------------------------------------------------------------------

    async def placement(self, ref: ObjectRef = WEB) -> Placement | None:
        """None also while a test's rubbish lies there."""
        message = await self.bus.last("PLACEMENT", subjects.placement(ref))
        if message is None or message.removed:
            return None
        try:
            return Placement.decode(message.data)
        except Invalid:
            return None

    async def desired(self, ref: ObjectRef = WEB) -> Desired | None:
        message = await self.bus.last("DESIRED", subjects.desired(ref))
        return None if message is None or message.removed else Desired.decode(message.data)

    async def until(self, counts: dict[str, int], *, pending: int = 0, ref: ObjectRef = WEB) -> Placement:
        """Wait until the placement holds exactly so many replicas per member."""
        found: list[Placement] = []

        async def so() -> bool:
            placement = await self.placement(ref)
            if placement is None:
                return False
            found[:] = [placement]
            return (self.counts(placement), placement.pending) == (counts, pending)

        try:
            await self.eventually(so)
        except TimeoutError:
            seen = (self.counts(found[0]), found[0].pending, found[0].reasons) if found else "nothing"
            pytest.fail(f"expected {counts} and {pending} pending, but the last placement was {seen}")
        return found[0]

    @staticmethod
    def counts(placement: Placement) -> dict[str, int]:
        return {share.member: share.replicas for share in placement.shares if share.present and share.replicas}


@pytest.fixture
def stage(bus: Bus, eventually: Eventually) -> Stage:
    return Stage(bus, eventually)


@pytest.fixture
def stage_on(eventually: Eventually) -> Callable[[Bus], Stage]:
    """A stage on a bus of the test's own."""
    return lambda bus: Stage(bus, eventually)
