"""The members that DESIRED names: they come, change and go while inventory runs."""

from __future__ import annotations

import logging
from contextlib import aclosing
from dataclasses import dataclass

import anyio
from anyio.abc import TaskGroup

from services.inventory.around import Around
from services.inventory.core.health import Watchman
from services.inventory.leavings import Leavings
from services.inventory.member import MemberInventory
from shared.backoff import Backoff, Retries
from shared.bus import Change
from shared.contracts import cluster, subjects
from shared.contracts.cluster import ClusterManifest
from shared.contracts.desired import Desired
from shared.contracts.refs import ObjectRef
from shared.contracts.resource_policy import is_resource_policy
from shared.errors import Invalid, LeaseLost

log = logging.getLogger("brim.inventory")

RETRY = Backoff(base=0.5, maximum=30.0)
LOOK_AT_LEAST = 0.2  # real seconds between two looks at who is lost


@dataclass(slots=True)
class _Running:
    """One member's task. ended: set once all of it has ended."""

    cluster: ClusterManifest
    inventory: MemberInventory
    scope: anyio.CancelScope
    ended: anyio.Event


class Fleet:
    """`run` follows DESIRED until cancelled. Raises LeaseLost when a newer instance writes."""

    def __init__(self, around: Around) -> None:
        self._around = around
        self._running: dict[str, _Running] = {}
        self._desired = around.bus.view("DESIRED")
        self._leavings = Leavings(around.bus, around.clock, self._running)
        self._complete = False

    @property
    def is_ready(self) -> bool:
        """All members that can be reached are synced."""
        return self._complete and all(one.inventory.is_ready for one in self._running.values())

    async def run(self) -> None:
        view = self._desired
        async with anyio.create_task_group() as group:
            group.start_soon(view.run, name="view of DESIRED")
            await view.ready()
            for subject, message in list(view.items().items()):
                await self._take(group, Change(subject, message))
            await self._leavings.clear_strangers()
            self._complete = True
            group.start_soon(self._leavings.sweep, name="costs of members that left")
            group.start_soon(self._watch_over, name="who is lost")
            async with aclosing(view.changes()) as changes:
                async for change in changes:
                    await self._take(group, change)

    async def _take(self, group: TaskGroup, change: Change) -> None:
        kind, group_name, namespace, name = subjects.object_key(change.subject)
        if is_resource_policy(kind, group_name):
            self._around.policies.take(namespace, name, self._decode(change))
            return
        is_member = (kind, group_name) == (cluster.KIND, cluster.GROUP)
        if not is_member and self._around.kinds.knows(kind, group_name):
            return
        desired = self._decode(change)
        if not is_member:
            if desired is not None:
                self._around.kinds.add(desired.ref)
        elif change.message is None or (desired is not None and desired.deleted is not None):
            await self._remove(name)
        elif desired is not None:  # what cannot be read takes no member away
            await self._put(group, desired)

    def _decode(self, change: Change) -> Desired | None:
        if change.message is None:
            return None
        try:
            return Desired.decode(change.message.data)
        except Invalid as error:
            log.error("what %s holds cannot be read and is left out: %s", change.subject, error)
            return None

    def _is_wanted(self, ref: ObjectRef) -> bool:
        """Whether the fleet has such an object."""
        message = self._desired.get(subjects.desired(ref))
        desired = self._decode(Change(subjects.desired(ref), message))
        return desired is not None and desired.deleted is None

    # -- members ---------------------------------------------------------------------------------------------

    async def _put(self, group: TaskGroup, desired: Desired) -> None:
        try:
            manifest = ClusterManifest.read(desired.manifest)
        except Invalid as error:
            log.error("member %s is left as it was: %s", desired.ref.name, error)
            return
        running = self._running.get(manifest.id)
        if running is not None and _way(running.cluster) == _way(manifest):
            return
        if running is not None:
            await self._stop(manifest.id)
        inventory = MemberInventory(self._around, manifest, self._is_wanted)
        running = _Running(manifest, inventory, anyio.CancelScope(), anyio.Event())
        self._running[manifest.id] = running
        self._around.metrics.members.set(len(self._running))
        group.start_soon(self._supervise, running, name=f"member {manifest.id}")

    async def _supervise(self, running: _Running) -> None:
        """One member's fault must not end the others': it begins again."""
        retries = Retries(RETRY)
        with running.scope:
            while True:
                try:
                    await running.inventory.run()
                except* LeaseLost:
                    raise
                except* Exception as failed:
                    log.error("member %s failed and begins again: %s", running.cluster.id, failed, exc_info=failed)
                await anyio.sleep(retries.next_delay())
                running.inventory = MemberInventory(self._around, running.cluster, self._is_wanted)
        running.ended.set()

    async def _stop(self, member: str) -> None:
        running = self._running.pop(member)
        running.scope.cancel()
        await running.ended.wait()
        self._around.metrics.members.set(len(self._running))

    async def _remove(self, member: str) -> None:
        if member in self._running:
            await self._stop(member)
            self._around.metrics.forget_member(member)
            log.info("member %s left the fleet", member)
            await self._leavings.clear(member)

    # -- who is lost -----------------------------------------------------------------------------------------

    async def _watch_over(self) -> None:
        clock, settings = self._around.clock, self._around.settings.inventory
        pause = max(LOOK_AT_LEAST, clock.real(settings.heartbeat / 2))
        asleep = max(6 * settings.heartbeat, 10 * clock.speed * pause)
        watchman = Watchman(lost_after=settings.lost_after, began_at=clock.now(), paused=asleep)
        stood: frozenset[str] = frozenset()
        while True:
            mirrors = {name: one.inventory.mirror for name, one in self._running.items()}
            watchman.lost |= {name for name, mirror in mirrors.items() if mirror.lost}
            lost = watchman.look({name: mirror.reachable_at for name, mirror in mirrors.items()}, clock.now())
            stand = frozenset(name for name, mirror in mirrors.items() if mirror.stands)
            self._tell_lost(lost, stood & stand)
            stood = stand
            await anyio.sleep(pause)

    def _tell_lost(self, lost: frozenset[str], stand: frozenset[str]) -> None:
        for member, running in self._running.items():
            mirror = running.inventory.mirror
            # A member that returns is not back before its watches are, and told what was missed: what is known of
            # it is old.
            now_lost = member in lost or (mirror.lost and member not in stand)
            if now_lost != mirror.lost:
                mirror.lost = now_lost
                log.warning("member %s %s", member, "is lost: its replicas may go elsewhere" if now_lost else "is back")
                running.inventory.capacity.wake()
            self._around.metrics.lost.set(int(now_lost), member=member)


def _way(manifest: ClusterManifest) -> tuple[object, object]:
    """What a member's inventory depends on; labels, taints and wishes are the scheduler's."""
    return (manifest.spec.kubeconfig, manifest.spec.stock)
