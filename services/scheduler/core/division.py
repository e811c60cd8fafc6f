"""Dividing replicas among members: Webster's method (Sainte-Laguë), and what is built on it.

Webster gives one seat after the other to the largest votes / (2 · seats + 1). It is house-monotone (one more
replica never takes one from anybody) and gives nobody more seats than votes as long as there are no more seats
than votes in all. Here most seats are given at once: all that any divisor gives without exceeding the sum.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt

Ints: TypeAlias = npt.NDArray[np.int64]
Ties: TypeAlias = npt.NDArray[np.uint64]

_EXACT = 2**52  # below, distinct quotients of integers are distinct as float64, and equal ones equal


def hash_of(text: str) -> int:
    """The same in every process, unlike hash()."""
    return crc32(text.encode()) * 0x9E3779B97F4A7C15 % 2**64


def tie_breaks(uid: str, hashes: Ties) -> Ties:
    """One number per member; of equal claims the smallest number wins. Differs from workload to workload, so that
    many workloads of one replica do not all go to the same member."""
    mixed = (hashes ^ np.uint64(hash_of(uid))) * np.uint64(0xD6E8FEB86659FD93)
    return mixed ^ (mixed >> np.uint64(32))


def webster(votes: Ints, seats: int, ties: Ties, start: Ints | None = None) -> Ints:
    """Seats per position, `seats` in all (none without votes), on top of `start` if given.

    votes ≥ 0. Equal to the definition for every input; O(members · log members), whatever the number of seats.
    """
    given = np.zeros(len(votes), dtype=np.int64) if start is None else start.copy()
    total = int(votes.sum())
    if seats <= 0 or total == 0:
        return given
    rest = seats
    if start is None:
        given = _bulk(votes, total, seats)
        rest -= int(given.sum())
    if rest:
        _finish(votes, given, rest, ties)
    return given


def _bulk(votes: Ints, total: int, seats: int) -> Ints:
    """Every seat whose claim is at least `total / (seats − m/2)`, m members: never more than `seats` in all, as
    rounding adds at most one half to each. Hence all of them are among the winners."""
    factor = 2 * seats - int(np.count_nonzero(votes))
    if factor <= 0:
        return np.zeros(len(votes), dtype=np.int64)
    if int(votes.max()) * factor + total < 2**62:
        return np.asarray((votes * factor + total) // (2 * total), dtype=np.int64) * (votes > 0)
    listed = [(vote * factor + total) // (2 * total) if vote else 0 for vote in votes.tolist()]
    return np.array(listed, dtype=np.int64)


def _finish(votes: Ints, given: Ints, rest: int, ties: Ties) -> None:
    if int(votes.max()) * (2 * (int(given.max()) + rest) + 1) >= _EXACT:
        _finish_exactly(votes, given, rest, ties)
        return
    claims = votes / (2 * given + 1)
    first = np.lexsort((ties, -claims))[:rest]  # nobody behind the first `rest` can win any of them
    winners = first[votes[first] > 0]
    second = votes[winners] / (2 * given[winners] + 3)
    if len(winners) == rest and second.max() < claims[winners[-1]]:
        given[winners] += 1  # each wins once: nobody's second claim beats the last first claim
        return
    heap = [
        (-claim, tie, position)
        for claim, tie, position in zip(claims[winners].tolist(), ties[winners].tolist(), winners.tolist(), strict=True)
    ]
    heapq.heapify(heap)
    listed, seats = votes.tolist(), given.tolist()
    for _ in range(rest):
        _, tie, position = heap[0]
        seats[position] += 1
        heapq.heapreplace(heap, (-listed[position] / (2 * seats[position] + 1), tie, position))
    given[:] = seats


def _finish_exactly(votes: Ints, given: Ints, rest: int, ties: Ties) -> None:
    listed, seats, breaks = votes.tolist(), given.tolist(), ties.tolist()
    heap = [(-Fraction(vote, 2 * seats[i] + 1), breaks[i], i) for i, vote in enumerate(listed) if vote]
    heapq.heapify(heap)
    for _ in range(rest):
        _, tie, position = heap[0]
        seats[position] += 1
        heapq.heapreplace(heap, (-Fraction(listed[position], 2 * seats[position] + 1), tie, position))
    given[:] = seats


def aggregated(room: Ints, seats: int, ties: Ties, used: npt.NDArray[np.bool_]) -> Ints:
    """As few members as possible: those used already first, then the roomiest; Webster among them. seats ≤ Σ room."""
    order = np.lexsort((ties, -room, ~used))
    enough = int(np.searchsorted(np.cumsum(room[order]), seats)) + 1
    chosen = np.zeros(len(room), dtype=np.int64)
    prefix = order[:enough]
    chosen[prefix] = room[prefix]
    return webster(chosen, seats, ties)


def shrink(held: Sequence[int], away: int, ties: Ties) -> list[int]:
    """What is left of `held` when `away` go: Webster over what is there, so that proportions stay."""
    votes = np.array(held, dtype=np.int64)
    left: list[int] = webster(votes, max(0, int(votes.sum()) - away), ties).tolist()
    return left
