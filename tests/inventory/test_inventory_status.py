"""STATUS over a real nats-server: how managed objects fare, told once per change, and healed where it got lost."""

from __future__ import annotations

import anyio
import pytest

from services.inventory import app
from shared import telemetry
from shared.contracts import subjects
from shared.contracts.cluster import cluster_ref
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from shared.errors import BusUnavailable, Invalid
from shared.fleet import parse
from shared.service import service_context

FLEET = parse(
    """
members:
- id: idc
  simulated:
    nodes: [{name: node, count: 1, allocatable: {cpu: "4", memory: 16Gi}}]
    delays: {start: 0.01, stop: 0.01}
"""
)
WEB = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="default", name="web")


def web(replicas: int = 2, cpu: str = "1", order: str = "3.7") -> dict[str, object]:
    """A deployment as the executor leaves it."""
    labels = {"app": "web"}
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "web",
            "namespace": "default",
            "labels": {"brim.dev/managed": "true", "brim.dev/workload": "w-1"},
            "annotations": {"brim.dev/order": order, "brim.dev/revision": "1"},
        },
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels | {"brim.dev/workload": "w-1"}},
                "spec": {"containers": [container]},
            },
        },
    }


def fares(side, **expected: object):
    """A condition: the status in the stream says so."""

    async def so() -> bool:
        try:
            status = await side.status("idc", WEB)
        except Invalid:
            return False  # a test's rubbish is still there
        return status is not None and all(getattr(status, field) == value for field, value in expected.items())

    return so


async def test_a_deployment_is_followed_from_its_creation_to_its_end(fleetside, eventually) -> None:
    async with fleetside(FLEET) as side, side.inventory(), side.client("idc") as client:
        await side.want(web())
        await client.create(web())
        await eventually(fares(side, uid="w-1", replicas=2, ready=2, bound=2, pending=0, unschedulable=()))
        status = await side.status("idc", WEB)
        assert (status.order.epoch, status.order.counter, status.revision) == (3, 7, 1)
        await client.merge_patch(WEB, {"spec": {"replicas": 6}})
        await eventually(fares(side, replicas=6, ready=4, bound=4, pending=2))

        async def stuck() -> bool:
            return sum(group.count for group in (await side.status("idc", WEB)).unschedulable) == 2

        await eventually(stuck)
        (group,) = (await side.status("idc", WEB)).unschedulable
        assert "Insufficient cpu" in group.message
        await client.delete(WEB)
        await eventually(lambda: _gone(side))


async def _gone(side) -> bool:
    return await side.status("idc", WEB) is None


async def test_an_autoscaler_that_owns_the_count_is_named(fleetside, eventually) -> None:
    async with fleetside(FLEET) as side, side.inventory(), side.client("idc") as client:
        await side.want(web())
        await client.create(web())
        await eventually(fares(side, ready=2, autoscaler=None))
        target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
        await client.create(
            {
                "apiVersion": "autoscaling/v2",
                "kind": "HorizontalPodAutoscaler",
                "metadata": {"name": "web-hpa", "namespace": "default"},
                "spec": {"scaleTargetRef": target, "maxReplicas": 3},
            }
        )
        await eventually(fares(side, autoscaler="web-hpa"))


async def test_what_goes_while_nobody_looks_is_said_to_be_gone(fleetside, eventually) -> None:
    async with fleetside(FLEET) as side, side.client("idc") as client:
        await side.want(web())
        async with side.inventory():
            await client.create(web())
            await eventually(fares(side, ready=2))
        await client.delete(WEB)
        async with side.inventory():
            await eventually(lambda: _gone(side))


async def test_a_new_instance_repeats_nothing_that_is_so_still(fleetside, eventually) -> None:
    async with fleetside(FLEET) as side, side.client("idc") as client:
        await side.want(web())
        subject = subjects.status("idc", WEB)
        async with side.inventory():
            await client.create(web())
            await eventually(fares(side, ready=2, available=2))
        before = await side.bus.last("STATUS", subject)
        async with side.inventory():
            await client.merge_patch(WEB, {"spec": {"replicas": 3}})
            await eventually(fares(side, ready=3))
        messages = await side.bus.history("STATUS", subject)
        told = [Status.decode(message.data) for message in messages if message.sequence > before.sequence]
        assert all(status.replicas == 3 for status in told)


