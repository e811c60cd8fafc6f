"""One member: its queue of objects, its requests in flight, its breaker."""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from functools import partial
from math import inf

import anyio

from services.executor import rollouts
from services.executor.admission import Admission
from services.executor.bindings import Bindings
from services.executor.core.breaker import Breaker
from services.executor.core.target import target_of
from services.executor.core.verdicts import verdict
from services.executor.core.writes import Decision
from services.executor.manifests import Manifests
from services.executor.metrics import ExecutorMetrics
from services.executor.outcomes import Outcomes
from services.executor.pods import Pods
from services.executor.queue import Key, WorkQueue
from services.executor.reconcile import Memory, Reconciler
from services.executor.work import Item, Work, traced
from shared import telemetry
from shared.backoff import Backoff, Retries
from shared.clock import Clock
from shared.contracts.action import Acted, Action
from shared.contracts.binding import Binding
from shared.contracts.outcome import Outcome, Result
from shared.errors import BrimError, MemberUnavailable, Misconfigured
from shared.fleet import Kubeconfig
from shared.kube import MemberClient, Timeouts
from shared.settings import Settings

log = logging.getLogger("brim.executor")

SETTLED: frozenset[Result] = frozenset({"applied", "deleted", "released"})
CONNECT = 5.0  # seconds until a connection stands
GRACE = 5.0  # seconds that requests in flight get on shutdown


@dataclass(frozen=True, slots=True)
class Tools:
    """What all members share."""

    manifests: Manifests
    outcomes: Outcomes
    bindings: Bindings
    metrics: ExecutorMetrics
    clock: Clock
    settings: Settings


