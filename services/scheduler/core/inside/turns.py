"""Turn by turn: whose pod is next, what is decided about it, and who is told."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from typing import Final

from services.scheduler.core.inside.deciding import Refusal, decide
from services.scheduler.core.inside.member import Member
from services.scheduler.core.inside.orders import Orders
from services.scheduler.core.inside.policies import ResourcePolicies
from services.scheduler.core.inside.preemption import Plan
from services.scheduler.core.inside.queue import FIRST_BACKOFF, LONGEST_BACKOFF, Help, Kind, Line, Queue
from services.scheduler.core.inside.records import PodRecord
from services.scheduler.core.inside.trial import Case, Choice, Claims
from services.scheduler.core.inside.values import Decided
from shared.contracts.annotations import DELETION_COST, UNIT_ANNOTATION
from shared.contracts.binding import Bind, Binding, Note
from shared.units import DEFAULT_SCHEDULER

SEEN_WITHIN: Final = 60.0  # seconds in which a pod that was bound shows up so; after that it is decided anew
VOID_AFTER: Final = 600.0  # seconds after which the executor carries an order out no more
SHOWN_WITHIN: Final = 11.0  # seconds in which capacity shows that a pod is gone: there is a heartbeat every 10
GOES_WITHIN: Final = 60.0  # seconds in which a pod that was evicted shows up as terminating
TELL_AGAIN: Final = 30.0  # seconds between two messages to a pod that differ only in their words
NEW_FOR: Final = 600.0  # seconds in which a pod of another scheduler is told that brim leaves it alone


class Turns:
    """queue: pods that wait for their turn."""

    def __init__(self, members: Mapping[str, Member], policies: ResourcePolicies, orders: Orders) -> None:
        self.queue = Queue()
        self._members = members
        self._policies = policies
        self._orders = orders
        self._nominated: dict[str, dict[PodRecord, None]] = {}
        self._assumed: list[tuple[float, int, PodRecord]] = []  # (when it should have shown up, count, pod)
        self._count = 0
        self._untold: dict[PodRecord, None] = {}  # its line knows why it waits, it does not
        self._notes: dict[PodRecord, None] = {}  # to be looked at: brim may have to say that it leaves it alone

    # -- being told ------------------------------------------------------------------------------------------

    def consider(self, member: Member, record: PodRecord) -> None:
        """The pod changed: it waits from now on, or does not any more."""
        if record.pended is None and record.pod.unschedulable is not None:
            record.pended = ("", record.pod.unschedulable, "", record.pod.observed_at)
        if not record.is_unbound:
            self.forget(record)
            if record.pod.node:
                record.failures, record.pended = 0, None
        elif not record.names_brim or record.needs.unsupported:
            self.forget(record)
            self._notes[record] = None
        else:
            self._wait(record)
        if record.pod.node and not record.names_brim:
            self._notes[record] = None

    def _wait(self, record: PodRecord) -> None:
        kind, known = self.kind_of(record), self.queue.line_of(record)
        if known is not None and known.key[: len(kind)] == kind:
            return  # also where it waits by itself: for room that is made for it, or after a bind that failed
        line = self.queue.put(record, kind)
        if line.asleep and line.told is not None:
            self._untold[record] = None

    def reconsider(self, member: Member, record: PodRecord) -> None:
        """The policies of its namespace are others now."""
        line = self.queue.line_of(record)
        if line is not None:
            self.queue.rouse([line])
        elif not record.names_brim:
            self._notes[record] = None

    def rouse(self, member: Member) -> None:
        """Decisions can be made there from now on."""
        self.queue.rouse(self.queue.lines(member.name))

    def forget(self, record: PodRecord) -> None:
        """It does not wait any more."""
        self.queue.discard(record)
        self._untold.pop(record, None)
        self._notes.pop(record, None)
        self._unnominate(record)

    def ordered(self, member: Member, record: PodRecord, bind: Bind) -> None:
        """An order of a former leader that may still be carried out: the pod counts as bound there."""
        if not record.is_unbound and not record.assumed:
            return
        if record.assumed and record.given is not None:
            if not record.order < bind.order:
                return
            member.unassume(record, doubt_until=record.given.at + VOID_AFTER)
        self.forget(record)
        member.assume(record, bind, "")
        self._watch(record)

    def failed(self, member: Member, record: PodRecord, at: float) -> None:
        """The order to bind it came to nothing: again, after a while of its own."""
        if not record.assumed:
            return
        member.unassume(record)
        record.failures += 1
        line = self.queue.put(record, (*self.kind_of(record), record.uid, "failed", record.failures))
        pause = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(record.failures - 1, 10))
        self.queue.sleeps(line, at, Help.NOTHING, None, at + pause)
        self.queue.wake(member.name, Help.LEFT)

    def sweep(self, member: Member, now: float) -> None:
        """Who was told to go and did not is there to stay, until he is told again."""
        for record in list(member.pods.values()):
            if record.evicted_at is not None and not record.pod.terminating and now - record.evicted_at > GOES_WITHIN:
                record.evicted_at = None
                member.recount([record])

    # -- turns -----------------------------------------------------------------------------------------------

    def next(self, now: float) -> Decided | None:
        again = self._expect(now)
        if again is not None:
            return again
        while (line := self.queue.pop(now)) is not None:
            member = self._members[line.member]
            if not member.is_ready:
                self.queue.parks(line)
                continue
            decided = self._turn(member, line, now)
            if decided is not None:
                return decided
        return self._tell(now) or self._note(now)

    def next_due(self) -> float:
        """When `next` may have something by time alone."""
        due = self.queue.next_due()
        times = [self._assumed[0][0] if self._assumed else float("inf"), due if due is not None else float("inf")]
        return float("-inf") if self._untold or self._notes else min(times)

    def _turn(self, member: Member, line: Line, now: float) -> Decided | None:
        record = line.first
        case = self.case_of(member, record)
        case.room_comes = self._room_comes(member, record, now)
        with member.holds.lifted(record.uid):
            found = decide(case, now)
        policies = self._policies.of(record.pod.namespace, dict(record.labels)) if case.wish is None else ()
        notes = self._notes_of_two(record, [str(policy) for policy in policies], now)
        if isinstance(found, Choice):
            return self._bind(case, line, found, notes, now)
        return self._refuse(case, line, found, notes, now)

    def case_of(self, member: Member, record: PodRecord) -> Case:
        """The pod as one that looks for a node."""
        policies = self._policies.of(record.pod.namespace, dict(record.labels))
        wish = member.wish_of(record)
        policy = policies[0] if policies and wish is None else None
        return Case(member, record, policy, wish, self._claims(member, record))

    def _bind(self, case: Case, line: Line, choice: Choice, notes: list[Note], now: float) -> Decided:
        record, member = case.record, case.member
        bind = self._orders.bind(case, choice, now)
        self.forget(record)
        member.assume(record, bind, choice.offer.spec.name if choice.offer else "")
        record.pended = None
        self._watch(record)
        self.queue.goes_on(line)
        self.queue.wake(member.name, Help.ARRIVED)
        where = f"{choice.stage.name}, node {bind.node}" if choice.stage.name else f"node {bind.node}"
        return Decided(record.key, record.uid, (bind, *notes), bind.node, bind.unit, "Bound", where)

    def _refuse(self, case: Case, line: Line, refusal: Refusal, notes: list[Note], now: float) -> Decided | None:
        record, plan = case.record, refusal.plan
        orders: list[Binding] = list(notes)
        if plan is None:
            self._unnominate(record)
            self._untold.update(dict.fromkeys(line))
            del self._untold[record]
            self.queue.sleeps(line, now, refusal.wants, (refusal.code, refusal.message), refusal.again_at)
            if len(line.records) == 1 and line.key != self.kind_of(record):
                self.queue.put(record, self.kind_of(record))
        else:
            again_at = now + SHOWN_WITHIN if case.room_comes else refusal.again_at
            orders += self._make_room(case, plan, now) if not case.room_comes else ()
            self.queue.discard(record)
            alone = self.queue.put(record, (*self.kind_of(record), record.uid))
            self.queue.sleeps(alone, now, refusal.wants, (refusal.code, refusal.message), again_at)
            if alone is not line:
                self.queue.goes_on(line)
        orders += self._pend(record, refusal.code, refusal.message, now)
        if not orders:
            return None
        return Decided(record.key, record.uid, tuple(orders), code=refusal.code, message=refusal.message)

    # -- preemption ------------------------------------------------------------------------------------------

    def _make_room(self, case: Case, plan: Plan, now: float) -> Iterator[Binding]:
        record = case.record
        self._unnominate(record)
        record.nominated, record.awaits = plan.node, (*plan.victims, *plan.leaving)
        self._nominated.setdefault(case.member.name, {})[record] = None
        message = f"Preempted by pod {record.pod.namespace}/{record.pod.name} on node {plan.node}"
        for victim in plan.victims:
            victim.evicted_at = now
            case.member.recount([victim])
            violated = plan.violated.get(victim)
            why = f"; that violates PodDisruptionBudget {', '.join(violated)}" if violated else ""
            yield self._orders.evict(victim, "Preempted", message + why, now)

    @staticmethod
    def _room_comes(member: Member, record: PodRecord, now: float) -> bool:
        """Whether somebody has left the node where room is made for it, which the capacity does not show yet. Pods and
        capacity are told one by one: until both agree nobody else has to go."""
        there = tuple(other for other in record.awaits if member.has(other) and other.node == record.nominated)
        if there != record.awaits:
            record.awaits, record.room_at = there, now
        return bool(record.nominated) and member.holds.shown_at < record.room_at

    def _claims(self, member: Member, record: PodRecord) -> Claims:
        """Room that is being made for others that are at least as important."""
        claims = []
        for other in self._nominated.get(member.name, ()):
            row = member.nodes.rows.get(other.nominated)
            if other is not record and row is not None and other.pod.priority >= record.pod.priority:
                claims.append((row, other.needs.shape.requests))
        return tuple(claims)

    def _unnominate(self, record: PodRecord) -> None:
        if record.nominated:
            record.nominated, record.awaits, record.room_at = "", (), float("-inf")
            self._nominated.get(record.pod.member, {}).pop(record, None)

    # -- orders that were not carried out --------------------------------------------------------------------

    def _watch(self, record: PodRecord) -> None:
        self._count += 1
        heapq.heappush(self._assumed, (record.assumed_at + SEEN_WITHIN, self._count, record))

    def _expect(self, now: float) -> Decided | None:
        """Who should have shown up as bound by now is bound again, to the same node where that is still there.

        Else the pod is decided anew, and its former room is kept as long as the former order may be carried out.
        """
        while self._assumed and self._assumed[0][0] <= now:
            record = heapq.heappop(self._assumed)[2]
            member = self._members.get(record.pod.member)
            if not record.assumed or member is None or record.given is None:
                continue
            if record.assumed_at + SEEN_WITHIN > now:
                self._watch(record)
            elif not member.is_ready or member.still_takes(record):
                return self._bind_again(member, record, record.given, now)
            else:
                member.unassume(record, doubt_until=record.given.at + VOID_AFTER)
                self.consider(member, record)
        return None

    def _bind_again(self, member: Member, record: PodRecord, given: Bind, now: float) -> Decided:
        record.given = self._orders.again(given, now)
        record.assumed_at = now
        self._watch(record)
        message = f"again to node {given.node}: it was not seen there"
        return Decided(record.key, record.uid, (record.given,), given.node, given.unit, "BoundAgain", message)

    # -- telling ---------------------------------------------------------------------------------------------

    def _tell(self, now: float) -> Decided | None:
        """Pods that wait behind another one that found no place."""
        while self._untold:
            record = next(iter(self._untold))
            del self._untold[record]
            line = self.queue.line_of(record)
            if line is None or not line.asleep or line.told is None:
                continue
            code, message = line.told
            pend = self._pend(record, code, message, now)
            if pend:
                return Decided(record.key, record.uid, tuple(pend), code=code, message=message)
        return None

    def _pend(self, record: PodRecord, code: str, message: str, now: float) -> list[Binding]:
        """What the pod's status is to say, where it does not say so already."""
        told = record.pended
        if told is not None:
            same = told[1] == message or (told[0] == code and now - told[3] < TELL_AGAIN)
            if same and told[2] == record.nominated:
                record.pended = (code, *told[1:])
                return []
        record.pended = (code, message, record.nominated, now)
        return [self._orders.pend(record, message, record.nominated, now)]

    def _note(self, now: float) -> Decided | None:
        """Pods that brim leaves alone, though somebody may expect otherwise; each is told once."""
        while self._notes:
            record = next(iter(self._notes))
            del self._notes[record]
            reason, message = self._why_left_alone(record, now)
            if reason and reason not in record.noted:
                record.noted.add(reason)
                order = self._orders.note(record, reason, message, now)
                return Decided(record.key, record.uid, (order,), code=reason, message=message)
        return None

    def _why_left_alone(self, record: PodRecord, now: float) -> tuple[str, str]:
        pod = record.pod
        if record.names_brim:
            listed = ", ".join(record.needs.unsupported)
            message = f"brim does not implement {listed}: the pod is left alone; name another scheduler for it"
            return ("UnsupportedConstraint", message) if listed and record.is_unbound else ("", "")
        policies = self._policies.of(pod.namespace, dict(record.labels))
        if not policies or now - pod.created_at > NEW_FOR or not record.is_alive:
            return "", ""
        named = pod.scheduler or "default-scheduler"
        message = (
            f"{policies[0]} selects it, but it names {named}: brim leaves it alone; "
            f"set schedulerName: {DEFAULT_SCHEDULER} where the policy is to hold"
        )
        return "OtherScheduler", message

    def _notes_of_two(self, record: PodRecord, policies: list[str], now: float) -> list[Note]:
        if len(policies) < 2 or "SeveralPolicies" in record.noted:
            return []
        record.noted.add("SeveralPolicies")
        others = ", ".join(policies[1:])
        message = f"{policies[0]} holds for it: {others} would select it too; let their selectors exclude each other"
        return [self._orders.note(record, "SeveralPolicies", message, now)]

    def kind_of(self, record: PodRecord) -> Kind:
        """Equal for pods that would be decided alike."""
        pod = record.pod
        annotations = tuple(sorted(i for i in pod.annotations.items() if i[0] not in (DELETION_COST, UNIT_ANNOTATION)))
        return (
            *(pod.member, pod.namespace, pod.priority, pod.preemption),
            *(record.needs, record.labels, annotations, record.owner),
        )
