"""get, list, watch and binding."""

from __future__ import annotations

import pytest

from tests.contract.kubernetes.api import STRATEGIC_PATCH, config_map, deployment, kubernetes_api, pod


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        pytest.param("team=a", ["one", "two"], id="equal"),
        pytest.param("team==a,tier=x", ["one"], id="and"),
        pytest.param("team!=a,team", ["three"], id="unequal"),
        pytest.param("team in (a, b),tier", ["one"], id="in"),
        pytest.param("team notin (a),team", ["three"], id="notin"),
        pytest.param("tier", ["one"], id="exists"),
        pytest.param("!tier,team", ["three", "two"], id="not-exists"),
    ],
)
async def test_label_selectors(selector: str, names: list[str]) -> None:
    async with kubernetes_api() as api:
        for name, labels in (
            ("one", {"team": "a", "tier": "x"}),
            ("two", {"team": "a"}),
            ("three", {"team": "b"}),
        ):
            await api.create(api.core("configmaps"), config_map(name, labels))
        answer = await api.get(api.core("configmaps"), labelSelector=selector)
        assert [item["metadata"]["name"] for item in answer.body["items"]] == names


async def test_field_selectors() -> None:
    async with kubernetes_api() as api:
        for name in ("one", "two"):
            await api.create(api.core("pods"), pod(name, schedulerName="nobody"))
        by_name = await api.get(api.core("pods"), fieldSelector="metadata.name=two")
        assert [item["metadata"]["name"] for item in by_name.body["items"]] == ["two"]
        unbound = await api.get(api.core("pods"), fieldSelector="spec.nodeName=,status.phase=Pending")
        assert len(unbound.body["items"]) == 2
        refused = await api.get(api.core("pods"), fieldSelector="spec.nonsense=1")
        assert refused.status == 400


async def test_a_long_list_comes_in_pages() -> None:
    async with kubernetes_api() as api:
        for number in range(5):
            await api.create(api.core("configmaps"), config_map(f"map-{number}", {"page": "yes"}))
        names, token = [], ""
        while True:
            more = {"continue": token} if token else {}
            answer = await api.get(api.core("configmaps"), limit="2", labelSelector="page", **more)
            names += [item["metadata"]["name"] for item in answer.body["items"]]
            token = answer.body["metadata"].get("continue", "")
            if not token:
                break
        assert names == [f"map-{number}" for number in range(5)]


async def test_a_watch_tells_everything_since_the_list() -> None:
    async with kubernetes_api() as api:
        path = api.core("configmaps")
        version = (await api.get(path)).body["metadata"]["resourceVersion"]
        await api.create(path, config_map("one", a="1"))
        await api.patch(f"{path}/one", {"data": {"a": "2"}})
        await api.delete(f"{path}/one")
        seen = []
        query = {"resourceVersion": version, "fieldSelector": "metadata.name=one"}
        async for event in api.watch(path, **query):
            seen.append((event["type"], event["object"]["data"]["a"]))
            if event["type"] == "DELETED":
                break
        assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


async def test_an_object_that_leaves_the_selection_is_deleted_for_the_watcher() -> None:
    async with kubernetes_api() as api:
        path = api.core("configmaps")
        version = (await api.get(path)).body["metadata"]["resourceVersion"]
        await api.create(path, config_map("one", {"team": "a"}))
        await api.patch(f"{path}/one", {"metadata": {"labels": {"team": "b"}}})
        seen = []
        async for event in api.watch(path, resourceVersion=version, labelSelector="team=a"):
            seen.append(event["type"])
            if event["type"] == "DELETED":
                break
        assert seen == ["ADDED", "DELETED"]


async def test_a_watch_ends_at_its_timeout() -> None:
    async with kubernetes_api() as api:
        version = (await api.get(api.core("secrets"))).body["metadata"]["resourceVersion"]
        events = [e async for e in api.watch(api.core("secrets"), resourceVersion=version, timeoutSeconds="1")]
        assert all(event["type"] == "BOOKMARK" for event in events)


async def test_a_table_has_kubectls_columns() -> None:
    async with kubernetes_api() as api:
        await api.create(api.apps("deployments"), deployment(replicas=0))
        headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
        async with api.session.get(api.url + api.apps("deployments"), headers=headers) as response:
            body = await response.json()
        assert body["kind"] == "Table"
        plain = [column["name"] for column in body["columnDefinitions"] if column["priority"] == 0]
        assert plain == ["Name", "Ready", "Up-to-date", "Available", "Age"]
        assert body["rows"][0]["cells"][:2] == ["web", "0/0"]
        assert body["rows"][0]["object"]["kind"] == "PartialObjectMetadata"


