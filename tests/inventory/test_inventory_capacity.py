"""CAPACITY over a real nats-server: always the truth of the members' own APIs in the end."""

from __future__ import annotations

import random
from collections.abc import Callable

import anyio
import pytest

from services.inventory import app
from services.inventory.capacity_publisher import CapacityPublisher
from services.inventory.metrics import InventoryMetrics
from services.inventory.mirror import Mirror
from services.inventory.projections import Node
from shared import quantities
from shared.bus import STREAMS, Bus, BusSettings, Message, jetstream
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.capacity import Capacity, Heartbeat, decode_capacity
from shared.contracts.refs import ObjectRef
from shared.errors import BrimError, BusUnavailable, MemberUnavailable
from shared.fleet import NodePool, Stock, parse
from shared.metrics import Metrics
from shared.nats_server import NatsServer
from shared.service import service_context
from shared.settings import InventorySettings
from simulator.faults import RUBBISH, Fault, Faults

FLEET = parse(
    """
members:
- id: idc
  simulated:
    nodes: [{name: node, count: 4, allocatable: {cpu: "8", memory: 16Gi}}]
    pools: [{id: p1, instanceType: t.x, allocatable: {cpu: "4", memory: 8Gi}, max: 5, stock: 3}]
    delays: {start: 0.01, stop: 0.01, scaleUpTrigger: 0.01, nodeCreate: 0.05, nodeReady: 0.1}
- id: cloud
  simulated: {nodes: [{name: cloud, allocatable: {cpu: "2", memory: 4Gi}}]}
- id: third
  simulated: {nodes: [{name: third, allocatable: {cpu: "2", memory: 4Gi}}]}
"""
)


def pod(name: str, cpu: int, workload: str = "") -> dict[str, object]:
    labels = {"brim.dev/workload": workload} if workload else {}
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": f"{cpu}m", "memory": "1Mi"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {"containers": [container]},
    }


def truth(member) -> tuple[dict[str, int], dict[str, int]]:
    """Free CPU per node and bound replicas per workload, from the member's own store."""
    pods = [one for one in member.store.every("pods") if one["spec"].get("nodeName")]
    free = {}
    for node in member.store.every("nodes"):
        name = node["metadata"]["name"]
        taken = [
            quantities.amount("cpu", one["spec"]["containers"][0]["resources"]["requests"]["cpu"])
            for one in pods
            if one["spec"]["nodeName"] == name and one["status"]["phase"] not in ("Succeeded", "Failed")
        ]
        free[name] = quantities.amount("cpu", node["status"]["allocatable"]["cpu"]) - sum(taken)
    bound: dict[str, int] = {}
    for one in pods:
        workload = one["metadata"].get("labels", {}).get("brim.dev/workload")
        if workload and "deletionTimestamp" not in one["metadata"] and one["status"]["phase"] != "Failed":
            bound[workload] = bound.get(workload, 0) + 1
    return free, bound


async def agrees(side, member: str) -> bool:
    known = await side.replayed(member)
    return (known.free_cpu, known.bound) == truth(side.members[member])


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
                    await client.delete(_ref("Pod", name, "default"))
                case "taint":
                    side.members["idc"].set_node_ready(f"node-{dice.randrange(4)}", dice.random() < 0.7)
                case "label":
                    patch = {"metadata": {"labels": {"zone": dice.choice("abc")}}}
                    await client.merge_patch(_ref("Node", f"node-{dice.randrange(4)}"), patch)
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


def _ref(kind: str, name: str, namespace: str = ""):

    return ObjectRef(version="v1", kind=kind, namespace=namespace, name=name)


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
        await client.delete(_ref("Pod", "before", "default"))
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


# -- what members do wrong -------------------------------------------------------------------------------------


LISTS = "/(pods|nodes)[?](?!.*watch=)"
WATCHES = "/(pods|nodes)[?].*watch="
Trouble = Callable[[Faults, str], Fault]  # what the next two requests for such a path get


def answers(status: int) -> Trouble:
    return lambda faults, path: faults.answer(status, method="GET", path=path, times=2)


def says(body: bytes) -> Trouble:
    return lambda faults, path: faults.rubbish(method="GET", path=path, times=2, body=body)


