"""One member seen from inside: pods that somebody creates straight in it, their nodes, and the events about them."""

from __future__ import annotations

import json
from dataclasses import dataclass

import anyio
import pytest

from cli.demo.observer import is_ready, node_of
from cli.json_values import objects_of, text
from shared import fleet as fleet_file
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.capacity import Heartbeat, decode_capacity
from shared.contracts.refs import ObjectRef
from shared.fleet import Fleet
from shared.kube import PODS
from tests.e2e.harness import WAIT, Play

ZONE, OTHER_ZONE = "cn-hangzhou-i", "cn-hangzhou-j"
MACHINE, VIRTUAL, OTHER_VIRTUAL = "machine", f"virtual-kubelet-{ZONE}", f"virtual-kubelet-{OTHER_ZONE}"
ECI, USE_SPECS, SPEC = "alibabacloud.com/eci", "k8s.aliyun.com/eci-use-specs", "k8s.aliyun.com/eci-instance-spec"
COST, CEILING = "controller.kubernetes.io/pod-deletion-cost", "brim.dev/max-hourly-cost"

ONE = """
  - id: {id}
    simulated:
      delays: {{stop: {stop}, scaleUpTrigger: 4, nodeCreate: 8, nodeReady: 16, nodeIdle: 600}}
      nodes: [{{name: machine, allocatable: {{cpu: "{cpu}", memory: 64Gi, pods: "64"}}}}]
      pools: [{{id: pool, instanceType: ecs.c7.large, allocatable: {{cpu: "1", memory: 4Gi, pods: "64"}}, max: {pool}}}]
      virtualNodes: [{zones}]
"""


def fleet(*ids: str, cpu: int = 4, pool: int = 0, stop: float = 1, zones: tuple[str, ...] = (ZONE,)) -> Fleet:
    """Members with one machine and a virtual node per zone each, whose instances cost 1 per vCPU and hour, in each zone
    1 more than in the one before; a pool of one-CPU nodes; stop: fleet seconds that pods take to end."""
    nodes = ", ".join(f"{{zone: {zone}, prices: {{vcpu: {price}, gib: 0}}}}" for price, zone in enumerate(zones, 1))
    members = "".join(ONE.format(id=name, cpu=cpu, pool=pool, stop=stop, zones=nodes) for name in ids)
    return fleet_file.parse(f"apiVersion: brim.dev/v1alpha1\nkind: Fleet\nmembers:{members}", source="a test's fleet")


def pod(
    name: str,
    *,
    namespace: str = "default",
    cpu: str = "1",
    labels: JsonObject | None = None,
    annotations: JsonObject | None = None,
    scheduler: str = "brim-scheduler",
    **spec: object,
) -> JsonObject:
    container: JsonObject = {"name": "main", "image": "busybox", "resources": {"requests": {"cpu": cpu}}}
    rest: JsonObject = {"schedulerName": scheduler, "containers": [container], **spec}  # type: ignore[dict-item]
    metadata: JsonObject = {"name": name, "namespace": namespace, "labels": {"app": name, **(labels or {})}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "annotations": annotations or {}},
        "spec": rest,
    }


def priority_class(name: str, value: int) -> JsonObject:
    return {
        "apiVersion": "scheduling.k8s.io/v1",
        "kind": "PriorityClass",
        "metadata": {"name": name},
        "value": value,
    }


def policy(
    name: str, selector: JsonObject, *units: JsonObject, annotations: JsonObject | None = None, **spec: object
) -> JsonObject:
    """A ResourcePolicy of namespace default."""
    return {
        "apiVersion": "scheduling.alibabacloud.com/v1alpha1",
        "kind": "ResourcePolicy",
        "metadata": {"name": name, "namespace": "default", "annotations": annotations or {}},
        "spec": {"selector": selector, "units": list(units), **spec},  # type: ignore[dict-item]
    }


