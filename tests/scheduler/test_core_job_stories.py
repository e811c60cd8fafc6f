"""Whatever happens to a Job, its completions are neither lost nor given twice; where pods of it succeeded it stays."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.scheduler.core.values import Gone, Policy, Workload
from shared.contracts.placement import Share
from tests.scheduler.core_world import World, decided, node, policy
from tests.scheduler.test_core_jobs import job

NAMES = ("a", "b", "c")
members = st.sampled_from(NAMES)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, 3))]
    tiers = draw(st.integers(1, len(names)))
    division = draw(st.sampled_from(["dynamic", "aggregated", "static"]))
    return policy(*(tuple(names[index::tiers]) for index in range(tiers)), division=division)


class JobStory(RuleBasedStateMachine):
    """succeeded: pods, per member. fleet: members that have not left it."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.generation = 0
        self.completions = 0
        self.succeeded = dict.fromkeys(NAMES, 0)
        self.given: dict[str, int | None] = {}
        self.fleet = set(NAMES)

    @initialize(
        rooms=st.tuples(*[st.integers(0, 4)] * 3),
        parallelism=st.integers(1, 6),
        completions=st.integers(1, 12),
        first=policies(),
    )
    def begin(self, rooms: tuple[int, ...], parallelism: int, completions: int, first: Policy) -> None:
        self.completions = completions
        for name, room in zip(NAMES, rooms, strict=True):
            self.world.member(name, node(name, room))
        self.world.want(first)
        self.scale(parallelism)

    @property
    def train(self) -> Workload:
        return job(self.parallelism, self.completions, generation=self.generation)

    @rule(parallelism=st.integers(0, 8))
    def scale(self, parallelism: int) -> None:
        self.generation += 1
        self.parallelism = min(parallelism, self.completions)
        decided(self.world, self.train)

    @rule(wanted=policies())
    def policy(self, wanted: Policy) -> None:
        self.world.want(wanted)
        self.world.run()

    @rule(name=members, wish=st.sampled_from(["open", "cordoned", "drained"]))
    def wish(self, name: str, wish: str) -> None:
        if name in self.fleet:
            self.world.wish(name, wish=wish)
            self.world.run()

    @rule(name=members, room=st.integers(0, 6))
    def resize(self, name: str, room: int) -> None:
        if name in self.fleet:
            self.world.delta(name, node(name, room))
            self.world.run()

    @rule(name=members)
    def stuck(self, name: str) -> None:
        share = self.world.placement(self.train).share(name)
        if share is not None and share.present and share.replicas:
            self.world.rebalance(self.train, **{name: (1, 0)})
            self.world.run()

    @rule(name=members)
    def succeed(self, name: str) -> None:
        share = self.world.placement(self.train).share(name)
        if share is None or not share.present or not share.replicas or self.succeeded[name] >= (share.completions or 0):
            return
        self.succeeded[name] += 1
        done = self.succeeded[name] == share.completions
        self.world.status(self.train, name, replicas=share.replicas, succeeded=self.succeeded[name], finished=done)
        self.world.run()

    @rule()
    def remove_what_is_to_go(self) -> None:
        for share in self.world.placement(self.train).shares:
            if not share.present and share.member in self.fleet:
                self.world.state.on_status_gone(share.member, self.train.ref)
                self.world.outcome(self.train, share.member)
        self.world.run()

    @precondition(lambda self: len(self.fleet) > 1)
    @rule(name=members)
    def leave_the_fleet(self, name: str) -> None:
        if name in self.fleet:
            self.fleet.discard(name)
            self.given.pop(name, None)
            self.succeeded[name] = 0
            self.world.want(Gone("member", name))
            self.world.state.on_status_gone(name, self.train.ref)
            self.world.run()

    @rule(name=members, room=st.integers(0, 6))
    def join_the_fleet(self, name: str, room: int) -> None:
        if name not in self.fleet:
            self.fleet.add(name)
            self.world.member(name, node(name, room))
            self.world.run()

    @invariant()
    def completions_are_given_once(self) -> None:
        if not self.generation:
            return
        placement = self.world.placement(self.train)
        parts: dict[str, Share] = {share.member: share for share in placement.shares if share.present}
        given = sum(share.completions or 0 for share in parts.values())
        assert given <= self.completions
        assert given == self.completions or placement.pending or not self.parallelism
        for name, before in self.given.items():
            if self.succeeded[name]:
                assert parts[name].completions == before, "where pods succeeded it stays as it is"
        self.given = {name: share.completions for name, share in parts.items()}


TestJobStories: Any = JobStory.TestCase
TestJobStories.settings = settings(max_examples=50, stateful_step_count=25, suppress_health_check=list(HealthCheck))
