"""CAPACITY over a real nats-server: always the truth of the members' own APIs in the end."""

from __future__ import annotations

import random

import anyio
import pytest

from services.inventory import app
from services.inventory.capacity_publisher import CapacityPublisher
from services.inventory.metrics import InventoryMetrics
from services.inventory.mirror import Mirror
from services.inventory.projections import Node
from shared.bus import STREAMS, Bus, BusSettings, jetstream
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.capacity import decode_capacity
from shared.errors import BusUnavailable
from shared.fleet import NodePool, Stock
from shared.metrics import Metrics
from shared.nats_server import NatsServer
from shared.service import service_context
from shared.settings import InventorySettings
from tests.inventory.truth import FLEET, agrees, pod, ref_of, truth


async def test_a_first_snapshot_tells_all(fleetside, eventually) -> None:
    async with fleetside(FLEET) as side, side.inventory():
        for member in ("idc", "cloud", "third"):
            await eventually(lambda member=member: agrees(side, member))
        known = await side.replayed("idc")
        assert (known.pools["p1"].headroom, known.pools["p1"].nodes) == (3, 0)
        assert {phase for _, phase, _, _ in known.nodes.values()} == {"ready"}
        await eventually(lambda: _beats(side, "idc"))


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_churn_adds_up_to_the_truth(fleetside, eventually, seed: int) -> None:
    dice = random.Random(seed)
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        names: list[str] = []
        for step in range(120):
            match dice.choice(["pod", "pod", "pod", "delete", "taint", "label", "pause"]):
                case "pod":
                    names.append(f"p-{step}")
                    await client.create(pod(names[-1], dice.randint(100, 2500), dice.choice(["", "w", "v"])))
                case "delete" if names:
                    name = names.pop(dice.randrange(len(names)))
                    await client.delete(ref_of("Pod", name, "default"))
                case "taint":
                    side.members["idc"].set_node_ready(f"node-{dice.randrange(4)}", dice.random() < 0.7)
                case "label":
                    patch = {"metadata": {"labels": {"zone": dice.choice("abc")}}}
                    await client.merge_patch(ref_of("Node", f"node-{dice.randrange(4)}"), patch)
                case "pause" if step % 10 == 0:
                    await side.members["idc"].pause()
                    await side.members["idc"].resume()
        await eventually(lambda: _agrees_with_labels(side, "idc"))


async def _agrees_with_labels(side, member: str) -> bool:
    """In one look: the member goes on, and its autoscaler adds and removes nodes all the time."""
    known = await side.replayed(member)
    zones = {
        n["metadata"]["name"]: n["metadata"]["labels"].get("zone") for n in side.members[member].store.every("nodes")
    }
    told = {name: node[0].labels.get("zone") for name, node in known.nodes.items()}
    return told == zones and (known.free_cpu, known.bound) == truth(side.members[member])