class Member:
    """Carries out what is assigned, newest wins per object. `run` it in a task group; assign from the same loop.

    Waits and pauses are real seconds.
    """

    def __init__(self, name: str, tools: Tools) -> None:
        executor = tools.settings.executor
        self.name = name
        self.admission = Admission(name, tools.outcomes, tools.clock, executor.resync)
        self._tools = tools
        self._items: dict[Key, Item] = {}
        self._queue = WorkQueue()
        self._wake = anyio.Event()
        self._breaker = Breaker(executor.breaker_threshold, executor.breaker_pause)
        self._soon = Backoff(executor.backoff_base, executor.backoff_max)
        self._slow = Backoff(max(5.0, executor.backoff_base), executor.resync)
        self._kubeconfig: Kubeconfig | None = None
        self._connection = anyio.CancelScope()
        self._in_flight: set[anyio.CancelScope] = set()
        self._client: MemberClient | None = None

    # -- what is wanted --------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing is assigned, and the fleet has no such member."""
        return not self._items and self._kubeconfig is None

    def reach_by(self, kubeconfig: Kubeconfig | None) -> None:
        """How the member is reached from now on; None: it is no member of the fleet."""
        if kubeconfig == self._kubeconfig:
            return
        self._kubeconfig = kubeconfig
        self._connection.cancel()
        for key in self._items:
            self._queue.add(key)
        self._stir()

    def assign(self, key: Key, work: Work) -> None:
        """A newer wish for an object. One that is older than what is in hand is dropped."""
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = self._new_item(work)
            if self._is_carried_out(work):
                self._queue.add_at(key, anyio.current_time() + random.random() * self._tools.settings.executor.resync)
                item.look = item.timed = True
                return
        elif item.work.placement.uid == work.placement.uid and work.placement.order < item.work.placement.order:
            return
        item.work, item.attempts, item.look, item.timed, item.trace = work, 0, False, False, {}
        item.memory.unfinished = None  # meanwhile others may have written: the object is looked at
        if self._breaker.is_open:
            self._say(item, self._cut_off())
        self._queue.add(key)
        self._stir()

    def nudge(self, key: Key) -> None:
        """Something that a failed attempt may have waited for has changed."""
        if key in self._items and self._items[key].attempts:
            self._queue.add(key)
            self._stir()

    def release(self, key: Key) -> None:
        """No placement names the object here any more: it is left alone."""
        item = self._items.pop(key, None)
        self._queue.discard(key)
        if item is not None:
            self._tools.outcomes.forget(self.name, item.work.placement.ref)

    def keys(self) -> set[Key]:
        return set(self._items)

    def _new_item(self, work: Work) -> Item:
        last = self._tools.outcomes.last(self.name, work.placement.ref)
        before = last is not None and last.uid == work.placement.uid and last.result == "applied"
        return Item(work, Memory(applied_before=before))

    def _is_carried_out(self, work: Work) -> bool:
        """Whoever led before said so: nothing has to be sent again after a restart."""
        last = self._tools.outcomes.last(self.name, work.placement.ref)
        placement = work.placement
        return (
            last is not None
            and last.result in SETTLED
            and last.uid == placement.uid
            and last.order == placement.order
            and (last.result == "applied") == work.share.present
        )

    def _stir(self) -> None:
        self._wake.set()

    # -- pods ------------------------------------------------------------------------------------------------

    async def approve(self, action: Action) -> Acted:
        """An approval, now. Raises MemberUnavailable while the member is cut off, and what the client raises."""
        client = self._client
        if client is None or not self._breaker.allows(anyio.current_time()):
            raise MemberUnavailable(self._cut_off().message)
        return await rollouts.approve(client, action, self._tools.clock.now())

    async def _carry_out(self, pods: Pods, order: Binding) -> bool:
        """An order about a pod; see `Pods.carry_out`. Raises MemberUnavailable while the member is cut off."""
        now = anyio.current_time()
        if not self._breaker.allows(now):
            raise MemberUnavailable(self._cut_off().message, retry_after=self._breaker.pause)
        self._breaker = self._breaker.probing(now)
        try:
            done = await pods.carry_out(order)
        except BrimError as error:
            self._count(error if isinstance(error, MemberUnavailable) else None)
            raise
        self._count(None)
        return done

    # -- the loop --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry out what is assigned until cancelled. Requests in flight are finished then (5 s at most)."""
        retries = Retries(self._soon)
        while True:
            self._connection = anyio.CancelScope()
            with self._connection:
                if self._kubeconfig is None:
                    await self._without_cluster()
                try:
                    await self._connected(self._kubeconfig, retries)
                except (Misconfigured, MemberUnavailable) as error:
                    log.warning("member %s cannot be reached: %s", self.name, error)
                    self._say_waiting(Decision(result="retrying", code=error.code, message=str(error)))
                    await anyio.sleep(retries.next_delay())

    async def _without_cluster(self) -> None:
        """Placements may name a member before its manifest was seen, or after it left."""
        while True:
            for key, item in list(self._items.items()):
                self._say_unknown(item)
                self._queue.discard(key)
            await self._stirred(None)

    def _say_unknown(self, item: Item) -> None:
        message = f"{self.name} is no member of the fleet"
        if item.work.share.present:
            self._say(item, Decision(result="retrying", code="UnknownMember", message=message))
        else:
            message += ": what brim had there is left as it is"
            self._say(item, Decision(result="released", code="UnknownMember", message=message))

    def _say_waiting(self, decision: Decision) -> None:
        for key in self._queue.waiting():
            if key in self._items:
                self._say(self._items[key], decision)

    def _cut_off(self) -> Decision:
        message = f"member {self.name} does not answer: it is probed every {self._breaker.pause:g} s"
        return Decision(result="retrying", code="MemberUnavailable", message=message)

    async def _connected(self, kubeconfig: Kubeconfig | None, retries: Retries) -> None:
        assert kubeconfig is not None
        limit = self._tools.settings.executor.request_timeout
        timeouts = Timeouts(connect=min(limit, CONNECT), read=limit)
        default = self._tools.settings.kubeconfig
        async with MemberClient.reach(
            self.name, kubeconfig, default, agent="brim-executor", timeouts=timeouts
        ) as client:
            retries.succeeded()
            self._client = client
            try:
                await self._work(client)
            finally:
                self._client = None

    async def _work(self, client: MemberClient) -> None:
        """Until the connection is given up."""
        pods = Pods(client, self._tools.clock, self._tools.metrics)
        async with anyio.create_task_group() as group:
            group.start_soon(pods.tell_for_ever)
            group.start_soon(self.admission.keep, client)
            group.start_soon(self._tools.bindings.follow, self.name, partial(self._carry_out, pods))
            await self._serve(Reconciler(client, self._tools.metrics))

    async def _serve(self, reconciler: Reconciler) -> None:
        slots = self._tools.settings.executor.concurrency
        self._tools.metrics.breaker_open.set(float(self._breaker.is_open), member=self.name)
        async with anyio.create_task_group() as group:
            try:
                while True:
                    while len(self._in_flight) < slots and (key := self._next()) is not None:
                        scope = anyio.CancelScope(shield=True)
                        self._in_flight.add(scope)
                        group.start_soon(self._one, reconciler, key, scope)
                    self._tools.metrics.waiting.set(len(self._queue), member=self.name)
                    await self._stirred(None if len(self._in_flight) >= slots else self._next_at())
            finally:
                for scope in self._in_flight:
                    scope.deadline = anyio.current_time() + GRACE

    def _next(self) -> Key | None:
        now = anyio.current_time()
        if not self._breaker.allows(now):
            return None
        key = self._queue.take(now)
        if key is not None:
            self._breaker = self._breaker.probing(now)
        return key

    def _next_at(self) -> float | None:
        due = self._queue.next_at()
        return None if due is None else max(due, self._breaker.probe_at)

    async def _stirred(self, until: float | None) -> None:
        with anyio.CancelScope(deadline=inf if until is None else until):
            await self._wake.wait()
        self._wake = anyio.Event()

    # -- one object ------------------------------------------------------------------------------------------

    async def _one(self, reconciler: Reconciler, key: Key, scope: anyio.CancelScope) -> None:
        """Shielded: a write that was sent is waited for, so that its answer is not lost on shutdown."""
        again: float | None = None
        try:
            with scope:
                item = self._items.get(key)
                if item is not None:
                    again = await self._attempt(reconciler, item)
        finally:
            self._in_flight.discard(scope)
            self._queue.done(key)
            if again is not None and key in self._items:
                self._queue.add_at(key, anyio.current_time() + again)
            self._stir()

    async def _attempt(self, reconciler: Reconciler, item: Item) -> float | None:
        """One try; returns the seconds until the next."""
        work = item.work
        try:
            manifest = await self._tools.manifests.of(work.placement, work.share)
        except BrimError as error:
            return self._failed(item, work, error)
        try:
            with traced(self.name, item):
                target = target_of(work.placement, work.share, manifest, item.trace.get(telemetry.TRACEPARENT, ""))
                decision = await reconciler.carry_out(target, item.memory, look=item.look)
        except BrimError as error:
            self._count(error if isinstance(error, MemberUnavailable) else None)
            return self._failed(item, work, error)
        except Exception as error:  # one object's defect must not stop all the others
            log.exception("%s in member %s", work.placement.ref, self.name)
            return self._failed(item, work, BrimError(f"{work.placement.ref}: brim failed: {type(error).__name__}"))
        self._count(None)
        return self._succeeded(item, work, decision)

    def _is_wanted(self, item: Item, work: Work) -> bool:
        """Still, after the time it took: a newer wish waits for its own turn, and what was released is nobody's."""
        return item.work is work and self._items.get(work.placement.ref.key) is item

    def _succeeded(self, item: Item, work: Work, decision: Decision) -> float | None:
        if not self._is_wanted(item, work):
            return None
        item.attempts = item.attempts + 1 if decision.result in ("retrying", "failed", "conflict") else 0
        item.look = not decision.others_first  # the next turn that no placement asks for is a resync
        self._say(item, decision)
        if decision.result == "applied" and not item.timed:
            item.timed = True
            self._tools.metrics.carried_out.observe(max(0.0, time.time() - work.stored_at), member=self.name)
        if decision.others_first:
            return 0.0
        if decision.recheck is not None:
            return decision.recheck
        if decision.result == "applied":
            return self._tools.settings.executor.resync * random.uniform(0.75, 1.25)
        return self._slow.delay(item.attempts) if decision.result in ("failed", "conflict") else None

    def _failed(self, item: Item, work: Work, error: BrimError) -> float | None:
        if not self._is_wanted(item, work):
            return None
        found = verdict(error)
        item.attempts += 1
        item.look = True
        self._say(item, Decision(result=found.result, code=found.code, message=found.message))
        pace = self._soon if found.pace == "soon" else self._slow
        return max(found.retry_after or 0.0, pace.delay(item.attempts))

    def _count(self, failure: MemberUnavailable | None) -> None:
        """For the breaker: any answer of the member's API counts as one, a refusal too."""
        was_open = self._breaker.is_open
        if failure is None:
            self._breaker = self._breaker.succeeded()
        else:
            self._breaker = self._breaker.failed(anyio.current_time(), failure.retry_after or 0.0)
        if self._breaker.is_open != was_open:
            log.warning("member %s %s", self.name, "answers again" if was_open else "does not answer: only probed now")
            self._tools.metrics.breaker_open.set(float(self._breaker.is_open), member=self.name)
            if not was_open:
                self._say_waiting(self._cut_off())

    def _say(self, item: Item, decision: Decision) -> None:
        if decision.result is None:
            return
        placement = item.work.placement
        outcome = Outcome(
            member=self.name,
            ref=placement.ref,
            uid=placement.uid,
            order=placement.order,
            result=decision.result,
            code=decision.code,
            message=decision.message,
            at=self._tools.clock.now(),
            attempts=max(1, item.attempts),
        )
        self._tools.outcomes.say(outcome, item.trace or item.work.context)
