"""The story of a workload as a tree: from the spans of a trace, or from what the streams keep. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import JsonValue

from cli.fleet_tables import shares_text
from shared.clock import rfc3339
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement, Seen
from shared.contracts.refs import Order
from shared.contracts.status import Status
from shared.jaeger import Span

_SAYS = {"unschedulable": "unschedulable", "bound": "scheduled", "ready": "running"}


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened. at: Unix seconds; took: seconds, None for a moment. notes: what is said of it."""

    what: str
    service: str
    at: float
    took: float | None = None
    notes: tuple[str, ...] = ()
    children: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """A message of a stream: what it says, when it was stored (Unix seconds), and its trace's id, if it has one."""

    says: Desired | Placement | Outcome | Status
    at: float
    trace_id: str = ""


# -- from a trace ------------------------------------------------------------------------------------------------


def of_spans(spans: Sequence[Span]) -> list[Step]:
    """Roots first to last; a span whose parent is missing counts as a root. Sending a message is no step of its own:
    what came of it is one of whoever sent it."""
    known = {span.span_id for span in spans}
    children: dict[str, list[Span]] = {}
    for span in sorted(spans, key=lambda span: span.begin):
        children.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    return _steps(children, "")


_Children: TypeAlias = Mapping[str, Sequence[Span]]


def _steps(children: _Children, parent: str) -> list[Step]:
    steps: list[Step] = []
    for span in children.get(parent, ()):
        below = _steps(children, span.span_id)
        if span.name.startswith("send ") and parent and not span.error:
            steps += below
        else:
            steps.append(_step(span, below))
    return sorted(steps, key=lambda step: step.at)


def _step(span: Span, below: Sequence[Step]) -> Step:
    told = span.attributes
    what = span.name.partition(".<")[0]
    if what == "decide brim.placement":
        what = f"decide: {_text(told.get('brim.cause'))}"
    if member := _text(told.get("brim.member")):
        what += f" in {member}"
    return Step(what, span.service, span.begin, max(0.0, span.end - span.begin), _notes(span), tuple(below))


def _notes(span: Span) -> tuple[str, ...]:
    told = span.attributes
    notes = []
    if span.name.startswith("observe "):
        counts = {key: told.get(f"brim.{key}") for key in _SAYS}
        notes.append(", ".join(f"{count} {_SAYS[key]}" for key, count in counts.items() if count not in (None, 0)))
    if "brim.wanted" in told:
        notes.append(f"{_text(told['brim.wanted'])} wanted, {_text(told.get('brim.pending'))} pending")
        notes.append("; ".join(_lines(told.get("brim.shares"))))
    if "brim.replicas" in told and span.name.startswith("apply "):
        notes.append(f"{_text(told['brim.replicas'])} replicas, revision {_text(told.get('brim.revision'))}")
    for key in ("brim.room", "brim.reasons", "brim.stuck", "brim.objects"):
        notes += _lines(told.get(key))
    if span.error:
        notes.append(f"failed: {span.error}")
    return tuple(note for note in notes if note)