async def test_nodes_on_their_way_are_upcoming_then_ready(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side:
        phases: dict[str, list[str]] = {}

        async def note(message) -> None:
            found = decode_capacity(message.data)
            for name, phase in (
                zip(found.nodes.names, found.nodes.phases, strict=True) if found.form != "heartbeat" else ()
            ):
                if phases.setdefault(name, [phase])[-1] != phase:
                    phases[name].append(phase)

        follower = side.bus.follow("CAPACITY", [subjects.capacity("idc")], note)
        async with anyio.create_task_group() as group, side.inventory(), side.client("idc") as client:
            group.start_soon(follower.run)
            for number in range(9):  # four nodes hold two of these each
                await client.create(pod(f"p-{number}", 3500))

            async def arrived() -> bool:
                known = await side.replayed("idc")
                return (
                    known.pools["p1"].nodes == 1
                    and await agrees(side, "idc")
                    and len(truth(side.members["idc"])[0]) == 5
                )

            await eventually(arrived)
            (added,) = [name for name in phases if not name.startswith("node-")]
            await eventually(lambda: phases[added] == ["upcoming", "ready"])
            group.cancel_scope.cancel()


async def test_stock_counts_at_once(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory():
        for count, headroom in ((0, 0), (2, 2), (None, 5)):
            side.members["idc"].set_stock("p1", count)

            async def told(headroom=headroom) -> bool:
                return (await side.replayed("idc")).pools["p1"].headroom == headroom

            await eventually(told)


async def test_pools_of_a_static_table(fleetside, eventually) -> None:
    pool = NodePool(id="bare", instance_type="metal", allocatable={"cpu": "64"}, max=7, price=9.0)
    async with fleetside(FLEET, join=[]) as side:
        await side.join("cloud", stock=Stock(source="static", pools=(pool,)))
        async with side.inventory():

            async def told() -> bool:
                pools = (await side.replayed("cloud")).pools
                return [(one.id, one.headroom, one.price) for one in pools.values()] == [("bare", 7, 9.0)]

            await eventually(told)


async def test_a_new_instance_writes_in_a_newer_epoch_and_misses_nothing(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.client("idc") as client:
        async with side.inventory():
            await client.create(pod("before", 500, "w"))
            await eventually(lambda: agrees(side, "idc"))
            first = (await side.replayed("idc")).epoch
        await client.create(pod("meanwhile", 700, "w"))
        await client.delete(ref_of("Pod", "before", "default"))
        async with side.inventory():

            async def newer() -> bool:
                return (await side.replayed("idc")).epoch > first and await agrees(side, "idc")

            await eventually(newer)


async def test_a_second_instance_stands_by(fleetside, eventually) -> None:
    async with (
        fleetside(FLEET, join=["idc"]) as side,
        side.client("idc") as client,
        side.inventory(),
        service_context("inventory", side.settings, clock=side.clock) as standby,
        anyio.create_task_group() as group,
    ):
        await eventually(lambda: agrees(side, "idc"))
        first = (await side.replayed("idc")).epoch
        group.start_soon(app.run, standby)
        await client.create(pod("p", 500))
        await eventually(lambda: agrees(side, "idc"))
        assert (await side.replayed("idc")).epoch == first
        assert standby.health.standing_by() == ["inventory"]
        group.cancel_scope.cancel()


async def test_all_that_members_tell_is_there_again_after_the_server_lost_everything(fleetside, eventually) -> None:
    """People apply their wishes again; inventory runs on."""
    async with fleetside(FLEET, join=["idc", "cloud"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("before", 500, "w"))
        await eventually(lambda: agrees(side, "idc"))
        for stream in STREAMS:
            await jetstream.api(side.bus._connection, f"STREAM.DELETE.{stream}", what=stream)
        await side.bus.ensure_streams(patience=10)
        await client.create(pod("meanwhile", 700, "w"))
        for member in ("idc", "cloud"):
            await side.join(member)
        for member in ("idc", "cloud"):
            await eventually(lambda member=member: agrees(side, member))
        await client.create(pod("after", 300))
        await eventually(lambda: agrees(side, "idc"))


async def test_a_publish_of_unknown_end_is_followed_by_the_truth(fleetside, eventually, monkeypatch) -> None:
    """It was stored, and nobody heard of it: deltas go on from a snapshot, and no number means two things."""
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory() as context, side.client("idc") as client:
        await eventually(lambda: agrees(side, "idc"))
        publish, lost = context.bus.publish, []

        async def stored_but_unheard(subject: str, payload: bytes, **more: object) -> int:
            sequence = await publish(subject, payload, **more)
            if subject == subjects.capacity("idc") and b'"form":"delta"' in payload and len(lost) < 3:
                lost.append(sequence)
                raise BusUnavailable("the acknowledgement got lost")
            return sequence

        monkeypatch.setattr(context.bus, "publish", stored_but_unheard)
        for number in range(6):
            await client.create(pod(f"p-{number}", 100))
            await eventually(lambda: agrees(side, "idc"))
        assert lost


async def test_an_epoch_is_never_given_twice_though_the_leases_were_lost(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side:
        for _ in range(3):
            async with side.inventory():
                await eventually(lambda: agrees(side, "idc"))
        before = (await side.replayed("idc")).epoch
        await side.bus.purge_subject("LEASE", ">")
        async with side.inventory():

            async def newer() -> bool:
                return (await side.replayed("idc")).epoch > before

            await eventually(newer)


async def test_a_snapshot_can_be_asked_for(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p", 500))
        await eventually(lambda: agrees(side, "idc"))
        before = (await side.replayed("idc")).number
        await side.bus.purge_subject("CAPACITY", subjects.capacity("idc"))
        await side.bus.request(subjects.snapshot("idc"), b"")
        known = await side.replayed("idc")
        assert (known.snapshots, known.number) == (1, before)
        assert await agrees(side, "idc")


async def test_a_server_that_takes_less_gets_smaller_messages(tmp_path, eventually, replay) -> None:
    """Its limit may be far below what a snapshot's chunks usually have."""
    async with (
        NatsServer(tmp_path, max_payload=32 * 1024) as server,
        Bus.connect(BusSettings(url=server.url), name="test") as bus,
        anyio.create_task_group() as group,
    ):
        await bus.ensure_streams(patience=10)
        mirror = Mirror("idc", Stock(), Clock().now)
        for number in range(1000):
            status = {"allocatable": {"cpu": "8", "memory": "16Gi"}}
            metadata = {"name": f"node-{number}", "labels": {"rack": str(number % 50)}}
            mirror.nodes.put(Node.model_validate({"metadata": metadata, "status": status}))
        mirror.synced |= {"nodes", "pods"}
        metrics = InventoryMetrics.on(Metrics("inventory"))
        group.start_soon(CapacityPublisher(bus, Clock(), InventorySettings(), mirror, 1, metrics).run)

        async def all_of_it() -> bool:
            found = replay()
            for message in await bus.history("CAPACITY", subjects.capacity("idc")):
                found.take(decode_capacity(message.data))
            return len(found.nodes) == 1000

        await eventually(all_of_it)
        group.cancel_scope.cancel()


async def test_many_deltas_end_in_a_snapshot(fleetside, eventually) -> None:
    async with (
        fleetside(FLEET, join=["idc"], snapshot_deltas=3, coalesce=0.001) as side,
        side.inventory(),
        side.client("idc") as client,
    ):
        for number in range(12):
            await client.create(pod(f"p-{number}", 100))
        await eventually(lambda: agrees(side, "idc"))
        messages = await side.bus.history("CAPACITY", subjects.capacity("idc"))
        deltas = [one for one in map(decode_capacity, (m.data for m in messages)) if one.form == "delta"]
        assert len(deltas) <= 3


async def test_heartbeats_tell_when_the_member_last_answered(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"], heartbeat=0.1) as side, side.inventory():

        async def beats(after: float) -> bool:
            beat = (await side.replayed("idc")).heartbeat
            return beat is not None and beat.reachable_at > after

        await eventually(lambda: beats(side.clock.now() - 1))
        await side.members["idc"].pause()
        await eventually(lambda: _silent(side))
        await side.members["idc"].resume()
        now = side.clock.now()
        await eventually(lambda: beats(now))


async def _beats(side, member: str) -> bool:
    beat = (await side.replayed(member)).heartbeat
    return beat is not None and beat.reachable_at > 0


async def _silent(side) -> bool:
    beat = (await side.replayed("idc")).heartbeat
    return beat is not None and beat.observed_at - beat.reachable_at > 0.4
