"""Whatever people and members do to one workload, in whatever order: its numbers add up at every moment, and once all
is quiet and there is room, everything is where it should be and nothing is left to do."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from services.scheduler.core.values import Policy, Spread
from shared.contracts.placement import Share
from tests.scheduler.core_world import World, decided, deployment, node, policy

NAMES = ("a", "b", "c", "d")
REGIONS = {"a": "north", "b": "north", "c": "south", "d": "south"}
members = st.sampled_from(NAMES)
spreads: st.SearchStrategy[tuple[Spread, ...]] = st.sampled_from(
    [
        (),
        (),
        (Spread("cluster", minimum=2),),
        (Spread("cluster", maximum=2),),
        (Spread("region", maximum=1),),
        (Spread("region", minimum=2), Spread("cluster", minimum=2, maximum=3)),
    ]
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    names = draw(st.permutations(NAMES))[: draw(st.integers(1, 4))]
    tiers = draw(st.integers(1, len(names)))
    return policy(
        *(tuple(names[index::tiers]) for index in range(tiers)),
        division=draw(st.sampled_from(["dynamic", "dynamic", "aggregated", "duplicated", "static"])),
        spread=draw(spreads),
        failback=draw(st.sampled_from([0, 0, 3])),
    )


class Story(RuleBasedStateMachine):
    """room: slots of each member. ready: pods that serve there, as the member was last told to have them."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.generation = 0
        self.room = dict.fromkeys(NAMES, 0)
        self.ready = dict.fromkeys(NAMES, 0)
        self.lost: set[str] = set()

    @initialize(rooms=st.tuples(*[st.integers(0, 5)] * 4), replicas=st.integers(0, 8), first=policies())
    def begin(self, rooms: tuple[int, ...], replicas: int, first: Policy) -> None:
        self.room = dict(zip(NAMES, rooms, strict=True))
        for name in NAMES:
            self.world.member(name, node(name, self.room[name]), region=REGIONS[name])
        self.policy(first)
        self.scale(replicas)

    # -- people ------------------------------------------------------------------------------------------------

    @rule(replicas=st.integers(0, 9))
    def scale(self, replicas: int) -> None:
        self.generation += 1
        self.web = decided(self.world, deployment("web", replicas, generation=self.generation))

    @rule(wanted=policies())
    def policy(self, wanted: Policy) -> None:
        self.wanted = wanted
        self.world.want(wanted)
        self.world.run()

    @rule(name=members, wish=st.sampled_from(["open", "cordoned", "drained"]))
    def wish(self, name: str, wish: str) -> None:
        self.world.wish(name, region=REGIONS[name], wish=wish)
        self.world.run()

    @rule()
    def rebalance(self) -> None:
        self.world.rebalance(self.web, "manual")
        self.world.run()

    # -- members -----------------------------------------------------------------------------------------------

    @rule(name=members, room=st.integers(0, 6))
    def resize(self, name: str, room: int) -> None:
        self.room[name] = room

    @rule(name=members, count=st.integers(1, 3))
    def stuck(self, name: str, count: int) -> None:
        share = self.world.placement(self.web).share(name)
        if share is not None and share.present and share.replicas > share.retiring:
            self.world.rebalance(self.web, **{name: (count, self.ready[name])})
            self.world.run()

    @precondition(lambda self: not self.lost)
    @rule(name=members)
    def lose(self, name: str) -> None:
        self.lost.add(name)
        self.world.heartbeat(name, lost=True)
        self.world.run()

    @rule()
    def find(self) -> None:
        for name in self.lost:
            self.world.heartbeat(name)
        self.lost.clear()
        self.world.run()

    @rule(seconds=st.sampled_from([1, 40, 2000]))
    def wait(self, seconds: int) -> None:
        self.world.now += seconds
        self.world.run()

    @rule(names=st.sets(members, min_size=1))
    def carry_out(self, names: set[str]) -> None:
        """These members do what the placement says, and tell of it."""
        for name in names - self.lost:
            share = self.world.placement(self.web).share(name)
            if share is not None:
                self._carry_out(share)
            free = self.room[name] - self.ready[name]
            self.world.delta(name, node(name, free), bound={self.web.uid: self.ready[name]})
        self.world.run()

    def _carry_out(self, share: Share) -> None:
        name = share.member
        self.ready[name] = min(share.replicas, self.room[name])
        if share.present:
            waiting = share.replicas - self.ready[name]
            self.world.status(self.web, name, replicas=share.replicas, ready=self.ready[name], pending=waiting)
        else:
            self.world.state.on_status_gone(name, self.web.ref)
            self.world.outcome(self.web, name)

    # -- what holds --------------------------------------------------------------------------------------------

    @invariant()
    def the_numbers_add_up(self) -> None:
        if self.generation == 0:
            return
        placement = self.world.placement(self.web)
        for share in placement.shares:
            assert 0 <= share.retiring <= share.replicas
            assert share.present or share.replicas == 0
        if not self.wanted.fixed:
            staying = sum(share.replicas - share.retiring for share in placement.shares)
            assert staying + placement.pending == self.web.replicas
            for share in placement.shares:
                assert share.free + share.elastic + share.virtual == share.replicas

    def teardown(self) -> None:
        if self.generation == 0:
            return
        self.find()
        self.room = dict.fromkeys(NAMES, 9)
        for name in NAMES:
            self.wish(name, "open")
        for _ in range(20):
            self.wait(2000)
            self.carry_out(set(NAMES))
        placement = self.world.placement(self.web)
        if "SpreadConstraint" in self.world.codes(self.web):
            return  # it asks for more groups than there are
        assert not any(share.retiring or not share.present for share in placement.shares), "moves have come to an end"
        assert placement.pending == 0
        held = {share.member: share.replicas for share in placement.shares}
        assert {name: count for name, count in self.ready.items() if count} == {m: c for m, c in held.items() if c}
        self._is_as_wanted(held)
        self.world.want(deployment("web", self.web.replicas, generation=self.generation + 1))
        self.world.run()
        assert self.world.placement(self.web).shares == placement.shares, "asked again it answers the same"

    def _is_as_wanted(self, held: dict[str, int]) -> None:
        if self.wanted.division == "duplicated":
            assert set(held.values()) == {self.web.replicas}
            return
        assert sum(held.values()) == self.web.replicas
        holding = {name for name, count in held.items() if count}
        for constraint in self.wanted.spread:
            groups = {REGIONS[name] if constraint.by == "region" else name for name in holding}
            assert len(groups) >= min(constraint.minimum, self.web.replicas)
            assert not constraint.maximum or len(groups) <= constraint.maximum


TestStories: Any = Story.TestCase
TestStories.settings = settings(max_examples=60, stateful_step_count=30, suppress_health_check=list(HealthCheck))
