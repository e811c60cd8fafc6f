"""Quantities: every form that Kubernetes writes, exact, and nothing else."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import quantities

VALUES: dict[str | int | float, str] = {
    "0": "0",
    "1": "1",
    7: "7",
    0.5: "0.5",
    "500m": "0.5",
    "100u": "0.0001",
    "100n": "0.0000001",
    "1.5k": "1500",
    "2M": "2000000",
    "3G": "3000000000",
    "4T": "4000000000000",
    "5P": "5000000000000000",
    "6E": "6000000000000000000",
    "1Ki": "1024",
    "2Mi": "2097152",
    "3Gi": "3221225472",
    "1.5Gi": "1610612736",
    "4Ti": "4398046511104",
    "5Pi": "5629499534213120",
    "6Ei": "6917529027641081856",
    "1e3": "1000",
    "1E3": "1000",
    "12E-1": "1.2",
    "+5": "5",
    "-5": "-5",
    ".5": "0.5",
    "5.": "5",
    "9223372036854775807": "9223372036854775807",
}


@pytest.mark.parametrize("text", VALUES, ids=str)
def test_every_form_is_read_exactly(text: str | int | float) -> None:
    assert quantities.parse(text) == Decimal(VALUES[text])


WRONG: list[str | int | float] = [
    "",
    " ",
    " 1",
    "1 ",
    "1\n",
    "a lot",
    "4 GB",
    "4GB",
    "1KiB",
    "1ki",
    "1K",
    "1_000",
    "0x10",
    "1,5",
    "--1",
    "1e",
    "1e3Ki",
    "1e1000000000",
    "\u0663",  # a digit, but no ASCII one
    "9223372036854775808",
    "9999999Ei",
    "1e999",
    "9" * 10_000,
    float("nan"),
    float("inf"),
    True,
]


@pytest.mark.parametrize("text", WRONG, ids=lambda text: repr(text)[:20])
def test_anything_else_is_refused_in_a_sentence(text: str | int | float) -> None:
    with pytest.raises(ValueError, match="quantity") as raised:
        quantities.parse(text)
    assert len(str(raised.value)) < 200


AMOUNTS = [
    ("cpu", "500m", 500),
    ("cpu", "2", 2000),
    ("cpu", "1n", 1),
    ("cpu", "1500u", 2),
    ("memory", "1Ki", 1024),
    ("memory", "1500m", 2),
    ("memory", "0.1", 1),
    ("nvidia.com/gpu", "4", 4),
    ("pods", "110", 110),
    ("cpu", "0", 0),
    ("cpu", "-0", 0),
]


@pytest.mark.parametrize(("resource", "text", "whole"), AMOUNTS)
def test_amounts_are_whole_and_round_up(resource: str, text: str, whole: int) -> None:
    assert quantities.amount(resource, text) == whole


@pytest.mark.parametrize(("resource", "text"), [("cpu", "-1"), ("memory", "-1n"), ("cpu", "9223372036854775807")])
def test_no_amount_is_negative_or_beyond_63_bits(resource: str, text: str) -> None:
    with pytest.raises(ValueError, match=f"{resource} is '{text}'"):
        quantities.amount(resource, text)


@given(st.sampled_from(["cpu", "memory", "pods", "nvidia.com/gpu", "hugepages-2Mi"]), st.integers(0, 2**53))
def test_what_is_shown_is_read_back(resource: str, whole: int) -> None:
    assert quantities.amount(resource, quantities.show(resource, whole)) == whole
