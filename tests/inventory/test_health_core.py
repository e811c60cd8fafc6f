"""Which members are lost."""

from __future__ import annotations

import pytest

from services.inventory.core.health import Watchman

SIX = dict.fromkeys("abcdef", 0.0)


def watchman(**fields: float) -> Watchman:
    return Watchman(lost_after=300.0, began_at=0.0, paused=1e9, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("silent", "lost"),
    [
        pytest.param("", "", id="nobody"),
        pytest.param("a", "a", id="one of six"),
        pytest.param("ab", "ab", id="a third"),
        pytest.param("abc", "", id="more than a third at once is this side's fault"),
    ],
)
def test_five_minutes_of_silence(silent: str, lost: str) -> None:
    answered = {member: 0.0 if member in silent else 299.0 for member in SIX}
    assert watchman().look(answered, 300.0) == set(lost)


def test_a_member_that_comes_and_goes_is_not_lost() -> None:
    guard = watchman()
    for now in range(0, 3000, 10):
        answered = {**dict.fromkeys("bcdef", float(now)), "a": now - now % 290}
        assert not guard.look(answered, float(now))


def test_what_was_silent_before_this_process_began_gets_its_time() -> None:
    guard = Watchman(lost_after=300.0, began_at=1000.0, paused=1e9)
    answered = {**dict.fromkeys("bcdef", 1290.0), "a": 0.0}
    assert not guard.look(answered, 1299.0)
    assert guard.look(answered, 1300.0) == {"a"}


def test_a_process_that_slept_does_not_blame_the_members() -> None:
    guard = Watchman(lost_after=300.0, began_at=0.0, paused=60.0)
    answered = {**dict.fromkeys("bcdef", 10_000.0), "a": 0.0}
    guard.look(SIX, 5.0)
    assert not guard.look(answered, 10_000.0)


def test_the_lost_stay_lost_until_they_answer_or_leave() -> None:
    guard = watchman()
    assert guard.look({**dict.fromkeys("cdef", 299.0), "a": 0.0, "b": 0.0}, 300.0) == {"a", "b"}
    everybody_else_vanishes = dict.fromkeys("abcdef", 0.0) | dict.fromkeys("cdef", 299.0)
    assert guard.look(everybody_else_vanishes, 700.0) == {"a", "b"}
    back = dict.fromkeys("acdef", 710.0) | {"b": 0.0}
    assert guard.look(back, 710.0) == {"b"}
    del back["b"]
    assert guard.look(back, 711.0) == set()


def test_with_two_members_one_is_more_than_a_third() -> None:
    assert not watchman().look({"a": 0.0, "b": 300.0}, 300.0)
