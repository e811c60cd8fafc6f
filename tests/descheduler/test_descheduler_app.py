"""The descheduler over a real bus: what it asks, when, and how the story's trace hangs together."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest

from services.descheduler.app import run
from shared import telemetry
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.placement import Placement, Share
from shared.contracts.rebalance import Rebalance
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status, Unschedulable
from shared.health import Health
from shared.nats_server import NatsServer
from shared.service import service_context
from shared.settings import BusSettings, DeschedulerSettings, Settings

UID = "workload-1"
WEB = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web")
SPEED = 60.0  # fleet seconds per second: a threshold of 30 s passes in half a second

Eventually = Callable[[Callable[[], object]], Awaitable[None]]


@dataclass
class World:
    bus: Bus
    eventually: Eventually
    clock: Clock
    settings: Settings
    counter: int = 0
    health: Health = field(default_factory=Health)

    async def place(self, replicas: int = 4, ref: ObjectRef = WEB, **fields: Any) -> Placement:
        self.counter += 1
        share = Share(member="idc", replicas=replicas, revision=1, **fields.pop("share", {}))
        placement = Placement(
            **{
                "ref": ref,
                "uid": UID,
                "generation": 1,
                "order": Order(epoch=1, counter=self.counter),
                "revision": 1,
                "shares": (share,),
                "cause": "created",
                "decided_at": self.clock.now(),
                **fields,
            }
        )
        await self.bus.publish(subjects.placement(ref), placement.encode())
        return placement

    async def tell(
        self, placement: Placement, pending: int, *, age: float = 0.0, member: str = "idc", **fields: Any
    ) -> Status:
        now = self.clock.now()
        entries = (Unschedulable(since=now - age, count=pending, message="no room"),) if pending else ()
        status = Status(
            **{
                "member": member,
                "ref": placement.ref,
                "uid": UID,
                "order": placement.order,
                "revision": 1,
                "observed_at": now,
                "replicas": placement.shares[0].replicas,
                "unschedulable": entries,
                **fields,
            }
        )
        await self.bus.publish(subjects.status(member, placement.ref), status.encode())
        return status

    async def asked(self, order: Order | None = None, ref: ObjectRef = WEB) -> Rebalance:
        found: list[Rebalance] = []

        async def is_there() -> bool:
            message = await self.bus.last("REBALANCE", subjects.rebalance(ref))
            if message is not None:
                found[:] = [Rebalance.decode(message.data)]
            return bool(found) and order in (None, found[0].order)

        await self.eventually(is_there)
        return found[0]

    def metric(self, name: str) -> float:
        return sum(self.metrics(name).values())

    def metrics(self, name: str) -> dict[str, float]:
        """By what stands in braces behind the name."""
        text = b"".join(metrics.render() for metrics in self.health._metrics).decode()
        lines = (line for line in text.splitlines() if line.startswith(f"brim_descheduler_{name}"))
        found = (line.removeprefix(f"brim_descheduler_{name}").rpartition(" ") for line in lines)
        return {labels: float(value) for labels, _, value in found}

    @contextlib.asynccontextmanager
    async def descheduler(self) -> AsyncIterator[None]:
        self.health = Health()
        async with (
            service_context("descheduler", self.settings, clock=self.clock, bus=self.bus, health=self.health) as own,
            anyio.create_task_group() as group,
        ):
            group.start_soon(run, own)
            await self.eventually(lambda: "descheduler" in self.health._checks and self.health.ready)
            yield
            group.cancel_scope.cancel()


@pytest.fixture
def world(bus: Bus, eventually: Eventually) -> World:
    return World(bus, eventually, Clock(speed=SPEED), Settings())


async def test_a_replica_that_is_stuck_already_is_asked_for_at_once(world: World) -> None:
    async with world.descheduler():
        placement = await world.place()
        await world.tell(placement, 2, age=40, ready=1)
        request = await world.asked()
        assert (request.uid, request.order, request.cause) == (UID, placement.order, "stuck")
        (stuck,) = request.stuck
        assert (stuck.member, stuck.count, stuck.ready, stuck.message) == ("idc", 2, 1, "no room")


async def test_it_wakes_up_when_the_threshold_passes_and_not_on_the_sweep(world: World) -> None:
    async with world.descheduler():
        status = await world.tell(await world.place(), 2)
        request = await world.asked()
        late = request.asked_at - status.unschedulable[0].since - 30
        assert 0 <= late < 0.5 * SPEED  # well before the sweep, which comes after 120 fleet seconds


async def test_elastic_replicas_are_asked_for_when_their_deadline_passes(world: World) -> None:
    async with world.descheduler():
        deadline = world.clock.now() + 60
        placement = await world.place(share={"elastic": 2, "free": 2, "deadline": deadline})
        await world.tell(placement, 2, age=40)
        assert (await world.asked()).asked_at >= deadline


async def test_what_was_asked_is_asked_again_only_after_a_pause(world: World) -> None:
    async with world.descheduler():
        placement = await world.place()
        await world.tell(placement, 2, age=40)
        first = await world.asked()
        for _ in range(5):
            await world.tell(placement, 2, age=40)
        await world.eventually(lambda: world.metric("requests_total") >= 2)
        second = await world.asked()
        assert second.asked_at - first.asked_at >= 29


async def test_a_request_that_was_overtaken_is_repeated_for_the_new_placement(world: World) -> None:
    async with world.descheduler():
        placement = await world.place()
        await world.tell(placement, 2, age=40)
        await world.asked(placement.order)
        newer = await world.place(cause="scaled", replicas=5)
        await world.tell(newer, 2, age=40)
        await world.asked(newer.order)


async def test_nothing_is_asked_of_an_object_that_recovered_or_is_gone(world: World) -> None:
    async with world.descheduler():
        placement = await world.place()
        await world.tell(placement, 2)
        await world.tell(placement, 0)
        gone = WEB.model_copy(update={"name": "gone"})
        other = await world.place(ref=gone)
        await world.tell(other, 2)
        await world.bus.remove(subjects.status("idc", gone))
        third = WEB.model_copy(update={"name": "third"})
        await world.tell(await world.place(ref=third), 1)
        await world.asked(ref=third)  # its time is up later than that of the others
        assert world.metric("requests_total") == 1


async def test_a_restarted_descheduler_finds_what_got_stuck_in_the_meantime(world: World) -> None:
    placement = await world.place()
    await world.tell(placement, 2, age=40)
    async with world.descheduler():
        await world.asked(placement.order)
    async with world.descheduler():
        await world.eventually(lambda: world.metric("requests_total") >= 1)
    assert (await world.bus.stream_info("REBALANCE")).messages == 1  # the same request has the same id


async def test_rubbish_on_the_streams_hurts_nobody(world: World) -> None:
    """Before it starts and while it works, on subjects of any form that the streams take, on others' and its own."""
    bad = WEB.model_copy(update={"name": "bad"})

    async def spoil() -> None:
        for subject in (
            subjects.status("idc", bad),
            subjects.placement(bad),
            subjects.rebalance(bad),
            *("brim.status.a", "brim.status.a.b.c.d", "brim.placement.a", "brim.placement.a.b.c"),
        ):
            for rubbish in (b"", b"{", b"{}", b"[]", b"\xff"):
                await world.bus.publish(subject, rubbish)

    await spoil()
    async with world.descheduler():
        await spoil()
        placement = await world.place()
        status = await world.tell(placement, 1, age=40)
        await world.asked(placement.order)
        assert world.metric("bad_messages_total") > 0
        await world.bus.publish(subjects.status("idc", WEB), b"{")
        await world.bus.publish(subjects.placement(WEB), b"{")
        newer = await world.place(replicas=5)
        await world.bus.publish(subjects.status("idc", WEB), status.model_copy(update={"order": newer.order}).encode())
        await world.asked(newer.order)


