"""Nothing is promised twice, whatever comes in whatever order: a machine that plays people, the store and members.

All replicas are of one shape that tiles every node, so that the right answer is plain arithmetic, per member:
reserved = Σ max(0, placed − bound) over workloads, deficit = what of it exceeds the slots that are free, and the
room that is left is the rest. Whatever happens, and whichever scheduler looks, that is what it knows.
"""

from __future__ import annotations

import random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import Gap, Gone, MemberFacts, Policy, Workload
from shared.contracts.capacity import Capacity, Heartbeat
from shared.contracts.desired import Tombstone
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.rebalance import Rebalance, Stuck
from shared.contracts.refs import Order
from shared.contracts.status import Status
from tests.scheduler.core_member import Member
from tests.scheduler.core_world import ONE_CPU, deployment, policy

MEMBERS = ("idc", "ack")
NAMES = ("a", "b", "c")
LONG = 100_000.0  # seconds after which every rest has ended
members = st.sampled_from(MEMBERS)
names = st.sampled_from(NAMES)
picks = st.integers(0, 50)


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state = SchedulerState(shapes=8)
        self.members = {name: Member() for name in MEMBERS}
        self.wishes = dict.fromkeys(MEMBERS, "open")
        self.wanted: dict[str, Workload] = {}
        self.flying: list[Placement] = []
        self.stored: dict[str, Placement] = {}
        self.past: list[Placement] = []
        self.statuses: dict[tuple[str, str], Status] = {}
        self.outcomes: dict[tuple[str, str], Outcome] = {}
        self.messages: list[Capacity] = []
        self.epoch, self.counter, self.generation = 1, 0, 0
        self.now = 1000.0

    @initialize(idc=st.integers(0, 3), ack=st.integers(0, 2), headroom=st.integers(0, 3))
    def begin(self, idc: int, ack: int, headroom: int) -> None:
        self.policy = policy("idc", "ack", ecs_provision=True)
        self.state.on_desired(self.policy)
        self.members["ack"].pool = headroom
        for name, count in (("idc", idc), ("ack", ack)):
            self.state.on_desired(MemberFacts(name))
            for _ in range(count):
                self.members[name].add_node()
            self.send_snapshot(name)

    # -- people ------------------------------------------------------------------------------------------------

    @rule(name=names, replicas=st.integers(0, 8))
    def want(self, name: str, replicas: int) -> None:
        self.generation += 1
        known = self.wanted.get(name)
        uid = known.uid if known is not None else f"uid-{name}-{self.generation}"
        if known is not None and known.deleted is not None:
            return
        self.wanted[name] = deployment(name, replicas, uid=uid, generation=self.generation)
        self.state.on_desired(self.wanted[name])
        self.state.on_desired(self.wanted[name])

    @rule(name=names)
    def delete(self, name: str) -> None:
        known = self.wanted.get(name)
        if known is None or known.deleted is not None:
            return
        self.generation += 1
        self.wanted[name] = deployment(
            name, 0, uid=known.uid, generation=self.generation, deleted=Tombstone(at=self.now)
        )
        self.state.on_desired(self.wanted[name])

    @rule(member=members, wish=st.sampled_from(["open", "open", "cordoned", "drained"]))
    def wish(self, member: str, wish: str) -> None:
        self.wishes[member] = wish
        self.state.on_desired(self.facts(member))

    def facts(self, member: str) -> MemberFacts:
        return MemberFacts(member, wish=self.wishes[member])  # type: ignore[arg-type]

    # -- the scheduler and its store ---------------------------------------------------------------------------

    @rule()
    def decide(self) -> None:
        before = {name: self.state.room.deficit(name) for name in MEMBERS}
        decision = self.state.next_decision(self.now)
        if decision is None:
            return
        self.counter += 1
        self.flying.append(self.state.assume(decision, Order(epoch=self.epoch, counter=self.counter)))
        assert all(self.state.room.deficit(name) <= before[name] for name in MEMBERS), "a decision over-committed"

    @precondition(lambda self: self.flying)
    @rule(pick=picks)
    def store(self, pick: int) -> None:
        placement = self.next_to_land(pick)
        self.is_stored(placement)
        self.state.confirm(placement)

    def next_to_land(self, pick: int) -> Placement:
        """Of one subject they are sent one after the other."""
        names = sorted({placement.ref.name for placement in self.flying})
        return next(p for p in self.flying if p.ref.name == names[pick % len(names)])

    def is_stored(self, placement: Placement) -> None:
        self.flying.remove(placement)
        self.stored[placement.ref.name] = placement
        self.past.append(placement)

    @precondition(lambda self: self.flying)
    @rule(pick=picks)
    def lose(self, pick: int) -> None:
        """The store refuses one. What was decided on top of it stays in force, and may be stored later."""
        refused = self.next_to_land(pick)
        self.flying.remove(refused)
        self.state.forget(refused)
        flying = [p for p in self.flying if p.ref == refused.ref]
        in_force = flying[-1] if flying else self.stored.get(refused.ref.name)
        found = self.state.explain(refused.ref.key)
        assert (found and found.order) == (in_force and in_force.order), "not back to what is stored"

    @precondition(lambda self: self.past)
    @rule(pick=picks)
    def hear_of_an_old_placement(self, pick: int) -> None:
        old = self.past[pick % len(self.past)]
        before = self.state.explain(old.ref.key)
        assert self.state.on_placement(old) == set()
        assert self.state.explain(old.ref.key) == before

    @rule()
    def purge(self) -> None:
        for placement in list(self.state.done()):
            name = placement.ref.name
            self.state.on_desired(Gone("workload", placement.ref.key))
            self.flying = [p for p in self.flying if p.ref != placement.ref]
            self.past = [p for p in self.past if p.ref != placement.ref]
            self.stored.pop(name, None)
            self.wanted.pop(name, None)
            self.statuses = {key: status for key, status in self.statuses.items() if key[0] != name}
            self.outcomes = {key: outcome for key, outcome in self.outcomes.items() if key[0] != name}

    @rule(kept=st.integers(0, 3), order=st.randoms(use_true_random=False))
    def the_scheduler_dies(self, kept: int, order: random.Random) -> None:
        """Of what was in flight some was stored. The next one knows the streams alone, read in any order, each
        stream's messages about one thing in theirs; some it reads twice."""
        for placement in self.flying[:kept]:
            self.is_stored(placement)
        self.flying = []
        self.epoch, self.counter = self.epoch + 1, 0
        self.state = SchedulerState(shapes=8)
        streams: list[list[object]] = [[self.policy], *([self.facts(name)] for name in MEMBERS)]
        streams += [[one] for one in (*self.wanted.values(), *self.stored.values())]
        streams += [[one] for one in (*self.statuses.values(), *self.outcomes.values())]
        streams += [list(self.members[name].stream) for name in MEMBERS]
        while streams:
            stream = order.choice(streams)
            message = stream.pop(0)
            for _ in range(order.choice((1, 1, 2))):
                self.hear(message)
            streams = [left for left in streams if left]

    def hear(self, message: object) -> None:
        match message:
            case Policy() | MemberFacts() | Workload():
                self.state.on_desired(message)
            case Placement():
                self.state.on_placement(message)
            case Status():
                self.state.on_status(message)
            case Outcome():
                self.state.on_outcome(message)
            case _:
                self.state.on_capacity(message)  # type: ignore[arg-type]

    # -- members -----------------------------------------------------------------------------------------------

    @rule(name=names, member=members)
    def apply(self, name: str, member: str) -> None:
        placement = self.stored.get(name)
        share = placement.share(member) if placement is not None else None
        if placement is None or share is None or self.members[member].lost:
            return
        self.members[member].run(placement.uid, share.replicas)
        if not share.present:
            outcome = Outcome(
                member=member,
                ref=placement.ref,
                uid=placement.uid,
                order=placement.order,
                result="deleted",
                at=self.now,
            )
            self.outcomes[name, member] = outcome
            self.state.on_outcome(outcome)
            self.state.on_outcome(outcome)

    @rule(member=members, pick=picks, count=st.integers(1, 6))
    def bind(self, member: str, pick: int, count: int) -> None:
        for _ in range(count):
            self.members[member].bind_one(pick)

    @rule(member=members)
    def a_node_comes(self, member: str) -> None:
        self.members[member].add_node()

    @rule(member=members, pick=picks)
    def a_node_fails(self, member: str, pick: int) -> None:
        held = self.members[member]
        if not held.pods:
            return
        for uid in held.pods.pop(sorted(held.pods)[pick % len(held.pods)]):
            held.waiting[uid] = held.waiting.get(uid, 0) + 1

    @rule(size=st.integers(0, 4))
    def stock_changes(self, size: int) -> None:
        self.members["ack"].pool = size

    # -- what members tell -------------------------------------------------------------------------------------

    @rule(member=members)
    def tell(self, member: str) -> None:
        """A delta with all that there is; doubled, and followed by some from before."""
        message = self.members[member].delta(member, self.now)
        assert not isinstance(self.state.on_capacity(message), Gap)
        self.members[member].was_heard(message)
        self.messages = [*self.messages[-5:], message]
        for old in self.messages:
            assert not isinstance(self.state.on_capacity(old), Gap)

    @rule(member=members, chunks=st.integers(1, 3))
    def miss_a_delta(self, member: str, chunks: int) -> None:
        """One comes before the one that it follows. Until a snapshot closes the gap the member gets nothing new."""
        held = self.members[member]
        first = held.delta(member, self.now)
        held.add_node()
        second = held.delta(member, self.now)
        before = self.shares(member)
        for message in (second, first, second):
            assert isinstance(self.state.on_capacity(message), Gap)
        self.decide()
        assert all(count <= before.get(uid, 0) for uid, count in self.shares(member).items()), "work for the unknown"
        self.send_snapshot(member, chunks)

    @rule(member=members, chunks=st.integers(1, 3))
    def send_snapshot(self, member: str, chunks: int = 1) -> None:
        """Half of it first, then all of it, then its last piece once more."""
        held = self.members[member]
        messages = held.snapshot(member, chunks)
        for message in (*messages[:-1], *messages, messages[-1]):
            self.state.on_capacity(message)
        assert not isinstance(self.state.on_capacity(messages[-1]), Gap)
        held.was_heard(*messages)

    @rule(member=members, lost=st.booleans())
    def heartbeat(self, member: str, lost: bool) -> None:
        held = self.members[member]
        held.lost = lost
        beat = Heartbeat(
            member=member, epoch=1, number=held.number, observed_at=self.now, reachable_at=self.now, lost=lost
        )
        held.stream.append(beat)
        assert not isinstance(self.state.on_capacity(beat), Gap)

    @rule(name=names, member=members)
    def tell_how_it_fares(self, name: str, member: str) -> None:
        placement, held = self.stored.get(name), self.members[member]
        share = placement.share(member) if placement is not None else None
        if placement is None or share is None:
            return
        bound = held.bound().get(placement.uid, 0)
        status = Status(
            member=member,
            ref=placement.ref,
            uid=placement.uid,
            order=placement.order,
            observed_at=self.now,
            replicas=held.total(placement.uid),
            ready=bound,
            bound=bound,
            pending=held.waiting.get(placement.uid, 0),
        )
        self.statuses[name, member] = status
        self.state.on_status(status)
        self.state.on_status(status)

    @rule(name=names, member=members, doubt=st.integers(0, 1))
    def ask_to_move_what_is_stuck(self, name: str, member: str, doubt: int) -> None:
        """As the descheduler would, on what it saw; maybe of an older placement, and twice."""
        placement, held = self.stored.get(name), self.members[member]
        waiting = held.waiting.get(placement.uid, 0) if placement is not None else 0
        if placement is None or not waiting:
            return
        stuck = Stuck(member=member, count=waiting, ready=held.bound().get(placement.uid, 0), since=self.now)
        request = Rebalance(
            ref=placement.ref,
            uid=placement.uid,
            order=placement.order.model_copy(update={"counter": placement.order.counter - doubt}),
            cause="stuck",
            stuck=(stuck,),
            asked_at=self.now,
        )
        in_force = self.state.explain(placement.ref.key)
        due = {placement.ref.key} if in_force is not None and in_force.order == request.order else set()
        assert self.state.on_rebalance(request) == due
        self.state.on_rebalance(request)

    @rule(seconds=st.sampled_from([1.0, 70.0, 4000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.state.tick(self.now)

    # -- what must hold ----------------------------------------------------------------------------------------

    def shares(self, member: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in NAMES:
            placement = self.state.explain(deployment(name, 0).key)
            share = placement.share(member) if placement is not None else None
            if placement is not None and share is not None:
                found[placement.uid] = share.replicas
        return found

    @invariant()
    def every_promise_is_kept_once(self) -> None:
        for name, held in self.members.items():
            free, headroom, bound = held.seen
            reserved = {uid: max(0, count - bound.get(uid, 0)) for uid, count in self.shares(name).items()}
            room = self.state.room.room(ONE_CPU, name)
            left = free + headroom - sum(reserved.values())
            assert self.state.room.deficit(name) == max(0, -left)
            assert room.free + room.elastic == max(0, left)
            assert all(self.state.room.reserved(uid, name) == count for uid, count in reserved.items())

    @invariant()
    def a_plan_leaves_no_trace(self) -> None:
        before = [(self.state.room.room(ONE_CPU, name), self.state.room.deficit(name)) for name in MEMBERS]
        self.state.plan([deployment("a", 5, generation=9999), deployment("z", 4)], self.now)
        assert before == [(self.state.room.room(ONE_CPU, name), self.state.room.deficit(name)) for name in MEMBERS]

    @invariant()
    def every_replica_is_placed_or_pending_once(self) -> None:
        """Those that retire are there beside their replacements."""
        for placement in self.stored.values():
            wanted = 0 if placement.deleted else placement.wanted
            placed = sum(share.replicas - share.retiring for share in placement.shares)
            assert placed + placement.pending == wanted, placement

    def teardown(self) -> None:
        """Left alone, everything comes to rest: what is placed is bound, and nothing waits beside room."""
        if not self.state.fleet.members:
            return
        self.time_passes(LONG)
        for member in MEMBERS:
            self.wish(member, "open")
            self.heartbeat(member, False)
        for _ in range(30):
            self.settle()
        assert self.state.next_decision(self.now) is None
        for name in MEMBERS:
            room = self.state.room.room(ONE_CPU, name)
            if room.free or room.elastic:
                assert not [p for p in self.stored.values() if p.pending], "somebody waits beside room"
        if all(self.state.room.deficit(name) == 0 for name in MEMBERS):
            assert not any(any(held.waiting.values()) for held in self.members.values())
            waits = any(p.pending for p in self.stored.values())
            assert waits or not any(share.retiring for p in self.stored.values() for share in p.shares)

    def settle(self) -> None:
        self.purge()
        while (decision := self.state.next_decision(self.now)) is not None:
            self.counter += 1
            self.flying.append(self.state.assume(decision, Order(epoch=self.epoch, counter=self.counter)))
        while self.flying:
            self.store(0)
        for member in MEMBERS:
            for name in NAMES:
                self.apply(name, member)
            while self.members[member].bind_one(0):
                pass
            self.tell(member)
            for name in NAMES:
                self.tell_how_it_fares(name, member)
        self.every_promise_is_kept_once()


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, suppress_health_check=list(HealthCheck))
TestPromises = Machine.TestCase
