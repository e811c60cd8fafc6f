"""deploy/rbac under a real authorizer, and the policy for ECI's label under a real API server's CEL."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from services.executor.core import admission
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef
from shared.errors import Refused
from shared.kube import NODES, PODS, KubeObject, MemberClient
from shared.units import DEFAULT_SCHEDULER, ECI_LABEL
from tests.real.control_plane import ControlPlane, call, exists
from tests.real.rights import account, grant

pytestmark = pytest.mark.real

LABEL, YES = ECI_LABEL
IN_FORCE = 60.0  # seconds; an API server takes a moment to heed a new policy
FILES = ("inventory.yaml", "executor.yaml", "executor-admission.yaml")


@pytest.fixture(scope="module")
def granted(plane: ControlPlane) -> ControlPlane:
    grant(plane, *FILES)
    return plane


def connect(plane: ControlPlane, service: str, folder: Path):
    return MemberClient.connect(member=plane.name, context="ctx", kubeconfig=account(plane, service, folder))


async def may_list(client: MemberClient) -> None:
    """Wait until the rights are in force that a member gathers by label, which takes it a moment."""
    with anyio.fail_after(IN_FORCE):
        while True:
            with suppress(Refused):
                async for _ in client.list_pages(NODES, KubeObject):
                    pass
                return
            await anyio.sleep(0.1)


def secret(name: str) -> ObjectRef:
    return ObjectRef(group="", version="v1", kind="Secret", namespace="default", name=name)


async def test_inventory_reads_and_neither_writes_nor_sees_a_secret(granted: ControlPlane, tmp_path: Path) -> None:
    async with connect(granted, "inventory", tmp_path) as client:
        await may_list(client)
        for forbidden in (
            client.get(secret("any")),
            client.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "mine"}}),
            client.delete(ObjectRef(group="", version="v1", kind="Pod", namespace="default", name="any")),
        ):
            with pytest.raises(Refused) as raised:
                await forbidden
            assert raised.value.code == "Forbidden"


async def test_the_executor_writes_what_it_may_and_lists_nothing(granted: ControlPlane, tmp_path: Path) -> None:
    manifest: JsonObject = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "default"},
        "data": {"a": "b"},
    }
    async with connect(granted, "executor", tmp_path) as client:
        await eventually_applied(client, manifest)
        assert await client.delete(ObjectRef.of(manifest))
        with pytest.raises(Refused, match="pods is forbidden"):
            async for _ in client.list_pages(PODS, KubeObject):
                pass
        with pytest.raises(Refused, match="Forbidden"):
            await client.apply({**manifest, "kind": "Secret", "data": {}}, manager="brim")
        with pytest.raises(Refused, match='namespaces "default" is forbidden'):
            await client.delete(ObjectRef(group="", version="v1", kind="Namespace", name="default"))


async def eventually_applied(client: MemberClient, manifest: JsonObject) -> None:
    with anyio.fail_after(IN_FORCE):
        while True:
            try:
                await client.apply(manifest, manager="brim")
            except Refused:
                await anyio.sleep(0.1)
            else:
                return


# -- the label for ECI -------------------------------------------------------------------------------------------


def pod(name: str, namespace: str = "default", *, labels: JsonObject | None = None, **spec: object) -> JsonObject:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
        "spec": {"containers": [{"name": "main", "image": "busybox"}], **spec},
    }


def create(plane: ControlPlane, manifest: JsonObject) -> tuple[str, str]:
    """The scheduler and the label that a new pod ends up with."""
    metadata = manifest["metadata"]
    assert isinstance(metadata, dict)
    made = call(plane, "POST", f"/api/v1/namespaces/{metadata['namespace']}/pods?dryRun=All", manifest)
    return made["spec"]["schedulerName"], made["metadata"].get("labels", {}).get(LABEL, "")


async def in_force(plane: ControlPlane) -> None:
    """Wait until the policy is, and pods are admitted to namespace team, which takes its service account."""
    with anyio.fail_after(IN_FORCE):
        while True:
            admitted = exists(plane, "/api/v1/namespaces/team/serviceaccounts/default")
            if admitted and create(plane, pod("p", labels={LABEL: YES}))[0] == DEFAULT_SCHEDULER:
                return
            await anyio.sleep(0.1)


async def test_pods_that_ask_for_eci_by_label_go_to_brims_scheduler(granted: ControlPlane, tmp_path: Path) -> None:
    async with connect(granted, "executor", tmp_path) as client:
        for manifest in (admission.policy("v1"), admission.binding("v1")):
            await eventually_applied(client, manifest)
        other = {**admission.policy("v1"), "metadata": {"name": "another"}}
        with pytest.raises(Refused) as raised:
            await client.apply(other, manager="brim")
        assert raised.value.code == "Forbidden", "that one policy is all that it may touch"
    call(granted, "POST", "/api/v1/namespaces", namespace("team", {LABEL: YES}))
    await in_force(granted)
    sent, left = (DEFAULT_SCHEDULER, YES), ("default-scheduler", "")
    daemon = pod("p", "team")
    daemon["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": True}
    ]
    assert create(granted, pod("p")) == left
    assert create(granted, pod("p", labels={LABEL: YES, "a": "b"})) == sent
    assert create(granted, pod("p", "team")) == sent, "its namespace's label counts, and stands on the pod from then on"
    assert create(granted, pod("p", "team", labels={LABEL: "false"})) == ("default-scheduler", "false")
    assert create(granted, pod("p", "team", schedulerName="ack-co-scheduler")) == ("ack-co-scheduler", YES)
    assert create(granted, pod("p", "team", nodeName="n")) == left
    assert create(granted, daemon) == left


def namespace(name: str, labels: JsonObject) -> JsonObject:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
