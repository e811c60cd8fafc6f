"""Nothing is promised twice, whatever comes in whatever order: a machine that plays people, the store and members.

All replicas are of one shape that tiles every node, so that the right answer is plain arithmetic, per member:
reserved = Σ max(0, placed − bound) over workloads, deficit = what of it exceeds the slots that are free, and the
room that is left is the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import Gap, Gone, MemberFacts, Workload
from shared.contracts.capacity import Capacity, Delta
from shared.contracts.desired import Tombstone
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.refs import Order
from tests.scheduler.core_world import ONE_CPU, columns, deployment, node, policy, pool, snapshot

MEMBERS = ("idc", "ack")
NAMES = ("a", "b", "c")
SIZE = 3  # slots of every node
members = st.sampled_from(MEMBERS)
names = st.sampled_from(NAMES)
picks = st.integers(0, 50)


@dataclass
class Member:
    """The truth in one member, and what of it the scheduler was told. pods: per node, the uids bound there."""

    pods: dict[str, list[str]] = field(default_factory=dict)
    pool: int = 0
    number: int = 0
    born: int = 0
    waiting: dict[str, int] = field(default_factory=dict)
    told: Capacity | None = None
    seen: tuple[int, int, dict[str, int]] = (0, 0, {})  # free slots on nodes, in headroom, bound

    def add_node(self) -> None:
        self.born += 1
        self.pods[f"node-{self.born}"] = []

    def bound(self) -> dict[str, int]:
        uids = [uid for pods in self.pods.values() for uid in pods]
        return {uid: uids.count(uid) for uid in set(uids)}

    def total(self, uid: str) -> int:
        return self.bound().get(uid, 0) + self.waiting.get(uid, 0)

    def run(self, uid: str, replicas: int) -> None:
        """What a Deployment of so many replicas has: pods that wait go first."""
        waiting = max(0, self.waiting.get(uid, 0) + replicas - self.total(uid))
        self.waiting[uid] = waiting
        for pods in self.pods.values():
            while uid in pods and self.total(uid) > replicas:
                pods.remove(uid)

    def bind_one(self, pick: int) -> bool:
        """The member's own scheduler: any pod that waits, on any node with a free slot."""
        uids = sorted(uid for uid, count in self.waiting.items() if count)
        free = sorted(name for name, pods in self.pods.items() if len(pods) < SIZE)
        if uids and not free and self.pool:
            self.pool -= 1
            self.add_node()
            return True
        if not uids or not free:
            return False
        uid = uids[pick % len(uids)]
        self.waiting[uid] -= 1
        self.pods[free[pick % len(free)]].append(uid)
        return True


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.state = SchedulerState(shapes=8)
        self.members = {name: Member() for name in MEMBERS}
        self.wanted: dict[str, Workload] = {}
        self.flying: list[Placement] = []
        self.stored: dict[str, Placement] = {}
        self.past: list[Placement] = []
        self.messages: list[Capacity] = []
        self.counter = self.generation = 0
        self.now = 1000.0

    @initialize(idc=st.integers(0, 3), ack=st.integers(0, 2), headroom=st.integers(0, 3))
    def begin(self, idc: int, ack: int, headroom: int) -> None:
        self.state.on_desired(policy("idc", "ack", ecs_provision=True))
        self.members["ack"].pool = headroom
        for name, count in (("idc", idc), ("ack", ack)):
            self.state.on_desired(MemberFacts(name))
            for _ in range(count):
                self.members[name].add_node()
            self.snapshot(name)

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

    # -- the scheduler and its store ---------------------------------------------------------------------------

    @rule()
    def decide(self) -> None:
        before = {name: self.state.room.deficit(name) for name in MEMBERS}
        decision = self.state.next_decision(self.now)
        if decision is None:
            return
        self.counter += 1
        self.flying.append(self.state.assume(decision, Order(epoch=1, counter=self.counter)))
        assert all(self.state.room.deficit(name) <= before[name] for name in MEMBERS), "a decision over-committed"

    @precondition(lambda self: self.flying)
    @rule(pick=picks)
    def store(self, pick: int) -> None:
        names = sorted({placement.ref.name for placement in self.flying})
        chosen = names[pick % len(names)]
        placement = next(p for p in self.flying if p.ref.name == chosen)  # of one subject, in order
        self.flying.remove(placement)
        self.stored[chosen] = placement
        self.past.append(placement)
        self.state.confirm(placement)

    @precondition(lambda self: self.flying)
    @rule(pick=picks)
    def lose(self, pick: int) -> None:
        """The store refuses one; what was decided on top of it is refused as well."""
        chosen = self.flying[pick % len(self.flying)]
        refused = [p for p in self.flying if p.ref == chosen.ref and not p.order < chosen.order]
        for placement in refused:
            self.flying.remove(placement)
            self.state.forget(placement)

    @precondition(lambda self: self.past)
    @rule(pick=picks)
    def hear_of_an_old_placement(self, pick: int) -> None:
        self.state.on_placement(self.past[pick % len(self.past)])

    @rule()
    def purge(self) -> None:
        for placement in list(self.state.done()):
            self.state.on_desired(Gone("workload", placement.ref.key))
            self.flying = [p for p in self.flying if p.ref != placement.ref]
            self.past = [p for p in self.past if p.ref != placement.ref]
            self.stored.pop(placement.ref.name, None)
            self.wanted.pop(placement.ref.name, None)

    # -- members -----------------------------------------------------------------------------------------------

    @rule(name=names, member=members)
    def apply(self, name: str, member: str) -> None:
        placement = self.stored.get(name)
        share = placement.share(member) if placement is not None else None
        if placement is None or share is None:
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

    @rule(member=members)
    def tell(self, member: str) -> None:
        """A delta with all that there is; doubled, and followed by one from before."""
        held = self.members[member]
        held.number += 1
        free, bound = self.true_room(held)
        last = held.seen[2]
        gone = sorted(self.known_nodes(held) - held.pods.keys())
        message = Delta(
            member=member,
            epoch=1,
            number=held.number,
            observed_at=self.now,
            nodes=columns(self.node_of(name, pods) for name, pods in held.pods.items()),
            removed=gone,
            pools=(pool("p", SIZE, held.pool),),
            bound=dict.fromkeys(last, 0) | bound,
        )
        assert not isinstance(self.state.on_capacity(message), Gap)
        held.seen = (free, held.pool * SIZE, bound)
        held.told = message
        self.messages = [*self.messages[-5:], message]
        for old in self.messages:
            assert not isinstance(self.state.on_capacity(old), Gap)

    @rule(member=members)
    def miss_a_delta(self, member: str) -> None:
        held = self.members[member]
        held.number += 2
        lost = Delta(member=member, epoch=1, number=held.number, observed_at=self.now)
        assert isinstance(self.state.on_capacity(lost), Gap)
        self.snapshot(member)

    def snapshot(self, member: str) -> None:
        held = self.members[member]
        free, bound = self.true_room(held)
        nodes = [self.node_of(name, pods) for name, pods in held.pods.items()]
        pools = [pool("p", SIZE, held.pool)]
        message = snapshot(member, nodes, number=held.number, pools=pools, bound=bound)
        assert not isinstance(self.state.on_capacity(message), Gap)
        held.seen, held.told = (free, held.pool * SIZE, bound), message

    @staticmethod
    def node_of(name: str, pods: list[str]) -> tuple[str, dict[str, int], str, int]:
        return node(name, SIZE - len(pods))

    @staticmethod
    def known_nodes(held: Member) -> set[str]:
        return {f"node-{number}" for number in range(1, held.born + 1)}

    @staticmethod
    def true_room(held: Member) -> tuple[int, dict[str, int]]:
        return sum(SIZE - len(pods) for pods in held.pods.values()), held.bound()

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

    def teardown(self) -> None:
        """Left alone, everything comes to rest: what is placed is bound, and nothing waits beside room."""
        if not self.state.fleet.members:
            return
        for _ in range(30):
            self.purge()
            while (decision := self.state.next_decision(self.now)) is not None:
                self.counter += 1
                self.flying.append(self.state.assume(decision, Order(epoch=1, counter=self.counter)))
            while self.flying:
                self.store(0)
            for member in MEMBERS:
                for name in NAMES:
                    self.apply(name, member)
                while self.members[member].bind_one(0):
                    pass
                self.tell(member)
            self.every_promise_is_kept_once()
        assert self.state.next_decision(self.now) is None
        for name in MEMBERS:
            room = self.state.room.room(ONE_CPU, name)
            if room.free or room.elastic:
                assert not [p for p in self.stored.values() if p.pending], "somebody waits beside room"
        if all(self.state.room.deficit(name) == 0 for name in MEMBERS):
            assert not any(any(held.waiting.values()) for held in self.members.values())


Machine.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPromises = Machine.TestCase
