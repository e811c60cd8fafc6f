"""COST over a real nats-server: what pods cost, booked once whatever happens, kept a week longer than their owners."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from services.inventory import cost_publisher
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.cost import Booked, Cost
from shared.contracts.refs import ObjectRef
from shared.fleet import parse

FLEET = parse(
    """
members:
- id: idc
  stock:
    source: static
    pools: [{id: p1, instanceType: t, allocatable: {cpu: 64}, max: 9, price: 6.4}]
  simulated:
    nodes:
    - {name: own, allocatable: {cpu: "64", memory: 160Gi}, price: 3.2}
    - {name: free, allocatable: {cpu: "64", memory: 160Gi}}
    - {name: pooled, allocatable: {cpu: "64", memory: 160Gi}, labels: {alibabacloud.com/nodepool-id: p1}}
    virtualNodes: [{zone: cn-a, prices: {vcpu: 36, gib: 3.6}}]
    delays: {start: 0.01, stop: 0.01, eciStart: 2, imagePull: 1}
- id: other
  simulated: {nodes: [{name: other, allocatable: {cpu: "2", memory: 4Gi}}]}
"""
)
VIRTUAL = "virtual-kubelet-cn-a"


def pod(name: str, node: str, *, scheduler: str = "brim-scheduler", **annotations: str) -> JsonObject:
    """A sixteenth of a node's memory, less of its CPU."""
    container: JsonObject = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "10Gi"}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "default",
            "annotations": {f"simulator.brim.dev/{key.replace('_', '-')}": text for key, text in annotations.items()},
        },
        "spec": {
            "schedulerName": scheduler,
            "nodeName": node,
            "restartPolicy": "Never",
            "tolerations": [{"operator": "Exists"}],
            "containers": [container],
        },
    }


def ref(name: str, kind: str = "Pod", group: str = "") -> ObjectRef:
    return ObjectRef(group=group, version="v1", kind=kind, namespace="default", name=name)


async def cost(side, owner: ObjectRef, member: str = "idc") -> Cost | None:
    last = await side.bus.last("COST", subjects.cost(member, owner))
    return None if last is None or last.removed else Cost.decode(last.data)


def costs(side, owner: ObjectRef, holds: Callable[[Cost], object]) -> Callable[[], Awaitable[bool]]:
    async def so() -> bool:
        found = await cost(side, owner)
        return found is not None and bool(holds(found))

    return so


def is_metered(found: Cost) -> bool:
    return len(found.meters) == 1


def is_booked(found: Cost) -> bool:
    return not found.meters and sum(one.pods for one in found.booked) == 1


@pytest.mark.parametrize(
    ("node", "unit", "per_hour"),
    [
        pytest.param("own", "idc", 0.2, id="a node with a price of its own"),
        pytest.param("pooled", "ecs", 0.4, id="a node of a pool"),
    ],
)
async def test_a_pod_pays_its_share_of_its_node(fleetside, eventually, node: str, unit: str, per_hour: float) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p", node))
        await eventually(costs(side, ref("p"), is_metered))
        (meter,) = (await cost(side, ref("p"))).meters
        assert (meter.pod, meter.unit, meter.per_hour) == ("p", unit, pytest.approx(per_hour))
        await client.delete(ref("p"))
        await eventually(costs(side, ref("p"), is_booked))


async def test_what_costs_nothing_or_is_not_brims_has_no_meter(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("free", "free"))
        await client.create(pod("others", "own", scheduler="default-scheduler"))
        await client.create(pod("virtual", VIRTUAL, scheduler="default-scheduler"))
        await eventually(costs(side, ref("virtual"), is_metered))
        assert await cost(side, ref("free")) is None
        assert await cost(side, ref("others")) is None


async def bill(side, pod_name: str) -> float | None:
    """What the cloud asks for the instance of a pod, once it has ended."""
    for one in side.members["idc"].store.every("containergroups.eci.brim.dev"):
        if one["spec"]["podName"] == pod_name and "finishedAt" in one["status"]:
            return float(one["status"]["cost"])
    return None