def _lines(value: JsonValue) -> list[str]:
    """A list attribute. Jaeger gives these as JSON in a text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            return [_text(value)]
    return [_text(one) for one in value] if isinstance(value, list) else []


def _text(value: JsonValue) -> str:
    return "" if value is None else str(value)


# -- from the streams --------------------------------------------------------------------------------------------


def of_messages(told: Sequence[Told]) -> list[Step]:
    """The newest wish, the decisions that followed from it, and what became of the newest of them in each member: of
    outcomes and statuses the streams keep the last."""
    wishes = [one for one in told if isinstance(one.says, Desired)]
    if not wishes:
        return []
    newest = max(wishes, key=lambda one: one.at)
    assert isinstance(newest.says, Desired)
    placements = [(one, one.says) for one in told if isinstance(one.says, Placement)]
    generation = newest.says.generation
    follow = [_decided(one, placement, told) for one, placement in placements if placement.generation >= generation]
    return [Step(_wished(newest.says), "scheduler", newest.at, children=tuple(sorted(follow, key=lambda s: s.at)))]


def _wished(desired: Desired) -> str:
    if desired.deleted is not None:
        return "deletion accepted"
    asked = desired.asked
    by = f" ({asked.change} by {asked.who or 'somebody'})" if asked is not None else ""
    return f"wish accepted, generation {desired.generation}{by}"


def _decided(one: Told, placement: Placement, told: Sequence[Told]) -> Step:
    notes = [f"{placement.wanted} wanted, {placement.pending} pending", shares_text(placement)]
    notes += [*_room(placement.seen), *(f"{reason.code}: {reason.message}" for reason in placement.reasons)]
    below = _in_members(placement.order, told)
    return Step(f"decide: {placement.cause}", "scheduler", one.at, notes=tuple(filter(None, notes)), children=below)


def _room(seen: Seen) -> list[str]:
    return [
        f"{member}: tier {tier + 1}, free {free}, elastic {elastic}, virtual {virtual}, given {given}"
        for member, tier, free, elastic, virtual, given in zip(
            seen.members, seen.tiers, seen.free, seen.elastic, seen.virtual, seen.given, strict=True
        )
    ]


def _in_members(order: Order, told: Sequence[Told]) -> tuple[Step, ...]:
    """Per member what the executor said, and below it how the replicas fare."""
    statuses: dict[str, list[Step]] = {}
    for one in told:
        if isinstance(one.says, Status) and one.says.order == order:
            statuses.setdefault(one.says.member, []).append(_fares(one.says, one.at))
    steps = []
    for one in told:
        if isinstance(one.says, Outcome) and one.says.order == order:
            member, notes = one.says.member, tuple(filter(None, [one.says.message]))
            below = tuple(statuses.pop(member, ()))
            steps.append(Step(f"{one.says.result} in {member}", "executor", one.at, notes=notes, children=below))
    steps += [step for rest in statuses.values() for step in rest]
    return tuple(sorted(steps, key=lambda step: step.at))


def _fares(status: Status, at: float) -> Step:
    stuck = sum(group.count for group in status.unschedulable)
    counts = [(stuck, "unschedulable"), (status.bound, "scheduled"), (status.ready, "running")]
    notes = [", ".join(f"{count} {what}" for count, what in counts if count)]
    notes += [group.message for group in status.unschedulable]
    return Step(f"observed in {status.member}", "inventory", at, notes=tuple(filter(None, notes)))


# -- showing -----------------------------------------------------------------------------------------------------


def render(roots: Sequence[Step]) -> str:
    """Lines of a tree; when each began after the first, how long it took, and whose it is stand in front."""
    begin = min((step.at for step in roots), default=0.0)
    return "\n".join(line for root in roots for line in _tree(root, begin, "", ""))


def _tree(step: Step, begin: float, first: str, rest: str) -> Iterable[str]:
    took = "" if step.took is None else seconds(step.took)
    yield f"{'+' + seconds(step.at - begin):>10} {took:>9}  {step.service:<11}  {first}{step.what}"
    bar = "│  " if step.children else "   "
    for note in step.notes:
        yield f"{'':>10} {'':>9}  {'':<11}  {rest}{bar}{note}"
    for number, child in enumerate(step.children):
        last = number == len(step.children) - 1
        yield from _tree(child, begin, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def seconds(value: float) -> str:
    """Of real time, for people: 0.4 ms, 12 ms, 3.41 s, 95 s."""
    if value < 0.0995:
        return f"{value * 1000:.1f} ms" if value < 0.00995 else f"{value * 1000:.0f} ms"
    return f"{value:.2f} s" if value < 60 else f"{value:.0f} s"


def as_json(step: Step) -> dict[str, JsonValue]:
    return {
        "what": step.what,
        "service": step.service,
        "time": rfc3339(step.at),
        "at": step.at,
        "seconds": step.took,
        "notes": list(step.notes),
        "children": [as_json(child) for child in step.children],
    }


def ids(told: Iterable[Told]) -> list[str]:
    """The traces that an object's wishes and decisions belong to, each once, the newest last."""
    own = sorted((one for one in told if isinstance(one.says, Desired | Placement)), key=lambda one: one.at)
    return list(dict.fromkeys(reversed([one.trace_id for one in own if one.trace_id])))[::-1]
