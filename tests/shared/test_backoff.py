"""Backoff: exponential, bounded, spread out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backoff import Backoff, Retries


@pytest.mark.parametrize(
    ("attempt", "jitter", "delay"),
    [(1, 1.0, 0.1), (1, 0.0, 0.05), (2, 1.0, 0.2), (5, 1.0, 1.6), (10, 1.0, 10.0), (10_000, 1.0, 10.0), (0, 1.0, 0.1)],
)
def test_doubles_up_to_its_maximum(attempt: int, jitter: float, delay: float) -> None:
    assert Backoff(base=0.1, maximum=10.0).delay(attempt, jitter=jitter) == pytest.approx(delay)


@given(st.integers(1, 10**6), st.floats(0.001, 10), st.floats(0.001, 100))
def test_lies_between_half_of_the_step_and_the_maximum(attempt: int, base: float, maximum: float) -> None:
    backoff = Backoff(base, maximum)
    step = backoff.delay(attempt, jitter=1.0)
    assert step / 2 <= backoff.delay(attempt) <= step <= maximum


def test_success_starts_over() -> None:
    retries = Retries(Backoff(base=1.0, maximum=100.0))
    for _ in range(5):
        retries.next_delay()
    retries.succeeded()
    assert retries.next_delay() <= 1.0
