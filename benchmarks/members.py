"""What the members' own APIs say: every pod of every member, watched, with the moment at which it was seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stage import DidNotHappen
from shared.clock import parse_rfc3339
from shared.kube import PODS, Changed, Gone, KubeObject, MemberClient, Projection, Synced
from shared.quantities import amount


class _Resources(Projection):
    requests: dict[str, str] = {}


class _Container(Projection):
    resources: _Resources = _Resources()


class _Spec(Projection):
    node_name: str = ""
    containers: tuple[_Container, ...] = ()


class _Condition(Projection):
    type: str
    status: str
    reason: str = ""
    last_transition_time: str | None = None


class _Status(Projection):
    phase: str = ""
    conditions: tuple[_Condition, ...] = ()


class Pod(KubeObject):
    """The fields of a pod that rows ask for."""

    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def unschedulable_since(self) -> float | None:
        """Unix seconds, as the API writes them: whole ones."""
        for condition in self.status.conditions:
            if condition.type == "PodScheduled" and condition.reason == "Unschedulable":
                return parse_rfc3339(condition.last_transition_time or "")
        return None

    def requested(self, resource: str) -> int:
        asked = (container.resources.requests.get(resource, "0") for container in self.spec.containers)
        return sum(amount(resource, text) for text in asked)


@dataclass(slots=True)
class Seen:
    """A pod as it is now. bound_at: Unix seconds at which its node was first seen. refused: was ever
    Unschedulable."""

    member: str
    pod: Pod
    bound_at: float | None = None
    refused: bool = False


class Pods:
    """All pods of all members. `until` waits for something to be true of them."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], Seen] = {}
        self._news = asyncio.Event()

    def of(self, namespace: str, *, member: str | None = None) -> Iterator[Seen]:
        for seen in self._seen.values():
            if seen.pod.metadata.namespace == namespace and member in (None, seen.member):
                yield seen

    async def until(self, holds: Callable[[], bool], what: str, *, within: float) -> None:
        """Raises DidNotHappen with `what` in words."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within
        while not holds():
            self._news.clear()
            try:
                async with asyncio.timeout(max(0.0, until - loop.time())):
                    await self._news.wait()
            except TimeoutError:
                raise DidNotHappen(f"{what}: not within {within:g} s") from None

    async def follow(self, client: MemberClient) -> None:
        """Until cancelled."""
        async with aclosing(client.watch(PODS, Pod)) as events:
            async for event in events:
                match event:
                    case Synced(items):
                        for pod in items:
                            self._put(client.member, pod)
                    case Changed(pod):
                        self._put(client.member, pod)
                    case Gone(pod):
                        self._seen.pop((client.member, pod.metadata.uid), None)
                self._news.set()

    def _put(self, member: str, pod: Pod) -> None:
        seen = self._seen.setdefault((member, pod.metadata.uid), Seen(member, pod))
        seen.pod = pod
        if pod.spec.node_name and seen.bound_at is None:
            seen.bound_at = time.time()
        seen.refused = seen.refused or pod.unschedulable_since is not None


@dataclass(frozen=True, slots=True)
class Members:
    clients: Mapping[str, MemberClient]
    pods: Pods


@asynccontextmanager
async def connected(kubeconfig: Path, ids: list[str]) -> AsyncIterator[Members]:
    """Clients of all members, and their pods, followed while the block runs."""
    pods = Pods()
    async with AsyncExitStack() as stack:
        clients = {
            name: await stack.enter_async_context(
                MemberClient.connect(member=name, context=name, kubeconfig=kubeconfig)
            )
            for name in ids
        }
        following = [asyncio.create_task(pods.follow(client)) for client in clients.values()]
        try:
            yield Members(clients, pods)
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)
