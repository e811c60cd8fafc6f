"""Binding and eviction: what a scheduler outside the cluster may rely on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.kubernetes.api import Api, kubernetes_api, pod

COST = "controller.kubernetes.io/pod-deletion-cost"


async def waiting(api: Api, name: str = "one", **spec: Any) -> dict[str, Any]:
    """A pod that no scheduler of the cluster's own touches."""
    body = pod(name, schedulerName="brim-scheduler", **spec)
    body["metadata"] |= {"labels": {"app": "web"}, "annotations": {"kept": "yes"}}
    made = await api.create(api.core("pods"), body)
    assert made.status == 201, made.body
    return dict(made.body)


def binding(name: str = "one", node: str = "node-0", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {"name": name, **metadata},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }


async def test_a_binding_sets_node_labels_and_annotations_in_one_write() -> None:
    async with kubernetes_api() as api:
        made = await waiting(api)
        body = binding(uid=made["metadata"]["uid"], labels={"unit": "idc"}, annotations={COST: "200"})
        answer = await api.create(api.core("pods", "one", "binding"), body)
        assert (answer.status, answer.body["status"]) == (201, "Success")
        events = [
            event
            async for event in api.watch(
                api.core("pods"), resourceVersion=made["metadata"]["resourceVersion"], timeoutSeconds="1"
            )
        ]
        first = events[0]["object"]
        assert first["spec"]["nodeName"] == "node-0"
        assert first["metadata"]["annotations"] == {"kept": "yes", COST: "200"}
        assert first["metadata"]["labels"] == {"app": "web", "unit": "idc"}
        (scheduled,) = [c for c in first["status"]["conditions"] if c["type"] == "PodScheduled"]
        assert scheduled["status"] == "True"


@pytest.mark.parametrize(
    ("metadata", "says"),
    [pytest.param({"uid": "another"}, "Precondition failed: UID in precondition: another", id="another pod's uid")],
)
async def test_a_binding_meant_for_another_pod_changes_nothing(metadata: dict[str, Any], says: str) -> None:
    async with kubernetes_api() as api:
        made = await waiting(api)
        answer = await api.create(api.core("pods", "one", "binding"), binding(labels={"a": "b"}, **metadata))
        assert (answer.status, answer.body["reason"]) == (409, "Conflict")
        assert says in answer.body["message"]
        assert (await api.get(api.core("pods", "one"))).body == made


async def test_a_pod_is_bound_once() -> None:
    async with kubernetes_api() as api:
        await waiting(api)
        path = api.core("pods", "one", "binding")
        assert (await api.create(path, binding())).status == 201
        again = await api.create(path, binding(node="node-1", annotations={COST: "1"}))
        assert again.status == 409
        assert 'already assigned to node "node-0"' in again.body["message"]
        assert COST not in (await api.get(api.core("pods", "one"))).body["metadata"]["annotations"]


async def test_a_gated_pod_is_not_bound() -> None:
    async with kubernetes_api() as api:
        await waiting(api, schedulingGates=[{"name": "example.com/wait"}])
        answer = await api.create(api.core("pods", "one", "binding"), binding())
        assert answer.status in (409, 500)
        assert "schedulingGates" in answer.body["message"]


async def test_a_pod_that_is_not_there_cannot_be_bound() -> None:
    async with kubernetes_api() as api:
        answer = await api.create(api.core("pods", "none", "binding"), binding("none"))
        assert (answer.status, answer.body["reason"]) == (404, "NotFound")


async def test_the_api_checks_neither_taints_nor_selectors_when_binding() -> None:
    async with kubernetes_api() as api:
        await waiting(api, nodeSelector={"no": "such"})
        assert (await api.create(api.core("pods", "one", "binding"), binding())).status == 201


async def test_a_schedulers_verdict_is_written_to_the_pods_status() -> None:
    async with kubernetes_api() as api:
        await waiting(api)
        verdict = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
        patch = {"status": {"conditions": [verdict], "nominatedNodeName": "node-1"}}
        kind = "application/strategic-merge-patch+json"
        answer = await api.patch(api.core("pods", "one", "status"), patch, kind)
        assert answer.status == 200
        status = answer.body["status"]
        assert status["nominatedNodeName"] == "node-1"
        assert [c["message"] for c in status["conditions"] if c["type"] == "PodScheduled"] == ["no room"]


async def test_an_eviction_heeds_the_uid_and_deletes_the_pod() -> None:
    async with kubernetes_api() as api:
        await waiting(api)
        path = api.core("pods", "one", "eviction")
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "one"}}
        other = await api.create(path, {**body, "deleteOptions": {"preconditions": {"uid": "another"}}})
        assert other.status == 409
        assert (await api.create(path, body)).status == 201
        assert (await api.get(api.core("pods", "one"))).status == 404
