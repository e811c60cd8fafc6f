"""The scheduler on the bus when things go wrong: restarts, lost and doubled messages, two of it, a bus that is away."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import anyio
import pytest

from shared.bus import Bus, BusSettings
from shared.contracts import subjects
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Plan, Planned, Scale
from shared.errors import BusUnavailable
from shared.nats_server import NatsServer


async def test_a_restart_in_the_middle_of_a_scale_out_loses_and_doubles_nothing(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 2)
        await stage.member("cloud", 4)
        await stage.apply(stage.policy(["idc"], ["cloud"]), stage.deployment(replicas=2))
        before = await stage.until({"idc": 2})
    await stage.bus.publish(subjects.submit("scale"), Scale(ref=stage.WEB, replicas=4).encode())
    async with stage.scheduler():
        after = await stage.until({"idc": 2, "cloud": 2})
    assert before.uid == after.uid
    assert before.order < after.order
    assert after.order.epoch > before.order.epoch
    async with stage.scheduler():
        await stage.apply(stage.deployment(name="other", replicas=3))
        other = stage.WEB.model_copy(update={"name": "other"})
        await stage.until({"cloud": 2}, pending=1, ref=other)
        assert await stage.placement() == after, "a restart decides nothing anew"


async def test_doubled_and_old_capacity_messages_change_nothing(stage) -> None:
    async with stage.scheduler():
        idc = await stage.member("idc", 1)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=3))
        placed = await stage.until({"idc": 1}, pending=2)
        idc.bound = {placed.uid: 1}
        first = idc.delta(1, 1)
        await idc.send(first)
        await stage.until({"idc": 2}, pending=1)
        await idc.send(first)
        await idc.send(first)
        await idc.send(idc.delta(2, 1))
        await stage.until({"idc": 3})
        assert idc.snapshots_asked == 0


async def test_a_gap_in_capacity_is_closed_by_a_snapshot_that_is_asked_for(stage) -> None:
    async with stage.scheduler(), anyio.create_task_group() as group:
        idc = await stage.member("idc", 1)
        group.start_soon(idc.serve)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=3))
        await stage.until({"idc": 1}, pending=2)
        idc.delta(1, 1)  # lost
        await idc.send(idc.delta(2, 1))
        await stage.until({"idc": 3})
        assert idc.snapshots_asked >= 1
        group.cancel_scope.cancel()


RUBBISH = (b"", b"{}", b"[]", b"\x00\xff", b"rubbish", b'{"version": 99}')


async def test_rubbish_in_the_streams_stops_nobody(stage) -> None:
    """Before the scheduler starts and while it works; on subjects of any form that the streams take."""
    rubbish = stage.WEB.model_copy(update={"name": "rubbish"})
    spoiled = [
        subjects.desired(rubbish),
        subjects.placement(rubbish),
        subjects.status("idc", rubbish),
        subjects.outcome("idc", rubbish),
        subjects.rebalance(rubbish),
        subjects.revision("uid", 1),
        subjects.capacity("idc"),
        "brim.desired.Deployment.test.no-group",
        "brim.placement.~.~.~",
        "brim.status.%.%.%.%",
        "brim.outcome.idc.%ff.%ff.%ff",
        "brim.revision.uid.first",
    ]

    async def spoil() -> None:
        for subject in spoiled:
            for payload in RUBBISH:
                await stage.bus.publish(subject, payload)

    await spoil()
    async with stage.scheduler() as context:
        await stage.member("idc", 2)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=1))
        await stage.until({"idc": 1})
        await spoil()
        await (await stage.inventory_again("idc", 2)).snapshot()
        await stage.scale(2)
        await stage.until({"idc": 2})
        assert context.health.ready


OWN: dict[str, Callable[[ObjectRef], str]] = {
    "DESIRED": subjects.desired,
    "PLACEMENT": subjects.placement,
    "STATUS": lambda ref: subjects.status("idc", ref),
    "OUTCOME": lambda ref: subjects.outcome("idc", ref),
}


@pytest.mark.parametrize("stream", OWN)
async def test_rubbish_where_an_object_is_to_be_is_written_over(stage, stream: str) -> None:
    await stage.bus.publish(OWN[stream](stage.WEB), b"rubbish")
    async with stage.scheduler() as context:
        await stage.member("idc", 4)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=1))
        await stage.until({"idc": 1})
        assert context.health.ready


@pytest.mark.parametrize("stream", OWN)
@pytest.mark.parametrize("looks", [True, False], ids=["while it works", "while nobody looks"])
async def test_rubbish_on_top_of_an_object_costs_nothing_of_it(stage, stream: str, looks: bool) -> None:
    """The wish, its uid, the placement and its order are what they were; and all goes on from there."""
    subject = OWN[stream](stage.WEB)
    async with stage.scheduler():
        await stage.member("idc", 4)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=1))
        before = await stage.until({"idc": 1})
        if looks:
            await stage.bus.publish(subject, b"rubbish")
            await stage.scale(2)
            await stage.until({"idc": 2})
            await stage.scale(1)
            before = await stage.until({"idc": 1})
    if not looks:
        await stage.bus.publish(subject, b"rubbish")
    async with stage.scheduler() as context:
        assert await stage.until({"idc": 1}) == before
        desired = await stage.desired()
        assert (desired.uid, desired.generation) == (before.uid, before.generation)
        await stage.scale(3)
        after = await stage.until({"idc": 3})
        assert (after.uid, after.order.counter) == (before.uid, before.order.counter + 1)
        assert context.health.ready


async def test_a_message_about_another_object_than_its_subject_is_left_alone(stage) -> None:
    other = stage.WEB.model_copy(update={"name": "other"})
    async with stage.scheduler():
        await stage.member("idc", 4)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=1))
        before = await stage.until({"idc": 1})
        desired = await stage.desired()
        await stage.bus.publish(subjects.desired(other), desired.model_copy(update={"generation": 9}).encode())
        far = before.order.model_copy(update={"counter": 99})
        await stage.bus.publish(subjects.placement(other), before.model_copy(update={"order": far}).encode())
        await stage.scale(2)
        after = await stage.until({"idc": 2})
        assert (after.generation, after.order.counter) == (before.generation + 1, before.order.counter + 1)


class Lossy:
    """A real bus that fails once per placement's subject, before or after storing it."""

    def __init__(self, bus: Bus, *, stored: bool) -> None:
        self._publish = bus.publish
        self._stored = stored
        self.lost: set[str] = set()

    async def publish(self, subject: str, payload: bytes, **options: object) -> int:
        if subject.startswith("brim.placement.") and subject not in self.lost:
            self.lost.add(subject)
            if self._stored:
                await self._publish(subject, payload, **options)  # type: ignore[arg-type]
            raise BusUnavailable("no acknowledgement came")
        return await self._publish(subject, payload, **options)  # type: ignore[arg-type]


