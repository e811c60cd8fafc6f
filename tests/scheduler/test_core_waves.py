"""Which revision each member is to have: waves, gates, pins, and members that come and go in mid-rollout."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core import waves
from services.scheduler.core.values import Affinity, MemberFacts
from services.scheduler.core.waves import ALL, Gate, Plan, Update, Wave
from tests.scheduler.waves_story import NAMES, PLAN, Story


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
