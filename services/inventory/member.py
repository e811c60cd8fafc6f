"""One member: watches that fill its mirror, publishers that empty it, and the endpoints that read it."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from services.inventory import budgets, instances, karpenter, node_pools, pools
from services.inventory import mirror as sources
from services.inventory.around import Around
from services.inventory.cache import Cache
from services.inventory.capacity_publisher import CapacityPublisher
from services.inventory.kinds import WatchedKind
from services.inventory.mirror import Mirror
from services.inventory.projections import Autoscaler, ConfigMap, Managed, Node, Pod, PodEvent
from services.inventory.publishers import Publishers
from services.inventory.reader import Reader
from shared.backoff import Backoff, Retries
from shared.bus import Message
from shared.contracts import subjects
from shared.contracts.annotations import MANAGED_LABEL
from shared.contracts.cluster import ClusterManifest
from shared.contracts.refs import ObjectRef
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

log = logging.getLogger("brim.inventory")

AUTOSCALER_EVENTS = "involvedObject.kind=Pod,source="
MANAGED = f"{MANAGED_LABEL}=true"
ALWAYS_SERVED = frozenset(
    {sources.NODES, sources.PODS, sources.NAMESPACES, pools.CONFIG_MAPS}
)  # 404 is no answer about them, whoever gave it
PROBE_TIMEOUT = 5.0  # real seconds
PROBE_AT_LEAST = 0.5  # real seconds between two probes, however fast fleet time runs
RETRY = Backoff(base=0.2, maximum=5.0)  # a member that returns is noticed soon
UNKNOWN_KIND = Backoff(base=1.0, maximum=30.0)  # a CustomResourceDefinition may come later


class MemberInventory:
    """`run` it until the member goes or its manifest changes. is_wanted: whether the fleet has such an object."""

    def __init__(self, around: Around, cluster: ClusterManifest, is_wanted: Callable[[ObjectRef], bool]) -> None:
        self._around = around
        self._cluster = cluster
        self._is_wanted = is_wanted
        self._client: MemberClient | None = None
        self._probe_now = anyio.Event()
        self.mirror = Mirror(cluster.id, cluster.spec.stock, around.clock.now, around.policies, self._malformed)
        self._told = Publishers(around, self.mirror, self._exists)

    @property
    def capacity(self) -> CapacityPublisher:
        return self._told.capacity

    @property
    def is_ready(self) -> bool:
        """All is listed and its room told, or the member is known to be out of reach."""
        told = self.mirror.is_synced and self.capacity.has_published
        return told or self.mirror.trouble is not None

    def _malformed(self, source: str) -> None:
        self._around.metrics.malformed.add(member=self._cluster.id, source=source)

    async def run(self) -> None:
        around, mirror = self._around, self.mirror
        await self._told.take_over()
        reader = Reader(mirror, lambda: self._client, around.bus.max_payload, around.metrics)
        around.policies.listen(mirror.told_pods.policies_changed)
        try:
            async with anyio.create_task_group() as group:
                self._told.start(group)
                group.start_soon(self._serve, subjects.read(mirror.member), reader.answer)
                group.start_soon(self._serve, subjects.snapshot(mirror.member), self._snapshot)
                await self._stay_connected()
        finally:
            around.policies.forget(mirror.told_pods.policies_changed)

    async def _exists(self, ref: ObjectRef) -> bool | None:
        """Whether an object is there, or wanted by the fleet; None where the member does not say."""
        if ref.key in self.mirror or self._is_wanted(ref):
            return True
        try:
            await self._connected().get(ref)
        except NotFound:
            return False
        except Refused as error:
            return False if error.code == "NoKindMatch" else None
        except BrimError as error:
            log.debug("%s", error)
            return None
        return True

    def _connected(self) -> MemberClient:
        if self._client is None:
            raise MemberUnavailable(f"member {self.mirror.member} is not connected")
        return self._client

    # -- endpoints -------------------------------------------------------------------------------------------

    async def _serve(self, subject: str, handler: Callable[[Message], Awaitable[bytes]]) -> None:
        await self._around.bus.serve(subject, handler, queue="inventory")

    async def _snapshot(self, _message: Message) -> bytes:
        await self.capacity.ask()
        return b""

    # -- watches ---------------------------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        spec, settings, retries = self._cluster.spec, self._around.settings, Retries(RETRY)
        while True:
            try:
                async with MemberClient.reach(
                    self.mirror.member,
                    spec.kubeconfig,
                    settings.kubeconfig,
                    agent="brim-inventory",
                    timeouts=Timeouts(read=settings.inventory.request_timeout),
                    options=WatchOptions(backoff=RETRY),
                ) as client:
                    self._client = client
                    await self._follow(client)
            except (Misconfigured, MemberUnavailable) as error:
                log.warning("%s", error)
                self._did_not_answer(error)
                await anyio.sleep(retries.next_delay())
            finally:
                self._client = None

    async def _follow(self, client: MemberClient) -> None:
        """Runs until cancelled: watches do not end."""
        mirror, told = self.mirror, self._told
        async with anyio.create_task_group() as group:
            group.start_soon(self._probe, client)
            start = _Starter(group, self, client)
            start(NODES, Node, mirror.nodes, sources.NODES, synced=told.nodes_listed)
            start(PODS, Pod, mirror.pods, sources.PODS, synced=told.pods_listed)
            namespaces = mirror.surroundings.namespaces
            start(NAMESPACES, KubeObject, namespaces, sources.NAMESPACES, synced=told.namespaces_listed)
            start(CONFIG_MAPS, ConfigMap, mirror.config_maps, pools.CONFIG_MAPS, namespace=node_pools.NAMESPACE)
            start(budgets.BUDGETS, budgets.PodDisruptionBudget, mirror.budgets.cache, sources.BUDGETS)
            start(HORIZONTAL_POD_AUTOSCALERS, Autoscaler, mirror.autoscalers, "autoscalers")
            for source, events in mirror.events.items():
                start(EVENTS, PodEvent, events, f"events of {source}", fields=AUTOSCALER_EVENTS + source)
            if mirror.node_pools is not None:
                start(karpenter.NODE_POOLS, karpenter.NodePool, mirror.node_pools, pools.NODE_POOLS)
            group.start_soon(self._watch_instances, client, start, name=f"{mirror.member} {sources.INSTANCES}")
            async with aclosing(self._around.kinds.follow()) as kinds:
                async for kind in kinds:
                    group.start_soon(self._watch_kind, client, kind, start, name=f"{mirror.member} {kind}")

    async def _watch_kind(self, client: MemberClient, kind: WatchedKind, start: _Starter) -> None:
        """Watch the managed objects of a kind."""
        key = (kind.kind, kind.group)

        def known() -> None:
            self.mirror.expected.discard(key)

        def synced() -> None:
            known()
            self._told.kind_listed(key)

        source = sources.source_of(key)
        resource = await self._found(client, kind, source, known)
        start(resource, Managed, self.mirror.add_kind(resource).cache, source, labels=MANAGED, synced=synced)

    async def _watch_instances(self, client: MemberClient, start: _Starter) -> None:
        found = self.mirror.instances

        def known() -> None:
            found.known = True
            self._told.pods_listed()

        resource = await self._found(client, instances.KIND, sources.INSTANCES, known)
        found.served = True
        start(resource, Managed, found.cache, sources.INSTANCES, synced=known)

    async def _found(
        self, client: MemberClient, kind: WatchedKind, source: str, absent: Callable[[], None]
    ) -> Resource:
        """The resource that serves a kind, which may come later. absent: called while the member serves none."""
        retries = Retries(UNKNOWN_KIND)
        while True:
            try:
                return await client.resource_of(kind.group, kind.version, kind.kind)
            except Refused as error:
                log.debug("%s", error)
                self.mirror.disconnected.discard(source)  # it answers: nothing of this kind can be missed
                absent()
            except BrimError as error:
                self._watch_failed(source, error)
            await anyio.sleep(retries.next_delay())

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
                if source == sources.BUDGETS and isinstance(error, Refused):
                    self._goes_without_budgets(error)
                self._watch_failed(source, error)

    def _is_synced(self, source: str, synced: Callable[[], None]) -> None:
        first = source not in self.mirror.synced
        self.mirror.synced.add(source)
        synced()
        self._is_connected(source)
        if first:
            self.mirror.capacity_changed.set()

    def _goes_without_budgets(self, error: Refused) -> None:
        """They are not ours to see: better to make room without heeding them than to decide nothing there."""
        if sources.BUDGETS in self.mirror.synced:
            return
        self.mirror.synced.add(sources.BUDGETS)
        self.mirror.capacity_changed.set()
        log.warning(
            "member %s: preemption inside it heeds no PodDisruptionBudget, as these cannot be listed: %s; "
            "let inventory list and watch poddisruptionbudgets.policy (deploy/rbac/inventory.yaml)",
            self.mirror.member,
            error,
        )

    def _is_connected(self, source: str) -> None:
        self.mirror.disconnected.discard(source)
        self._answered()

    def _watch_failed(self, source: str, error: BrimError) -> None:
        log.info("%s", error)
        if isinstance(error, Refused) and source not in self.mirror.needed:  # a refusal is an answer, too
            self.mirror.disconnected.discard(source)
        else:
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