async def test_serverless_pods_come_to_what_the_cloud_bills(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"], speed=60.0) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p", VIRTUAL, run_seconds="120"))
        await eventually(costs(side, ref("p"), is_metered))
        (meter,) = (await cost(side, ref("p"))).meters
        assert (meter.unit, meter.per_hour) == ("eci", pytest.approx(2 * 36 + 16 * 3.6))
        await eventually(costs(side, ref("p"), is_booked))
        billed = await bill(side, "p")
        assert billed is not None
        assert billed > 3.0
        assert (await cost(side, ref("p"))).booked[0].amount == pytest.approx(billed, abs=1e-5)


async def test_an_instance_that_outlives_its_pod_is_paid_for_until_it_goes(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"], speed=20.0) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p", VIRTUAL, outlives_pod="true"))
        await eventually(costs(side, ref("p"), is_metered))
        await client.delete(ref("p"))
        await eventually(lambda: not list(side.members["idc"].store.every("pods")))
        await client.create(pod("q", "own"))
        await eventually(costs(side, ref("q"), is_metered))
        assert is_metered(await cost(side, ref("p")))
        (instance,) = side.members["idc"].store.every("containergroups.eci.brim.dev")
        await client.delete(
            ObjectRef(
                group="eci.brim.dev",
                version="v1alpha1",
                kind="ContainerGroup",
                namespace="default",
                name=instance["metadata"]["name"],
            )
        )
        await eventually(costs(side, ref("p"), is_booked))


DEPLOYMENT: JsonObject = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "default"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "web"}},
        "template": {
            "metadata": {"labels": {"app": "web", "brim.dev/workload": "w-1"}},
            "spec": {
                "nodeName": "own",
                "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "32"}}}],
            },
        },
    },
}
WEB = ref("web", "Deployment", "apps")


async def test_a_workloads_pods_make_one_account_that_outlives_them(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(DEPLOYMENT)
        await eventually(costs(side, WEB, lambda found: len(found.meters) == 2))
        found = await cost(side, WEB)
        assert (found.uid, found.per_hour) == ("w-1", pytest.approx(3.2))
        await client.merge_patch(WEB, {"spec": {"replicas": 0}})
        await eventually(costs(side, WEB, lambda found: not found.meters and found.booked[0].pods == 2))


async def test_a_successor_goes_on_where_its_predecessor_stopped(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.client("idc") as client:
        async with side.inventory():
            for name in ("stays", "goes", "done"):
                await client.create(pod(name, "own"))
                await eventually(costs(side, ref(name), is_metered))
            await client.delete(ref("done"))
            await eventually(costs(side, ref("done"), is_booked))
        stays, goes, done = [await cost(side, ref(name)) for name in ("stays", "goes", "done")]
        await client.delete(ref("goes"))
        await client.create(pod("new", "own"))
        async with side.inventory():
            await eventually(costs(side, ref("goes"), is_booked))
            await eventually(costs(side, ref("new"), is_metered))
            assert (await cost(side, ref("stays"))).meters == stays.meters
            assert (await cost(side, ref("done"))).booked == done.booked
            ended = (await cost(side, ref("goes"))).booked[0].hours * 3600 + goes.meters[0].since
            assert goes.meters[0].since <= ended <= side.clock.now()


async def test_nothing_is_published_while_nothing_changes(fleetside, eventually) -> None:
    async with (
        fleetside(FLEET, join=["idc"], heartbeat=0.1, snapshot_interval=0.2) as side,
        side.inventory() as context,
        side.client("idc") as client,
    ):
        await client.create(pod("p", "own"))
        await eventually(costs(side, ref("p"), is_metered))
        before = await side.bus.last("COST", subjects.cost("idc", ref("p")))

        def compared(times: int) -> bool:
            text = context.metrics.render().decode()
            (line,) = [one for one in text.splitlines() if one.startswith("brim_inventory_capacity_snapshots_total{")]
            return float(line.split()[-1]) >= times

        await eventually(lambda: compared(5))
        after = await side.bus.last("COST", subjects.cost("idc", ref("p")))
        assert after.sequence == before.sequence


# -- how long it is kept


def old_account(owner: ObjectRef, **fields: object) -> Cost:
    booked = (Booked(unit="eci", amount=7.0, hours=7.0, pods=7),)
    return Cost(member="idc", ref=owner, booked=booked, observed_at=1.0, **fields)  # type: ignore[arg-type]


QUIET = {"snapshot_interval": 1e7, "heartbeat": 1e5, "lost_after": 1e7}


async def test_an_account_is_dropped_a_week_after_its_owner_went(fleetside, eventually) -> None:
    gone, empty, wanted = ref("gone", "Deployment", "apps"), WEB, ref("wanted", "Deployment", "apps")
    async with fleetside(FLEET, join=["idc"], speed=10_000.0, **QUIET) as side, side.client("idc") as client:
        for owner in (gone, empty, wanted):
            account = old_account(owner, gone_since=1.0 if owner is gone else None)
            await side.bus.publish(subjects.cost("idc", owner), account.encode())
        await client.create({**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "replicas": 0}})  # type: ignore[dict-item]
        manifest: JsonObject = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "wanted"}}
        manifest["metadata"] = {"name": "wanted", "namespace": "default"}
        await side.want(manifest)
        async with side.inventory():

            async def dropped() -> bool:
                return await cost(side, gone) is None

            await eventually(dropped)
            assert (await cost(side, empty)).gone_since is None, "scaled to nothing, but there"
            assert (await cost(side, wanted)).gone_since is None, "in other members for now"
            await client.delete(WEB)
            await eventually(costs(side, WEB, lambda found: found.gone_since is not None))


