"""One member: watches that fill its mirror, publishers that empty it, and the endpoints that read it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio.abc import TaskGroup

from services.inventory import mirror as sources
from services.inventory import node_pools
from services.inventory.cache import Cache
from services.inventory.capacity_publisher import CapacityPublisher
from services.inventory.kinds import Kinds, WatchedKind
from services.inventory.metrics import InventoryMetrics
from services.inventory.mirror import Mirror
from services.inventory.projections import Autoscaler, ConfigMap, Managed, Node, Pod, PodEvent
from services.inventory.reader import Reader
from services.inventory.status_publisher import StatusPublisher
from shared.backoff import Backoff, Retries
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.annotations import MANAGED_LABEL
from shared.contracts.cluster import ClusterManifest
from shared.errors import BrimError, MemberUnavailable, Misconfigured, NotFound, Refused
from shared.kube import (
    CONFIG_MAPS,
    EVENTS,
    HORIZONTAL_POD_AUTOSCALERS,
    NAMESPACES,
    NODES,
    PODS,
    Changed,
    Connected,
    Disconnected,
    Event,
    Gone,
    KubeObject,
    MemberClient,
    Resource,
    Synced,
    Timeouts,
    WatchOptions,
)
from shared.kube.projection import P
from shared.settings import Settings

log = logging.getLogger("brim.inventory")

AUTOSCALER_EVENTS = "involvedObject.kind=Pod,source=GOATScaler"
MANAGED = f"{MANAGED_LABEL}=true"
ALWAYS_SERVED = frozenset({"nodes", "pods", "node pools"})  # 404 is no answer about them, whoever gave it
PROBE_TIMEOUT = 5.0  # real seconds
PROBE_AT_LEAST = 0.5  # real seconds between two probes, however fast fleet time runs
RETRY = Backoff(base=0.2, maximum=5.0)  # a member that returns is noticed soon
UNKNOWN_KIND = Backoff(base=1.0, maximum=30.0)  # a CustomResourceDefinition may come later


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all members share. epoch: of the lease."""

    bus: Bus
    clock: Clock
    settings: Settings
    metrics: InventoryMetrics
    kinds: Kinds
    epoch: int