async def test_what_is_stuck_in_each_member_is_told_whatever_is_asked_of_others(world: World) -> None:
    idc, ack = '{member="idc"}', '{member="ack"}'
    other = WEB.model_copy(update={"name": "other"})
    async with world.descheduler():
        await world.tell(await world.place(), 2, age=4000)
        await world.tell(await world.place(ref=other), 3, age=1000, member="ack")
        await world.tell(await world.place(ref=other), 1, age=100, member="idc")
        await world.eventually(lambda: world.metrics("unschedulable_replicas") == {idc: 3.0, ack: 3.0})
        await world.eventually(lambda: world.metric("requests_total") >= 2)
        ages = world.metrics("oldest_unschedulable_seconds")
        assert ages[ack] >= 1000
        assert ages[idc] >= ages[ack] + 2999  # whenever somebody looks
        await world.bus.remove(subjects.status("idc", WEB))
        await world.bus.remove(subjects.status("idc", other))
        await world.eventually(lambda: world.metrics("unschedulable_replicas") == {ack: 3.0})
        assert world.metrics("oldest_unschedulable_seconds").keys() == {ack}
    assert world.metrics("unschedulable_replicas") == {}, "who does not lead tells nothing"


async def test_the_request_goes_on_with_the_trace_of_the_status(world: World) -> None:
    async with world.descheduler():
        placement = await world.place()
        with telemetry.recorded() as spans:
            with telemetry.span("observe"):
                await world.tell(placement, 1, age=40)
                trace = telemetry.trace_id()
            await world.asked()
            assert [span.trace_id for span in spans.finished() if span.name == "ask rebalance"] == [trace]


async def test_a_bus_that_goes_away_delays_the_request_and_no_more(
    own_server: Callable[[], NatsServer], eventually: Eventually
) -> None:
    async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
        await bus.ensure_streams()
        world = World(bus, eventually, Clock(speed=SPEED), Settings(descheduler=DeschedulerSettings(threshold=60)))
        async with world.descheduler():
            placement = await world.place()
            await world.tell(placement, 2)
            await server.stop()
            await server.start()
            assert (await world.asked()).stuck[0].count == 2
