"""create, update, delete: what any Kubernetes API server guarantees."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.kubernetes.api import JSON_PATCH, config_map, deployment, kubernetes_api


async def test_a_created_object_gets_identity_defaults_and_generation_one() -> None:
    async with kubernetes_api() as api:
        made = await api.create(api.apps("deployments"), deployment(replicas=None))
        assert made.status == 201
        metadata, spec = made.body["metadata"], made.body["spec"]
        assert metadata["uid"]
        assert metadata["resourceVersion"]
        assert metadata["creationTimestamp"]
        assert metadata["generation"] == 1
        assert spec["replicas"] == 1
        assert spec["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": "25%"}
        assert spec["template"]["spec"]["restartPolicy"] == "Always"


async def test_generate_name_makes_names() -> None:
    async with kubernetes_api() as api:
        body = {"metadata": {"generateName": "made-"}}
        one = await api.create(api.core("configmaps"), body)
        other = await api.create(api.core("configmaps"), body)
        assert one.body["metadata"]["name"].startswith("made-")
        assert one.body["metadata"]["name"] != other.body["metadata"]["name"]


def _bad_selector() -> dict[str, Any]:
    body = deployment()
    body["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    return body


def _job(policy: str) -> dict[str, Any]:
    inner = {"containers": [{"name": "main", "image": "image:1"}], "restartPolicy": policy}
    return {"metadata": {"name": "job"}, "spec": {"template": {"spec": inner}}}


@pytest.mark.parametrize(
    ("path", "body", "status", "reason", "says"),
    [
        pytest.param("deployments", deployment(replicas=-1), 422, "Invalid", "spec.replicas", id="negative"),
        pytest.param("deployments", deployment("Bad_Name"), 422, "Invalid", "metadata.name", id="name"),
        pytest.param("deployments", _bad_selector(), 422, "Invalid", "does not match", id="selector"),
        pytest.param("jobs", _job("Always"), 422, "Invalid", "restartPolicy", id="job-restart-policy"),
        pytest.param("deployments", {"metadata": {"name": "x"}}, 422, "Invalid", "Required", id="empty-spec"),
    ],
)
async def test_what_breaks_a_rule_is_refused(
    path: str, body: dict[str, Any], status: int, reason: str, says: str
) -> None:
    async with kubernetes_api() as api:
        group = "batch" if path == "jobs" else "apps"
        answer = await api.create(f"/apis/{group}/v1/namespaces/{api.namespace}/{path}", body)
        assert (answer.status, answer.body["reason"]) == (status, reason)
        assert answer.body["kind"] == "Status"
        assert answer.body["code"] == status
        assert says in answer.body["message"]
        assert answer.body["details"]["causes"]


async def test_a_missing_object_is_not_found_in_kubernetes_words() -> None:
    async with kubernetes_api() as api:
        answer = await api.get(api.apps("deployments", "none"))
        assert answer.status == 404
        assert answer.body == {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": 'deployments.apps "none" not found',
            "reason": "NotFound",
            "details": {"name": "none", "group": "apps", "kind": "deployments"},
            "code": 404,
        }


async def test_the_same_name_twice_is_refused() -> None:
    async with kubernetes_api() as api:
        await api.create(api.core("configmaps"), config_map("one"))
        answer = await api.create(api.core("configmaps"), config_map("one"))
        assert (answer.status, answer.body["reason"]) == (409, "AlreadyExists")


async def test_nothing_is_created_in_a_namespace_that_does_not_exist() -> None:
    async with kubernetes_api() as api:
        answer = await api.create("/api/v1/namespaces/nowhere/configmaps", config_map("one"))
        assert answer.status == 404
        assert answer.body["message"] == 'namespaces "nowhere" not found'


async def test_nothing_is_created_in_a_namespace_that_goes() -> None:
    async with kubernetes_api() as api:
        kept = {**config_map("kept"), "metadata": {"name": "kept", "finalizers": ["brim.test/stay"]}}
        await api.create(api.core("configmaps"), kept)
        await api.delete(f"/api/v1/namespaces/{api.namespace}")
        answer = await api.create(api.core("configmaps"), config_map("one"))
        assert (answer.status, answer.body["reason"]) == (403, "Forbidden")
        assert [cause["reason"] for cause in answer.body["details"]["causes"]] == ["NamespaceTerminating"]
        await api.patch(api.core("configmaps", "kept"), {"metadata": {"finalizers": None}})


async def test_an_update_with_a_stale_version_conflicts() -> None:
    async with kubernetes_api() as api:
        made = (await api.create(api.core("configmaps"), config_map("one", a="1"))).body
        await api.patch(api.core("configmaps", "one"), {"data": {"a": "2"}})
        answer = await api.call("PUT", api.core("configmaps", "one"), made)
        assert (answer.status, answer.body["reason"]) == (409, "Conflict")
        assert "the object has been modified" in answer.body["message"]


async def test_an_update_that_changes_nothing_keeps_the_version() -> None:
    async with kubernetes_api() as api:
        made = (await api.create(api.core("configmaps"), config_map("one", a="1"))).body
        same = await api.patch(api.core("configmaps", "one"), {"data": {"a": "1"}})
        assert same.body["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


async def test_generation_counts_changes_of_the_spec_alone() -> None:
    async with kubernetes_api() as api:
        path = api.apps("replicasets", "web")
        body = {**deployment(replicas=0), "kind": "ReplicaSet"}
        await api.create(api.apps("replicasets"), body)
        labelled = await api.patch(path, {"metadata": {"labels": {"a": "b"}}})
        assert labelled.body["metadata"]["generation"] == 1
        scaled = await api.patch(path, {"spec": {"minReadySeconds": 3}})
        assert scaled.body["metadata"]["generation"] == 2


async def test_status_is_written_only_through_its_subresource() -> None:
    async with kubernetes_api() as api:
        body = {**config_map("claim"), "kind": "PersistentVolumeClaim"}
        del body["data"]
        body["spec"] = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        path = api.core("persistentvolumeclaims", "claim")
        await api.create(api.core("persistentvolumeclaims"), body)
        plain = await api.patch(path, {"status": {"phase": "Bound"}})
        assert plain.body["status"]["phase"] == "Pending"
        through = await api.patch(f"{path}/status", {"status": {"phase": "Lost"}})
        assert through.body["status"]["phase"] == "Lost"


async def test_a_dry_run_leaves_nothing_behind() -> None:
    async with kubernetes_api() as api:
        answer = await api.create(api.core("configmaps"), config_map("one"), dryRun="All")
        assert answer.status == 201
        assert (await api.get(api.core("configmaps", "one"))).status == 404


async def test_scaling_goes_through_the_scale_subresource() -> None:
    async with kubernetes_api() as api:
        await api.create(api.apps("deployments"), deployment(replicas=2))
        path = api.apps("deployments", "web", "scale")
        scale = (await api.get(path)).body
        assert (scale["kind"], scale["spec"]["replicas"]) == ("Scale", 2)
        assert scale["status"]["selector"] == "app=web"
        assert (await api.patch(path, {"spec": {"replicas": 5}})).body["spec"]["replicas"] == 5
        assert (await api.call("PUT", path, scale)).status == 409
        del scale["metadata"]["resourceVersion"]
        scale["spec"]["replicas"] = 6
        assert (await api.call("PUT", path, scale)).status == 200
        assert (await api.get(api.apps("deployments", "web"))).body["spec"]["replicas"] == 6


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param("/spec/completions", 3, id="completions"),
        pytest.param("/spec/template/spec/containers/0/image", "image:2", id="template"),
    ],
)
async def test_a_job_keeps_what_it_began_with(path: str, value: object) -> None:
    async with kubernetes_api() as api:
        jobs = f"/apis/batch/v1/namespaces/{api.namespace}/jobs"
        assert (await api.create(jobs, _job("Never"))).status == 201
        patch = [{"op": "replace", "path": path, "value": value}]
        answer = await api.patch(f"{jobs}/job", patch, JSON_PATCH)
        assert answer.status == 422
        assert "field is immutable" in answer.body["message"]


async def test_a_deployments_selector_is_immutable() -> None:
    async with kubernetes_api() as api:
        await api.create(api.apps("deployments"), deployment())
        patch = {
            "spec": {
                "selector": {"matchLabels": {"app": "b"}},
                "template": {"metadata": {"labels": {"app": "b"}}},
            }
        }
        answer = await api.patch(api.apps("deployments", "web"), patch)
        assert answer.status == 422


@pytest.mark.parametrize("field", ["uid", "resourceVersion"])
async def test_deletion_heeds_its_preconditions(field: str) -> None:
    async with kubernetes_api() as api:
        await api.create(api.core("configmaps"), config_map("one"))
        path = api.core("configmaps", "one")
        assert (await api.delete(path, {"preconditions": {field: "1"}})).status == 409
        assert (await api.delete(path)).body["status"] == "Success"
        assert (await api.get(path)).status == 404


async def test_an_object_with_finalizers_stays_until_they_are_gone() -> None:
    async with kubernetes_api() as api:
        body = config_map("one")
        body["metadata"]["finalizers"] = ["example.com/wait"]
        path = api.core("configmaps", "one")
        await api.create(api.core("configmaps"), body)
        assert (await api.delete(path)).body["metadata"]["deletionTimestamp"]
        assert (await api.get(path)).status == 200
        await api.patch(path, {"metadata": {"finalizers": None}})
        assert (await api.get(path)).status == 404


async def test_a_collection_is_deleted_by_selector() -> None:
    async with kubernetes_api() as api:
        for name, team in (("one", "a"), ("two", "a"), ("three", "b")):
            await api.create(api.core("configmaps"), config_map(name, {"team": team}))
        await api.delete(api.core("configmaps"), labelSelector="team=a")
        left = (await api.get(api.core("configmaps"), labelSelector="team")).body["items"]
        assert [item["metadata"]["name"] for item in left] == ["three"]


async def test_a_custom_resource_is_served_while_its_definition_exists() -> None:
    async with kubernetes_api() as api:
        group = f"{api.namespace}.example.com"
        names = {"plural": "widgets", "singular": "widget", "kind": "Widget"}
        version = {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }
        definition = {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": f"widgets.{group}"},
            "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
        }
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        widgets = f"/apis/{group}/v1/namespaces/{api.namespace}/widgets"
        assert (await api.get(widgets)).status == 404
        assert (await api.create(definitions, definition)).status == 201
        widget = {"apiVersion": f"{group}/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {"a": 1}}
        await api.until(widgets, lambda answer: answer.status == 200)
        assert (await api.create(widgets, widget)).status == 201
        assert (await api.patch(f"{widgets}/w", {"spec": {"b": 2}})).body["spec"] == {"a": 1, "b": 2}
        await api.delete(f"{definitions}/widgets.{group}")
        await api.until(widgets, lambda answer: answer.status == 404)


async def test_a_service_keeps_its_address_when_an_update_leaves_it_out() -> None:
    async with kubernetes_api() as api:
        body = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}
        made = (await api.create(api.core("services"), body)).body
        assert made["spec"]["clusterIP"]
        changed = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 81}]}}
        replaced = await api.call("PUT", api.core("services", "web"), changed)
        assert replaced.status == 200
        assert replaced.body["spec"]["clusterIP"] == made["spec"]["clusterIP"]


@pytest.mark.parametrize("name", ["default", "kube-system"])
async def test_the_standing_namespaces_cannot_be_deleted(name: str) -> None:
    async with kubernetes_api() as api:
        answer = await api.delete(f"/api/v1/namespaces/{name}")
        assert (answer.status, answer.body["reason"]) == (403, "Forbidden")


async def test_a_definition_is_established() -> None:
    async with kubernetes_api() as api:
        group = f"{api.namespace}.example.com"
        schema = {"openAPIV3Schema": {"type": "object"}}
        spec = {
            "group": group,
            "scope": "Cluster",
            "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        }
        definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        await api.create(definitions, {"metadata": {"name": f"things.{group}"}, "spec": spec})
        query = {"fieldSelector": f"metadata.name=things.{group}"}
        async for event in api.watch(definitions, **query):
            conditions = (event["object"].get("status") or {}).get("conditions") or ()
            if {"Established": "True"}.items() <= {c["type"]: c["status"] for c in conditions}.items():
                break
        else:
            raise AssertionError("never established")


def misspelt() -> dict[str, Any]:
    return {**deployment("web", 1), "spec": {**deployment("web", 1)["spec"], "replicass": 3}}


async def test_an_unknown_field_is_dropped_where_nobody_asks_for_strictness() -> None:
    async with kubernetes_api() as api:
        made = await api.create(api.apps("deployments"), misspelt())
        assert made.status == 201
        assert "replicass" not in made.body["spec"]
        patched = await api.patch(api.apps("deployments", "web"), {"spec": {"bogus": 1, "paused": True}})
        assert patched.status == 200
        assert "bogus" not in patched.body["spec"]
        assert patched.body["spec"]["paused"] is True


async def test_an_unknown_field_is_refused_where_strictness_is_asked_for() -> None:
    async with kubernetes_api() as api:
        refused = await api.create(api.apps("deployments"), misspelt(), fieldValidation="Strict")
        assert (refused.status, refused.body["reason"]) == (400, "BadRequest")
        assert 'unknown field "spec.replicass"' in refused.body["message"]
        assert (await api.get(api.apps("deployments", "web"))).status == 404


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"replicas": "many"}, "cannot unmarshal string"),
        ({"paused": "yes"}, "cannot unmarshal string"),
        ({"template": []}, "cannot unmarshal array"),
        ({"selector": {"matchLabels": {"app": True}}}, "cannot unmarshal bool"),
    ],
    ids=["a number as text", "a truth as text", "a list for an object", "a truth for a text"],
)
async def test_a_field_of_the_wrong_type_is_refused(spec: dict[str, Any], words: str) -> None:
    async with kubernetes_api() as api:
        body = deployment("web", 1)
        refused = await api.create(api.apps("deployments"), {**body, "spec": {**body["spec"], **spec}})
        assert (refused.status, refused.body["reason"]) == (400, "BadRequest")
        assert words in refused.body["message"]


async def test_amounts_may_be_numbers() -> None:
    async with kubernetes_api() as api:
        body = deployment("web", 1)
        body["spec"]["template"]["spec"]["containers"][0]["resources"] = {"requests": {"cpu": 1, "memory": "1Gi"}}
        assert (await api.create(api.apps("deployments"), body, fieldValidation="Strict")).status == 201


async def test_server_side_apply_takes_no_unknown_field() -> None:
    async with kubernetes_api() as api:
        refused = await api.apply(api.apps("deployments", "web"), misspelt(), "test")
        assert refused.status == 500
        assert ".spec.replicass: field not declared in schema" in refused.body["message"]


async def test_text_of_a_secret_is_stored_encoded() -> None:
    async with kubernetes_api() as api:
        body = {"metadata": {"name": "s"}, "data": {"a": "eA=="}, "stringData": {"b": "y"}}
        made = (await api.create(api.core("secrets"), body)).body
        assert (made["data"], "stringData" in made) == ({"a": "eA==", "b": "eQ=="}, False)
        changed = await api.patch(api.core("secrets", "s"), {"stringData": {"a": "z"}})
        assert changed.body["data"] == {"a": "eg==", "b": "eQ=="}