async def _places_in_spite_of(stage, lossy: Lossy) -> Placement:
    with mock.patch.object(stage.bus, "publish", lossy.publish):
        async with stage.scheduler(stage.bus):
            await stage.member("idc", 4)
            await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=2))
            await stage.until({"idc": 2})
            await stage.scale(3)
            return await stage.until({"idc": 3})


async def test_a_publish_that_got_lost_is_sent_again(stage) -> None:
    lossy = Lossy(stage.bus, stored=False)
    placement = await _places_in_spite_of(stage, lossy)
    assert lossy.lost
    assert placement.order.counter == 2


async def test_a_publish_whose_acknowledgement_got_lost_is_not_stored_twice(stage) -> None:
    lossy = Lossy(stage.bus, stored=True)
    placement = await _places_in_spite_of(stage, lossy)
    assert lossy.lost
    assert placement.order.counter == 2
    assert len(await stage.bus.history("PLACEMENT", subjects.placement(stage.WEB))) == 2


class HeldBack:
    """A real bus whose placements wait until they are let go."""

    def __init__(self, bus: Bus) -> None:
        self._publish = bus.publish
        self.waiting = 0
        self.let_go = anyio.Event()

    async def publish(self, subject: str, payload: bytes, **options: object) -> int:
        if subject.startswith("brim.placement."):
            self.waiting += 1
            await self.let_go.wait()
        return await self._publish(subject, payload, **options)  # type: ignore[arg-type]


