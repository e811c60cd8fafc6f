"""The executor's small parts: what waits, when a member is cut off, what a failure means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.breaker import Breaker
from services.executor.core.verdicts import is_stale_memory, verdict
from services.executor.queue import Key, WorkQueue
from shared.errors import BrimError, MemberUnavailable, NotFound, Refused, WriteConflict

WEB: Key = ("Deployment", "apps", "test", "web")
API: Key = ("Deployment", "apps", "test", "api")


class TestQueue:
    def test_fresh_keys_come_in_order_of_arrival_and_before_those_whose_time_has_come(self) -> None:
        queue = WorkQueue()
        queue.add_at(("Job", "batch", "test", "late"), 1.0)
        queue.add(WEB)
        queue.add(API)
        assert [queue.take(5.0), queue.take(5.0), queue.take(5.0)] == [WEB, API, ("Job", "batch", "test", "late")]

    def test_a_key_waits_once(self) -> None:
        queue = WorkQueue()
        queue.add_at(WEB, 1.0)
        queue.add(WEB)
        queue.add(WEB)
        assert (queue.take(9.0), queue.take(9.0)) == (WEB, None)

    def test_a_key_in_hand_comes_again_when_it_was_added_meanwhile(self) -> None:
        queue = WorkQueue()
        queue.add(WEB)
        assert queue.take(0.0) == WEB
        queue.add(WEB)
        assert queue.take(0.0) is None
        queue.done(WEB)
        assert queue.take(0.0) == WEB

    def test_a_later_time_replaces_an_earlier_one(self) -> None:
        queue = WorkQueue()
        queue.add_at(WEB, 1.0)
        queue.add_at(WEB, 3.0)
        assert (queue.take(2.0), queue.next_at()) == (None, 3.0)

    def test_a_discarded_key_does_not_come(self) -> None:
        queue = WorkQueue()
        queue.add(WEB)
        queue.add_at(API, 1.0)
        queue.discard(WEB)
        queue.discard(API)
        assert (queue.take(9.0), queue.next_at(), len(queue)) == (None, None, 0)

    @given(st.lists(st.tuples(st.sampled_from(["add", "later", "take", "done"]), st.integers(0, 3))))
    def test_what_was_added_last_is_always_given_out_after_it(self, steps: list[tuple[str, int]]) -> None:
        queue, owed, in_hand = WorkQueue(), set[Key](), list[Key]()
        for verb, number in steps:
            key: Key = ("Pod", "", "test", str(number))
            if verb == "add":
                queue.add(key)
                owed.add(key)
            elif verb == "later" and key not in in_hand:
                queue.add_at(key, 0.0)
                owed.add(key)
            elif verb == "take" and (taken := queue.take(1.0)) is not None:
                assert taken not in in_hand
                in_hand.append(taken)
                owed.discard(taken)
            elif verb == "done" and in_hand:
                queue.done(in_hand.pop())
        while in_hand:
            queue.done(in_hand.pop())
        while (taken := queue.take(1.0)) is not None:
            owed.discard(taken)
        assert not owed


class TestBreaker:
    def test_opens_after_failures_in_a_row_and_then_only_probes(self) -> None:
        breaker = Breaker(threshold=2, pause=5.0).failed(10.0)
        assert breaker.allows(10.0)
        breaker = breaker.failed(11.0)
        assert (breaker.is_open, breaker.allows(15.9), breaker.allows(16.0)) == (True, False, True)
        assert not breaker.probing(16.0).allows(16.1)

    def test_a_members_own_wish_to_be_left_alone_is_kept(self) -> None:
        breaker = Breaker(threshold=1, pause=5.0).failed(10.0, 30.0)
        assert (breaker.allows(39.0), breaker.allows(40.0)) == (False, True)
        assert not breaker.failed(11.0).allows(39.0)  # a request that was on its way already
        assert not breaker.probing(40.0).failed(41.0).allows(45.5)

    def test_any_answer_closes_it(self) -> None:
        breaker = Breaker(threshold=1, pause=5.0).failed(10.0).succeeded()
        assert (breaker.is_open, breaker.allows(0.0)) == (False, True)

    def test_failures_that_are_not_in_a_row_do_not_open_it(self) -> None:
        breaker = Breaker(threshold=2, pause=5.0)
        for _ in range(5):
            breaker = breaker.failed(0.0).succeeded()
        assert not breaker.is_open


@pytest.mark.parametrize(
    ("error", "result", "pace"),
    [
        (MemberUnavailable("away", retry_after=3.0), "retrying", "soon"),
        (WriteConflict("first", code="Conflict"), "retrying", "soon"),
        (WriteConflict("owned", code="FieldManagerConflict"), "conflict", "slow"),
        (Refused("no", code="Forbidden"), "failed", "slow"),
        (Refused("not now", code="NamespaceTerminating"), "retrying", "soon"),
        (NotFound("no namespace"), "failed", "slow"),
    ],
    ids=["unavailable", "stale", "owned by others", "refused", "namespace goes", "not found"],
)
def test_what_a_failure_means(error: BrimError, result: str, pace: str) -> None:
    found = verdict(error)
    assert (found.result, found.pace, found.code, found.message) == (result, pace, error.code, str(error))
    assert found.retry_after == getattr(error, "retry_after", None)


def test_only_a_conflict_about_the_object_itself_asks_for_a_new_look() -> None:
    assert is_stale_memory(WriteConflict("uid", code="Conflict"))
    assert is_stale_memory(WriteConflict("there", code="AlreadyExists"))
    assert not is_stale_memory(WriteConflict("owned", code="FieldManagerConflict"))
    assert not is_stale_memory(Refused("no"))
