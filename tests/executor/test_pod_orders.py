"""Orders about pods: what is sent, what answers mean, and that only the pod that is meant is touched."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from services.executor.core import orders
from services.executor.core.orders import LIFETIME
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.binding import Annotate, Bind, Binding, Evict, Note, Pend, Release
from shared.contracts.outcome import Outcome, Rejected
from shared.contracts.refs import ObjectRef, Order
from shared.kube import MemberClient

UID = "pod-1"
AT = "2026-01-01T00:00:00Z"
COST = "controller.kubernetes.io/pod-deletion-cost"
FULL = "0/1 nodes are available: 1 Insufficient cpu."
POD = ObjectRef(version="v1", kind="Pod", namespace="test", name="web-1")


def order(kind: type[Any], **fields: Any) -> Any:
    return kind(
        **{
            "member": "idc",
            "namespace": "test",
            "name": "web-1",
            "uid": UID,
            "order": Order(epoch=1, counter=1),
            "at": 1.0,
            **fields,
        }
    )


def pod(*, uid: str = UID, node: str = "", deleting: bool = False, condition: JsonObject | None = None) -> JsonObject:
    metadata: JsonObject = {"uid": uid} | ({"deletionTimestamp": AT} if deleting else {})
    conditions: JsonObject = {"conditions": [condition]} if condition else {}
    return {"metadata": metadata, "spec": {"nodeName": node} if node else {}, "status": conditions}


class TestCore:
    def test_a_binding_names_the_pod_the_node_and_all_that_goes_with_it(self) -> None:
        bind = order(Bind, node="node-1", unit="idc", labels={"unit": "idc"}, annotations={COST: "200"})
        assert orders.binding_body(bind) == {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {
                "name": "web-1",
                "namespace": "test",
                "uid": UID,
                "labels": {"unit": "idc"},
                "annotations": {COST: "200"},
            },
            "target": {"apiVersion": "v1", "kind": "Node", "name": "node-1"},
        }

    STANDINGS = {
        "it has the node": (pod(node="node-1"), "as ordered"),
        "it has another node": (pod(node="node-2"), "elsewhere"),
        "it has none": (pod(), "open"),
        "another pod of the name": (pod(uid="pod-2", node="node-1"), "gone"),
        "it is being deleted": (pod(deleting=True), "gone"),
    }

    @pytest.mark.parametrize("name", STANDINGS)
    def test_how_a_pod_stands_to_its_binding(self, name: str) -> None:
        live, expected = self.STANDINGS[name]
        assert orders.standing(order(Bind, node="node-1", unit="idc"), live) == expected

    def test_a_pod_becomes_pending_once(self) -> None:
        pend = order(Pend, message=FULL)
        patch = orders.pending_patch(pend, pod(), AT)
        assert patch is not None
        (condition,) = patch["status"]["conditions"]  # type: ignore[index, call-overload]
        assert patch["metadata"] == {"uid": UID}
        assert orders.pending_patch(pend, pod(condition=condition), "later") is None

    def test_since_when_it_is_pending_survives_another_message(self) -> None:
        before: JsonObject = {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "other",
            "lastTransitionTime": "earlier",
        }
        patch = orders.pending_patch(order(Pend, message=FULL), pod(condition=before), AT)
        assert patch is not None
        assert patch["status"]["conditions"][0]["lastTransitionTime"] == "earlier"  # type: ignore[index, call-overload]

    def test_an_event_said_twice_has_one_name(self) -> None:
        note = order(Note, reason="OtherScheduler", message="left alone")
        first, again = orders.event_of(note, AT), orders.event_of(note, "later")
        assert first is not None
        assert again is not None
        assert first["metadata"] == again["metadata"]
        assert orders.event_of(order(Annotate, annotations={}), AT) is None

    def test_old_orders_are_void(self) -> None:
        pend = order(Pend, message=FULL, at=100.0)
        assert not orders.is_void(pend, 100.0 + LIFETIME)
        assert orders.is_void(pend, 101.0 + LIFETIME)


@asynccontextmanager
async def client_of(w: Any) -> AsyncIterator[MemberClient]:
    async with MemberClient.connect(member="idc", context="idc", kubeconfig=w.settings.kubeconfig) as client:
        yield client


async def make_pod(w: Any, name: str = "web-1") -> str:
    """Create a pod that names brim's scheduler; returns its uid."""
    async with client_of(w) as client:
        if w.members["idc"].store.get("namespaces", "", "test") is None:
            await client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test"}})
        made: Any = await client.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "test"},
                "spec": {"schedulerName": "brim-scheduler", "containers": [{"name": "web", "image": "web:1"}]},
            }
        )
        return str(made["metadata"]["uid"])