def definition(group: str) -> dict[str, object]:
    anything = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"toasters.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "toasters", "singular": "toaster", "kind": "Toaster", "listKind": "ToasterList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": anything}],
        },
    }


async def test_kinds_of_one_name_are_told_apart(fleetside, eventually) -> None:
    """That one group's objects are listed says nothing of another's: they are not gone."""
    async with fleetside(FLEET, snapshot_interval=0.2) as side, side.client("idc") as client:
        toasters = {}
        for group in ("a.test", "b.test"):
            await client.create(definition(group))
            toasters[group] = {
                "apiVersion": f"{group}/v1",
                "kind": "Toaster",
                "metadata": {
                    "name": "t",
                    "namespace": "default",
                    "labels": {"brim.dev/managed": "true", "brim.dev/workload": group},
                },
            }
            await client.create(toasters[group])
            await side.want(toasters[group], uid=group)
        refs = {group: ObjectRef.of(manifest) for group, manifest in toasters.items()}
        async with side.inventory():
            for ref in refs.values():
                await eventually(lambda ref=ref: side.status("idc", ref))
        side.members["idc"].faults.hang(path="/apis/b.test/v1/toasters")
        async with (
            service_context("inventory", side.settings, clock=side.clock) as successor,
            anyio.create_task_group() as group,
        ):
            group.start_soon(app.run, successor)
            await client.delete(refs["a.test"])

            async def noticed() -> bool:
                return await side.status("idc", refs["a.test"]) is None

            await eventually(noticed)  # the first kind was listed
            for name in ("b.test", "a.test"):  # what comes late on top is looked at, in the next comparison
                late = Status(member="idc", ref=refs[name], uid=name, observed_at=1.0)
                await side.bus.publish(subjects.status("idc", late.ref), late.encode())
            await eventually(noticed)
            assert await side.status("idc", refs["b.test"]) is not None
            group.cancel_scope.cancel()


@pytest.mark.parametrize("what", ["lost", "rubbish", "late"])
async def test_the_stream_is_compared_with_the_member(fleetside, eventually, what: str) -> None:
    """What was lost in the stream, or lies there wrongly, is told again though nothing changes in the member."""
    async with fleetside(FLEET, snapshot_interval=0.2) as side, side.inventory(), side.client("idc") as client:
        subject = subjects.status("idc", WEB)
        await side.want(web())
        await client.create(web(replicas=1))
        await eventually(fares(side, ready=1, available=1))
        old = await side.bus.last("STATUS", subject)
        await client.merge_patch(WEB, {"spec": {"replicas": 2}})
        await eventually(fares(side, ready=2, available=2, observed_generation=2))
        match what:
            case "lost":
                await side.bus.purge_subject("STATUS", subject)
                assert await _gone(side)
            case "rubbish":
                await side.bus.publish(subject, b"{}")
            case "late":
                await side.bus.publish(subject, old.data)

        await eventually(fares(side, ready=2, available=2))


async def test_a_change_is_told_though_somebody_wrote_in_between(fleetside, eventually) -> None:
    """Every write finds another's message under it: the fence is looked up right before the next attempt."""
    async with fleetside(FLEET) as side, side.inventory(), side.client("idc") as client:
        await side.want(web())
        await client.create(web(replicas=1))
        await eventually(fares(side, ready=1, available=1))
        subject = subjects.status("idc", WEB)
        for replicas in (2, 3, 4):
            held = await side.bus.last("STATUS", subject)
            await side.bus.publish(subject, held.data)
            await client.merge_patch(WEB, {"spec": {"replicas": replicas}})
            await eventually(fares(side, replicas=replicas, ready=replicas))


TRACE = "0af7651916cd43dd8448eb211c80319c"