async def test_while_a_placement_is_on_its_way_only_the_newest_follows_it(stage) -> None:
    held = HeldBack(stage.bus)
    with mock.patch.object(stage.bus, "publish", held.publish):
        async with stage.scheduler(stage.bus):
            await stage.member("idc", 8)
            await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=1))
            await stage.eventually(lambda: held.waiting == 1)
            for replicas in range(2, 7):
                await stage.scale(replicas)
            await stage.eventually(lambda: _decided(stage, 6))
            held.let_go.set()
            placed = await stage.until({"idc": 6})
    history = await stage.bus.history("PLACEMENT", subjects.placement(stage.WEB))
    orders = [Placement.decode(message.data).order for message in history]
    assert orders == sorted(orders, key=lambda order: (order.epoch, order.counter))
    assert len(orders) == 2
    assert placed.order == orders[-1]


async def _decided(stage, replicas: int) -> bool:
    """The plan of what is there tells the decision in force, stored or not."""
    planned = Planned.decode(await stage.bus.request(subjects.PLAN, Plan(refs=(stage.WEB,)).encode()))
    return [stage.counts(one) for one in planned.placements] == [{"idc": replicas}]


async def test_only_one_of_two_schedulers_works_and_the_other_takes_over(stage, nats_server: str) -> None:
    leads, ends = anyio.Event(), anyio.CancelScope()

    async def first() -> None:
        with ends:
            async with stage.scheduler():
                leads.set()
                await anyio.sleep_forever()

    async with Bus.connect(BusSettings(url=nats_server), name="second") as other, anyio.create_task_group() as group:
        group.start_soon(first)
        await leads.wait()
        async with stage.scheduler(other, leads=False) as second:
            await stage.member("idc", 4)
            await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=1))
            before = await stage.until({"idc": 1})
            assert not second.health.ready
            ends.cancel()
            await stage.bus.publish(subjects.submit("scale"), Scale(ref=stage.WEB, replicas=3).encode())
            after = await stage.until({"idc": 3})
            assert second.health.ready
            assert after.order.epoch > before.order.epoch


async def test_a_former_leaders_late_placement_counts_until_it_is_decided_anew(stage) -> None:
    async with stage.scheduler():
        await stage.member("idc", 4)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=1))
        placed = await stage.until({"idc": 1})
        late = placed.model_copy(
            update={"order": placed.order.model_copy(update={"counter": 2}), "decided_at": placed.decided_at + 1}
        )
        await stage.bus.publish(subjects.placement(stage.WEB), late.encode())
        await stage.scale(3)
        after = await stage.until({"idc": 3})
        assert late.order < after.order


async def test_a_newer_leaders_placement_makes_this_one_step_back(stage) -> None:
    async with stage.scheduler() as context:
        await stage.member("idc", 4)
        await stage.apply(stage.policy(["idc"]), stage.deployment(replicas=1))
        placed = await stage.until({"idc": 1})
        newer = placed.model_copy(update={"order": placed.order.model_copy(update={"epoch": placed.order.epoch + 9})})
        await stage.bus.publish(subjects.placement(stage.WEB), newer.encode())
        await stage.bus.publish(subjects.submit("scale"), Scale(ref=stage.WEB, replicas=3).encode())
        after = await stage.until({"idc": 3})
        assert newer.order < after.order
        await stage.eventually(lambda: context.health.ready)  # it may begin once more behind its own placement


async def test_a_bus_that_goes_away_in_the_middle_of_a_scale_out(
    stage_on, own_server: Callable[[], NatsServer]
) -> None:
    async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
        await bus.ensure_streams()
        stage = stage_on(bus)
        async with stage.scheduler():
            await stage.member("idc", 2)
            await stage.member("cloud", 4)
            await stage.apply(stage.policy(["idc"], ["cloud"]), stage.deployment(replicas=2))
            before = await stage.until({"idc": 2})
            await bus.publish(subjects.submit("scale"), Scale(ref=stage.WEB, replicas=4).encode())
            await server.restart(kill=True)

            async def placed() -> bool:
                try:
                    found = await stage.placement()
                except BusUnavailable:
                    return False
                return found is not None and stage.counts(found) == {"idc": 2, "cloud": 2}

            await stage.eventually(placed)
            assert (await stage.placement()).uid == before.uid
