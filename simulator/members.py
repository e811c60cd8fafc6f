"""Simulated members: each an API server with the controllers of a cluster behind it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

from shared.clock import Clock
from shared.errors import Misconfigured
from shared.fleet import Fleet, Member
from simulator import cloud, kubeconfig, resources
from simulator.autoscaler import Autoscaler
from simulator.cluster import Cluster
from simulator.controllers import (
    cloneset,
    daemonset,
    definitions,
    deployment,
    disruption,
    endpoints,
    garbage,
    job,
    kruise_rollout,
    namespaces,
    nodes,
    podgc,
    replicaset,
    statefulset,
)
from simulator.faults import Faults
from simulator.kubelet import Kubelet
from simulator.objects import with_annotations, with_status
from simulator.persistence import Disk
from simulator.registry import Registry
from simulator.resources import CONTAINER_GROUPS, Catalogue
from simulator.scheduler import Scheduler
from simulator.server import Address, ApiServer
from simulator.store import Change, Store
from simulator.virtual_kubelet import RECLAIM, VirtualKubelet
from simulator.workqueue import WorkQueue

_CONTROLLERS = (
    garbage,
    namespaces,
    nodes,
    podgc,
    deployment,
    replicaset,
    statefulset,
    daemonset,
    cloneset,
    job,
    endpoints,
    disruption,
    definitions,
    kruise_rollout,
)

ANYWHERE = Address()


class SimulatedMember:
    """One member. `async with` it, or `start` and `stop` it.

    data: a folder in which its state survives a restart; None keeps it in memory. address: of its API server.
    """

    def __init__(self, member: Member, clock: Clock, data: Path | None = None, address: Address = ANYWHERE) -> None:
        if member.simulated is None:
            raise Misconfigured(f"member {member.id} is not simulated: give it `simulated` in the fleet file")
        self.member = member
        self.clock = clock
        self.store = Store(clock)
        self.catalogue = Catalogue(
            *([CONTAINER_GROUPS] if member.simulated.virtual_nodes else []),
            *resources.since(member.simulated.version),
        )
        self.registry = Registry(self.store, self.catalogue, clock)
        self.queue = WorkQueue(clock)
        simulated = member.simulated
        self.cluster = Cluster(self.store, self.queue, clock, simulated.delays, simulated.version)
        self._port = address.port
        self._disk = Disk(data) if data is not None else None
        self._tasks: list[asyncio.Task[None]] = []
        self._scheduler = Scheduler(self.cluster)
        self.autoscaler = Autoscaler(self.cluster, member, self._scheduler.nodes)
        self.virtual_kubelet = VirtualKubelet(self.cluster, member)
        token = self._remembered_token()
        self._server = ApiServer(self.store, self.catalogue, self.registry, clock, token, simulated.version, address)

    @property
    def url(self) -> str:
        return self._server.url

    @property
    def private_url(self) -> str:
        """The API's address with the token in it, for clients that send none over plain HTTP (kubectl)."""
        return self._server.private_url

    @property
    def token(self) -> str:
        return self._server.token

    @property
    def faults(self) -> Faults:
        """What its API server does wrong, for tests."""
        return self._server.faults

    async def __aenter__(self) -> SimulatedMember:
        await self.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Restore or populate the cluster, start its controllers, serve its API."""
        restored = self._disk is not None and self._disk.load(self.store)
        if restored:
            for crd in self.store.every(definitions.SHELF):
                self.catalogue.serve(crd)
        if self._disk is not None:
            self._disk.follow(self.store)
        self.store.subscribe(self._on_crd, definitions.SHELF)
        self.cluster.events.install()
        for module in _CONTROLLERS:
            module.install(self.cluster)
        self._scheduler.install()
        Kubelet(self.cluster, others=frozenset(self.virtual_kubelet.instances.nodes)).install()
        cloud.populate(self.cluster, self.member)
        self.virtual_kubelet.install()
        self.autoscaler.install()
        if restored:
            self._requeue_everything()
        await self._listen()
        self._tasks = [asyncio.create_task(self.queue.run(), name=f"simulator-{self.member.id}")]
        if self._disk is not None:
            self._tasks.append(asyncio.create_task(self._disk.run(), name=f"disk-{self.member.id}"))

    async def stop(self) -> None:
        """Cut the API off, stop the controllers, write what is not yet written."""
        await self._server.stop()
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task
        self.autoscaler.shut_down()
        self.virtual_kubelet.shut_down()
        if self._disk is not None:
            await self._disk.close()

    async def _listen(self) -> None:
        """On the fixed port, else on the one used last time if it is free, so that kubeconfigs stay good."""
        last = self._disk.meta("port") if self._disk is not None and not self._port else None
        try:
            await self._server.start(self._port or int(last or 0))
        except OSError:
            if last is None:
                raise
            await self._server.start()
        if self._disk is not None:
            self._disk.remember("port", str(self._server.port))

    def _remembered_token(self) -> str:
        """A restarted member keeps its token, so that kubeconfigs stay good."""
        known = self._disk.meta("token") if self._disk is not None else None
        token = known or secrets.token_urlsafe(24)
        if self._disk is not None and known is None:
            self._disk.remember("token", token)
        return token

    def _requeue_everything(self) -> None:
        """After a restart every object is looked at once, as if it had just changed."""
        for shelf in self.store.shelves():
            for record in tuple(self.store.records(shelf)):
                self.store.replay(Change("MODIFIED", shelf, record, record.object))

    async def pause(self) -> None:
        """Make the API server unreachable; the cluster lives on."""
        await self._server.pause()

    async def resume(self) -> None:
        """Make it reachable again, at the same address."""
        await self._server.resume()

    def set_stock(self, pool: str, count: int | None) -> None:
        """Let the cloud sell `count` more instances of a pool's type (None: some, number unknown)."""
        self.autoscaler.stock.set_stock(pool, count)

    def set_eci_stock(self, zone: str, name: str, count: int | None) -> None:
        """Let ECI sell `count` more instances of a size or type in a zone (None: some, number unknown)."""
        self.virtual_kubelet.instances.stock.set_stock(zone, name, count)

    def reclaim_spot(self, namespace: str, pod: str) -> None:
        """Let the cloud want a pod's spot instance back: it says so, and takes it when it may.

        KeyError: the pod has none.
        """
        found = self.store.get("pods", namespace, pod)
        instance = self.virtual_kubelet.instances.of(found) if found is not None else None
        if instance is None:
            raise KeyError(f"{namespace}/{pod}")
        self.store.update(CONTAINER_GROUPS.shelf, with_annotations(instance, **{RECLAIM: "true"}))

    def lose_node(self, name: str) -> None:
        """Take a node away under its pods, which stay behind. KeyError: no such node."""
        node = self.store.get("nodes", "", name)
        if node is None:
            raise KeyError(name)
        self.store.update("nodes", with_annotations(node, **{podgc.KEEP_PODS: "true"}))
        self.store.remove("nodes", "", name)

    def set_node_ready(self, name: str, ready: bool) -> None:
        """Let a node fail or recover."""
        node = self.store.get("nodes", "", name)
        if node is None:
            raise KeyError(name)
        conditions = cloud.conditions(node["status"]["conditions"], self.clock.now(), ready=ready)
        self.store.update("nodes", with_status(node, conditions=conditions))

    def _on_crd(self, change: Change) -> None:
        """Serve what a CustomResourceDefinition describes as soon as it is there."""
        crd = change.object
        if change.type != "DELETED":
            self.catalogue.serve(crd)
            return
        for resource in self.catalogue.stop_serving(crd["metadata"]["name"]):
            for obj in self.store.every(resource.shelf):
                self.store.remove(resource.shelf, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])


