"""From the streams to the members: which member holds which share of what."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import anyio
import anyio.abc

from services.executor.actions import Actions
from services.executor.bindings import Bindings
from services.executor.manifests import Manifests
from services.executor.member import Member, Tools
from services.executor.metrics import ExecutorMetrics
from services.executor.outcomes import Outcomes
from services.executor.queue import Key
from services.executor.work import Work
from shared import telemetry
from shared.backoff import Backoff, Retries
from shared.bus import Change, Message
from shared.contracts import cluster, subjects
from shared.contracts.action import Acted, Action
from shared.contracts.desired import Desired
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.errors import Invalid, MemberUnavailable
from shared.service import ServiceContext

log = logging.getLogger("brim.executor")

RETRY = Backoff(base=0.5, maximum=30.0)  # for a member whose task failed

CLUSTERS = subjects.desired_kind(cluster.KIND, cluster.GROUP).removesuffix(">")


@dataclass(slots=True)
class _Running:
    member: Member
    scope: anyio.CancelScope


class Executor:
    """Runs while the lease is held. `ready` once the streams were read."""

    def __init__(self, context: ServiceContext, metrics: ExecutorMetrics) -> None:
        bus = context.bus
        self._metrics = metrics
        self._desired = bus.view("DESIRED")
        self._placements = bus.view("PLACEMENT")
        self._last_words = bus.view("OUTCOME", resync=context.settings.executor.resync)
        self._outcomes = Outcomes(bus, self._last_words, metrics, context.settings.executor.resync)
        manifests = Manifests(bus, self._desired)
        bindings = Bindings(bus, context.clock, metrics, context.settings.executor.concurrency)
        self._tools = Tools(manifests, self._outcomes, bindings, metrics, context.clock, context.settings)
        self._actions = Actions(bus, context.clock, metrics, self._approve, self._members_with)
        self._running: dict[str, _Running] = {}
        self._members_of: dict[Key, tuple[str, ...]] = {}
        self._seen: dict[Key, int] = {}
        self.ready = False

    async def run(self) -> None:
        """Until cancelled; writes in flight are finished then, and what came of them is said."""
        try:
            async with anyio.create_task_group() as group:
                await self._start(group)
        finally:
            await self._outcomes.finish()

    async def _start(self, group: anyio.abc.TaskGroup) -> None:
        views = (self._desired, self._placements, self._last_words)
        for view in views:
            group.start_soon(view.run)
        for view in views:
            await view.ready()
        self._load(group)
        group.start_soon(self._outcomes.run)
        group.start_soon(self._follow_desired, group)
        group.start_soon(self._follow_placements, group)
        group.start_soon(self._actions.run)
        self.ready = True

    def _load(self, group: anyio.abc.TaskGroup) -> None:
        """Take over: the members first, so that no placement finds them unknown."""
        self._outcomes.load()
        for subject, message in list(self._desired.items().items()):
            if subject.startswith(CLUSTERS):
                self._on_cluster(group, subject, message)
        for subject, message in list(self._placements.items().items()):
            self._on_placement(group, subject, message)
        for outcome in self._outcomes.known().values():
            of_member = outcome.ref.key == cluster.cluster_ref(outcome.member).key and outcome.member in self._running
            if not of_member and outcome.member not in self._members_of.get(outcome.ref.key, ()):
                self._outcomes.forget(outcome.member, outcome.ref)

    async def _follow_desired(self, group: anyio.abc.TaskGroup) -> None:
        async for change in self._desired.changes():
            if change.subject.startswith(CLUSTERS):
                self._on_cluster(group, change.subject, change.message)
            else:
                self._nudge(change)

    async def _follow_placements(self, group: anyio.abc.TaskGroup) -> None:
        async for change in self._placements.changes():
            self._on_placement(group, change.subject, change.message)

    # -- members ---------------------------------------------------------------------------------------------

    def _on_cluster(self, group: anyio.abc.TaskGroup, subject: str, message: Message | None) -> None:
        name = subjects.object_key(subject)[3]
        desired, kubeconfig = None, None
        if message is not None:
            try:
                read = Desired.decode(message.data)
                if read.deleted is None:
                    desired, kubeconfig = read, cluster.ClusterManifest.read(read.manifest).spec.kubeconfig
            except Invalid as error:
                self._metrics.bad_messages.add(stream="DESIRED")
                log.error("member %s stays as it was: %s", name, error)
                return
        if desired is not None or name in self._running:
            member = self._member(group, name)
            member.admission.want(desired)
            member.reach_by(kubeconfig)
        self._retire(name)

    def _member(self, group: anyio.abc.TaskGroup, name: str) -> Member:
        running = self._running.get(name)
        if running is None:
            running = self._running[name] = _Running(Member(name, self._tools), anyio.CancelScope())
            group.start_soon(self._run_member, name, running, name=f"member {name}")
        return running.member

    async def _run_member(self, name: str, running: _Running) -> None:
        """One member's fault must not end the others': it begins again."""
        retries = Retries(RETRY)
        with running.scope:
            while True:
                try:
                    await running.member.run()
                except Exception:  # a defect of brim's; whatever a member does is dealt with inside
                    log.exception("member %s failed and begins again", name)
                await anyio.sleep(retries.next_delay())
        if name not in self._running:
            self._metrics.forget_member(name)

    def _retire(self, name: str) -> None:
        running = self._running.get(name)
        if running is not None and running.member.idle:
            running.scope.cancel()
            del self._running[name]

    def _members_with(self, ref: ObjectRef) -> tuple[str, ...]:
        """Those that are to hold it; not where it is being removed."""
        message = self._placements.get(subjects.placement(ref))
        placement = self._read(message) if message is not None else None
        return tuple(share.member for share in placement.shares if share.present) if placement is not None else ()

    async def _approve(self, member: str, action: Action) -> Acted:
        """Raises MemberUnavailable for one that is no member (any more)."""
        running = self._running.get(member)
        if running is None:
            raise MemberUnavailable(f"{member} is no member of the fleet", code="UnknownMember")
        return await running.member.approve(action)

    # -- objects ---------------------------------------------------------------------------------------------

    def _on_placement(self, group: anyio.abc.TaskGroup, subject: str, message: Message | None) -> None:
        key = subjects.object_key(subject)
        sequence = message.sequence if message is not None else 0
        if self._seen.get(key) == sequence:
            return
        self._seen[key] = sequence
        placement = self._read(message) if message is not None else None
        if message is not None and placement is None:
            return
        shares = placement.shares if placement is not None else ()
        before = self._members_of.pop(key, ())
        if placement is not None and message is not None:
            self._members_of[key] = tuple(share.member for share in shares)
            context = telemetry.extract(message.headers)
            for share in shares:
                work = Work(placement, share, context, message.published_at)
                self._member(group, share.member).assign(key, work)
        else:
            del self._seen[key]
        for name in set(before) - {share.member for share in shares}:
            if name in self._running:
                self._running[name].member.release(key)
                self._retire(name)

    def _read(self, message: Message) -> Placement | None:
        try:
            return Placement.decode(message.data)
        except Invalid as error:
            self._metrics.bad_messages.add(stream="PLACEMENT")
            log.error("%s at %d is left out: %s", message.subject, message.sequence, error)
            return None

    def _nudge(self, change: Change) -> None:
        """A placement can be seen before the manifest that it is about."""
        key = subjects.object_key(change.subject)
        for name in self._members_of.get(key, ()):
            self._running[name].member.nudge(key)
