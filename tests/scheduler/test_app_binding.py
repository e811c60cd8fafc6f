"""The scheduler on the bus: pods inside members get a node, by orders that count until they are seen carried out."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

import anyio

from shared import telemetry
from shared.bus import Bus
from shared.contracts import subjects
from shared.contracts.binding import Bind, Binding, Pend, decode_binding
from shared.contracts.outcome import Outcome
from shared.contracts.pod import Pod
from shared.contracts.refs import ObjectRef, Order
from shared.errors import BusUnavailable

POLICY = """
apiVersion: scheduling.alibabacloud.com/v1alpha1
kind: ResourcePolicy
metadata: {name: cost, namespace: test}
spec: {selector: {app: web}, strategy: prefer, units: [{resource: idc, max: 1}]}
"""


class Pods:
    """What inventory tells of a member's pods, and what the executor is told to do about them."""

    def __init__(self, bus: Bus, eventually: Callable[[Callable[[], object]], Awaitable[None]]) -> None:
        self.bus = bus
        self.eventually = eventually

    async def tell(self, name: str, cpu: int = 1, *, headers: dict[str, str] | None = None, **more: Any) -> Pod:
        pod = Pod(
            member="idc",
            namespace="test",
            name=name,
            uid=f"uid-{name}",
            scheduler="brim-scheduler",
            requests={"cpu": cpu * 1000, "pods": 1},
            observed_at=time.time(),
            **more,
        )
        await self.bus.publish(subjects.pod("idc", "test", name), pod.encode(), headers=headers or {})
        return pod

    async def gone(self, name: str) -> None:
        await self.bus.remove(subjects.pod("idc", "test", name))

    async def orders(self) -> list[Binding]:
        return [decode_binding(message.data) for message in await self.bus.waiting("BINDING", "brim.binding.>")]

    async def until(self, *expected: tuple[str, str]) -> list[Binding]:
        """Wait for exactly these orders: (form, pod) each, in any order."""
        found: list[Binding] = []

        async def so() -> bool:
            found[:] = await self.orders()
            return sorted((order.form, order.name) for order in found) == sorted(expected)

        await self.eventually(so)
        return found


@asynccontextmanager
async def member(stage: Any, *cpus: int) -> AsyncIterator[Pods]:
    """A scheduler, and a member whose inventory answers."""
    async with stage.scheduler(), anyio.create_task_group() as group:
        inventory = await stage.member("idc", *cpus)
        group.start_soon(inventory.serve)
        yield Pods(stage.bus, stage.eventually)
        group.cancel_scope.cancel()


async def test_pods_get_a_node_while_there_is_room_and_are_told_when_there_is_none(stage) -> None:
    async with member(stage, 2) as pods:
        await pods.tell("first")
        await pods.tell("second")
        await pods.tell("third")
        found = await pods.until(("bind", "first"), ("bind", "second"), ("pend", "third"))
        binds = [order for order in found if isinstance(order, Bind)]
        assert {(bind.member, bind.node, bind.unit) for bind in binds} == {("idc", "n0", "idc")}
        assert all(bind.order.epoch > 0 for bind in binds)
        assert len({bind.order for bind in found}) == 3
        pend = next(order for order in found if isinstance(order, Pend))
        assert pend.message == "1 node: lacking cpu (needs 1, none free)"
        await pods.gone("first")
        await pods.until(("bind", "first"), ("bind", "second"), ("pend", "third"), ("bind", "third"))


async def test_a_resource_policy_holds_as_soon_as_it_is_published_and_no_longer_than_it_is_there(stage) -> None:
    async with member(stage, 8) as pods:
        await stage.apply(POLICY)
        labels = {"app": "web"}
        await pods.tell("first", labels=labels)
        await pods.tell("second", labels=labels)
        found = await pods.until(("bind", "first"), ("pend", "second"))
        pend = next(order for order in found if isinstance(order, Pend))
        assert pend.message == "unit 1 (idc): full, 1 of at most 1 pods"
        group, version = "scheduling.alibabacloud.com", "v1alpha1"
        await stage.delete(
            ObjectRef(group=group, version=version, kind="ResourcePolicy", namespace="test", name="cost")
        )
        await pods.until(("bind", "first"), ("pend", "second"), ("bind", "second"))


async def test_an_order_that_the_executor_could_not_carry_out_is_decided_anew(stage) -> None:
    async with member(stage, 8) as pods:
        await pods.tell("p")
        (first,) = await pods.until(("bind", "p"))
        ref = ObjectRef(version="v1", kind="Pod", namespace="test", name="p")
        outcome = Outcome(
            member="idc", ref=ref, uid="uid-p", order=first.order, result="failed", code="Refused", at=time.time()
        )
        await stage.bus.publish(subjects.outcome("idc", ref), outcome.encode())
        _, second = await pods.until(("bind", "p"), ("bind", "p"))
        assert first.order < second.order


