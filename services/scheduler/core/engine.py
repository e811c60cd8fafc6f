"""The scheduler's whole state, without I/O: contract values in, decisions out."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Set
from dataclasses import replace
from typing import TypeAlias

from services.scheduler.core.decision import decide
from services.scheduler.core.decision_queue import DecisionQueue
from services.scheduler.core.filtering import Fleet
from services.scheduler.core.fleet_rollouts import FleetRollouts
from services.scheduler.core.in_force import InForce, members_of
from services.scheduler.core.matching import Policies
from services.scheduler.core.records import Record, Records, components_in, kept, learned, needs_status
from services.scheduler.core.regained import held_uid, regained
from services.scheduler.core.room import FleetRoom
from services.scheduler.core.values import (
    Decision,
    Gap,
    Gone,
    MemberFacts,
    Policy,
    Rules,
    Workload,
    WorkloadKey,
)
from services.scheduler.core.waves import Measured, Plan
from shared.contracts.capacity import Capacity, Delta, Heartbeat
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement, Waves
from shared.contracts.rebalance import Rebalance
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status

Wanted: TypeAlias = Workload | Policy | MemberFacts | Gone
_NOBODY: frozenset[WorkloadKey] = frozenset()


class SchedulerState:
    """Members, policies, workloads, placements, statuses, outcomes and room.

    Every `on_…` takes one message, is idempotent, and returns the keys of the workloads that became due; they are
    queued already, so a caller may ignore the return value. Feed it DESIRED (normalised by the app), PLACEMENT,
    CAPACITY, STATUS and OUTCOME until all are caught up, then loop:

        while (decision := state.next_decision(now)) is not None:
            placement = state.assume(decision, order)      # reserved from here on
            ... publish placement ...                      # several may be in flight
            state.confirm(placement)                       # stored
            state.forget(placement)                        # or known not to be stored: undone, due again

    A publish with an unknown end (no ack) is neither: read the subject's last placement and pass it to
    `on_placement`, which confirms or replaces; where it is an older one, `forget`.
    """

    def __init__(self, rules: Rules | None = None, *, shapes: int = 256) -> None:
        self.rules = rules or Rules()
        self.room = FleetRoom(shapes)
        self.fleet = Fleet()
        self.policies = Policies()
        self._records = Records()
        self._wishes: dict[str, MemberFacts] = {}
        self._queue = DecisionQueue(self._records, self.policies, self.fleet, self.room, self.rules)
        self._turns = self._queue.turns
        self._in_force = InForce(self._records, self.room, self._queue)
        self._rollouts = FleetRollouts(self._records, self.fleet)

    # -- what people want --------------------------------------------------------------------------------

    def on_desired(self, value: Wanted) -> Set[WorkloadKey]:
        """A workload, policy or member as DESIRED has it now, or that it is no more."""
        match value:
            case Workload():
                return self._on_workload(value)
            case Policy():
                return self._on_policy(value)
            case MemberFacts():
                self._wishes[value.id] = value
                return self._on_member(value.id)
            case Gone():
                return self._on_gone(value)

    def _on_workload(self, workload: Workload) -> Set[WorkloadKey]:
        record = self._records.get(workload.key)
        old = record.workload
        if old is not None and (old == workload or (old.uid == workload.uid and old.generation > workload.generation)):
            return _NOBODY
        previous = record.placement
        record.workload = workload
        self._records.index(old, workload)
        if previous is not None:
            self._in_force.reserve(record, None, previous, previous.decided_at)
        return self._queue.put([workload.key])

    def _on_policy(self, policy: Policy) -> Set[WorkloadKey]:
        if self.policies.by_key.get(policy.key) == policy:
            return _NOBODY
        old = self.policies.put(policy)
        self.fleet.forget(policy.key)
        return self._queue.put(
            self._records.selected_by(policy) | (self._records.selected_by(old) if old else set()), later=True
        )

    def _on_gone(self, gone: Gone) -> Set[WorkloadKey]:
        if isinstance(gone.key, tuple):
            return self._on_workload_gone(gone.key)
        if gone.kind == "policy":
            policy = self.policies.remove(gone.key)
            self.fleet.forget(gone.key)
            return self._queue.put(self._records.selected_by(policy), later=True) if policy else _NOBODY
        self._wishes.pop(gone.key, None)
        if self.fleet.remove(gone.key) is None:
            return _NOBODY
        self.room.forget(gone.key)
        return self._queue.put(self._records.placed_in(gone.key))

    def _on_workload_gone(self, key: WorkloadKey) -> Set[WorkloadKey]:
        record = self._records.pop(key)
        if record is not None and record.placement is not None:
            self.room.release(record.placement.uid, members_of(record.placement))
        self._turns.discard(key)
        self._rollouts.forget_measures(key)
        self._queue.wake()
        return _NOBODY

    def on_rollout(self, key: WorkloadKey, plan: Plan | None) -> Set[WorkloadKey]:
        """The workload's FleetRollout as DESIRED has it now, or that it has none."""
        return self._queue.put([key], later=True) if self._rollouts.put(key, plan) else _NOBODY

    def on_measured(self, key: WorkloadKey, member: str, measured: Measured) -> Set[WorkloadKey]:
        """What the query of the workload's FleetRollout says of a member now."""
        return self._queue.put([key]) if self._rollouts.measure(key, member, measured) else _NOBODY

    def asking(self) -> list[tuple[WorkloadKey, Waves, list[str]]]:
        """Workloads whose wave under way has a query, and the members that it is to be asked about."""
        return self._rollouts.asking()

    # -- what members tell -------------------------------------------------------------------------------

    def on_capacity(self, message: Capacity) -> Set[WorkloadKey] | Gap:
        """A snapshot (chunk), delta or heartbeat. Gap: ask for a snapshot; the member gets no new work until then."""
        gap = self.room.apply(message)
        due = self._on_member(message.member) if message.member in self._wishes else _NOBODY
        return gap or due | self._queue.put(self._elsewhere(message), later=True)

    def _elsewhere(self, message: Capacity) -> Iterator[WorkloadKey]:
        """Whose pods are all bound, but to other nodes than its share tells: what it costs is another amount."""
        if isinstance(message, Heartbeat):
            return
        told = message.bound_virtual if isinstance(message, Delta) else self.room.on_virtual(message.member)
        for uid in told:
            record = self._records.by_uid(uid)
            placement = record.placement if record is not None else None
            share = placement.share(message.member) if placement is not None and placement.uid == uid else None
            if placement is None or share is None or share.free + share.elastic + share.virtual != share.replicas:
                continue
            virtual = self.room.bound_virtual(uid, message.member)
            if self.room.bound(uid, message.member) == share.replicas and virtual != share.virtual:
                yield placement.ref.key

    def _on_member(self, member: str) -> Set[WorkloadKey]:
        """The member's facts from what people wish and what its capacity messages say."""
        feed = self.room.feed(member)
        old = self.fleet.members.get(member)
        facts = self._wishes[member]
        if feed is not None:
            facts = replace(facts, lost=feed.lost, silent=feed.silent, heard_of=feed.synced)
        if not self.fleet.put(facts, self.room.number(member)):
            return _NOBODY
        if old is not None and replace(old, silent=facts.silent, heard_of=facts.heard_of) == facts:
            if facts.silent or not facts.heard_of:
                return _NOBODY
            # Room that grew there meanwhile was of no use to those who wait, and was not kept for them.
            return self._queue.put({*self._records.interested(member), *self._turns.waiting.members()}, later=True)
        return self._queue.put(self._records.keys(), later=True)

    def on_status(self, status: Status) -> Set[WorkloadKey]:
        record = self._records.get(status.ref.key)
        old = record.statuses.get(status.member)
        if old is not None and old.uid == status.uid and status.observed_at < old.observed_at:
            return _NOBODY
        record.statuses[status.member] = status
        if record.workload is None or record.placement is None or status.uid != record.workload.uid:
            return _NOBODY
        if record.workload.is_job and status.succeeded != (old.succeeded if old is not None else 0):
            self._in_force.reserve(record, record.placement, record.placement, status.observed_at)
        needed = needs_status(record.workload, record.placement, old, status)
        return self._queue.put([status.ref.key]) if needed else _NOBODY

    def held_uid(self, key: WorkloadKey, epoch: int) -> str:
        """See `regained.held_uid`; of an object that is not known otherwise."""
        return "" if self.is_known(key) else held_uid(self._records.peek(key).statuses.values(), epoch)

    def placements(self) -> list[Placement]:
        """Those in force, of everything that is known."""
        return self._records.placements()

    def before(self, key: WorkloadKey, uid: str, revision: int) -> int:
        """The revision that members had until this one came; 0 where no placement says so."""
        placement = self._records.peek(key).placement
        same = placement is not None and (placement.uid, placement.revision) == (uid, revision)
        return placement.before if placement is not None and same else 0

    def is_known(self, key: WorkloadKey) -> bool:
        """Somebody wants it, or did, and it is not gone yet."""
        record = self._records.peek(key)
        return record.workload is not None or record.placement is not None

    def is_rolling(self, key: WorkloadKey) -> bool:
        """Whether this Rollout is in the middle of its steps in some member."""
        statuses = self._records.peek(key).statuses.values()
        return any(status.rollout is not None and status.rollout.phase == "Progressing" for status in statuses)

    def on_status_gone(self, member: str, ref: ObjectRef) -> Set[WorkloadKey]:
        """The STATUS subject was purged."""
        record = self._records.peek(ref.key)
        if record.statuses.pop(member, None) is None or record.placement is None:
            if record.empty:
                self._records.pop(ref.key)
            return _NOBODY
        retiring = any(share.retiring for share in record.placement.shares)
        return self._queue.put([ref.key]) if retiring else _NOBODY

    def on_outcome(self, outcome: Outcome) -> Set[WorkloadKey]:
        record = self._records.get(outcome.ref.key)
        known = record.outcomes.get(outcome.member)
        if known is not None and known.uid == outcome.uid and outcome.order < known.order:
            return _NOBODY  # orders of a namesake say nothing: they begin anew
        if record.workload is not None and outcome.uid != record.workload.uid:
            return _NOBODY
        record.outcomes[outcome.member] = outcome
        return self._queue.put([outcome.ref.key]) if record.gone(outcome.member) else _NOBODY

    def on_placement(self, placement: Placement) -> Set[WorkloadKey]:
        """A stored placement: at the start, or written by a former leader. Older than what is known: ignored."""
        record = self._records.get(placement.ref.key)
        found = learned(placement)
        if record.stored is None or record.stored.order < placement.order:
            record.stored = found
        if record.placement is not None and not record.placement.order < placement.order:
            return _NOBODY
        self._in_force.put(record, found, found.decided_at)
        if record.workload is None or record.workload.generation != placement.generation:
            return self._queue.put([placement.ref.key])
        self._turns.was_decided(placement.ref.key)  # it was decided: at the start nothing new waits behind all of these
        return self._queue.put([placement.ref.key], later=True)

    def on_rebalance(self, request: Rebalance) -> Set[WorkloadKey]:
        """Void (empty set) when the placement in force is another than the request was made for."""
        record = self._records.get(request.ref.key)
        placement = record.placement
        if placement is None or placement.uid != request.uid:
            return _NOBODY
        if request.cause == "stuck" and placement.order != request.order:
            return _NOBODY
        record.request = request
        return self._queue.put([request.ref.key])

    def reservation_ages(self, now: float) -> dict[str, float]:
        """Per member, for how many seconds the oldest of its reservations has waited for pods; 0 where none does.

        A removed member that a frozen placement still names has no room to hold.
        """
        since = self.room.oldest_reservations()
        return {member: max(0.0, now - since.get(member, now)) for member in self.fleet.members}

    # -- time --------------------------------------------------------------------------------------------

    def tick(self, now: float) -> Set[WorkloadKey]:
        """What became due by time alone: rests that ended, the hour of a failback that passed, waves under way."""
        return self._queue.put(self._turns.ripe(now))

    def next_due(self) -> float | None:
        """Unix seconds of the next `tick` that matters."""
        return self._turns.next_at()

    # -- decisions ---------------------------------------------------------------------------------------

    def next_decision(self, now: float, looks: int | None = None) -> Decision | None:
        """The next decision that changes something; None when nothing is due (`is_due` says so), or after so many
        looks at workloads that stay as they are."""
        self._queue.wake()
        self.fleet.look(now)
        left = looks
        while left != 0 and (key := self._turns.next()) is not None:
            left = left - 1 if left is not None else None
            record = self._records.get(key)
            if record.workload is None:
                continue
            self._regain(record, record.workload, now)
            decision = self._decide(record, now)
            record.request = None
            self._turns.set_alarm(key, decision.due)
            if decision.changes(record.placement):
                return decision
            self._queue.wait(record)
        return None

    def _regain(self, record: Record, workload: Workload, now: float) -> None:
        """Where no placement is known, what members hold stands in for it."""
        if record.placement is None:
            found = regained(workload, record.statuses_of(workload.uid))
            if found is not None:
                self._in_force.put(record, found, now)

    @property
    def is_due(self) -> bool:
        """Something may be left to decide."""
        return self._turns.is_due

    def _decide(self, record: Record, now: float) -> Decision:
        workload = record.workload
        assert workload is not None
        policy = self.policies.match(workload)
        previous = record.placement
        request = record.request
        if request is not None and (previous is None or (request.cause == "stuck" and previous.order != request.order)):
            request = None  # a newer placement made it void
        return decide(
            workload,
            policy,
            self.fleet,
            self.room,
            previous,
            record.statuses_of(workload.uid),
            now,
            self.rules,
            request,
            record.all_gone(),
            self._rollouts.plan(workload.key),
            self._rollouts.measured(workload.key),
        )

    def assume(self, decision: Decision, order: Order) -> Placement:
        """Reserve what the decision promises and make it the placement in force."""
        record = self._records.get(decision.workload.key)
        placement = decision.placement(order)
        self._in_force.put(record, kept(placement), placement.decided_at)
        return placement

    def confirm(self, placement: Placement) -> None:
        """One of `assume` is stored."""
        self._in_force.confirm(self._records.get(placement.ref.key), placement)

    def forget(self, placement: Placement) -> Set[WorkloadKey]:
        """It was not stored: back to the last confirmed placement, and decide again."""
        key = placement.ref.key
        return self._queue.put([key]) if self._in_force.forget(self._records.get(key), placement) else _NOBODY

    def done(self) -> Collection[Placement]:
        """Deleted placements whose shares are all confirmed gone: purge them and their DESIRED, then pass a `Gone`."""
        return self._records.done()

    def plan(self, workloads: Collection[Workload | WorkloadKey], now: float) -> list[Decision]:
        """What would be decided now, one after the other; nothing is reserved. A Workload need not be in DESIRED."""
        found = []
        self.fleet.look(now)
        with self.room.trial():
            for item in workloads:
                key = item.key if isinstance(item, Workload) else item
                record = self._records.peek(key)
                if isinstance(item, Workload):
                    record = replace(record, workload=item)
                if record.workload is None:
                    continue
                decision = self._decide(record, now)
                found.append(decision)
                self._try(decision)
        return found

    def _try(self, decision: Decision) -> None:
        if decision.workload.components:
            shares = [(share.member, components_in(decision.workload, share)) for share in decision.shares]
            self.room.place(decision.workload.uid, shares, decision.decided_at)

    def explain(self, key: WorkloadKey) -> Placement | None:
        """The placement in force, if any."""
        return self._records.peek(key).placement

    def pending(self) -> list[WorkloadKey]:
        """Workloads that wait for room, in the order in which they will be served."""
        return self._turns.waiting.keys()