def traced(replicas: int) -> dict[str, object]:
    manifest = web(replicas)
    manifest["metadata"]["annotations"]["brim.dev/traceparent"] = f"00-{TRACE}-b7ad6b7169203331-01"
    return manifest


async def test_what_becomes_of_replicas_belongs_to_the_trace_of_the_change(fleetside, eventually) -> None:
    with telemetry.recorded() as spans:
        async with fleetside(FLEET) as side, side.inventory(), side.client("idc") as client:
            await side.want(web())
            await client.create(traced(6))
            await eventually(fares(side, pending=2, ready=4))
            await client.merge_patch(WEB, {"spec": {"paused": True}})
            await eventually(fares(side, generation=2))
            last = await side.bus.last("STATUS", subjects.status("idc", WEB))
            assert TRACE in last.headers["traceparent"]
        told = {span.name for span in spans.finished() if span.trace_id == TRACE}
    assert "observe unschedulable" in told


async def test_what_happens_once_all_serves_is_a_story_of_its_own(fleetside, eventually) -> None:
    with telemetry.recorded() as spans:
        async with fleetside(FLEET) as side, side.inventory(), side.client("idc") as client:
            await side.want(web())
            await client.create(traced(2))
            await eventually(fares(side, ready=2, updated=2, observed_generation=1))
            await client.merge_patch(WEB, {"spec": {"replicas": 6}})
            await eventually(fares(side, pending=2, ready=4))
            last = await side.bus.last("STATUS", subjects.status("idc", WEB))
        observed = [span for span in spans.finished() if span.name.startswith("observe ")]
    (own,) = {span.trace_id for span in observed} - {TRACE}
    assert telemetry.trace_id(last.headers) == own
    story = [span for span in observed if span.trace_id == own]
    assert {span.links for span in story if not span.parent_id} == {(TRACE,)}
    assert "observe unschedulable" in {span.name for span in story}


async def test_a_kind_that_is_not_served_for_a_moment_is_told_of_again(fleetside, eventually) -> None:
    async with fleetside(FLEET) as side, side.inventory(), side.client("idc") as client:
        await side.want(web())
        await client.create(web())
        await eventually(fares(side, ready=2))
        fault = side.members["idc"].faults.answer(404, method="GET", path="/deployments[?].*watch=", times=2)
        await side.members["idc"].pause()
        await side.members["idc"].resume()
        await eventually(lambda: fault.hits == 2)
        await eventually(fares(side, ready=2))


async def test_rubbish_on_the_streams_hurts_nobody(fleetside, eventually) -> None:
    """Before inventory starts and while it works, on subjects of any form that the streams take."""
    cluster = subjects.desired(cluster_ref("idc"))
    async with fleetside(FLEET) as side, side.client("idc") as client:
        wanted = await side.bus.last("DESIRED", cluster)

        async def spoil() -> None:
            for subject in (
                cluster,
                subjects.desired(cluster_ref("nowhere")),
                subjects.desired(WEB),
                subjects.status("idc", WEB),
                subjects.status("nowhere", WEB),
                subjects.capacity("idc"),
                subjects.capacity("nowhere"),
                *(
                    "brim.desired.a",
                    "brim.desired.a.b.c.d",
                    "brim.status.a",
                    "brim.status.idc.a",
                    "brim.status.idc.a.b.c",
                ),
            ):
                for rubbish in (b"", b"{", b"{}", b"[]", b"\xff"):
                    await side.bus.publish(subject, rubbish)

        await spoil()
        await side.bus.publish(cluster, wanted.data)
        async with side.inventory():
            await side.want(web())
            await client.create(web())
            await eventually(fares(side, ready=2))
            await spoil()
            await client.merge_patch(WEB, {"spec": {"replicas": 3}})
            await eventually(fares(side, ready=3))
            await side.bus.request(subjects.snapshot("idc"), b"")
            assert sum((await side.replayed("idc")).bound.values()) == 3
            with pytest.raises(BusUnavailable):
                await side.bus.request(subjects.snapshot("nowhere"), b"")
