"""From STATUS and PLACEMENT to REBALANCE: on every change, when a replica's time is up, and on a sweep."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import TypeAlias

import anyio

from services.descheduler.core.asking import Asked, decide
from services.descheduler.core.stuck import Finding, find
from services.descheduler.metrics import DeschedulerMetrics
from shared import telemetry
from shared.backoff import Backoff
from shared.bus import Change, Message
from shared.contracts import subjects
from shared.contracts.placement import Placement
from shared.contracts.rebalance import Rebalance
from shared.contracts.status import Status
from shared.errors import Invalid, Retryable
from shared.service import ServiceContext

log = logging.getLogger("brim.descheduler")

Key: TypeAlias = tuple[str, str, str, str]  # (kind, group, namespace, name)

RETRY = Backoff(base=0.2, maximum=5.0)  # real seconds
SLACK = 64  # outdated entries among those that are due, not worth a clean-up


@dataclass(frozen=True, slots=True)
class Seen:
    """A status with unschedulable replicas, and the trace it came with."""

    status: Status
    context: Mapping[str, str]


class Descheduler:
    """Runs while the lease is held. `ready` once the streams were read."""

    def __init__(self, context: ServiceContext, metrics: DeschedulerMetrics) -> None:
        self._context = context
        self._metrics = metrics
        self._placements = context.bus.view("PLACEMENT")
        self._statuses = context.bus.view("STATUS")
        self._watched: dict[Key, dict[str, Seen]] = {}
        self._asked: dict[Key, Asked] = {}
        self._unmovable: dict[Key, tuple[tuple[str, str], ...]] = {}
        self._due: list[tuple[float, Key]] = []
        self._due_at: dict[Key, float] = {}
        self._dirty: dict[Key, None] = {}
        self._wake = anyio.Event()
        self._failures = 0
        self.ready = False

    async def run(self) -> None:
        """Until cancelled."""
        async with anyio.create_task_group() as group:
            for view in (self._placements, self._statuses):
                group.start_soon(view.run)
            for view in (self._placements, self._statuses):
                await view.ready()
            for subject, message in self._statuses.items().items():
                self._on_status(Change(subject, message))
            group.start_soon(self._follow_statuses)
            group.start_soon(self._follow_placements)
            group.start_soon(self._sweep)
            self.ready = True
            await self._work()

    def watched(self) -> Iterator[Status]:
        """Statuses with unschedulable replicas."""
        return (seen.status for members in self._watched.values() for seen in members.values())

    # -- what happens ----------------------------------------------------------------------------------------

    async def _follow_statuses(self) -> None:
        async for change in self._statuses.changes():
            self._on_status(change)

    async def _follow_placements(self) -> None:
        async for change in self._placements.changes():
            key = subjects.object_key(change.subject)
            if key in self._watched:
                self._touch(key)

    async def _sweep(self) -> None:
        """What events missed, such as a request that got lost with its stream."""
        while True:
            await self._context.clock.sleep(self._context.settings.descheduler.interval)
            for key in self._watched:
                self._touch(key)

    def _on_status(self, change: Change) -> None:
        """Only statuses with unschedulable replicas are kept: they are few."""
        key, member = subjects.object_key(change.subject, skip=3), subjects.member_of(change.subject)
        seen = self._read(change.message) if change.message is not None else None
        if seen is not None and seen.status.unschedulable:
            self._watched.setdefault(key, {})[member] = seen
        elif key in self._watched:
            self._watched[key].pop(member, None)
        else:
            return
        self._touch(key)

    def _read(self, message: Message) -> Seen | None:
        try:
            return Seen(Status.decode(message.data), telemetry.extract(message.headers))
        except Invalid as error:
            self._bad("STATUS", message, error)
            return None

    def _bad(self, stream: str, message: Message, error: Invalid) -> None:
        self._metrics.bad_messages.add(stream=stream)
        log.error("%s at %d is left out: %s", message.subject, message.sequence, error)

    def _touch(self, key: Key) -> None:
        self._dirty[key] = None
        self._wake.set()

    # -- the loop --------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        while True:
            await self._wait()
            now = self._context.clock.now()
            while self._due and self._due[0][0] <= now:
                at, key = heapq.heappop(self._due)
                if self._due_at.get(key) == at:
                    del self._due_at[key]
                    self._dirty[key] = None
            while self._dirty:
                key = next(iter(self._dirty))
                del self._dirty[key]
                await self._judge(key)

    async def _wait(self) -> None:
        """Until something changed or the next replica's time is up."""
        clock = self._context.clock
        seconds = clock.real(self._due[0][0] - clock.now()) if self._due else inf
        with anyio.move_on_after(max(0.0, seconds)):
            await self._wake.wait()
        self._wake = anyio.Event()

    async def _judge(self, key: Key) -> None:
        watched = self._watched.get(key, {})
        if not watched:
            self._forget(key)
            return
        message = self._placement_of(key)
        if message is None:
            return
        try:
            placement = Placement.decode(message.data)
        except Invalid as error:
            self._bad("PLACEMENT", message, error)
            return
        settings = self._context.settings.descheduler
        now = self._context.clock.now()
        statuses = {member: seen.status for member, seen in watched.items()}
        patience = self._context.settings.scheduler.elastic_deadline
        finding = find(placement, statuses, now, settings.threshold, patience)
        self._tell_unmovable(key, placement, finding)
        answer = decide(placement, finding, self._asked.get(key), now, settings.threshold)
        next_at = min(finding.next_at, answer.again_at)
        if answer.ask and not await self._ask(placement, message, finding, watched, answer.asked):
            next_at = now + self._context.clock.speed * RETRY.delay(self._failures)
        elif answer.asked is not None:
            self._asked[key] = answer.asked
        self._wake_at(key, next_at)

    def _wake_at(self, key: Key, at: float) -> None:
        if at < inf and self._due_at.get(key) != at:
            self._due_at[key] = at
            heapq.heappush(self._due, (at, key))
        if len(self._due) > 2 * len(self._due_at) + SLACK:
            self._due = [(at, key) for key, at in self._due_at.items()]
            heapq.heapify(self._due)

    def _forget(self, key: Key) -> None:
        self._watched.pop(key, None)
        self._asked.pop(key, None)
        self._unmovable.pop(key, None)
        self._due_at.pop(key, None)

    def _placement_of(self, key: Key) -> Message | None:
        seen = next(iter(self._watched[key].values()))
        return self._placements.get(subjects.placement(seen.status.ref))

    def _tell_unmovable(self, key: Key, placement: Placement, finding: Finding) -> None:
        if finding.unmovable == self._unmovable.get(key, ()):
            return
        self._unmovable[key] = finding.unmovable
        for member, why in finding.unmovable:
            self._metrics.unmovable.add(member=member)
            log.warning("%s is stuck in member %s and stays there: %s", placement.ref, member, why)

    async def _ask(
        self,
        placement: Placement,
        message: Message,
        finding: Finding,
        watched: Mapping[str, Seen],
        asked: Asked | None,
    ) -> bool:
        """Send the request. False where the bus is away: it is tried again."""
        now = self._context.clock.now()
        request = Rebalance(
            ref=placement.ref,
            uid=placement.uid,
            order=placement.order,
            cause="stuck",
            stuck=finding.stuck,
            asked_at=now,
        )
        about = "+".join(f"{stuck.member}:{stuck.count}:{stuck.since:.0f}" for stuck in finding.stuck)
        times = asked.times if asked is not None else 1
        about_it = {
            "brim.workload": str(placement.ref),
            "brim.order": str(placement.order),
            "brim.stuck": [f"{stuck.member}: {stuck.count}, {stuck.message}" for stuck in finding.stuck],
        }
        parent = watched[finding.stuck[0].member].context or telemetry.extract(message.headers)
        with telemetry.span("ask rebalance", parent=parent, links=self._links(message, watched), attributes=about_it):
            try:
                await self._context.bus.publish(
                    subjects.rebalance(placement.ref),
                    request.encode(),
                    message_id=f"stuck-{placement.uid}-{placement.order}-{times}-{about}",
                    event=Rebalance.TYPE,
                )
            except Retryable as error:
                self._failures += 1
                log.warning("%s: the request to move its stuck replicas waits: %s", placement.ref, error)
                return False
        self._failures = 0
        self._told(placement, finding, now)
        return True

    @staticmethod
    def _links(message: Message, watched: Mapping[str, Seen]) -> list[Mapping[str, str]]:
        """All that meet in a request: the decision that is in force, and every member where replicas are stuck."""
        return [telemetry.extract(message.headers), *(seen.context for seen in watched.values())]

    def _told(self, placement: Placement, finding: Finding, now: float) -> None:
        self._metrics.requests.add()
        threshold = self._context.settings.descheduler.threshold
        for stuck in finding.stuck:
            self._metrics.asked.add(stuck.count, member=stuck.member)
            self._metrics.lateness.observe(max(0.0, now - stuck.since - threshold))
            log.info("%s: %d stuck in member %s: %s", placement.ref, stuck.count, stuck.member, stuck.message)
