"""Colour is for terminals, and for those who want it."""

from __future__ import annotations

import io
import sys

import pytest

from cli import colours


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


def test_only_a_terminal_gets_colour() -> None:
    assert colours.painted("no", io.StringIO(), fg="red", bold=True) == "no"
    assert colours.painted("yes", Terminal(), fg="red") == "\x1b[31myes\x1b[0m"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", ""), ("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_may_want_none(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert colours.painted("no", Terminal(), fg="red") == "no"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Ready   ", 32),
        ("Ready,SchedulingDisabled", 32),
        ("Pending", 33),
        ("NotReady", 31),
        ("conflict", 31),
    ],
)
def test_states_have_their_colours(monkeypatch: pytest.MonkeyPatch, text: str, code: int) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert colours.cell(text, heading=False) == f"\x1b[{code}m{text}\x1b[0m"


def test_what_names_no_state_stays_as_it_is_and_headings_are_bold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert colours.cell("qwen3", heading=False) == "qwen3"
    assert colours.cell("STATUS", heading=True) == "\x1b[1mSTATUS\x1b[0m"
