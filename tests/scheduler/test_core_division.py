"""Webster's method as the core divides: what it promises, for any numbers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.scheduler.core import division

Votes = list[int]
some_votes = st.lists(st.integers(0, 40), min_size=1, max_size=8)
large_votes = st.lists(st.integers(0, 2**50), min_size=1, max_size=6)
UID = "0a1b2c"


def ties_of(count: int, uid: str = UID) -> division.Ties:
    hashes = np.array([division.hash_of(f"member-{i}") for i in range(count)], dtype=np.uint64)
    return division.tie_breaks(uid, hashes)


def webster(votes: Votes, seats: int, start: Votes | None = None) -> list[int]:
    begun = None if start is None else np.array(start, dtype=np.int64)
    given_: list[int] = division.webster(np.array(votes, dtype=np.int64), seats, ties_of(len(votes)), begun).tolist()
    return given_


def one_by_one(votes: Votes, seats: int, start: Votes | None = None) -> list[int]:
    """The definition: one seat after the other to the largest votes / (2 · seats + 1)."""
    ties = ties_of(len(votes)).tolist()
    held = list(start or [0] * len(votes))
    if not any(votes):
        return held
    for _ in range(seats):
        claims = [(Fraction(vote, 2 * has + 1), -tie) for vote, has, tie in zip(votes, held, ties, strict=True)]
        held[claims.index(max(claims))] += 1
    return held


@given(some_votes, st.integers(0, 60))
def test_it_equals_the_definition(votes: Votes, seats: int) -> None:
    assert webster(votes, seats) == one_by_one(votes, seats)


@given(large_votes, st.integers(0, 30))
def test_it_equals_the_definition_where_floats_would_not_do(votes: Votes, seats: int) -> None:
    assert webster(votes, seats) == one_by_one(votes, seats)


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9)), min_size=1, max_size=6), st.integers(0, 30))
def test_it_goes_on_from_what_is_there(pairs: list[tuple[int, int]], seats: int) -> None:
    votes, start = [vote for vote, _ in pairs], [has if vote else 0 for vote, has in pairs]
    assert webster(votes, seats, start) == one_by_one(votes, seats, start)


@given(some_votes, st.integers(0, 400))
def test_all_seats_are_given_and_none_without_votes(votes: Votes, seats: int) -> None:
    result = webster(votes, seats)
    assert sum(result) == (seats if any(votes) else 0)
    assert all(has == 0 for vote, has in zip(votes, result, strict=True) if vote == 0)


@given(some_votes, st.data())
def test_nobody_gets_more_than_there_is_room(room: Votes, data: st.DataObject) -> None:
    seats = data.draw(st.integers(0, sum(room)))
    assert all(has <= size for has, size in zip(webster(room, seats), room, strict=True))


@given(some_votes, st.integers(0, 80))
def test_one_more_replica_takes_none_from_anybody(votes: Votes, seats: int) -> None:
    more = zip(webster(votes, seats), webster(votes, seats + 1), strict=True)
    assert all(before <= after for before, after in more)


@given(some_votes, st.integers(0, 80), st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(votes: Votes, seats: int, random: object) -> None:
    order = list(range(len(votes)))
    random.shuffle(order)  # type: ignore[attr-defined]
    ties = ties_of(len(votes))
    plain = division.webster(np.array(votes, dtype=np.int64), seats, ties)
    mixed = division.webster(np.array(votes, dtype=np.int64)[order], seats, ties[order])
    assert plain[order].tolist() == mixed.tolist()


@settings(max_examples=50)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=8), st.data())
def test_shrinking_leaves_what_growing_would_have_given(held: Votes, data: st.DataObject) -> None:
    away = data.draw(st.integers(0, sum(held)))
    left = division.shrink(held, away, ties_of(len(held)))
    assert sum(left) == sum(held) - away
    assert all(0 <= after <= before for after, before in zip(left, held, strict=True))
    assert left == one_by_one(held, sum(held) - away), "votes are what is held"


@given(some_votes, st.data())
def test_aggregated_uses_as_few_members_as_can_hold_it(room: Votes, data: st.DataObject) -> None:
    seats = data.draw(st.integers(0, sum(room)))
    nobody = np.zeros(len(room), dtype=np.bool_)
    result = division.aggregated(np.array(room, dtype=np.int64), seats, ties_of(len(room)), nobody).tolist()
    assert sum(result) == seats
    assert all(has <= size for has, size in zip(result, room, strict=True))
    fewest, held = 0, 0
    for size in sorted(room, reverse=True):
        if held >= seats:
            break
        fewest, held = fewest + 1, held + size
    assert sum(1 for has in result if has) <= fewest


def test_many_workloads_of_one_replica_do_not_all_go_to_the_same_member() -> None:
    chosen = {int(division.webster(np.array([5] * 4), 1, ties_of(4, f"uid-{i}")).argmax()) for i in range(40)}
    assert chosen == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("votes", "seats", "expected"), [([6, 3], 3, [2, 1]), ([6, 3], 6, [4, 2]), ([7, 0], 3, [3, 0])]
)
def test_by_hand(votes: Votes, seats: int, expected: list[int]) -> None:
    assert webster(votes, seats) == expected
