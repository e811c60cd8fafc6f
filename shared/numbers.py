"""Whole numbers in texts that anybody may have written: annotations, headers, names."""

from __future__ import annotations

from typing import Final

DIGITS: Final = 18  # so many always fit 63 bits


def whole(text: str) -> int | None:
    """The number that the text is; None for anything but up to 18 ASCII digits.

    `isdigit` and `int` differ: "²" is a digit to the one and no number to the other, which also refuses thousands
    of digits.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= DIGITS else None