async def test_a_new_leader_counts_orders_that_are_still_to_be_carried_out(stage) -> None:
    async with member(stage, 2) as pods:
        await pods.tell("first", cpu=2)
        await pods.until(("bind", "first"))
    async with member(stage, 2) as pods:
        await pods.tell("second", cpu=2)
        found = await pods.until(("bind", "first"), ("pend", "second"))
        assert found[0].order < found[1].order


async def test_a_new_leader_waits_for_capacity_that_is_newer_than_itself(stage) -> None:
    async with member(stage, 2) as pods:
        await pods.tell("first", cpu=2)
        await pods.until(("bind", "first"))
    pods = Pods(stage.bus, stage.eventually)
    await stage.bus.purge_subject("BINDING", "brim.binding.>")  # carried out, and not told yet
    await pods.tell("second", cpu=2)
    async with stage.scheduler(), anyio.create_task_group() as group:
        await pods.tell("third", cpu=2)
        assert await pods.orders() == []
        again = await stage.inventory_again("idc", 0)  # what is left
        group.start_soon(again.serve)
        await pods.until(("pend", "first"), ("pend", "second"), ("pend", "third"))
        group.cancel_scope.cancel()


async def test_orders_have_a_higher_epoch_than_those_that_wait_in_the_stream(stage) -> None:
    old = Bind(
        member="idc",
        namespace="test",
        name="old",
        uid="uid-old",
        order=Order(epoch=1000, counter=1),
        at=time.time(),
        node="n0",
        unit="idc",
    )
    await stage.bus.publish(subjects.binding("idc", "test", "old"), old.encode())
    async with member(stage, 2) as pods:
        await pods.tell("p")
        _, new = await pods.until(("bind", "old"), ("bind", "p"))
        assert new.order.epoch == 1001


async def test_an_order_whose_acknowledgement_gets_lost_is_stored_once(stage) -> None:
    publish = Bus.publish
    lost = 0

    async def deaf(self: Bus, subject: str, *args: Any, **more: Any) -> int:
        nonlocal lost
        sequence = await publish(self, subject, *args, **more)
        if subject.startswith("brim.binding.") and lost < 2:
            lost += 1
            raise BusUnavailable("the acknowledgement did not come in time")
        return sequence

    async with member(stage, 2) as pods:
        with mock.patch.object(Bus, "publish", deaf):
            await pods.tell("p")
            await pods.eventually(lambda: lost == 2)
            await pods.until(("bind", "p"))
            await pods.tell("q")
            await pods.until(("bind", "p"), ("bind", "q"))


async def test_rubbish_among_pods_and_orders_stops_nobody(stage) -> None:
    for data in (b"", b"rubbish", b"[]", b'{"form": "bind"}'):
        await stage.bus.publish(subjects.pod("idc", "test", "rubbish"), data)
        await stage.bus.publish("brim.pod.short", data)
        await stage.bus.publish(subjects.binding("idc", "test", "rubbish"), data)
    await stage.bus.purge_subject("BINDING", "brim.binding.>")
    await stage.bus.publish(subjects.binding("idc", "test", "rubbish"), b"rubbish")
    async with member(stage, 2) as pods:
        await pods.tell("p")
        other = (await pods.tell("q")).model_copy(update={"name": "somebody"})
        await stage.bus.publish(subjects.pod("idc", "test", "else"), other.encode())

        async def bound() -> bool:
            return await stage.bus.last("BINDING", subjects.binding("idc", "test", "p")) is not None

        await pods.eventually(bound)
        assert await stage.bus.last("BINDING", subjects.binding("idc", "test", "somebody")) is None


async def test_the_trace_of_a_pod_goes_on_in_its_orders(stage) -> None:
    async with member(stage, 2) as pods:
        with telemetry.recorded() as spans:
            trace = "4bf92f3577b34da6a3ce929d0e0e4736"
            await pods.tell("p", headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-01"})
            await pods.until(("bind", "p"))
            name = "decide brim.binding.<member>.<namespace>.<pod>"
            await pods.eventually(lambda: any(span.name == name for span in spans.finished()))
            span = next(span for span in spans.finished() if span.name == name)
        assert span.trace_id == trace
        assert span.attributes["brim.node"] == "n0"
        assert span.attributes["brim.unit"] == "idc"
        assert span.attributes["brim.code"] == "Bound"
        message = await stage.bus.last("BINDING", subjects.binding("idc", "test", "p"))
        assert message is not None
        assert message.headers["traceparent"].split("-")[1] == trace