async def send(w: Any, *given: Binding) -> None:
    for one in given:
        await w.bus.publish(subjects.binding(one.member, one.namespace, one.name), one.encode())


def now(w: Any, uid: str, kind: type[Any], **fields: Any) -> Any:
    return order(kind, uid=uid, at=w.clock.now(), **fields)


def live(w: Any, name: str = "web-1") -> Any:
    return w.members["idc"].store.get("pods", "test", name)


def events(w: Any) -> list[tuple[str, str]]:
    found = w.members["idc"].store.every("events")
    return [(event["reason"], event["message"]) for event in found if event["source"]["component"] == "brim-scheduler"]


async def done(w: Any, eventually: Callable[..., Awaitable[None]]) -> None:
    """Every order was carried out, or given up."""

    async def empty() -> bool:
        return (await w.bus.stream_info("BINDING")).messages == 0

    await eventually(empty)


class TestBinding:
    async def test_node_cost_and_labels_come_in_one_request(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            bind = now(w, uid, Bind, node="node", unit="idc", labels={"unit": "idc"}, annotations={COST: "100"})
            with w.requests("idc") as requests:
                await send(w, bind)
                await eventually(lambda: live(w)["spec"].get("nodeName") == "node")
                assert requests.of("binding") == ["POST"]
            assert live(w)["metadata"]["annotations"][COST] == "100"
            assert live(w)["metadata"]["labels"]["unit"] == "idc"
            scheduled = "Successfully assigned test/web-1 to node"
            await eventually(lambda: ("Scheduled", scheduled) in events(w))

    async def test_an_order_that_comes_twice_is_carried_out_once(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            bind = now(w, uid, Bind, node="node", unit="idc")
            await send(w, bind, bind, bind)
            await done(w, eventually)
            assert live(w)["spec"]["nodeName"] == "node"
            assert w.metric("pods_total", form="bind", result="ok") == 1
            assert w.metric("pods_total", form="bind", result="void") == 2

    async def test_a_pod_that_went_elsewhere_is_told_of(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            await send(w, now(w, uid, Bind, node="node", unit="idc"))
            await done(w, eventually)
            await send(w, now(w, uid, Bind, node="other", unit="idc"))
            await done(w, eventually)
            message = await w.bus.last("OUTCOME", subjects.outcome("idc", POD))
            outcome = Outcome.decode(message.data)
            assert (outcome.result, outcome.uid) == ("conflict", uid)
            assert live(w)["spec"]["nodeName"] == "node"

    @pytest.mark.parametrize("kind", [Bind, Pend, Annotate, Evict])
    async def test_another_pod_of_the_name_is_left_alone(self, world: Any, eventually: Any, kind: type[Any]) -> None:
        fields: dict[type[Any], dict[str, Any]] = {
            Bind: {"node": "node", "unit": "idc"},
            Pend: {"message": FULL},
            Annotate: {"annotations": {COST: "1"}},
            Evict: {"reason": "Preempted", "message": "for another"},
        }
        async with world() as w, w.executor():
            await make_pod(w)
            before = live(w)
            await send(w, now(w, "an-earlier-one", kind, **fields[kind]))
            await done(w, eventually)
            assert live(w) == before
            assert w.metric("pods_total", result="void") == 1

    async def test_a_pod_that_is_gone_needs_nothing(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            await send(w, now(w, "gone", Bind, node="node", unit="idc"), now(w, "gone", Pend, message=FULL))
            await done(w, eventually)
            assert w.metric("pods_total", result="void") == 2

    async def test_an_order_older_than_ten_minutes_is_void(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            await send(w, order(Bind, uid=uid, node="node", unit="idc", at=w.clock.now() - LIFETIME - 1))
            await done(w, eventually)
            assert "nodeName" not in live(w)["spec"]


class TestPending:
    async def test_a_pod_that_fits_nowhere_says_so(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            await send(w, now(w, uid, Pend, message=FULL, nominated="node"))
            await done(w, eventually)
            (condition,) = [c for c in live(w)["status"]["conditions"] if c["type"] == "PodScheduled"]
            assert (condition["status"], condition["reason"], condition["message"]) == ("False", "Unschedulable", FULL)
            assert live(w)["status"]["nominatedNodeName"] == "node"
            await eventually(lambda: ("FailedScheduling", FULL) in events(w))

    async def test_a_bound_pod_is_not_called_pending(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            await send(w, now(w, uid, Bind, node="node", unit="idc"))
            await done(w, eventually)
            await send(w, now(w, uid, Pend, message=FULL))
            await done(w, eventually)
            (condition,) = [c for c in live(w)["status"]["conditions"] if c["type"] == "PodScheduled"]
            assert condition["status"] == "True"


class TestTheRest:
    async def test_a_deletion_cost_changes_and_goes(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            await send(w, now(w, uid, Annotate, annotations={COST: "5"}))
            await eventually(lambda: live(w)["metadata"].get("annotations", {}).get(COST) == "5")
            await send(w, now(w, uid, Annotate, annotations={COST: None}))
            await eventually(lambda: COST not in live(w)["metadata"].get("annotations", {}))

    async def test_an_evicted_pod_goes_and_an_event_says_why(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            await send(w, now(w, uid, Evict, reason="Preempted", message="Preempted by pod test/urgent"))
            await eventually(lambda: live(w) is None)
            await eventually(lambda: ("Preempted", "Preempted by pod test/urgent") in events(w))

    async def test_a_note_is_an_event_and_nothing_else(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            before = live(w)
            note = now(w, uid, Note, reason="OtherScheduler", message="left alone")
            await send(w, note, note)
            await eventually(lambda: events(w) == [("OtherScheduler", "left alone")])
            assert live(w) == before

    async def test_an_instance_that_no_member_knows_is_given_back_already(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            await send(w, now(w, "gone", Release, instance="eci-1"))
            await done(w, eventually)


class TestFaults:
    @pytest.mark.parametrize("fault", ["answer 500", "answer 429", "reset", "rubbish"])
    async def test_a_member_that_fails_for_a_moment_is_tried_again(
        self, world: Any, eventually: Any, fault: str
    ) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            name, _, code = fault.partition(" ")
            args = (int(code),) if code else ()
            rule = getattr(w.members["idc"].faults, name)(*args, method="POST", path="/binding", times=2)
            await send(w, now(w, uid, Bind, node="node", unit="idc"))
            await eventually(lambda: live(w)["spec"].get("nodeName") == "node")
            assert rule.hits == 2

    async def test_what_a_member_refuses_is_told_and_not_repeated(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            rule = w.members["idc"].faults.answer(403, method="POST", path="/binding")
            await send(w, now(w, uid, Bind, node="node", unit="idc"))
            await done(w, eventually)
            message = await w.bus.last("OUTCOME", subjects.outcome("idc", POD))
            assert Outcome.decode(message.data).result == "failed"
            assert rule.hits == 1

    async def test_a_broken_order_lands_in_rejected_and_holds_up_nothing(self, world: Any, eventually: Any) -> None:
        async with world() as w, w.executor():
            uid = await make_pod(w)
            await w.bus.publish(subjects.binding("idc", "test", "web-1"), b'{"form": "bind"}')
            await send(w, now(w, uid, Bind, node="node", unit="idc"))
            await done(w, eventually)
            assert live(w)["spec"]["nodeName"] == "node"
            (message,) = await w.bus.history("REJECTED", "brim.rejected.executor")
            assert Rejected.decode(message.data).service == "executor"

    async def test_an_executor_that_dies_leaves_its_orders_to_the_next(self, world: Any, eventually: Any) -> None:
        async with world() as w:
            uid = await make_pod(w)
            async with w.executor() as first:
                w.members["idc"].faults.hang(method="POST", path="/binding", times=1)
                with w.requests("idc") as requests:
                    await send(w, now(w, uid, Bind, node="node", unit="idc"))
                    await eventually(lambda: requests.of("binding"))
                first.scope.cancel()
            async with w.executor():
                with anyio.fail_after(30):
                    await eventually(lambda: live(w)["spec"].get("nodeName") == "node")

    async def test_one_member_that_hangs_holds_up_no_other(self, world: Any, eventually: Any) -> None:
        async with world("idc", "cloud") as w, w.executor():
            w.members["cloud"].faults.hang(method="POST", path="/binding")
            uid = await make_pod(w)
            stuck = [now(w, f"u-{i}", Bind, member="cloud", name=f"p-{i}", node="node", unit="idc") for i in range(40)]
            await send(w, *stuck, now(w, uid, Bind, node="node", unit="idc"))
            await eventually(lambda: live(w)["spec"].get("nodeName") == "node")