async def test_one_event_is_seen_through_both_event_groups() -> None:
    async with kubernetes_api() as api:
        about = {"kind": "Pod", "name": "one", "namespace": api.namespace}
        event = {
            "metadata": {"name": "one.1"},
            "involvedObject": about,
            "reason": "Tested",
            "message": "hello",
            "type": "Normal",
        }
        assert (await api.create(api.core("events"), event)).status == 201
        new = await api.get(f"/apis/events.k8s.io/v1/namespaces/{api.namespace}/events/one.1")
        assert (new.body["note"], new.body["regarding"]["name"]) == ("hello", "one")
        found = await api.get(api.core("events"), fieldSelector="involvedObject.name=one,reason=Tested")
        assert len(found.body["items"]) == 1


async def test_a_binding_assigns_a_pod_once_with_labels_and_annotations() -> None:
    async with kubernetes_api() as api:
        made = await api.create(api.core("pods"), pod("one", schedulerName="nobody"))
        path = api.core("pods", "one", "binding")
        target = {"apiVersion": "v1", "kind": "Node", "name": "node-x"}
        wrong = {"metadata": {"name": "one", "uid": "another"}, "target": target}
        assert (await api.create(path, wrong)).status == 409
        cost = {"controller.kubernetes.io/pod-deletion-cost": "7"}
        metadata = {"name": "one", "uid": made.body["metadata"]["uid"], "annotations": cost}
        assert (await api.create(path, {"metadata": metadata, "target": target})).status == 201
        bound = (await api.get(api.core("pods", "one"))).body
        assert bound["spec"]["nodeName"] == "node-x"
        assert bound["metadata"]["annotations"] == cost
        scheduled = {c["type"]: c["status"] for c in bound["status"]["conditions"]}
        assert scheduled["PodScheduled"] == "True"
        again = await api.create(path, {"metadata": {"name": "one"}, "target": target})
        assert again.status == 409


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        pytest.param("/apis/no.such/v1/things", "404 page not found\n", id="group"),
        pytest.param("/nothing", "404 page not found\n", id="path"),
        pytest.param("/apis/apps/v9/things", "NotFound", id="version"),
        pytest.param("/apis/apps/v1/things", "NotFound", id="resource"),
        pytest.param("/api/v1/namespaces/default/things", "NotFound", id="core resource"),
    ],
)
async def test_only_what_serves_a_group_tells_of_its_missing_resources_in_json(path: str, answer: str) -> None:
    async with kubernetes_api() as api:
        found = await api.get(path)
        assert found.status == 404
        assert answer == (found.body if isinstance(found.body, str) else found.body["reason"])


@pytest.mark.parametrize("path", ["/version", "/api", "/apis", "/api/v1", "/apis/apps/v1", "/openapi/v3"])
async def test_discovery_answers(path: str) -> None:
    async with kubernetes_api() as api:
        assert (await api.get(path)).status == 200


async def test_a_pods_pending_reason_can_be_written_by_any_scheduler() -> None:
    async with kubernetes_api() as api:
        await api.create(api.core("pods"), pod("one", schedulerName="nobody"))
        state = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no room"}
        path = api.core("pods", "one", "status")
        answer = await api.patch(path, {"status": {"conditions": [state]}}, STRATEGIC_PATCH)
        assert answer.status == 200
        assert answer.body["status"]["conditions"][0]["reason"] == "Unschedulable"


async def test_a_pods_conditions_are_merged_by_type_and_only_for_the_pod_that_is_meant() -> None:
    async with kubernetes_api() as api:
        made = await api.create(api.core("pods"), pod("one", schedulerName="nobody"))
        path = api.core("pods", "one", "status")
        states = [{"type": kind, "status": "False", "reason": "Tested"} for kind in ("PodScheduled", "Ready")]
        for state in states:
            body = {"metadata": {"uid": made.body["metadata"]["uid"]}, "status": {"conditions": [state]}}
            assert (await api.patch(path, body, STRATEGIC_PATCH)).status == 200
        live = (await api.get(api.core("pods", "one"))).body
        assert sorted(c["type"] for c in live["status"]["conditions"]) == ["PodScheduled", "Ready"]
        wrong = {"metadata": {"uid": "another"}, "status": {"conditions": [{**states[0], "reason": "Wrong"}]}}
        assert (await api.patch(path, wrong, STRATEGIC_PATCH)).status == 422
        assert (await api.get(path.removesuffix("/status"))).body == live