class MemberInventory:
    """`run` it until the member goes or its manifest changes."""

    def __init__(self, around: Surroundings, cluster: ClusterManifest) -> None:
        self._around = around
        self._cluster = cluster
        self._client: MemberClient | None = None
        self._probe_now = anyio.Event()
        self.mirror = Mirror(cluster.id, cluster.spec.stock, around.clock.now, self._malformed)
        self.mirror.settle_pools()
        self.capacity = CapacityPublisher(
            around.bus, around.clock, around.settings.inventory, self.mirror, around.epoch, around.metrics
        )

    @property
    def is_ready(self) -> bool:
        """All is listed and its room told, or the member is known to be out of reach."""
        told = self.mirror.is_synced and self.capacity.has_published
        return told or self.mirror.trouble is not None

    def _malformed(self, source: str) -> None:
        self._around.metrics.malformed.add(member=self._cluster.id, source=source)

    async def run(self) -> None:
        around, mirror = self._around, self.mirror
        statuses = await self._status_publisher()
        mirror.expected = {(kind.kind, kind.group) for kind in around.kinds.all}
        reader = Reader(mirror, lambda: self._client, around.bus.max_payload, around.metrics)
        async with anyio.create_task_group() as group:
            group.start_soon(self.capacity.run, name=f"capacity {mirror.member}")
            group.start_soon(statuses.run, name=f"status {mirror.member}")
            group.start_soon(self._serve, subjects.read(mirror.member), reader.answer)
            group.start_soon(self._serve, subjects.snapshot(mirror.member), self._snapshot)
            await self._stay_connected(statuses)

    async def _status_publisher(self) -> StatusPublisher:
        around = self._around
        statuses = StatusPublisher(around.bus, around.clock, around.settings.inventory, self.mirror, around.metrics)
        await statuses.compare()
        for status in statuses.told:
            around.kinds.add(status.ref)
        return statuses

    # -- endpoints -------------------------------------------------------------------------------------------

    async def _serve(self, subject: str, handler: Callable[[Message], Awaitable[bytes]]) -> None:
        await self._around.bus.serve(subject, handler, queue="inventory")

    async def _snapshot(self, _message: Message) -> bytes:
        await self.capacity.ask()
        return b""

    # -- watches ---------------------------------------------------------------------------------------------

    async def _stay_connected(self, statuses: StatusPublisher) -> None:
        spec, settings, retries = self._cluster.spec, self._around.settings, Retries(RETRY)
        path = Path(spec.kubeconfig.path) if spec.kubeconfig.path else settings.kubeconfig
        while True:
            try:
                async with MemberClient.connect(
                    member=self.mirror.member,
                    context=spec.kubeconfig.context,
                    kubeconfig=path,
                    timeouts=Timeouts(read=settings.inventory.request_timeout),
                    options=WatchOptions(backoff=RETRY),
                ) as client:
                    self._client = client
                    await self._follow(client, statuses)
            except (Misconfigured, MemberUnavailable) as error:
                log.warning("%s", error)
                self._did_not_answer(error)
                await anyio.sleep(retries.next_delay())
            finally:
                self._client = None

    async def _follow(self, client: MemberClient, statuses: StatusPublisher) -> None:
        """Runs until cancelled: watches do not end."""
        mirror = self.mirror
        async with anyio.create_task_group() as group:
            group.start_soon(self._probe, client)
            start = _Starter(group, self, client)
            start(NODES, Node, mirror.nodes, sources.NODES)
            start(PODS, Pod, mirror.pods, sources.PODS)
            start(NAMESPACES, KubeObject, mirror.surroundings.namespaces, sources.NAMESPACES)
            start(CONFIG_MAPS, ConfigMap, mirror.config_maps, sources.CONFIG_MAPS, namespace=node_pools.NAMESPACE)
            start(HORIZONTAL_POD_AUTOSCALERS, Autoscaler, mirror.autoscalers, "autoscalers")
            start(EVENTS, PodEvent, mirror.events, "events", fields=AUTOSCALER_EVENTS)
            async with aclosing(self._around.kinds.follow()) as kinds:
                async for kind in kinds:
                    group.start_soon(self._watch_kind, client, kind, statuses, start, name=f"{mirror.member} {kind}")

    async def _watch_kind(
        self, client: MemberClient, kind: WatchedKind, statuses: StatusPublisher, start: _Starter
    ) -> None:
        """Find the resource that serves a kind, which may not be there yet, and watch its managed objects."""
        key = (kind.kind, kind.group)
        retries = Retries(UNKNOWN_KIND)
        while True:
            try:
                resource = await client.resource_of(kind.group, kind.version, kind.kind)
                break
            except Refused as error:
                log.debug("%s", error)
                self.mirror.expected.discard(key)
            except BrimError as error:
                self._watch_failed(kind.kind, error)
            await anyio.sleep(retries.next_delay())

        def synced() -> None:
            self.mirror.expected.discard(key)
            statuses.recheck(lambda told: (told[0], told[1]) == key)

        cache = self.mirror.add_kind(resource).cache
        start(resource, Managed, cache, kind.kind, labels=MANAGED, synced=synced)

    async def watch(
        self,
        client: MemberClient,
        resource: Resource,
        projection: type[P],
        cache: Cache[P],
        source: str,
        synced: Callable[[], None],
        selection: Selection,
    ) -> None:
        """Keep one cache true."""
        watching = client.watch(
            resource,
            projection,
            namespace=selection.namespace,
            selector=selection.labels,
            fields=selection.fields,
        )
        async with aclosing(watching) as events:
            async for event in events:
                self._take(event, cache, source, synced)
                await anyio.lowlevel.checkpoint()

    def _take(self, event: Event[P], cache: Cache[P], source: str, synced: Callable[[], None]) -> None:
        mirror, metrics = self.mirror, self._around.metrics
        match event:
            case Synced(items):
                cache.replace(items)
                self._is_synced(source, synced)
                metrics.lists.add(member=mirror.member, source=source)
            case Changed(item):
                cache.put(item)
                metrics.events.add(member=mirror.member, source=source)
            case Gone(item):
                cache.drop(item.key)
                metrics.events.add(member=mirror.member, source=source)
            case Connected():
                self._is_connected(source)
            case Disconnected(NotFound()) if source not in ALWAYS_SERVED:  # it has none of them
                cache.replace(())
                self._is_synced(source, synced)
            case Disconnected(error):
                self._watch_failed(source, error)

    def _is_synced(self, source: str, synced: Callable[[], None]) -> None:
        first = source not in self.mirror.synced
        self.mirror.synced.add(source)
        synced()
        self._is_connected(source)
        if first:
            self.mirror.capacity_changed.set()

    def _is_connected(self, source: str) -> None:
        self.mirror.disconnected.discard(source)
        self._answered()

    def _watch_failed(self, source: str, error: BrimError) -> None:
        log.info("%s", error)
        self.mirror.disconnected.add(source)
        self._around.metrics.disconnects.add(member=self.mirror.member, source=source)
        self._probe_now.set()

    # -- is it there? ----------------------------------------------------------------------------------------

    async def _probe(self, client: MemberClient) -> None:
        """Watches are silent while nothing changes; only an answer tells that the member lives."""
        settings = self._around.settings.inventory
        every = max(PROBE_AT_LEAST, self._around.clock.real(settings.heartbeat))
        timeout = min(PROBE_TIMEOUT, settings.request_timeout)
        while True:
            self._probe_now = anyio.Event()
            try:
                await client.ping(timeout=timeout)
                self._answered()
            except BrimError as error:
                self._did_not_answer(error)
            await anyio.sleep(PROBE_AT_LEAST)
            with anyio.move_on_after(every - PROBE_AT_LEAST):
                await self._probe_now.wait()

    def _answered(self) -> None:
        if self.mirror.trouble is not None:
            log.info("member %s answers again", self.mirror.member)
        self.mirror.answered()
        self._around.metrics.reachable.set(1, member=self.mirror.member)

    def _did_not_answer(self, error: BrimError) -> None:
        if self.mirror.trouble is None:
            log.warning("member %s does not answer: %s", self.mirror.member, error)
        self.mirror.did_not_answer(error)
        self._around.metrics.reachable.set(0, member=self.mirror.member)


@dataclass(frozen=True, slots=True)
class Selection:
    namespace: str = ""
    labels: str = ""
    fields: str = ""


@dataclass(frozen=True, slots=True)
class _Starter:
    """Starts watches in a task group."""

    group: TaskGroup
    member: MemberInventory
    client: MemberClient

    def __call__(
        self,
        resource: Resource,
        projection: type[P],
        cache: Cache[P],
        source: str,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        synced: Callable[[], None] = lambda: None,
    ) -> None:
        async def run() -> None:
            selection = Selection(namespace, labels, fields)
            await self.member.watch(self.client, resource, projection, cache, source, synced, selection)

        self.group.start_soon(run, name=f"watch {source} of {self.client.member}")