def deployment(name: str, replicas: int, *, namespace: str = "default", **more: object) -> JsonObject:
    """Of pods as `pod` makes them."""
    template = pod(name, namespace=namespace, **more)
    template = {key: value for key, value in template.items() if key in ("metadata", "spec")}
    metadata = template["metadata"]
    assert isinstance(metadata, dict)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {key: metadata[key] for key in ("labels", "annotations")},
                "spec": template["spec"],
            },
        },
    }


def tiers(api: str, kind: str, *members: str) -> JsonObject:
    """A PropagationPolicy of namespace default for all of a kind, each member a tier of its own."""
    return {
        "apiVersion": "policy.one.alibabacloud.com/v1alpha1",
        "kind": "PropagationPolicy",
        "metadata": {"name": "tiers", "namespace": "default"},
        "spec": {
            "resourceSelectors": [{"apiVersion": api, "kind": kind}],
            "placement": {
                "clusterAffinities": [{"affinityName": name, "clusterNames": [name]} for name in members],
                "replicaScheduling": {
                    "replicaSchedulingType": "Divided",
                    "replicaDivisionPreference": "Weighted",
                    "weightPreference": {"dynamicWeight": "AvailableReplicas"},
                },
            },
        },
    }


@dataclass(frozen=True, slots=True)
class Inside:
    play: Play
    member: str

    async def create(self, *manifests: JsonObject) -> None:
        for manifest in manifests:
            await self.play.stage.create(self.member, manifest)

    async def patch(self, ref: ObjectRef, body: JsonObject) -> None:
        await self.play.observer.clients[self.member].merge_patch(ref, body, manager="kubectl")

    async def delete(self, name: str, namespace: str = "default") -> None:
        ref = ObjectRef(group="", version="v1", kind="Pod", namespace=namespace, name=name)
        await self.play.observer.clients[self.member].delete(ref)

    def pods(self, namespace: str = "default") -> dict[str, JsonObject]:
        """By name."""
        found = self.play.observer.objects(PODS, namespace, self.member)
        return {text(entry.manifest, "metadata", "name"): entry.manifest for entry in found}

    def nodes(self, *names: str, namespace: str = "default") -> list[str]:
        """Where pods are; empty for one that has no node, or is not there."""
        found = self.pods(namespace)
        return [node_of(found[name]) if name in found else "" for name in names]

    def runs(self, name: str, node: str, namespace: str = "default") -> bool:
        found = self.pods(namespace).get(name)
        return found is not None and node_of(found) == node and is_ready(found)

    async def has_told_budgets(self) -> None:
        """Wait until inventory has told of PodDisruptionBudgets."""
        with anyio.move_on_after(WAIT):
            while True:
                messages = await self.play.bus.history("CAPACITY", subjects.capacity(self.member))
                told = [decode_capacity(message.data) for message in messages if not message.removed]
                if any(found.budgets for found in told if not isinstance(found, Heartbeat)):
                    return
                await anyio.sleep(0.05)
        pytest.fail(f"no PodDisruptionBudget of {self.member} was told of")

    def annotation(self, name: str, key: str) -> str:
        return text(self.pods().get(name, {}), "metadata", "annotations", key)

    async def events(self, name: str, namespace: str = "default") -> list[tuple[str, str]]:
        """(reason, message) of those about a pod; about all pods for an empty name."""
        path = f"/api/v1/namespaces/{namespace}/events"
        found = json.loads(await self.play.observer.clients[self.member].get_bytes(path))
        return [
            (text(entry, "reason"), text(entry, "message"))
            for entry in objects_of(found, "items")
            if name in ("", text(entry, "involvedObject", "name"))
        ]

    async def told(self, name: str, reason: str, namespace: str = "default") -> str:
        """Wait for an event about a pod; its message."""
        with anyio.move_on_after(WAIT):
            while True:
                for why, message in await self.events(name, namespace):
                    if why == reason:
                        return message
                await anyio.sleep(0.05)
        pytest.fail(f"no event {reason} about {name}: {await self.events(name, namespace)}")
