"""The streams → the state: what is desired, placed, reported and free, kept true as long as it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TypeVar

import anyio
from anyio.abc import TaskGroup

from services.scheduler.binding import PodBinding
from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.matching import Policies
from services.scheduler.core.values import Gap, Gone, Policy, Workload
from services.scheduler.deciding import Deciding
from services.scheduler.intake.known import Known
from services.scheduler.mending import ObjectT, legible, mended
from services.scheduler.metrics import SchedulerMetrics
from services.scheduler.normalise import gone, wanted_of
from services.scheduler.publishing import Epoch, Sequences
from services.scheduler.restoring import Restoring
from services.scheduler.rollouts import FleetRollouts, KruiseRollouts
from services.scheduler.tidying import Tidying
from services.scheduler.units import Units
from shared import telemetry
from shared.backoff import Backoff, Retries
from shared.bus import Bus, Change, Message, View
from shared.contracts import subjects
from shared.contracts.capacity import Capacity, Heartbeat, Snapshot, decode_capacity
from shared.contracts.desired import Desired
from shared.contracts.fleet_rollout import is_fleet_rollout
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.rebalance import Rebalance
from shared.contracts.refs import ObjectRef
from shared.contracts.resource_policy import is_resource_policy
from shared.contracts.rollout import is_rollout
from shared.contracts.status import Status
from shared.errors import BrimError, Invalid

log = logging.getLogger("brim.scheduler")

ASK_AGAIN = Backoff(base=1.0, maximum=15.0)  # for a snapshot that does not come
StoredT = TypeVar("StoredT", Desired, Placement)
T = TypeVar("T")
STREAMS = ("DESIRED", "PLACEMENT", "STATUS", "PODS", "OUTCOME")


class Following:
    """Feeds the state from the streams. `caught_up` once all that they held at the start was taken in.

    policies: those in force. units: of workloads whose pods brim binds itself.
    rollouts: in which order members go over to new revisions.
    """

    def __init__(
        self,
        bus: Bus,
        state: SchedulerState,
        known: Known,
        sequences: Sequences,
        epoch: Epoch,
        deciding: Deciding,
        tidying: Tidying,
        metrics: SchedulerMetrics,
        binding: PodBinding,
    ) -> None:
        self._bus = bus
        self._state = state
        self._known = known
        self._sequences = sequences
        self._epoch = epoch
        self._deciding = deciding
        self._tidying = tidying
        self._metrics = metrics
        self._binding = binding
        self.restoring = Restoring(bus, state, known, sequences)
        self.policies = Policies()
        self.units = Units(known)
        self.rollouts = FleetRollouts(state)
        self.kruise = KruiseRollouts(known)
        self._asking: set[str] = set()  # members whose snapshot is asked for
        self._caught_up = asyncio.Event()
        self._group: TaskGroup | None = None

    @property
    def is_caught_up(self) -> bool:
        return self._caught_up.is_set()

    async def caught_up(self) -> None:
        await self._caught_up.wait()

    async def run(self) -> None:
        """The order matters at the start only: objects before their placements, placements before reports, pods before
        what became of their orders and before the capacity of their members."""
        handlers: dict[str, Callable[[Change], Awaitable[None]]] = {
            "DESIRED": self._on_desired,
            "PLACEMENT": self._on_placement,
            "STATUS": self._on_status,
            "OUTCOME": self._on_outcome,
            "PODS": self._binding.on_pod,
        }
        views = {stream: self._bus.view(stream, lean=True) for stream in STREAMS}
        async with anyio.create_task_group() as group:
            self._group = group
            for view in views.values():
                group.start_soon(view.run)
            for stream, view in views.items():
                await view.ready()
                for subject, message in list(view.items().items()):
                    await handlers[stream](Change(subject, message))
            capacity = self._bus.follow("CAPACITY", ["brim.capacity.*"], self._on_capacity_message)
            group.start_soon(capacity.run)
            for stream, view in views.items():
                group.start_soon(self._go_on, view, handlers[stream])
            await capacity.ready()
            await self._binding.catch_up()
            self._caught_up.set()
            self._deciding.wake()
            self._binding.wake()

    def _start(self, task: Callable[[T], Coroutine[None, None, None]], about: T) -> None:
        assert self._group is not None
        self._group.start_soon(task, about)

    async def _go_on(self, view: View, handler: Callable[[Change], Awaitable[None]]) -> None:
        async for change in view.changes():
            await handler(change)

    # -- desired ---------------------------------------------------------------------------------------------

    async def _on_desired(self, change: Change) -> None:
        key = subjects.object_key(change.subject)
        if change.message is None:
            await self._on_desired_gone(change.subject)
        elif change.message.sequence > self._known.sequence(key):
            found = await self._read("DESIRED", Desired, change.message)
            if found is None:
                self._known.fence(key, change.message.sequence)
            elif self._known.put(found[1], found[0].sequence):
                self.take(found[1], found[0].headers)

    async def _on_desired_gone(self, subject: str) -> None:
        """What is known may be newer than a view that lags behind: ask the stream itself. Absence never deletes."""
        entry = self._known.get(subjects.object_key(subject))
        last = await self.restoring.last("DESIRED", subject) if entry else None
        if entry is None or (last is not None and not last.removed):
            return
        if last is None and entry.desired.deleted is None:
            self._start(self.restoring.desired, entry.desired)
            return
        self._known.remove(entry.desired.ref.key, last.sequence if last else 0)
        ref = entry.desired.ref
        if is_resource_policy(ref.kind, ref.group):
            self._again(self.units.remove((ref.namespace, ref.name)), {})
            self._bind_anew(ref)
            return
        if is_fleet_rollout(ref.kind, ref.group):
            self._deciding.heard(self.rollouts.remove(ref), {})
            return
        if is_rollout(ref.kind, ref.group):
            self._again(self.kruise.remove(ref), {})
        absent = gone(ref)
        if absent.kind == "policy":
            self.policies.remove(str(absent.key))
        self._deciding.heard(self._state.on_desired(absent), {})
        self._deciding.gone(entry.desired.ref.key)

    def take(self, desired: Desired, headers: Mapping[str, str]) -> None:
        """A new state of an object, whoever brings it: the stream, or the intake right after storing it."""
        if is_fleet_rollout(desired.ref.kind, desired.ref.group):
            self._deciding.heard(self.rollouts.take(desired), telemetry.extract(headers))
            self._tidying.noticed(desired)
            return
        if is_resource_policy(desired.ref.kind, desired.ref.group):
            self._again(self._read_policy(desired), headers)
            self._bind_anew(desired.ref)
            self._tidying.noticed(desired)
            return
        if is_rollout(desired.ref.kind, desired.ref.group):  # an object like any, besides
            self._again(self.kruise.take(desired), headers)
        try:
            value = wanted_of(desired)
            if isinstance(value, Workload):
                value = self.kruise.apply(self.units.apply(value, desired))
        except (Invalid, ValueError, KeyError) as error:
            log.error("%s in DESIRED cannot be understood and is left alone: %s", desired.ref, error)
            return
        if isinstance(value, Policy):
            self.policies.put(value)
        elif isinstance(value, Gone) and value.kind == "policy":
            self.policies.remove(str(value.key))
        self._metrics.workloads.set(len(self._known))
        self._deciding.heard(self._state.on_desired(value), telemetry.extract(headers))
        self._tidying.noticed(desired)
        if (desired.ref.kind, desired.ref.group) == ("Namespace", ""):
            self._again(self.units.of_namespace(desired.ref.name), headers)

    def _read_policy(self, desired: Desired) -> list[Desired]:
        try:
            return self.units.take(desired)
        except Invalid as error:
            log.error("%s in DESIRED cannot be understood and is left alone: %s", desired.ref, error)
            return []

    def _bind_anew(self, ref: ObjectRef) -> None:
        """Pods inside members follow the policy as it is now, or none."""
        key = (ref.namespace, ref.name)
        self._binding.on_policy(key, self.units.policies.get(key))

    def _again(self, workloads: list[Desired], headers: Mapping[str, str]) -> None:
        """They are the same, but what they may use inside a member is not."""
        for desired in workloads:
            self.take(desired, headers)

    # -- what became of it -----------------------------------------------------------------------------------

    async def _on_placement(self, change: Change) -> None:
        """Written by a former leader; our own are known already. Raises LeaseLost where a newer one wrote."""
        key = subjects.object_key(change.subject)
        message = change.message
        if message is None:
            before = self._state.explain(key)
            if not self._sequences.seen_removed(key) and before is not None:
                self._start(self.restoring.placement, before.ref)
            return
        if message.sequence <= self._sequences.get(key):
            return
        found = await self._read("PLACEMENT", Placement, message)
        if found is not None:
            message, placement = found
            if not self.is_caught_up:
                self._epoch.seen(placement.order.epoch)
            self._epoch.check(placement)
            self._sequences.put(key, message.sequence)
            self._deciding.placed(placement)
            self._deciding.heard(self._state.on_placement(placement), telemetry.extract(message.headers))

    def _legible(self, stream: str, contract: type[ObjectT], message: Message, *, skip: int = 2) -> ObjectT | None:
        found = legible(contract, message, skip=skip)
        if found is None:
            self._metrics.unreadable(stream)
        return found

    async def _read(self, stream: str, contract: type[StoredT], message: Message) -> tuple[Message, StoredT] | None:
        """What the scheduler itself wrote: one broken record must not hide the good one below."""
        found = self._legible(stream, contract, message)
        return (message, found) if found is not None else await mended(self._bus, stream, contract, message)

    async def _on_status(self, change: Change) -> None:
        if change.message is None:
            kind, group, namespace, name = subjects.object_key(change.subject, skip=3)
            ref = ObjectRef(group=group, version="", kind=kind, namespace=namespace, name=name)
            due = self._state.on_status_gone(subjects.member_of(change.subject), ref)
            self._deciding.heard(due, {})
            return
        status = self._legible("STATUS", Status, change.message, skip=3)
        if status is not None:
            known = self._state.is_known(status.ref.key) or self._known.was_removed(status.ref.key)
            self._epoch.applied(status, leads=self.is_caught_up, known=known)
        if status is not None and (due := self._state.on_status(status)):
            self._deciding.heard(due, telemetry.extract(change.message.headers))

    async def _on_outcome(self, change: Change) -> None:
        if change.message is None:
            return
        outcome = self._legible("OUTCOME", Outcome, change.message, skip=3)
        if outcome is None:
            return
        if (outcome.ref.kind, outcome.ref.group) == ("Pod", ""):
            self._binding.on_outcome(outcome)
            return
        if due := self._state.on_outcome(outcome):
            self._deciding.heard(due, telemetry.extract(change.message.headers))
        if outcome.result in ("deleted", "released"):
            self._tidying.wake()

    # -- room ------------------------------------------------------------------------------------------------

    async def _on_capacity_message(self, message: Message) -> None:
        if message.removed:
            return
        member = subjects.member_of(message.subject)
        try:
            self._on_capacity(decode_capacity(message.data))
        except Invalid as error:
            log.error("a capacity message of %s cannot be understood: %s", member, error)
            self._metrics.unreadable("CAPACITY")
            self.ask_for_snapshot(member)

    def _on_capacity(self, news: Capacity) -> None:
        is_missing_inside = self._binding.on_capacity(news)
        due = self._state.on_capacity(news)
        if isinstance(due, Gap) or is_missing_inside:
            self.ask_for_snapshot(news.member)
        elif not isinstance(news, Heartbeat) and (not isinstance(news, Snapshot) or news.chunk == news.chunks - 1):
            self._asking.discard(news.member)
        if not isinstance(due, Gap):
            self._deciding.heard(due, {})  # also where nothing is due: who waits for room may have been woken

    def ask_for_snapshot(self, member: str) -> None:
        """Until one comes: something of the member's capacity is missing, or nobody needed it so far."""
        if member not in self._asking and self._group is not None:
            self._asking.add(member)
            self._group.start_soon(self._keep_asking, member)

    async def _keep_asking(self, member: str) -> None:
        """Until a snapshot came, or the member left the fleet."""
        retries = Retries(ASK_AGAIN)
        await self._caught_up.wait()  # what lies in the stream already may close the gap
        while member in self._asking and member in self._known.members():
            self._metrics.snapshot_asked(member)
            try:
                await self._bus.request(subjects.snapshot(member), b"")
            except BrimError as error:
                log.info("no snapshot of %s yet: %s", member, error)
            await asyncio.sleep(retries.next_delay())
        self._asking.discard(member)

    # -- wishes ----------------------------------------------------------------------------------------------

    async def rebalance(self, message: Message) -> None:
        """A consumer's handler: the request is done once its decision is stored, or shown to be void."""
        request = Rebalance.decode(message.data)
        due = self._state.on_rebalance(request)
        if due:
            self._deciding.heard(due, telemetry.here(message.headers))
            await self._deciding.settled(request.ref.key)
