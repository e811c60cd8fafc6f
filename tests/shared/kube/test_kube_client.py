"""Reading and writing one member."""

from __future__ import annotations

import pytest

from shared.contracts.refs import ObjectRef
from shared.errors import NotFound, Refused, WriteConflict
from shared.kube import CONFIG_MAPS, NODES, KubeObject

SETTINGS = ObjectRef(version="v1", kind="ConfigMap", namespace="default", name="settings")


class Data(KubeObject):
    data: dict[str, str] = {}


async def test_apply_creates_changes_and_takes_back_what_is_left_out(one_member, config_map) -> None:
    async with one_member() as one, one.client() as client:
        await client.apply(config_map(a="1", b="2"), manager="brim")
        await client.apply(config_map(a="3"), manager="brim")
        assert (await client.get(SETTINGS))["data"] == {"a": "3"}


async def test_apply_does_not_take_others_fields_unless_forced(one_member, config_map) -> None:
    async with one_member() as one, one.client() as client:
        await client.apply(config_map(a="1"), manager="kubectl")
        with pytest.raises(WriteConflict) as raised:
            await client.apply(config_map(a="2"), manager="brim")
        assert raised.value.managers == ("kubectl",)
        await client.apply(config_map(a="2"), manager="brim", force=True)
        assert (await client.get(SETTINGS))["data"] == {"a": "2"}


async def test_create_refuses_a_second_of_the_name(one_member, config_map) -> None:
    async with one_member() as one, one.client() as client:
        await client.create(config_map())
        with pytest.raises(WriteConflict) as raised:
            await client.create(config_map())
        assert raised.value.code == "AlreadyExists"


async def test_merge_patch_removes_by_null(one_member, config_map) -> None:
    async with one_member() as one, one.client() as client:
        await client.create(config_map(a="1", b="2"))
        await client.merge_patch(SETTINGS, {"data": {"a": None}})
        assert (await client.get(SETTINGS))["data"] == {"b": "2"}


async def test_delete_says_whether_it_was_there(one_member, config_map) -> None:
    async with one_member() as one, one.client() as client:
        await client.create(config_map())
        assert await client.delete(SETTINGS) is True
        assert await client.delete(SETTINGS) is False
        with pytest.raises(NotFound):
            await client.get(SETTINGS)


async def test_delete_by_uid_spares_a_successor_of_the_same_name(one_member, config_map) -> None:
    async with one_member() as one, one.client() as client:
        await client.create(config_map())
        with pytest.raises(WriteConflict):
            await client.delete(SETTINGS, uid="of-another-one")
        assert await client.get(SETTINGS)


async def test_a_list_comes_in_pages_of_projections(one_member, config_map) -> None:
    async with one_member() as one, one.client() as client:
        for number in range(5):
            await client.create(config_map(f"m-{number}", labels={"even": str(number % 2 == 0)}, n=str(number)))
        pages = [
            page
            async for page in client.list_pages(CONFIG_MAPS, Data, namespace="default", selector="even=True", limit=2)
        ]
        assert [[item.data["n"] for item in page.items] for page in pages] == [["0", "2"], ["4"]]
        assert pages[0].after
        assert not pages[-1].after


async def test_a_page_can_be_gone_on_from(one_member) -> None:
    async with one_member() as one, one.client() as client:
        first = await anext(client.list_pages(NODES, KubeObject, limit=1))
        rest = [page async for page in client.list_pages(NODES, KubeObject, limit=1, after=first.after)]
        assert [item.metadata.name for page in [first, *rest] for item in page.items] == ["node-0", "node-1"]


async def test_discovery_knows_scope_and_plural(one_member) -> None:
    async with one_member() as one, one.client() as client:
        assert (await client.resource_of("", "v1", "Node")).path(name="a") == "/api/v1/nodes/a"
        deployments = await client.resource_of("apps", "v1", "Deployment")
        assert deployments.path("test", "web", "scale") == "/apis/apps/v1/namespaces/test/deployments/web/scale"
        assert await client.resource_named("apps", "v1", "deployments") == deployments


@pytest.mark.parametrize(("group", "version"), [("", "v1"), ("example.com", "v1")])
async def test_an_unknown_kind_is_refused_with_a_remedy(one_member, group: str, version: str) -> None:
    async with one_member() as one, one.client() as client:
        with pytest.raises(Refused, match="CustomResourceDefinition") as raised:
            await client.resource_of(group, version, "Toaster")
        assert raised.value.code == "NoKindMatch"


async def test_logs_are_text(one_member, eventually) -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "namespace": "default"},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    }
    async with one_member() as one, one.client() as client:
        await client.create(pod)
        ref = ObjectRef.of(pod)

        async def runs() -> bool:
            status = (await client.get(ref))["status"]
            assert isinstance(status, dict)
            return status.get("phase") == "Running"

        await eventually(runs)
        assert await client.logs("default", "p", tail=5)
        with pytest.raises(NotFound):
            await client.logs("default", "absent", tail=5)


async def test_a_field_that_a_member_does_not_know_is_the_objects_fault(one_member, config_map) -> None:
    """Kubernetes answers 500 to a server-side apply of it, as if the member itself were broken."""
    async with one_member() as one, one.client() as client:
        with pytest.raises(Refused, match=r"\.dataa: field not declared in schema") as raised:
            await client.apply({**config_map(), "dataa": {}}, manager="brim")
        assert raised.value.code == "FieldNotDeclared"
