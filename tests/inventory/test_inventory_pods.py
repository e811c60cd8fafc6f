"""PODS over a real nats-server: the pods that deciding inside a member needs, told once per change, and healed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.capacity import Delta, Snapshot, decode_capacity
from shared.contracts.pod import Pod
from shared.contracts.refs import ObjectRef
from shared.errors import BrimError, Refused
from shared.fleet import parse

FLEET = parse(
    """
members:
- id: idc
  simulated:
    nodes: [{name: node, count: 2, allocatable: {cpu: "64", memory: 160Gi, pods: "2000"}}]
    virtualNodes: [{zone: cn-a, prices: {vcpu: 0.1, gib: 0.01}}]
    delays: {start: 0.01, stop: 0.01, eciStart: 0.01, imagePull: 0.01}
- id: bare
  simulated: {nodes: [{name: bare, allocatable: {cpu: "2", memory: 4Gi}}]}
"""
)
VIRTUAL = "virtual-kubelet-cn-a"


def pod(name: str, *, scheduler: str = "brim-scheduler", namespace: str = "default", **spec: object) -> JsonObject:
    labels = {"app": "web"}
    container: JsonObject = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}}
    written: JsonObject = {"schedulerName": scheduler, "containers": [container], **spec}  # type: ignore[dict-item]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": written,
    }


def ref(kind: str, name: str, namespace: str = "default") -> ObjectRef:
    return ObjectRef(version="v1", kind=kind, namespace=namespace, name=name)


async def bind(client, name: str, node: str) -> None:
    body = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": {"kind": "Node", "name": node}}
    await client.post(ref("Pod", name), "binding", body)


async def told(side, member: str = "idc") -> dict[str, Pod]:
    """By name, all that the stream holds of a member."""
    found = {}
    for message in await side.bus.history("PODS", subjects.pods(member)):
        if not message.removed:
            found[subjects.pod_of(message.subject)[2]] = Pod.decode(message.data)
    return found


def tells(side, *names: str):
    async def so() -> bool:
        return set(await told(side)) == set(names)

    return so


def tells_of(side, name: str, **fields: object):
    async def so() -> bool:
        found = (await told(side)).get(name)
        return found is not None and all(getattr(found, field) == value for field, value in fields.items())

    return so


def policy(name: str = "burst", namespace: str = "default", **selector: str) -> JsonObject:
    return {
        "apiVersion": "scheduling.alibabacloud.com/v1alpha1",
        "kind": "ResourcePolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": dict(selector),
            "strategy": "prefer",
            "units": [{"resource": "idc", "podAnnotations": {"unit": "own"}}, {"resource": "eci"}],
        },
    }


async def test_a_pod_of_ours_is_told_from_its_creation_to_its_end(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p", nodeSelector={"disk": "ssd"}))
        await eventually(tells_of(side, "p", node="", phase="Pending"))
        first = (await told(side))["p"]
        assert first.spec["nodeSelector"] == {"disk": "ssd"}
        assert (first.scheduler, first.requests) == ("brim-scheduler", {"cpu": 1000, "memory": 1024**3, "pods": 1})
        await bind(client, "p", "node-0")
        await eventually(tells_of(side, "p", node="node-0", ready=True, phase="Running"))
        bound = (await told(side))["p"]
        assert bound.bound_at is not None
        assert first.uid == bound.uid
        await client.delete(ref("Pod", "p"))
        await eventually(tells(side))


async def test_capacity_that_is_newer_than_counted_at_contains_the_pod_and_older_does_not(
    fleetside, eventually
) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p"))
        await eventually(tells_of(side, "p", node=""))
        assert (await told(side))["p"].counted_at is None
        await bind(client, "p", "node-0")
        await eventually(tells_of(side, "p", node="node-0", ready=True))
        counted_at = (await told(side))["p"].counted_at
        assert counted_at is not None

        async def capacity() -> list[tuple[float, int]]:
            """(observed_at, free pod slots) of all that was told of the node."""
            history = [decode_capacity(m.data) for m in await side.bus.history("CAPACITY", "brim.capacity.idc")]
            told_of = [message for message in history if isinstance(message, Snapshot | Delta)]
            return [
                (message.observed_at, message.nodes.free["pods"][message.nodes.names.index("node-0")])
                for message in told_of
                if "node-0" in message.nodes.names
            ]

        async def told_twice() -> bool:
            return len({free for _, free in await capacity()}) == 2

        await eventually(told_twice)
        empty = max(free for _, free in await capacity())
        for observed_at, free in await capacity():
            assert (observed_at >= counted_at) == (free < empty)


async def test_a_pod_says_who_owns_it(fleetside, eventually) -> None:
    labels = {"app": "web"}
    deployment: JsonObject = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod("x")["spec"]},
        },
    }
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(deployment)

        async def owned() -> bool:
            owners = [one.owner for one in (await told(side)).values()]
            return [(owner.group, owner.kind, owner.name) for owner in owners] == [("apps", "Deployment", "web")]

        await eventually(owned)


async def test_pods_of_others_are_told_only_where_they_count(fleetside, eventually) -> None:
    """Nothing of them, until a pod of ours lives in their namespace; and no more once it has gone."""
    async with (
        fleetside(FLEET, join=["idc"], snapshot_interval=0.3) as side,
        side.inventory(),
        side.client("idc") as client,
    ):
        await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "far"}})
        await client.create(pod("near", scheduler="default-scheduler"))
        await client.create(pod("far", scheduler="default-scheduler", namespace="far"))
        await eventually(lambda: all(one["spec"].get("nodeName") for one in side.members["idc"].store.every("pods")))
        await client.create(pod("ours"))
        await eventually(tells(side, "ours", "near"))
        await client.delete(ref("Pod", "ours"))
        await eventually(tells(side))


async def test_a_pod_says_whether_its_namespace_asks_for_eci(fleetside, eventually) -> None:
    labels = {"alibabacloud.com/eci": "true"}
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "serverless", "labels": labels}}
        )
        await client.create(pod("p", namespace="serverless"))
        await eventually(tells_of(side, "p", eci=True))
        await client.create(pod("q"))
        await eventually(tells_of(side, "q", eci=False))


async def test_pods_that_count_for_a_new_one_are_told_before_it(fleetside, eventually) -> None:
    """Else it would be decided about as if they were not there."""
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        there = [f"there-{number}" for number in range(20)]
        for name in there:
            await client.create(pod(name, scheduler="default-scheduler"))
        pods = side.members["idc"].store.every
        await eventually(lambda: all(one["status"].get("phase") == "Running" for one in pods("pods")))
        await client.create(pod("ours"))
        await eventually(tells(side, "ours", *there))
        history = await side.bus.history("PODS", subjects.pods("idc"))
        assert subjects.pod_of(history[-1].subject)[2] == "ours"


async def test_a_policy_tells_of_pods_that_name_another_scheduler(fleetside, eventually) -> None:
    gate = {"schedulingGates": [{"name": "wait"}]}  # nobody binds it
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("other", scheduler="default-scheduler", **gate))
        await client.create(pod("ours"))
        await eventually(tells(side, "ours"))
        await side.want(policy(app="web"), uid="policy")
        await eventually(tells(side, "ours", "other"))
        await side.want(policy(app="web"), uid="policy", deleted=True)
        await eventually(tells(side, "ours"))
        await side.want(policy(app="db"), uid="policy")
        await side.want(policy("all"), uid="policy-2")
        await eventually(tells(side, "ours", "other"))


async def test_annotations_by_which_a_policy_counts_are_told(fleetside, eventually) -> None:
    marked = pod("p")
    marked["metadata"]["annotations"] = {"unit": "own", "note": "x"}  # type: ignore[index, call-overload]
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(marked)
        await eventually(tells_of(side, "p", annotations={}))
        await side.want(policy(), uid="policy")
        await eventually(tells_of(side, "p", annotations={"unit": "own"}))


async def test_pods_on_virtual_nodes_are_told_also_where_the_node_is_gone(fleetside, eventually) -> None:
    def left_on(node: str, name: str) -> JsonObject:
        written = pod(name, scheduler="default-scheduler", nodeName=node)
        written["metadata"] |= {"uid": f"uid-{name}"}  # type: ignore[operator]
        return written

    async with fleetside(FLEET, join=["idc"], snapshot_interval=0.3) as side, side.client("idc") as client:
        await client.create(pod("there", scheduler="default-scheduler", nodeName=VIRTUAL))
        side.members["idc"].store.create("pods", left_on("virtual-kubelet-cn-z", "left"))
        side.members["idc"].store.create("pods", left_on("another", "lost"))
        async with side.inventory():
            await eventually(tells(side, "there", "left"))
            assert "virtual-kubelet-cn-z" not in (await side.replayed("idc")).nodes


async def test_what_happens_while_nobody_looks_is_told_by_the_next(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.client("idc") as client:
        async with side.inventory():
            for name in ("stays", "goes", "changes"):
                await client.create(pod(name))
            await eventually(tells(side, "stays", "goes", "changes"))
        before = await side.bus.last("PODS", subjects.pod("idc", "default", "stays"))
        await client.delete(ref("Pod", "goes"))
        await client.create(pod("new"))
        await client.merge_patch(ref("Pod", "changes"), {"metadata": {"labels": {"new": "label"}}})
        async with side.inventory():
            await eventually(tells(side, "stays", "changes", "new"))
            await eventually(tells_of(side, "changes", labels={"app": "web", "new": "label"}))
            after = await side.bus.last("PODS", subjects.pod("idc", "default", "stays"))
            assert after.sequence == before.sequence, "what is so still is not repeated"


@pytest.mark.parametrize("what", ["lost", "rubbish", "late", "of nobody"])
async def test_the_stream_is_compared_with_the_member(fleetside, eventually, what: str) -> None:
    async with (
        fleetside(FLEET, join=["idc"], snapshot_interval=0.3) as side,
        side.inventory(),
        side.client("idc") as client,
    ):
        subject = subjects.pod("idc", "default", "p")
        await client.create(pod("p"))
        await eventually(tells_of(side, "p", labels={"app": "web"}))
        old = await side.bus.last("PODS", subject)
        await client.merge_patch(ref("Pod", "p"), {"metadata": {"labels": {"new": "label"}}})
        await eventually(tells_of(side, "p", labels={"app": "web", "new": "label"}))
        match what:
            case "lost":
                await side.bus.purge_subject("PODS", subject)
            case "rubbish":
                await side.bus.publish(subject, b"{}")
            case "late":
                await side.bus.publish(subject, old.data)
            case "of nobody":
                await side.bus.publish(subjects.pod("idc", "default", "nobody"), old.data)

        async def healed() -> bool:
            try:
                return set(await told(side)) == {"p"} and (await told(side))["p"].labels.get("new") == "label"
            except BrimError:
                return False  # the rubbish is still there

        await eventually(healed)


@pytest.mark.parametrize(
    "subject", ["brim.pod.idc.x", "brim.pod.idc.default.p%2D1", "brim.cost.idc.x", "brim.status.idc.x"]
)
async def test_what_lies_where_nobody_of_brims_writes_is_left_alone(fleetside, eventually, subject: str) -> None:
    async with fleetside(FLEET, join=["idc"], snapshot_interval=0.3) as side, side.client("idc") as client:
        await side.bus.publish(subject, b"rubbish")
        async with side.inventory():
            await client.create(pod("p-1"))
            await eventually(lambda: _holds(side, "p-1"))


async def _holds(side, name: str) -> bool:
    last = await side.bus.last("PODS", subjects.pod("idc", "default", name))
    return last is not None and Pod.decode(last.data).name == name


async def test_a_name_that_is_used_again_is_another_pod(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        uids = set()
        for _ in range(3):
            await client.create(pod("web-0"))
            await eventually(tells(side, "web-0"))
            uids.add((await told(side))["web-0"].uid)
            await client.delete(ref("Pod", "web-0"))
            await eventually(tells(side))
        assert len(uids) == 3


async def test_what_is_told_of_a_member_goes_with_it(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.client("idc") as client:
        async with side.inventory():
            await client.create(pod("p"))
            await eventually(tells(side, "p"))
            await side.leave("idc")
            await eventually(tells(side))
            await side.join("idc")
            await eventually(tells(side, "p"))
        await side.leave("idc")
        async with side.inventory():
            await eventually(tells(side))


async def test_a_thousand_pods_at_once_are_all_told(fleetside, eventually) -> None:
    """How fast is a matter of the benchmarks; here: all of them, each in its newest state, one message at a time."""
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory() as context:
        member = side.members["idc"]
        stamp = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        names = [f"p-{number}" for number in range(1000)]
        for name in names:
            written = pod(name)
            written["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": stamp}  # type: ignore[operator]
            member.store.create("pods", written)
        await eventually(lambda: b'brim_inventory_pods_told{member="idc"} 1000.0' in context.metrics.render())
        assert set(await told(side)) == set(names)


# -- serverless instances, as a simulated member has them; their nodes and pods here are the test's own

BY_HAND = parse(
    """