EITHER: dict[str, Trouble] = {
    **{str(status): answers(status) for status in (401, 403, 404, 409, 410, 429, 500, 503)},
    "cut off": lambda faults, path: faults.reset(method="GET", path=path, times=2),
    "no JSON": says(RUBBISH),
    "an empty object": says(b"{}"),
    "a page": says(b"<html>It works!</html>\n"),
}
WATCHED: dict[str, Trouble] = EITHER | {
    "an event of nothing": says(b'{"type":"ADDED","object":{}}\n'),
    "an event of no kind": says(b'{"type":"","object":{"metadata":{"name":"a"}}}\n'),
    "half an event": says(b'{"type":"DELETED","object":{"metadata":{"na'),
    "an error": says(b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}}\n'),
    "an expiry": says(b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n'),
    "nothing": says(b""),
}
LISTED: dict[str, Trouble] = EITHER | {
    "no answer": lambda faults, path: faults.hang(method="GET", path=path, times=2),
    "a list of nothing": says(b'{"metadata":{"resourceVersion":"7"},"items":[{}]}'),
    "an answer without items": says(b'{"kind":"Status","status":"Success"}'),
}
CASES = [("watch", name) for name in WATCHED] + [("list", name) for name in LISTED]


@pytest.mark.parametrize(("what", "trouble"), CASES)
async def test_whatever_a_member_answers_the_truth_returns(fleetside, eventually, what: str, trouble: str) -> None:
    """Its watches break, and what they get when they come again is wrong, twice. Nothing is taken for gone."""
    async with (
        fleetside(FLEET, join=["idc"], request_timeout=0.5) as side,
        side.inventory(),
        side.client("idc") as client,
    ):
        member = side.members["idc"]
        await client.create(pod("before", 500, "w"))
        await eventually(lambda: agrees(side, "idc"))
        seen = len(await side.bus.history("CAPACITY", subjects.capacity("idc")))
        if what == "list":
            member.faults.answer(410, method="GET", path=WATCHES, times=2)  # both have to list
        fault = (WATCHED if what == "watch" else LISTED)[trouble](member.faults, LISTS if what == "list" else WATCHES)
        await member.pause()
        await member.resume()
        await eventually(lambda: fault.hits == 2)
        await client.create(pod("after", 700, "w"))
        await client.delete(_ref("Pod", "before", "default"))
        await eventually(lambda: agrees(side, "idc"))
        told = [decode_capacity(m.data) for m in (await side.bus.history("CAPACITY", subjects.capacity("idc")))[seen:]]
        assert not any(one.removed for one in told if one.form == "delta"), "nodes that are there were said to be gone"


@pytest.mark.parametrize("trouble", ["404", "500", "an empty object", "no answer", "cut off"])
async def test_what_cannot_be_read_of_a_member_is_no_emptiness(fleetside, eventually, trouble: str) -> None:
    """A member that is new, and whose lists fail at first, has no room rather than a wrong one."""
    async with fleetside(FLEET, join=[], request_timeout=0.5) as side, side.inventory():
        fault = LISTED[trouble](side.members["idc"].faults, "/nodes[?](?!.*watch=)")
        await side.join("idc")
        await eventually(lambda: fault.hits == 2)
        await eventually(lambda: agrees(side, "idc"))
        for message in await side.bus.history("CAPACITY", subjects.capacity("idc")):
            found = decode_capacity(message.data)
            assert found.form != "snapshot" or len(found.nodes.names) == 4


async def test_a_member_that_hangs_from_the_start_holds_up_no_other(fleetside, eventually) -> None:
    async with fleetside(FLEET, request_timeout=0.2) as side:
        hung = side.members["idc"].faults.hang()
        async with side.inventory():
            await eventually(lambda: agrees(side, "cloud"))
            with pytest.raises(MemberUnavailable, match="has not answered since inventory runs"):
                await side.read("idc", verb="list", resource="pods")
            side.members["idc"].faults.clear(hung)
            await eventually(lambda: agrees(side, "idc"))


