"""Messages as lines of one story: what was decided, what became of it, what was refused. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from cli.explain import moment
from cli.fleet_tables import shares_text
from cli.tables import Paint
from shared.bus import Message
from shared.clock import rfc3339
from shared.contracts.action import Acted, Verb
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome, Rejected
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.errors import Fault

NOBODY = "somebody unnamed"
_DONE: Mapping[Verb, str] = {"approve": "approved"}


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """One event. at: Unix seconds of fleet time; what, about and told are words for people. ref: of what it tells,
    where that is an object."""

    at: float
    what: str
    about: str
    told: str
    ref: ObjectRef | None = field(default=None, compare=False)

    @property
    def namespace(self) -> str:
        return self.ref.namespace if self.ref is not None else ""

    def as_text(self, width: int, *, paint: Paint | None = None) -> str:
        """width: columns that `about` takes at least, so that lines of one story stand below each other."""
        what = f"{self.what:<10}"
        return f"{moment(self.at)}  {paint(what, False) if paint else what}  {self.about:<{width}}  {self.told}"

    def as_json(self) -> dict[str, JsonValue]:
        return {
            "time": rfc3339(self.at),
            "at": self.at,
            "event": self.what,
            "object": self.about,
            "message": self.told,
        }


def line_of(message: Message) -> Line | None:
    """The line of one message; None for one that tells of nothing that happened. Raises Invalid."""
    if message.removed:
        return None
    match message.subject.split(".")[1]:
        case "placement":
            return _placed(Placement.decode(message.data))
        case "outcome":
            return _became(Outcome.decode(message.data))
        case "rejected":
            return _refused(Rejected.decode(message.data))
        case "desired":
            return _asked(Desired.decode(message.data))
        case "acted":
            return _acted(Acted.decode(message.data))
    return None


def _placed(placement: Placement) -> Line:
    told = f"{placement.cause}: {shares_text(placement)}"
    if placement.pending:
        told += f", {placement.pending} pending"
    moving = [f"{share.retiring} leave {share.member} once replaced" for share in placement.shares if share.retiring]
    what = "rebalanced" if placement.cause == "rebalance" else "placed"
    return Line(placement.decided_at, what, str(placement.ref), "; ".join([told, *moving]), placement.ref)


def _became(outcome: Outcome) -> Line:
    told = f"in {outcome.member}" + (f": {outcome.message}" if outcome.message else "")
    return Line(outcome.at, outcome.result, str(outcome.ref), told, outcome.ref)


def _asked(desired: Desired) -> Line | None:
    """Commands alone: what manifests change is told by the placements that follow."""
    asked = desired.asked
    if asked is None:
        return None
    where = f"in {', '.join(asked.members)}" if asked.members else "everywhere"
    told = f"{where}, to revision {asked.revision}" if asked.revision else where
    return Line(desired.changed_at, asked.change, str(desired.ref), f"{told}, by {asked.who or NOBODY}", desired.ref)


def _acted(acted: Acted) -> Line:
    what = _DONE[acted.verb] if acted.done else acted.verb
    where = f"in {acted.member}, " if acted.member else ""
    outcome = acted.message if acted.done else f"not done: {acted.message}"
    return Line(acted.at, what, str(acted.ref), f"{where}by {acted.who or NOBODY}: {outcome}", acted.ref)


def _refused(rejected: Rejected) -> Line:
    return Line(rejected.at, "rejected", rejected.subject, f"by {rejected.service}: {'; '.join(_faults(rejected))}")


def as_text(rejected: Rejected) -> str:
    """A refused message, and below it each of its faults and how it began."""
    lines = [f"{moment(rejected.at)}  {rejected.subject}  by {rejected.service}"]
    lines += [f"  - {fault}" for fault in _faults(rejected)]
    if rejected.excerpt:
        lines.append(f"  began with: {' '.join(rejected.excerpt.split())}")
    return "\n".join(lines)


def _faults(rejected: Rejected) -> list[str]:
    return [str(Fault(fault.object, fault.field, fault.message, fault.code)) for fault in rejected.faults]