members:
- id: idc
  stock: {source: none, virtual: [{node: by-hand, vcpu: 0.1, gib: 0.01, spot: 0.5}]}
  simulated:
    nodes: [{name: by-hand, labels: {type: virtual-kubelet}, allocatable: {cpu: "64", memory: 160Gi, pods: "100"}}]
    delays: {start: 0.01, stop: 0.01}
"""
)
CRD: JsonObject = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "containergroups.eci.brim.dev"},
    "spec": {
        "group": "eci.brim.dev",
        "scope": "Namespaced",
        "names": {"plural": "containergroups", "kind": "ContainerGroup", "singular": "containergroup"},
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


async def serve_instances(client) -> None:
    try:
        await client.resource_of("eci.brim.dev", "v1alpha1", "ContainerGroup")
    except Refused:
        await client.create(CRD)


def put_instance(side, name: str, pod_name: str, uid: str, size: str = "2-4Gi", **status: object) -> None:
    """As the cloud would: the object as it is now."""
    spec: JsonObject = {"podName": pod_name, "podUid": uid, "nodeName": "by-hand", "size": size, "spot": False}
    store = side.members["idc"].store
    body = {
        "apiVersion": "eci.brim.dev/v1alpha1",
        "kind": "ContainerGroup",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": spec,
        "status": status,
    }
    shelf = "containergroups.eci.brim.dev"
    if store.get(shelf, "default", name) is None:
        store.create(shelf, body)
    else:
        store.update(shelf, body)


def drop_instance(side, name: str) -> None:
    side.members["idc"].store.remove("containergroups.eci.brim.dev", "default", name)


SINCE = "2026-01-02T03:04:05Z"


async def free_cpu(side) -> int:
    return (await side.replayed("idc")).free_cpu["by-hand"]


async def test_an_instance_is_told_with_its_pod_and_without_it(fleetside, eventually) -> None:
    async with fleetside(BY_HAND) as side, side.client("idc") as client:
        await serve_instances(client)
        async with side.inventory():
            await client.create(pod("p", nodeName="by-hand"))
            await eventually(tells_of(side, "p", node="by-hand", instance=None))
            uid = (await told(side))["p"].uid

            async def instance_is(**fields: object) -> bool:
                found = (await told(side))["p"].instance
                return found is not None and all(getattr(found, name) == value for name, value in fields.items())

            async def takes(cpu: int) -> bool:
                return await free_cpu(side) == 64_000 - cpu

            await eventually(lambda: takes(1000))  # 1 vCPU, 2 GiB: its requests rounded up
            put_instance(side, "eci-1", "p", uid, size="4-8Gi", phase="Scheduling")
            await eventually(lambda: instance_is(name="eci-1", size="4-8Gi", since=None))
            await eventually(lambda: takes(4000))
            put_instance(side, "eci-1", "p", uid, size="4-8Gi", phase="Running", startedAt=SINCE)
            await eventually(lambda: instance_is(since=1767323045.0, per_hour=pytest.approx(0.48)))
            await client.delete(ref("Pod", "p"))
            await eventually(tells_of(side, "p", gone=True, uid=uid))
            assert await instance_is(name="eci-1", per_hour=pytest.approx(0.48))
            await eventually(lambda: takes(4000))
            drop_instance(side, "eci-1")
            await eventually(tells(side))
            await eventually(lambda: takes(0))


async def test_an_instance_without_a_pod_is_told_by_its_own_name_where_another_pod_has_the_name(
    fleetside, eventually
) -> None:
    async with fleetside(BY_HAND) as side, side.client("idc") as client:
        await serve_instances(client)
        async with side.inventory():
            put_instance(side, "eci-old", "web-0", "uid-of-the-first")
            await eventually(tells_of(side, "web-0", gone=True, uid="uid-of-the-first"))
            await client.create(pod("web-0"))
            await eventually(tells(side, "web-0", "eci-old"))
            found = await told(side)
            assert (found["web-0"].gone, found["web-0"].instance) == (False, None)
            assert (found["eci-old"].gone, found["eci-old"].uid) == (True, "uid-of-the-first")
            drop_instance(side, "eci-old")
            await eventually(tells(side, "web-0"))


async def test_instances_and_pods_that_went_while_nobody_looked(fleetside, eventually) -> None:
    async with fleetside(BY_HAND) as side, side.client("idc") as client:
        await serve_instances(client)
        async with side.inventory():
            for name in ("a", "b", "c"):
                await client.create(pod(name, nodeName="by-hand"))
            await eventually(tells(side, "a", "b", "c"))
            uids = {name: one.uid for name, one in (await told(side)).items()}
            for name, uid in uids.items():
                put_instance(side, f"eci-{name}", name, uid)
            await eventually(lambda: _all_have_instances(side))
        await client.delete(ref("Pod", "a"))
        await client.delete(ref("Pod", "b"))
        drop_instance(side, "eci-b")
        await eventually(lambda: len(list(side.members["idc"].store.every("pods"))) == 1)
        async with side.inventory():
            await eventually(tells(side, "a", "c"))
            await eventually(tells_of(side, "a", gone=True, uid=uids["a"]))
            await eventually(tells_of(side, "c", gone=False, uid=uids["c"]))


async def _all_have_instances(side) -> bool:
    return all(one.instance is not None for one in (await told(side)).values())


async def test_a_member_may_come_to_serve_instances_later(fleetside, eventually) -> None:
    async with fleetside(BY_HAND) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p", nodeName="by-hand"))
        await eventually(tells(side, "p"))
        await serve_instances(client)
        put_instance(side, "eci-p", "p", (await told(side))["p"].uid)
        await eventually(lambda: _all_have_instances(side))
