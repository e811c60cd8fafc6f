"""What a failure means for an object: what the outcome says, and when to try again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from shared.contracts.outcome import Result
from shared.errors import BrimError, Retryable, WriteConflict

Pace: TypeAlias = Literal["soon", "slow"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """pace: soon for what passes by itself, slow for what a person has to change. retry_after: seconds, the
    member's own wish."""

    result: Result
    code: str
    message: str
    pace: Pace
    retry_after: float | None = None


def verdict(error: BrimError) -> Verdict:
    """Every failure is tried again, since whoever mends it does not tell brim."""
    message = str(error)
    if error.code == "FieldManagerConflict":
        return Verdict("conflict", error.code, message, "slow")
    if error.code == "NamespaceTerminating":
        return Verdict("retrying", error.code, message, "soon")
    if isinstance(error, Retryable):
        return Verdict("retrying", error.code, message, "soon", error.retry_after)
    return Verdict("failed", error.code, message, "slow")


def is_stale_memory(error: BrimError) -> bool:
    """The object is not what was remembered or just seen: gone, or another one of its name. A look will tell."""
    return isinstance(error, WriteConflict) and error.code != "FieldManagerConflict"
