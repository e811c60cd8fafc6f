"""`brim.read.<member>`: what people see of a member, and what they are told when they cannot."""

from __future__ import annotations

import pytest

from shared.contracts import subjects
from shared.errors import Invalid, MemberUnavailable, NotFound, Refused
from shared.fleet import parse

FLEET = parse(
    """
members:
- id: idc
  simulated:
    nodes: [{name: node, count: 3, allocatable: {cpu: "8", memory: 16Gi}}]
    pools: [{id: p1, instanceType: t.x, allocatable: {cpu: "4", memory: 8Gi}, max: 5, stock: 3}]
    delays: {start: 0.01, stop: 0.01}
"""
)


def pod(name: str, app: str) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": app}},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }


def names(answer) -> list[str]:
    return [item["metadata"]["name"] for item in answer.items]


async def test_lists_come_in_pages_and_by_selector(fleetside, eventually) -> None:
    async with fleetside(FLEET) as side, side.inventory(), side.client("idc") as client:
        for number in range(5):
            await client.create(pod(f"p-{number}", "odd" if number % 2 else "even"))

        async def all_seen() -> bool:
            return len((await side.read("idc", verb="list", resource="pods")).items) == 5

        await eventually(all_seen)
        first = await side.read("idc", verb="list", resource="pods", limit=3)
        assert names(first) == ["p-0", "p-1", "p-2"]
        rest = await side.read("idc", verb="list", resource="pods", limit=3, after=first.after)
        assert (names(rest), rest.after) == (["p-3", "p-4"], "")
        odd = await side.read("idc", verb="list", resource="pods", selector="app=odd")
        assert names(odd) == ["p-1", "p-3"]
        assert names(await side.read("idc", verb="list", resource="nodes")) == ["node-0", "node-1", "node-2"]
        (pool,) = (await side.read("idc", verb="list", resource="pools")).items
        assert pool["spec"]["headroom"] == 3


async def test_objects_events_and_logs_come_from_the_member(fleetside, eventually) -> None:
    async with fleetside(FLEET) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p", "a"))

        async def runs() -> bool:
            (found,) = (await side.read("idc", verb="object", resource="pods", namespace="default", name="p")).items
            return found["status"].get("phase") == "Running"

        await eventually(runs)
        events = await side.read("idc", verb="events", namespace="default", name="p")
        assert "Scheduled" in {item["reason"] for item in events.items}
        assert (await side.read("idc", verb="logs", namespace="default", name="p")).text


def large_deployment(name: str) -> dict[str, object]:
    """About 60 KB: a few of them are more than one message can hold."""
    container = {"name": "c", "image": "i", "env": [{"name": "E", "value": "x" * 60_000}]}
    template = {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": name}}, "template": template}
    metadata = {"name": name, "namespace": "default"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def test_lists_from_the_member_fit_into_a_message(fleetside) -> None:
    async with fleetside(FLEET) as side, side.inventory(), side.client("idc") as client:
        wanted = [f"web-{number:02}" for number in range(25)]
        for name in wanted:
            await client.create(large_deployment(name))
        seen: list[str] = []
        after = ""
        while True:
            page = await side.read("idc", verb="list", group="apps", resource="deployments", after=after)
            seen += names(page)
            after = page.after
            if not after:
                break
        assert seen == wanted


async def test_what_cannot_be_read_is_said(fleetside) -> None:
    async with fleetside(FLEET) as side, side.inventory():
        with pytest.raises(NotFound, match="member idc has no pods 'absent' in namespace default"):
            await side.read("idc", verb="object", resource="pods", namespace="default", name="absent")
        with pytest.raises(Refused, match="secrets are not passed on"):
            await side.read("idc", verb="list", resource="secrets")
        with pytest.raises(Refused, match="gadgets"):
            await side.read("idc", verb="list", group="example.dev", resource="gadgets")
        with pytest.raises(Invalid):
            await side.bus.request(subjects.read("idc"), b"rubbish")


async def test_a_member_that_is_away_is_named_with_the_time_it_last_answered(fleetside, eventually) -> None:
    async with fleetside(FLEET, heartbeat=0.2) as side, side.inventory():
        await side.members["idc"].pause()

        async def away() -> bool:
            try:
                await side.read("idc", verb="list", resource="pods")
            except MemberUnavailable as error:
                return "member idc has not answered since 2" in str(error)
            return False

        await eventually(away)


VIRTUAL = parse(
    """
members:
- id: idc
  simulated:
    virtualNodes: [{zone: cn-a}]
    delays: {start: 0.01, stop: 0.01, eciStart: 0.01, imagePull: 0.01}
"""
)


async def test_serverless_instances_come_from_the_cache_whole(fleetside, eventually) -> None:
    async with fleetside(VIRTUAL) as side, side.inventory(), side.client("idc") as client:
        on_eci = pod("p", "a")
        on_eci["spec"] |= {"nodeName": "virtual-kubelet-cn-a"}  # type: ignore[operator]
        await client.create(on_eci)
        question = {"verb": "list", "group": "eci.brim.dev", "resource": "containergroups"}

        async def runs() -> bool:
            found = (await side.read("idc", **question)).items
            return [one["status"].get("phase") for one in found] == ["Running"]

        await eventually(runs)
        (instance,) = (await side.read("idc", **question, namespace="default")).items
        assert (instance["apiVersion"], instance["kind"]) == ("eci.brim.dev/v1alpha1", "ContainerGroup")
        assert instance["spec"]["podName"] == "p"
        assert instance["spec"]["hourlyPrice"] == 0.0
