"""When to ask that stuck replicas move: at once, and again with growing pauses while nothing comes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

from services.descheduler.core.stuck import Finding
from shared.contracts.placement import Placement
from shared.contracts.refs import Order

LONGEST = 1800.0  # fleet seconds between two requests for the same replicas, as long as the longest rest


@dataclass(frozen=True, slots=True)
class Asked:
    """The last request for one workload.

    order: of the placement it was about. counts: stuck replicas per member, of `held` replicas placed there. at:
    fleet time. times: requests in a row that nothing came of. answered: a placement came that the request caused, so
    what is still stuck could not be helped.
    """

    order: Order
    counts: Mapping[str, int]
    at: float
    times: int = 1
    answered: bool = False
    held: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Answer:
    """ask: send a request now. asked: to be remembered. again_at: when to decide again, at most."""

    ask: bool
    asked: Asked | None
    again_at: float = inf


def decide(placement: Placement, finding: Finding, asked: Asked | None, now: float, pause: float) -> Answer:
    """pause: fleet seconds between the first two requests; it doubles from there.

    A request that a newer placement overtook is void (see `Rebalance.order`): it is repeated at once. So is one
    that more replicas, or others, got stuck after, and one that was carried out: where the pod that is stuck is one
    of a rollout's surge, the replica that went is another, and the next has to follow.
    """
    if not finding.stuck:
        return Answer(False, asked)  # not forgotten: what is not judged for a moment may be stuck still
    counts = {stuck.member: stuck.count for stuck in finding.stuck}
    if asked is None:
        return _ask(placement, counts, now, 1, pause)
    if _went(placement, asked):
        return _ask(placement, counts, now, 1, pause)
    overtaken = asked.order < placement.order
    if overtaken and _answers(placement, finding, now):
        asked = replace(asked, answered=True)
    again_at = asked.at + _pause(asked.times, pause)
    void = overtaken and not asked.answered
    if void or now >= again_at or _more(finding, asked):
        return _ask(placement, counts, now, asked.times + 1, pause)
    return Answer(False, asked, again_at)


def _went(placement: Placement, asked: Asked) -> bool:
    """A member that was asked about holds fewer replicas than it did then."""
    return any(_held(placement, member) < asked.held.get(member, 0) for member in asked.counts)


def _held(placement: Placement, member: str) -> int:
    share = placement.share(member)
    return share.replicas if share is not None else 0


def _answers(placement: Placement, finding: Finding, now: float) -> bool:
    """Whether the scheduler knows: it decided because of the request, or lets the workload rest from the member."""
    resting = {rest.member for rest in placement.rests if rest.until > now}
    return placement.cause == "rebalance" or any(stuck.member in resting for stuck in finding.stuck)


def _more(finding: Finding, asked: Asked) -> bool:
    return any(stuck.count > asked.counts.get(stuck.member, 0) or stuck.since > asked.at for stuck in finding.stuck)


def _ask(placement: Placement, counts: Mapping[str, int], now: float, times: int, pause: float) -> Answer:
    held = {member: _held(placement, member) for member in counts}
    return Answer(True, Asked(placement.order, counts, now, times, held=held), now + _pause(times, pause))


def _pause(times: int, pause: float) -> float:
    return min(LONGEST, pause * 2.0 ** min(times - 1, 30))
