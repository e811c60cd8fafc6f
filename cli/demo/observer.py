"""What the members' own APIs show, watched over HTTP all the time. Nothing of it comes from brim."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from pydantic import ConfigDict

from cli.json_values import dig, number, objects_of, table_of, text
from cli.tables import MemberObject
from shared.contracts.base import JsonObject
from shared.fleet import Fleet
from shared.kube import NODES, PODS, Changed, Gone, KubeObject, MemberClient, Resource, Synced
from shared.units import POOL_LABEL

DEPLOYMENTS = Resource("apps", "v1", "Deployment", "deployments")
SERVICES = Resource("", "v1", "Service", "services")
INSTANCES = Resource("eci.brim.dev", "v1alpha1", "ContainerGroup", "containergroups")
ROLLOUTS = Resource("rollouts.kruise.io", "v1beta1", "Rollout", "rollouts")
WATCHED = (PODS, NODES, DEPLOYMENTS, SERVICES, INSTANCES, ROLLOUTS)

Key = tuple[str, str]


class Whole(KubeObject):
    """An object with all of its fields, as tables need them."""

    model_config = ConfigDict(extra="allow")

    def manifest(self) -> JsonObject:
        whole: JsonObject = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return whole


@dataclass(slots=True)
class Observer:
    """The newest state of the watched resources of every member.

    changes: how many changes were seen; gauges: functions that are looked at after each of them.
    """

    clients: Mapping[str, MemberClient]
    aliases: Mapping[str, str]
    state: dict[tuple[str, str], dict[Key, JsonObject]] = field(default_factory=dict)
    changes: int = 0
    gauges: list[Callable[[], None]] = field(default_factory=list)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def follow(self, member: str, resource: Resource) -> None:
        """Keep one resource of one member up to date until cancelled."""
        known = self.state.setdefault((member, str(resource)), {})
        async with aclosing(self.clients[member].watch(resource, Whole)) as events:
            async for event in events:
                match event:
                    case Synced(items):
                        known.clear()
                        known.update({item.key: item.manifest() for item in items})
                    case Changed(item):
                        known[item.key] = item.manifest()
                    case Gone(item):
                        known.pop(item.key, None)
                    case _:
                        continue
                await self._tell()

    async def _tell(self) -> None:
        self.changes += 1
        for gauge in self.gauges:
            gauge()
        async with self._changed:
            self._changed.notify_all()

    def objects(self, resource: Resource, namespace: str = "", member: str = "") -> list[MemberObject]:
        """Sorted by member and name. namespace, member: empty for all."""
        return [
            MemberObject(where, self.aliases[where], manifest)
            for where in self.clients
            if member in ("", where)
            for (space, _), manifest in sorted(self.state.get((where, str(resource)), {}).items())
            if namespace in ("", space) or not resource.namespaced
        ]

    def pods(self, namespace: str, app: str, member: str = "") -> list[MemberObject]:
        """Pods of one app that are not on their way out."""
        return [entry for entry in self._pods(namespace, app, member) if not leaving(entry.manifest)]

    def gone(self, namespace: str, app: str, member: str) -> bool:
        """No pod of the app is there, not even one that is on its way out."""
        return not self._pods(namespace, app, member)

    def _pods(self, namespace: str, app: str, member: str) -> list[MemberObject]:
        return [
            entry
            for entry in self.objects(PODS, namespace, member)
            if table_of(entry.manifest, "metadata", "labels").get("app") == app
        ]

    def told_ready(self, namespace: str, name: str) -> int:
        """Ready replicas as the Deployments' own status says it, a moment after the pods."""
        return sum(
            number(entry.manifest, "status", "readyReplicas")
            for entry in self.objects(DEPLOYMENTS, namespace)
            if text(entry.manifest, "metadata", "name") == name
        )

    def ready(self, namespace: str, app: str, member: str = "") -> int:
        return sum(is_ready(entry.manifest) for entry in self.pods(namespace, app, member))

    def nodes(self, member: str, *, pool: str | None = None) -> list[JsonObject]:
        """Nodes of a member; pool: only those that its autoscaler added from this pool."""
        return [
            entry.manifest
            for entry in self.objects(NODES, member=member)
            if pool is None or table_of(entry.manifest, "metadata", "labels").get(POOL_LABEL) == pool
        ]

    def instances(self, namespace: str, member: str = "") -> list[MemberObject]:
        """Serverless instances that are being paid for."""
        found = self.objects(INSTANCES, namespace, member)
        return [entry for entry in found if not text(entry.manifest, "status", "finishedAt")]

    async def until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until a condition holds, looking after every change. timeout: real seconds; False when it passed."""
        with anyio.move_on_after(timeout):
            while not condition():
                async with self._changed:
                    await self._changed.wait()
            return True
        return condition()


def leaving(manifest: JsonObject) -> bool:
    return bool(text(manifest, "metadata", "deletionTimestamp"))


def is_ready(manifest: JsonObject) -> bool:
    """The Ready condition of a pod or node holds."""
    return any(
        text(entry, "type") == "Ready" and text(entry, "status") == "True"
        for entry in objects_of(manifest, "status", "conditions")
    )


def node_of(manifest: JsonObject) -> str:
    return text(manifest, "spec", "nodeName")


def is_pending(manifest: JsonObject) -> bool:
    return text(manifest, "status", "phase") == "Pending"


def is_unscheduled(manifest: JsonObject) -> bool:
    return is_pending(manifest) and not text(manifest, "spec", "nodeName")


def names(found: list[MemberObject]) -> frozenset[str]:
    return frozenset(text(entry.manifest, "metadata", "name") for entry in found)


def replicas(manifest: JsonObject) -> int:
    return number(manifest, "spec", "replicas")


def taints(manifest: JsonObject) -> list[JsonObject]:
    return objects_of(dig(manifest, "spec"), "taints")


@asynccontextmanager
async def observing(fleet: Fleet, kubeconfig: Path) -> AsyncIterator[Observer]:
    """An observer of all members, by contexts named like them, while the block runs."""
    async with AsyncExitStack() as stack:
        clients = {
            member.id: await stack.enter_async_context(
                MemberClient.connect(member=member.id, context=member.id, kubeconfig=kubeconfig)
            )
            for member in fleet.members
        }
        observer = Observer(clients, {member.id: member.alias for member in fleet.members})
        tasks = [
            asyncio.create_task(observer.follow(member, resource), name=f"observe {member} {resource}")
            for member in clients
            for resource in WATCHED
        ]
        try:
            yield observer
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
