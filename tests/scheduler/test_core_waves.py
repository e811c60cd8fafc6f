"""Which revision each member is to have: waves, gates, pins, and members that come and go in mid-rollout."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core import waves
from services.scheduler.core.values import Affinity, Amount, Beside, MemberFacts, Workload
from services.scheduler.core.waves import ALL, Gate, Measured, Plan, Update, Wave
from shared.contracts.placement import Waves
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from tests.scheduler.core_world import World, deployment, node, policy

REF = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web")
NAMES = ("edge", "idc", "ack", "eu")
PLAN = Plan(
    "web", (Wave("canary", Affinity(("edge",)), bake=600.0), Wave("region", Affinity(("idc", "ack"))), Wave("rest"))
)


@dataclass
class Story:
    """Members that take a revision when they are told to, and become healthy when a test says so."""

    plan: Plan = PLAN
    now: float = 1000.0
    newest: int = 2
    before: int = 1
    current: dict[str, int] = field(default_factory=lambda: dict.fromkeys(NAMES, 1))
    ready: dict[str, int] = field(default_factory=dict)
    updated: dict[str, int] = field(default_factory=dict)
    bound: dict[str, int] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    values: dict[str, float | None] = field(default_factory=dict)
    measured_for: tuple[int, int] | None = None  # revision and wave; None for those under way
    rolling: set[str] = field(default_factory=set)
    pins: dict[str, int] = field(default_factory=dict)
    state: Waves | None = None
    due: float | None = None
    reasons: tuple[tuple[str, str, str], ...] = ()

    def status(self, member: str) -> Status:
        ready = self.ready.get(member, 4)
        return Status(
            member=member,
            ref=REF,
            observed_at=self.now,
            revision=self.current[member],
            replicas=4,
            ready=ready,
            updated=self.updated.get(member, ready),
            bound=self.bound.get(member, ready),
            pending=self.pending.get(member, 0),
            restarts=self.restarts.get(member, 0),
            rolling=member in self.rolling,
        )

    def measured(self, member: str) -> Measured | None:
        if member not in self.values:
            return None
        revision, wave = self.measured_for or (self.newest, self.state.wave if self.state else 0)
        return Measured(revision, wave, self.values[member], "its server is away" * (self.values[member] is None))

    def look(self) -> dict[str, int]:
        updates = [
            Update(MemberFacts(name), current, 4, self.status(name) if current else None, self.measured(name))
            for name, current in self.current.items()
        ]
        found = waves.decide(self.newest, self.before, updates, self.pins, self.plan, self.state, self.now)
        self.state, self.due, self.reasons = found.waves, found.due, found.reasons
        self.current = dict(found.targets)
        return self.current

    def settle(self) -> dict[str, int]:
        """Looks until nothing changes: members are healthy at once unless a test says otherwise."""
        for _ in range(20):
            before = dict(self.current), self.state
            if (self.look(), self.state) == before:
                return self.current
        raise AssertionError("it does not settle")

    @property
    def new(self) -> set[str]:
        return {name for name, revision in self.current.items() if revision == self.newest}

    @property
    def standing(self) -> tuple[int, str]:
        assert self.state is not None
        return self.state.wave, self.state.state


class TestWaves:
    def test_the_canary_goes_first_and_bakes(self) -> None:
        story = Story()
        story.settle()
        assert (story.new, story.standing) == ({"edge"}, (0, "baking"))
        assert story.due == story.now + 600

    def test_the_next_wave_starts_after_the_bake_one_member_at_a_time(self) -> None:
        story = Story()
        story.settle()
        story.now += 599
        story.settle()
        assert story.new == {"edge"}
        story.now += 1
        story.ready = {"ack": 2}
        story.settle()
        assert (story.new, story.standing) == ({"edge", "ack"}, (1, "running"))
        story.ready = {}
        story.settle()
        assert (story.new, story.standing) == (set(NAMES), (3, "done"))

    def test_several_at_once_where_the_rollout_allows_it(self) -> None:
        story = Story(replace(PLAN, waves=PLAN.waves[1:], at_once=2), ready={"ack": 0, "idc": 0, "edge": 0})
        story.settle()
        assert story.new == {"ack", "idc"}

    def test_a_member_that_is_not_ready_is_waited_for(self) -> None:
        story = Story(ready={"edge": 3})
        story.settle()
        assert (story.new, story.standing) == ({"edge"}, (0, "running"))
        story.plan = replace(PLAN, waves=(replace(PLAN.waves[0], gate=Gate(ready_percent=75)), *PLAN.waves[1:]))
        story.look()
        assert story.standing == (0, "running"), "75 % are ready, but not all are updated"

    @pytest.mark.parametrize(("bound", "pending"), [(8, 0), (4, 4), (6, 3), (5, 0)])
    def test_old_pods_do_not_stand_in_for_new_ones(self, bound: int, pending: int) -> None:
        """maxSurge lets all of the new ones start before any of the old ones goes."""
        story = Story(bound={"edge": bound}, pending={"edge": pending})
        story.settle()
        assert (story.new, story.standing) == ({"edge"}, (0, "running"))
        assert story.reasons[0][1] == "pods of before are still there, and may be those that serve"
        story.bound = story.pending = {}
        story.settle()
        assert story.standing == (0, "baking")

    def test_health_lost_while_baking_starts_the_bake_anew(self) -> None:
        story = Story()
        story.settle()
        story.now += 500
        story.ready = {"edge": 1}
        story.settle()
        assert story.standing == (0, "running")
        story.ready = {}
        story.settle()
        story.now += 599
        story.settle()
        assert story.standing == (0, "baking")

    def test_a_members_own_rollout_is_waited_for_as_long_as_it_takes(self) -> None:
        story = Story(rolling={"edge"})
        story.settle()
        story.now += 1e6
        story.settle()
        assert story.standing == (0, "running")

    def test_it_says_the_same_when_asked_again(self) -> None:
        story = Story()
        story.settle()
        before = story.state
        story.now += 10
        story.look()
        assert story.state == before


class TestFailure:
    def test_too_long_without_health_fails_and_waits_for_a_person(self) -> None:
        story = Story(ready={"edge": 0})
        story.settle()
        story.now += 1800
        story.settle()
        assert (story.new, story.standing) == ({"edge"}, (0, "failed"))
        assert story.state is not None
        assert "edge" in story.state.message
        assert story.due is None

    def test_restarts_fail_at_once(self) -> None:
        gate = Gate(max_restarts=2)
        story = Story(replace(PLAN, waves=(replace(PLAN.waves[0], gate=gate), *PLAN.waves[1:])))
        story.settle()
        story.restarts = {"edge": 3}
        story.settle()
        assert story.standing == (0, "failed")

    def test_undo_takes_every_member_back(self) -> None:
        story = Story(replace(PLAN, undo=True), ready={"edge": 0})
        story.settle()
        story.now += 1800
        story.settle()
        assert (story.new, story.standing) == (set(), (0, "undone"))
        story.ready = {}
        story.settle()
        assert story.new == set(), "nothing takes an undone member forward again"

    def test_a_newer_revision_begins_anew(self) -> None:
        story = Story(replace(PLAN, undo=True), ready={"edge": 0})
        story.settle()
        story.now += 1800
        story.settle()
        story.newest, story.ready = 3, {}
        story.settle()
        assert (story.new, story.standing) == ({"edge"}, (0, "baking"))

    def test_a_newer_manifest_lets_it_try_again(self) -> None:
        story = Story(ready={"edge": 0})
        story.settle()
        story.now += 1800
        story.settle()
        story.plan, story.ready = replace(PLAN, generation=2), {}
        story.settle()
        assert story.standing == (0, "baking")


QUERIED = replace(PLAN, waves=(replace(PLAN.waves[0], gate=Gate(query=True, highest=1.0)), *PLAN.waves[1:]))


class TestQueries:
    @pytest.mark.parametrize(("value", "state"), [(0.5, "baking"), (2.0, "failed"), (None, "running")])
    def test_its_value_decides(self, value: float | None, state: str) -> None:
        story = Story(QUERIED, values={"edge": value})
        story.settle()
        assert story.standing == (0, state)

    def test_it_is_waited_for_and_says_why(self) -> None:
        story = Story(QUERIED)
        story.settle()
        assert story.reasons == (("WaveWaits", "the query has no value yet", "edge"),)
        story.values = {"edge": None}
        story.settle()
        assert story.reasons == (("WaveWaits", "the query has no value yet: its server is away", "edge"),)
        story.now += 1800
        story.settle()
        assert story.standing == (0, "failed")

    @pytest.mark.parametrize(("revision", "wave"), [(1, 0), (2, 1)], ids=["another revision", "another wave"])
    def test_what_was_measured_on_something_else_says_nothing(self, revision: int, wave: int) -> None:
        for value in (0.5, 2.0):
            story = Story(QUERIED, values={"edge": value}, measured_for=(revision, wave))
            story.settle()
            assert story.standing == (0, "running")

    def test_a_wave_without_a_bake_does_not_pass_before_it_is_asked(self) -> None:
        story = Story(replace(QUERIED, waves=(replace(QUERIED.waves[0], bake=0.0), *QUERIED.waves[1:])))
        story.settle()
        assert (story.new, story.standing) == ({"edge"}, (0, "running"))
        story.values = {"edge": 0.5}
        story.settle()
        assert story.new == set(NAMES)

    def test_a_server_that_is_away_keeps_the_bake_from_ending_and_does_not_begin_it_anew(self) -> None:
        story = Story(QUERIED, values={"edge": 0.5})
        story.settle()
        story.values = {"edge": None}
        story.now += 1000
        story.settle()
        assert story.standing == (0, "baking")
        assert story.due is not None
        assert story.due > story.now
        story.values = {"edge": 0.5}
        story.settle()
        assert story.standing == (3, "done")

    def test_a_server_that_stays_away_fails_the_wave_when_the_bake_and_the_timeout_are_over(self) -> None:
        story = Story(QUERIED, values={"edge": 0.5})
        story.settle()
        story.values = {}
        story.now += 600 + 1800
        story.settle()
        assert story.standing == (0, "failed")

    def test_a_value_that_turns_bad_in_the_bake_fails_the_wave(self) -> None:
        story = Story(QUERIED, values={"edge": 0.5})
        story.settle()
        story.values = {"edge": 1.5}
        story.settle()
        assert story.standing == (0, "failed")


class TestPeople:
    def test_paused_and_resumed(self) -> None:
        story = Story(replace(PLAN, paused=True))
        story.settle()
        assert (story.new, story.standing) == (set(), (0, "paused"))
        story.plan = PLAN
        story.settle()
        assert story.new == {"edge"}

    def test_pins_keep_a_member_where_it_is(self) -> None:
        story = Story(Plan("web", (Wave("all"),), at_once=9), pins={"idc": 1})
        story.settle()
        assert story.new == {"edge", "ack", "eu"}

    def test_a_wave_does_not_go_on_without_a_member_that_was_taken_back(self) -> None:
        story = Story()
        story.settle()
        story.pins = {"edge": 1}
        story.settle()
        story.now += 5000
        before = story.state
        story.settle()
        assert (story.new, story.standing, story.state) == (set(), (0, "running"), before)
        assert story.reasons == (("WaveWaits", "it was taken back to revision 1", "edge"),)

    def test_what_was_taken_back_everywhere_is_over(self) -> None:
        story = Story()
        story.settle()
        story.pins = {ALL: 1}
        story.settle()
        assert (story.new, story.standing, story.due) == (set(), (0, "undone"), None)
        assert story.state is not None
        assert story.state.message == "every member was taken back to revision 1"
        story.newest, story.pins = 3, {}
        story.settle()
        assert (story.new, story.standing) == ({"edge"}, (0, "baking"))

    def test_one_member_that_is_restarted_begins_no_waves(self) -> None:
        story = Story(pins={ALL: 1, "edge": 2})
        story.settle()
        assert (story.new, story.state) == ({"edge"}, None)


class TestMembership:
    def test_a_member_that_joins_gets_the_revision_before_until_its_wave_is_through(self) -> None:
        story = Story()
        story.settle()
        story.current["new"] = 0
        story.look()
        assert story.current["new"] == 1
        story.now += 600
        story.settle()
        assert story.current["new"] == 2

    def test_a_member_that_joins_a_wave_that_is_through_gets_the_newest(self) -> None:
        story = Story(
            replace(PLAN, waves=(Wave("canary", Affinity(("edge", "new"))), *PLAN.waves[1:])), ready={"ack": 0}
        )
        story.settle()
        story.current["new"] = 0
        story.look()
        assert story.current["new"] == 2

    def test_a_member_that_leaves_in_the_middle_does_not_stop_it(self) -> None:
        story = Story(ready={"edge": 0})
        story.settle()
        del story.current["edge"]
        story.settle()
        assert story.standing == (3, "done")

    def test_without_waves_a_joiner_starts_with_what_is_stable_while_others_roll(self) -> None:
        story = Story(rolling={"idc"}, current={"idc": 2, "new": 0})
        found = waves.decide(2, 1, [self._update(story, name) for name in story.current], {}, None, None, 1.0)
        assert found.targets == {"idc": 2, "new": 1}
        story.current["new"] = 1
        story.ready["new"] = 0
        found = waves.decide(2, 1, [self._update(story, name) for name in story.current], {}, None, None, 1.0)
        assert found.targets["new"] == 1, "it is not ready yet"
        story.ready["new"] = 4
        found = waves.decide(2, 1, [self._update(story, name) for name in story.current], {}, None, None, 1.0)
        assert found.targets["new"] == 2

    @staticmethod
    def _update(story: Story, name: str) -> Update:
        current = story.current[name]
        return Update(MemberFacts(name), current, 4, story.status(name) if current else None)

    def test_a_joiner_starts_with_what_is_stable_also_where_others_are_about_to_begin(self) -> None:
        """A Kruise Rollout takes the members over, and none of them has heard of the new revision yet."""
        story = Story(current={"idc": 1, "new": 0})
        idc, new = (self._update(story, name) for name in story.current)
        updates = [replace(idc, current=2), new]
        assert waves.decide(2, 1, updates, {}, None, None, 1.0, stepwise=True).targets["new"] == 1
        assert waves.decide(2, 1, updates, {}, None, None, 1.0).targets["new"] == 2, "nothing goes by steps"


events = st.lists(
    st.one_of(
        st.tuples(st.just("ready"), st.sampled_from(NAMES), st.integers(0, 4)),
        st.tuples(st.just("time"), st.floats(0, 3000), st.none()),
        st.tuples(st.just("rolling"), st.sampled_from(NAMES), st.booleans()),
        st.tuples(st.just("leave"), st.sampled_from(NAMES), st.none()),
        st.tuples(st.just("join"), st.sampled_from(NAMES), st.none()),
    ),
    max_size=25,
)


@given(events, st.integers(1, 3))
def test_never_more_in_the_middle_than_allowed_and_no_wave_before_the_one_before(
    steps: list[Any], at_once: int
) -> None:
    story = Story(replace(PLAN, at_once=at_once))
    story.look()
    for what, name, value in steps:
        before = dict(story.current)
        match what:
            case "ready":
                story.ready[name] = value
            case "time":
                story.now += name
            case "rolling":
                (story.rolling.add if value else story.rolling.discard)(name)
            case "leave":
                story.current.pop(name, None)
            case "join":
                story.current.setdefault(name, 0)
        had = set(story.current)
        story.look()
        started = {n for n in story.new & had if before.get(n) == 1}
        assert len(started) <= at_once
        assert story.state is not None
        for member in started:
            assert story.plan.place(MemberFacts(member)) <= story.state.wave
        assert all(revision in (1, 2) for revision in story.current.values())


class TestInPlacements:
    """The same through the scheduler's state: revisions of shares, surge, and what is woken by what."""

    def rolling_world(self) -> tuple[World, Workload]:
        world = World()
        world.want(policy(("edge", "idc"), division="duplicated"))
        for name in ("edge", "idc"):
            world.member(name, *[node(f"{name}{i}", 4) for i in range(3)])
        workload = replace(deployment("web", 4), max_surge=Amount(25, percent=True))
        world.want(workload)
        world.run()
        self.healthy(world, workload, 1)
        return world, workload

    @staticmethod
    def healthy(world: World, workload: Workload, revision: int, *members: str, **more: Any) -> None:
        for member in members or ("edge", "idc"):
            world.status(workload, member, revision=revision, replicas=4, ready=4, updated=4, **more)

    def test_a_new_revision_reaches_all_members_without_a_fleet_rollout(self) -> None:
        world, workload = self.rolling_world()
        newer = replace(workload, revision=2, generation=2)
        world.want(newer)
        world.run()
        assert {share.revision for share in world.placement(newer).shares} == {2}
        assert world.placement(newer).before == 1

    def test_waves_move_on_by_statuses_and_time_alone(self) -> None:
        world, workload = self.rolling_world()
        plan = Plan("web", (Wave("canary", Affinity(("edge",)), bake=60.0), Wave("rest")))
        world.state.on_rollout(workload.key, plan)
        newer = replace(workload, revision=2, generation=2)
        world.want(newer)
        world.run()
        assert self.revisions(world, newer) == {"edge": 2, "idc": 1}
        edge = world.placement(newer).share("edge")
        assert edge is not None
        assert edge.surge == 1
        self.healthy(world, newer, 2, "edge")
        world.run()
        edge = world.placement(newer).share("edge")
        assert edge is not None
        assert edge.surge == 0
        world.now += 61
        world.run()
        assert self.revisions(world, newer) == {"edge": 2, "idc": 2}
        self.healthy(world, newer, 2)
        world.run()
        found = world.placement(newer).waves
        assert found is not None
        assert found.state == "done"
        assert world.run() == []

    def test_a_surge_is_reserved_while_it_lasts(self) -> None:
        world, workload = self.rolling_world()
        world.state.on_rollout(workload.key, Plan("web", (Wave("all"),), at_once=2))
        assert world.state.room.reserved(workload.uid, "idc") == 4
        newer = replace(workload, revision=2, generation=2)
        world.want(newer)
        world.run()
        assert world.state.room.reserved(workload.uid, "idc") == 5

    BESIDE: ClassVar[dict[str, tuple[Beside | None, int]]] = {
        "replaced one for one": (None, 5),
        "blue and green": (Beside((Amount(50, percent=True), Amount(100, percent=True))), 8),
        "more than there are": (Beside((Amount(9),)), 8),
        "an extra workload, and the promotion beside it": (Beside((Amount(30, percent=True),), promoted=True), 7),
    }

    @pytest.mark.parametrize("name", BESIDE)
    def test_what_a_rollout_starts_beside_the_old_pods_is_reserved_from_the_start(self, name: str) -> None:
        beside, expected = self.BESIDE[name]
        world, workload = self.rolling_world()
        newer = replace(workload, revision=2, generation=2, stepwise=True, beside=beside)
        world.want(newer)
        world.run()
        assert world.state.room.reserved(workload.uid, "idc") == expected
        self.healthy(world, newer, 2, rolling=True)
        world.run()
        assert world.state.room.reserved(workload.uid, "idc") == expected
        self.healthy(world, newer, 2)
        world.run()
        assert world.state.room.reserved(workload.uid, "idc") == 4

    @pytest.mark.parametrize(
        ("revision", "updated", "before"),
        [(2, 1, 1), (2, 4, 2), (1, 4, 1)],
        ids=["at its first step", "all pods are of it", "not heard of it yet"],
    )
    def test_what_members_had_is_what_they_had_wholly(self, revision: int, updated: int, before: int) -> None:
        """A newer revision comes while the last one is on its way, step by step."""
        world, workload = self.rolling_world()
        second = replace(workload, revision=2, generation=2, stepwise=True)
        world.want(second)
        world.run()
        for member in ("edge", "idc"):
            world.status(second, member, revision=revision, replicas=4, ready=4, updated=updated, rolling=revision == 2)
        world.want(replace(second, revision=3, generation=3))
        world.run()
        assert world.placement(second).before == before

    def test_an_undone_member_stays_where_it_is_until_a_newer_revision(self) -> None:
        world, workload = self.rolling_world()
        newer = replace(workload, revision=2, generation=2)
        world.want(newer)
        world.run()
        undone = replace(newer, generation=3, pins={"idc": 1})
        world.want(undone)
        world.run()
        assert self.revisions(world, undone) == {"edge": 2, "idc": 1}
        scaled = replace(undone, generation=4, replicas=5)
        world.want(scaled)
        world.run()
        assert self.revisions(world, scaled) == {"edge": 2, "idc": 1}
        world.want(replace(scaled, generation=5, revision=3, pins={}))
        world.run()
        assert self.revisions(world, scaled) == {"edge": 3, "idc": 3}

    def test_a_query_is_asked_about_members_that_run_the_revision_of_the_wave_under_way(self) -> None:
        world, workload = self.rolling_world()
        gate = Gate(query=True, highest=1.0)
        world.state.on_rollout(
            workload.key, Plan("web", (Wave("canary", Affinity(("edge",)), gate=gate), Wave("rest")))
        )
        newer = replace(workload, revision=2, generation=2)
        world.want(newer)
        world.run()
        assert world.state.asking() == [], "the canary does not run it yet"
        self.healthy(world, newer, 2, "edge")
        world.run()
        ((key, state, members),) = world.state.asking()
        assert (key, state.wave, members) == (workload.key, 0, ["edge"])
        world.state.on_measured(key, "edge", Measured(1, 0, 0.5))
        world.run()
        assert self.revisions(world, newer) == {"edge": 2, "idc": 1}
        world.state.on_measured(key, "edge", Measured(2, 0, 0.5))
        world.run()
        assert self.revisions(world, newer) == {"edge": 2, "idc": 2}
        assert world.state.asking() == [], "the last wave asks nobody"

    @staticmethod
    def revisions(world: World, workload: Workload) -> dict[str, int]:
        return {share.member: share.revision for share in world.placement(workload).shares if share.present}