async def test_what_happens_while_a_member_is_away_is_seen_when_it_returns(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p", 500))
        await eventually(lambda: agrees(side, "idc"))
        await side.members["idc"].pause()
        side.members["idc"].store.remove("pods", "default", "p")
        side.members["idc"].store.remove("nodes", "", "node-3")
        await side.members["idc"].resume()
        await eventually(lambda: agrees(side, "idc"))
        assert "node-3" not in (await side.replayed("idc")).nodes


async def test_a_member_that_does_not_answer_is_said_to_be_silent_until_it_does(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"], heartbeat=0.1, silent_after=0.5) as side, side.inventory():

        async def silent(expected: bool) -> bool:
            beat = (await side.replayed("idc")).heartbeat
            return beat is not None and beat.silent is expected

        await eventually(lambda: silent(False))
        await side.members["idc"].pause()
        await eventually(lambda: silent(True))
        await side.members["idc"].resume()
        await eventually(lambda: silent(False))


async def test_a_lost_member_is_said_to_be_lost_until_it_is_back(fleetside, eventually) -> None:
    async with fleetside(FLEET, heartbeat=0.2, lost_after=1.0) as side, side.inventory():

        async def lost() -> set[str]:
            found = set()
            for member in ("idc", "cloud", "third"):
                beat = (await side.replayed(member)).heartbeat
                found |= {member} if beat is not None and beat.lost else set()
            return found

        async def only_cloud() -> bool:
            return await lost() == {"cloud"}

        async def nobody() -> bool:
            return not await lost()

        await side.members["cloud"].pause()
        await eventually(only_cloud)
        await side.members["idc"].pause()  # two of three: this side's fault, as far as anybody can tell
        await eventually(lambda: _beats_without_answer(side, "idc", 1.5))
        assert await only_cloud()
        await side.members["idc"].resume()
        await side.members["cloud"].resume()
        await eventually(nobody)


async def test_the_lost_stay_lost_when_another_instance_takes_over(fleetside, eventually) -> None:
    """It has not heard of them itself yet; nobody must believe that they are back."""
    async with fleetside(FLEET, heartbeat=0.2, lost_after=1.0) as side:
        told: list[tuple[int, bool]] = []

        async def note(message) -> None:
            beat = decode_capacity(message.data)
            if isinstance(beat, Heartbeat):
                told.append((beat.epoch, beat.lost))

        async with anyio.create_task_group() as group:
            group.start_soon(side.bus.follow("CAPACITY", [subjects.capacity("cloud")], note).run)
            async with side.inventory():
                await eventually(lambda: agrees(side, "cloud"))
                await side.members["cloud"].pause()
                await eventually(lambda: told and told[-1][1])
                epoch = told[-1][0]
            async with side.inventory():
                await eventually(lambda: sum(one > epoch for one, _ in told) > 3)
                assert {lost for one, lost in told if one > epoch} == {True}
                await side.members["cloud"].resume()
                await eventually(lambda: not told[-1][1])
                await eventually(lambda: agrees(side, "cloud"))
            group.cancel_scope.cancel()


async def _beats_without_answer(side, member: str, seconds: float) -> bool:
    beat = (await side.replayed(member)).heartbeat
    return beat is not None and beat.observed_at - beat.reachable_at > seconds


# -- members come and go ---------------------------------------------------------------------------------------


async def test_members_join_and_leave_while_inventory_runs(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory():
        await side.join("cloud")
        await eventually(lambda: agrees(side, "cloud"))
        await side.leave("cloud")

        async def gone() -> bool:
            last = await side.bus.last("CAPACITY", subjects.capacity("cloud"))
            return last is None or last.removed

        await eventually(gone)
        with pytest.raises(BusUnavailable):
            await side.read("cloud", verb="list", resource="pods")
        assert await agrees(side, "idc")


async def test_what_a_member_left_behind_is_cleared_at_the_next_start(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc", "cloud"]) as side:
        async with side.inventory():
            await eventually(lambda: agrees(side, "cloud"))
        await side.leave("cloud")
        async with side.inventory():

            async def gone() -> bool:
                last = await side.bus.last("CAPACITY", subjects.capacity("cloud"))
                return last is None or last.removed

            await eventually(gone)


async def test_numbers_go_on_where_a_member_is_begun_anew(fleetside, eventually) -> None:
    """Under the same epoch a lower number would be taken for old news, and every delta after it too."""
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p", 500))
        await eventually(lambda: agrees(side, "idc"))
        before = (await side.replayed("idc")).number
        assert before > 0
        await side.join("idc", stock=Stock())
        await client.create(pod("q", 500))
        await eventually(lambda: agrees(side, "idc"))
        assert (await side.replayed("idc")).number >= before


async def test_a_successor_begins_with_a_snapshot(fleetside, eventually) -> None:
    """A scheduler that starts meanwhile must not find a member that it knew to be unknown for a moment."""
    heard: list[Capacity] = []

    async def hear(message: Message) -> None:
        heard.append(decode_capacity(message.data))

    async with fleetside(FLEET, join=["idc"]) as side, anyio.create_task_group() as group:
        group.start_soon(side.bus.follow("CAPACITY", [subjects.capacity("idc")], hear).run)
        for _ in range(2):
            async with side.inventory():
                await eventually(lambda: agrees(side, "idc"))
        await eventually(lambda: len({one.epoch for one in heard}) == 2)
        group.cancel_scope.cancel()
    first = {one.epoch: one.form for one in reversed(heard)}
    assert set(first.values()) == {"snapshot"}


async def test_a_wrong_kubeconfig_is_said_and_mended_by_a_new_manifest(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side:
        right = side.kubeconfig
        side.kubeconfig = right.with_name("absent")
        await side.join("cloud")
        async with side.inventory():

            async def says_why() -> bool:
                try:
                    await side.read("cloud", verb="list", resource="nodes")
                except BrimError as error:
                    return "there is no kubeconfig" in str(error)
                return False

            await eventually(says_why)
            side.kubeconfig = right
            await side.join("cloud")
            await eventually(lambda: agrees(side, "cloud"))