class Running(Mapping[str, SimulatedMember]):
    """The running members of a fleet, by id."""

    def __init__(self, members: dict[str, SimulatedMember]) -> None:
        self._members = members

    def __getitem__(self, member_id: str) -> SimulatedMember:
        return self._members[member_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


@asynccontextmanager
async def run_members(
    fleet: Fleet, clock: Clock, data_dir: Path | None = None, first: Address = ANYWHERE
) -> AsyncIterator[Running]:
    """Run the simulated members of a fleet; real ones are left out.

    first: the first one's address; where its port is fixed, the others have the ports that follow.
    """
    async with AsyncExitStack() as stack:
        members: dict[str, SimulatedMember] = {}
        for member in fleet.members:
            if member.simulated is not None:
                data = data_dir / member.id if data_dir is not None else None
                port = first.port + len(members) if first.port else 0
                simulated = SimulatedMember(member, clock, data, replace(first, port=port))
                members[member.id] = await stack.enter_async_context(simulated)
        yield Running(members)


def write_kubeconfig(running: Mapping[str, SimulatedMember], path: Path) -> None:
    """One kubeconfig with a context per member id (and alias), default namespace `default`."""
    entries = [(one.member.id, one.member.alias, one.private_url, one.token) for one in running.values()]
    kubeconfig.write(kubeconfig.kubeconfig(entries), path)