async def test_a_member_that_leaves_closes_its_accounts_and_keeps_them_for_a_week(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc", "other"]) as side, side.client("idc") as client, side.inventory():
        await client.create(pod("p", "own"))
        await eventually(costs(side, ref("p"), is_metered))
        await side.leave("idc")
        await eventually(costs(side, ref("p"), is_booked))
        closed = await cost(side, ref("p"))
        assert closed.gone_since is not None
        await side.join("idc")
        await eventually(costs(side, ref("p"), is_metered))
        again = await cost(side, ref("p"))
        assert again.meters[0].since >= closed.observed_at, "what was booked is not counted again"
        assert again.gone_since is None


async def test_old_accounts_of_a_member_that_left_are_dropped(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["other"], speed=10_000.0, **QUIET) as side:
        old, young = ref("old"), ref("young")
        await side.bus.publish(subjects.cost("idc", old), old_account(old, gone_since=1.0).encode())
        await side.bus.publish(subjects.cost("idc", young), old_account(young).encode())
        async with side.inventory():

            async def dropped() -> bool:
                return await cost(side, old) is None

            await eventually(dropped)
            assert (await cost(side, young)).gone_since is not None


def knows(side, pods: int) -> Callable[[], Awaitable[bool]]:
    async def so() -> bool:
        return len((await side.read("idc", verb="list", resource="pods")).items) == pods

    return so


async def test_what_is_metered_when_inventory_ends_is_told_before(fleetside, eventually, monkeypatch) -> None:
    """After the first of them costs are told ten minutes later here."""
    monkeypatch.setattr(cost_publisher, "SLOWER", 12_000)
    async with fleetside(FLEET, join=["idc"]) as side, side.client("idc") as client:
        async with side.inventory():
            await client.create(pod("first", "own"))
            await eventually(costs(side, ref("first"), is_metered))
            await client.create(pod("second", "own"))
            await eventually(knows(side, 2))
            assert await cost(side, ref("second")) is None
        assert is_metered(await cost(side, ref("second")))
