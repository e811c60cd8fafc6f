"""JSON patch, merge patch, strategic merge patch, server-side apply."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.kubernetes.api import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Api,
    config_map,
    deployment,
    kubernetes_api,
)


def _two_containers() -> dict[str, Any]:
    body = deployment(replicas=0)
    body["spec"]["template"]["spec"]["containers"] = [
        {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
        {"name": "b", "image": "b:1"},
    ]
    return body


def _containers(body: dict[str, Any]) -> dict[str, Any]:
    return {c["name"]: c for c in body["spec"]["template"]["spec"]["containers"]}


def _pod_patch(containers: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": containers, **more}}}}


@pytest.mark.parametrize(
    ("patch", "images"),
    [
        pytest.param(_pod_patch([{"name": "a", "image": "a:2"}]), {"a": "a:2", "b": "b:1"}, id="by-key"),
        pytest.param(_pod_patch([{"name": "c", "image": "c:1"}]), {"a": "a:1", "b": "b:1", "c": "c:1"}, id="new-item"),
        pytest.param(_pod_patch([{"name": "b", "$patch": "delete"}]), {"a": "a:1"}, id="delete-item"),
        pytest.param(
            _pod_patch([{"name": "n", "image": "n:1"}, {"$patch": "replace"}]), {"n": "n:1"}, id="replace-list"
        ),
    ],
)
async def test_strategic_merge_matches_containers_by_name(patch: dict[str, Any], images: dict[str, str]) -> None:
    async with kubernetes_api() as api:
        await api.create(api.apps("deployments"), _two_containers())
        answer = await api.patch(api.apps("deployments", "web"), patch, STRATEGIC_PATCH)
        assert answer.status == 200, answer.body
        assert {name: c["image"] for name, c in _containers(answer.body).items()} == images


async def test_strategic_merge_orders_and_merges_env_by_name() -> None:
    async with kubernetes_api() as api:
        await api.create(api.apps("deployments"), _two_containers())
        env = [{"name": "Z", "value": "3"}, {"name": "X", "value": "9"}]
        order = [{"name": "Z"}, {"name": "Y"}, {"name": "X"}]
        patch = _pod_patch([{"name": "a", "env": env, "$setElementOrder/env": order}])
        answer = await api.patch(api.apps("deployments", "web"), patch, STRATEGIC_PATCH)
        assert [(e["name"], e["value"]) for e in _containers(answer.body)["a"]["env"]] == [
            ("Z", "3"),
            ("Y", "2"),
            ("X", "9"),
        ]
        patch = _pod_patch([{"name": "a", "env": env[::-1], "$setElementOrder/env": order}])
        refused = await api.patch(api.apps("deployments", "web"), patch, STRATEGIC_PATCH)
        assert refused.status == 500
        assert refused.body["message"].startswith("The order in patch list")


async def test_a_merge_patch_replaces_lists_and_removes_with_null() -> None:
    async with kubernetes_api() as api:
        await api.create(api.core("configmaps"), config_map("one", {"l": "1"}, a="1", b="2"))
        patch = {"data": {"a": None, "c": "3"}, "metadata": {"labels": None}}
        answer = await api.patch(api.core("configmaps", "one"), patch, MERGE_PATCH)
        assert answer.body["data"] == {"b": "2", "c": "3"}
        assert "labels" not in answer.body["metadata"]


@pytest.mark.parametrize(
    ("operations", "status", "data"),
    [
        pytest.param([{"op": "add", "path": "/data/b", "value": "2"}], 200, {"a": "1", "b": "2"}, id="add"),
        pytest.param([{"op": "replace", "path": "/data/a", "value": "2"}], 200, {"a": "2"}, id="replace"),
        pytest.param([{"op": "move", "from": "/data/a", "path": "/data/z"}], 200, {"z": "1"}, id="move"),
        pytest.param([{"op": "copy", "from": "/data/a", "path": "/data/z"}], 200, {"a": "1", "z": "1"}, id="copy"),
        pytest.param([{"op": "test", "path": "/data/a", "value": "no"}], 422, {"a": "1"}, id="failed-test"),
        pytest.param([{"op": "remove", "path": "/data/none"}], 422, {"a": "1"}, id="remove-missing"),
        pytest.param(
            [{"op": "replace", "path": "/data/a", "value": "2"}, {"op": "remove", "path": "/data/none"}],
            422,
            {"a": "1"},
            id="all-or-nothing",
        ),
    ],
)
async def test_json_patch(operations: list[dict[str, str]], status: int, data: dict[str, str]) -> None:
    async with kubernetes_api() as api:
        await api.create(api.core("configmaps"), config_map("one", a="1"))
        path = api.core("configmaps", "one")
        assert (await api.patch(path, operations, JSON_PATCH)).status == status
        assert (await api.get(path)).body["data"] == data


# -- the object that is meant


@pytest.mark.parametrize(
    ("kind", "query"),
    [
        pytest.param(MERGE_PATCH, {}, id="merge"),
        pytest.param(STRATEGIC_PATCH, {}, id="strategic"),
        pytest.param(APPLY_PATCH, {"fieldManager": "alice"}, id="apply"),
        pytest.param(APPLY_PATCH, {"fieldManager": "alice", "force": "true"}, id="forced apply"),
    ],
)
async def test_a_patch_that_names_another_uid_is_invalid(kind: str, query: dict[str, str]) -> None:
    async with kubernetes_api() as api:
        made = await _apply(api, "alice", a="1")
        path, patch = api.core("configmaps", "one"), _applied(a="2")
        patch["metadata"]["uid"] = "another"
        answer = await api.call("PATCH", path, patch, kind, **query)
        assert (answer.status, answer.body["reason"]) == (422, "Invalid")
        assert {cause["field"] for cause in answer.body["details"]["causes"]} == {"metadata.uid"}
        patch["metadata"]["uid"] = made["metadata"]["uid"]
        assert (await api.get(path)).body == made
        assert (await api.call("PATCH", path, patch, kind, **query)).status == 200


async def test_another_uid_is_a_conflict_where_the_whole_object_is_sent_or_none_is_there() -> None:
    async with kubernetes_api() as api:
        await api.create(api.core("configmaps"), config_map("one"))
        meant = _applied()
        meant["metadata"]["uid"] = "another"
        assert (await api.call("PUT", api.core("configmaps", "one"), meant)).status == 409
        meant["metadata"]["name"] = "none"
        assert (await api.apply(api.core("configmaps", "none"), meant, "alice")).status == 409


# -- server-side apply


def _applied(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": data}


async def _apply(api: Api, manager: str, **data: str) -> dict[str, Any]:
    answer = await api.apply(api.core("configmaps", "one"), _applied(**data), manager)
    assert answer.status in (200, 201), answer.body
    body: dict[str, Any] = answer.body
    return body


async def test_apply_creates_and_records_its_fields() -> None:
    async with kubernetes_api() as api:
        answer = await api.apply(api.core("configmaps", "one"), _applied(a="1"), "alice")
        assert answer.status == 201
        (entry,) = answer.body["metadata"]["managedFields"]
        assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("alice", "Apply", "v1")
        assert entry["fieldsV1"] == {"f:data": {"f:a": {}}}


async def test_applying_the_same_again_changes_nothing() -> None:
    async with kubernetes_api() as api:
        one = await _apply(api, "alice", a="1")
        assert await _apply(api, "alice", a="1") == one


async def test_a_field_that_is_no_longer_applied_is_removed() -> None:
    async with kubernetes_api() as api:
        await _apply(api, "alice", a="1", b="2")
        assert (await _apply(api, "alice", a="1"))["data"] == {"a": "1"}


async def test_a_shared_field_stays_until_its_last_owner_leaves_it() -> None:
    async with kubernetes_api() as api:
        await _apply(api, "alice", a="1", b="2")
        await _apply(api, "bob", b="2")
        assert (await _apply(api, "alice", a="1"))["data"] == {"a": "1", "b": "2"}
        assert (await _apply(api, "bob"))["data"] == {"a": "1"}


async def test_a_conflict_names_manager_and_field_and_force_takes_over() -> None:
    async with kubernetes_api() as api:
        await _apply(api, "alice", a="1")
        path = api.core("configmaps", "one")
        answer = await api.apply(path, _applied(a="2"), "bob")
        assert (answer.status, answer.body["reason"]) == (409, "Conflict")
        assert answer.body["message"] == 'Apply failed with 1 conflict: conflict with "alice": .data.a'
        assert answer.body["details"]["causes"] == [
            {"reason": "FieldManagerConflict", "message": 'conflict with "alice"', "field": ".data.a"}
        ]
        forced = await api.apply(path, _applied(a="2"), "bob", force="true")
        assert forced.body["data"] == {"a": "2"}
        assert (await _apply(api, "alice"))["data"] == {"a": "2"}


async def test_an_update_takes_the_fields_that_it_changes() -> None:
    async with kubernetes_api() as api:
        await _apply(api, "alice", a="1")
        path = api.core("configmaps", "one")
        await api.patch(path, {"data": {"a": "5"}}, fieldManager="editor")
        answer = await api.apply(path, _applied(a="1"), "alice")
        assert answer.status == 409
        assert 'conflict with "editor" using v1' in answer.body["message"]


async def test_keyed_lists_are_owned_item_by_item() -> None:
    async with kubernetes_api() as api:
        path = api.apps("deployments", "web")
        await api.apply(path, _two_containers(), "alice")
        mine = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web"},
            **_pod_patch([{"name": "side", "image": "s:1"}]),
        }
        assert set(_containers((await api.apply(path, mine, "bob")).body)) == {"a", "b", "side"}
        mine["spec"]["template"]["spec"]["containers"] = []
        assert set(_containers((await api.apply(path, mine, "bob")).body)) == {"a", "b"}


async def test_a_dropped_replicas_field_falls_back_to_one() -> None:
    async with kubernetes_api() as api:
        path = api.apps("deployments", "web")
        await api.apply(path, deployment(replicas=3), "brim")
        answer = await api.apply(path, deployment(replicas=None), "brim")
        assert answer.body["spec"]["replicas"] == 1


async def test_replicas_can_be_handed_over_to_another_manager() -> None:
    async with kubernetes_api() as api:
        path = api.apps("deployments", "web")
        await api.apply(path, deployment(replicas=3), "brim")
        only = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}}
        assert (await api.apply(path, {**only, "spec": {"replicas": 3}}, "brim-replicas")).status == 200
        kept = await api.apply(path, deployment(replicas=None), "brim")
        assert kept.body["spec"]["replicas"] == 3
        scaled = await api.apply(path, {**only, "spec": {"replicas": 7}}, "brim-replicas")
        assert (scaled.status, scaled.body["spec"]["replicas"]) == (200, 7)


async def test_apply_needs_a_field_manager() -> None:
    async with kubernetes_api() as api:
        body = _applied(a="1")
        answer = await api.call("PATCH", api.core("configmaps", "one"), body, "application/apply-patch+yaml")
        assert answer.status in (400, 422)


async def test_a_deployment_does_not_become_recreate_beside_the_bounds_of_a_rolling_update() -> None:
    """An apply takes away only what is its own; a merge patch takes away anything."""
    async with kubernetes_api() as api:
        path = api.apps("deployments", "web")
        assert (await api.create(api.apps("deployments"), deployment())).status == 201
        wanted = deployment(replicas=None)
        wanted["spec"]["strategy"] = {"type": "Recreate"}
        refused = await api.apply(path, wanted, "brim", force="true")
        assert refused.status == 422
        why = "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"
        assert refused.body["message"] == f'Deployment.apps "web" is invalid: {why}'
        assert (
            await api.patch(path, {"spec": {"strategy": {**wanted["spec"]["strategy"], "rollingUpdate": None}}})
        ).status == 200
        applied = await api.apply(path, wanted, "brim", force="true")
        assert (applied.status, applied.body["spec"]["strategy"]) == (200, {"type": "Recreate"})
