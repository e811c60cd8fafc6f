"""Colour and weight, where a person sees them: on a terminal, unless NO_COLOR (no-color.org) asks not to."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import click

GOOD = frozenset({"Ready", "Running", "Active", "Complete", "Completed", "Succeeded", "Bound", "applied", "yes"})
ON_ITS_WAY = frozenset({"Pending", "ContainerCreating", "Terminating", "Unknown", "retrying", "Suspended"})
BAD = frozenset(
    {
        "NotReady",
        "Unreachable",
        "Lost",
        "Failed",
        "Error",
        "CrashLoopBackOff",
        "Evicted",
        "failed",
        "conflict",
        "NO",
        "rejected",
    }
)


def wanted(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def painted(text: str, stream: TextIO, *, fg: str | None = None, bold: bool = False, dim: bool = False) -> str:
    """The text, styled where the stream shows it."""
    return click.style(text, fg=fg, bold=bold or None, dim=dim or None) if wanted(stream) else text


def style(text: str, *, fg: str | None = None, bold: bool = False, dim: bool = False) -> str:
    """`painted` for standard output."""
    return painted(text, sys.stdout, fg=fg, bold=bold, dim=dim)


def cell(text: str, heading: bool) -> str:
    """A table's cell on standard output: headings bold, a state in its colour, `Ready,SchedulingDisabled` too."""
    if heading:
        return style(text, bold=True)
    state = text.strip().partition(",")[0]
    fg = "green" if state in GOOD else "yellow" if state in ON_ITS_WAY else "red" if state in BAD else None
    return style(text, fg=fg) if fg is not None else text
