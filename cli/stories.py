"""Messages as lines of one story: what was decided, what became of it, what was refused. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue

from cli.explain import moment
from cli.fleet_tables import shares_text
from shared.bus import Message
from shared.contracts.outcome import Outcome, Rejected
from shared.contracts.placement import Placement


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """One event. at: Unix seconds of fleet time; what, about and told are words for people."""

    at: float
    what: str
    about: str
    told: str
    namespace: str = ""

    def __str__(self) -> str:
        return f"{moment(self.at)}  {self.what:<11}  {self.about}  {self.told}"

    def as_json(self) -> dict[str, JsonValue]:
        return {"at": self.at, "event": self.what, "object": self.about, "message": self.told}


def line_of(message: Message) -> Line | None:
    """The line of one message of PLACEMENT, OUTCOME or REJECTED; None for a tombstone. Raises Invalid."""
    if message.removed:
        return None
    match message.subject.split(".")[1]:
        case "placement":
            return _placed(Placement.decode(message.data))
        case "outcome":
            return _became(Outcome.decode(message.data))
        case "rejected":
            return _refused(Rejected.decode(message.data))
    return None


def _placed(placement: Placement) -> Line:
    told = f"{placement.cause}: {shares_text(placement)}"
    if placement.pending:
        told += f", {placement.pending} pending"
    moving = [f"{share.retiring} leave {share.member} once replaced" for share in placement.shares if share.retiring]
    what = "rebalanced" if placement.cause == "rebalance" else "placed"
    return Line(placement.decided_at, what, str(placement.ref), "; ".join([told, *moving]), placement.ref.namespace)


def _became(outcome: Outcome) -> Line:
    told = f"in {outcome.member}" + (f": {outcome.message}" if outcome.message else "")
    return Line(outcome.at, outcome.result, str(outcome.ref), told, outcome.ref.namespace)


def _refused(rejected: Rejected) -> Line:
    faults = "; ".join(
        f"{fault.object}: {fault.field + ': ' if fault.field else ''}{fault.message}" for fault in rejected.faults
    )
    return Line(rejected.at, "rejected", rejected.subject, f"by {rejected.service}: {faults}")
