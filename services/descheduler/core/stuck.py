"""Which replicas of a workload are stuck, exactly how many, and when the next one will be.

A replica is stuck when the member's scheduler could not place it for longer than the threshold. Replicas that were
given elastic room are on their way until the share's deadline (at most for as long as a node may take), unless the
member says that no node will come. Nothing is judged that the member has not been told yet: pods of an earlier wish
say nothing about this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from shared.contracts.placement import Placement, Share
from shared.contracts.rebalance import Stuck
from shared.contracts.status import Status, Unschedulable

REFUSED = ("no-stock", "failed")  # the member's autoscaler says that no node will come


@dataclass(frozen=True, slots=True)
class Finding:
    """stuck: per member, in the placement's order. unmovable: members whose stuck replicas cannot move, and why.
    next_at: Unix seconds at which more may be stuck though nothing else happens, inf for never."""

    stuck: tuple[Stuck, ...] = ()
    unmovable: tuple[tuple[str, str], ...] = ()
    next_at: float = inf


@dataclass(frozen=True, slots=True)
class _Aged:
    """count replicas of an entry, stuck from `at` on."""

    at: float
    count: int
    entry: Unschedulable


def find(
    placement: Placement, statuses: Mapping[str, Status], now: float, threshold: float, patience: float = inf
) -> Finding:
    """What is stuck now. statuses: of the placement's object, per member. threshold: seconds.

    patience: seconds that any replica waits for a node, however often a share's deadline is moved for younger ones.
    """
    if placement.deleted or placement.suspended:
        return Finding()
    stuck: list[Stuck] = []
    unmovable: list[tuple[str, str]] = []
    next_at = inf
    for share in placement.shares:
        status = statuses.get(share.member)
        if status is None or not _is_judged(placement, share, status):
            continue
        aged = list(_aged(share, status.unschedulable, threshold, patience))
        next_at = min((next_at, *(part.at for part in aged if part.at > now)))
        found = _stuck_in(placement, share, status, [part for part in aged if part.at <= now])
        if found is None:
            continue
        why = _why_unmovable(share, status)
        if why:
            unmovable.append((share.member, why))
        else:
            stuck.append(found)
    return Finding(tuple(stuck), tuple(unmovable), next_at)


def _is_judged(placement: Placement, share: Share, status: Status) -> bool:
    """Whether the pods that the status tells of are those that the share asks for."""
    if not share.present or share.suspended or status.uid != placement.uid or status.finished:
        return False
    if 0 < status.observed_generation < status.generation:  # the member's controllers are behind
        return False
    same = status.revision == share.revision and (placement.whole or status.replicas == share.replicas)
    return status.order == placement.order or same


def _why_unmovable(share: Share, status: Status) -> str:
    """A Job moves by delete and create, so only while nothing of it is done.

    In mid-rollout the Pending pods are mostly the new version's: to move them would carry a batch that does not fit
    over to the other members, past their own steps.
    """
    if share.autoscaled or status.autoscaler is not None:
        return f"the autoscaler {status.autoscaler or ''} owns its replica count there".replace("  ", " ")
    if status.ref.kind == "Job" and status.succeeded > 0:
        return f"{status.succeeded} of its pods have succeeded there"
    if status.rolling:
        return "a rollout is under way there: approve its next step, undo it, or make room"
    return ""


def _aged(share: Share, entries: Iterable[Unschedulable], threshold: float, patience: float) -> Iterable[_Aged]:
    """From when on which replicas are stuck.

    share.elastic replicas wait for nodes: first those that the autoscaler refused (stuck at once), then those that
    it ordered nodes for, then the youngest (stuck from the deadline on). share.virtual ones beside such may have to
    wait until the units before theirs are full, and need no node: the autoscaler's word is not about them. Others for
    which it ordered nodes (their free room vanished) have as long as any node may take. All others by the threshold,
    and so those that have a virtual node but no instance.
    """
    elastic = share.elastic
    behind = share.virtual if share.elastic or share.added else 0
    for entry in sorted(entries, key=_elastic_first):
        count = entry.count
        if entry.no_instance:
            yield _Aged(entry.since + threshold, count, entry)
            continue
        turn = 0 if entry.provisioning == "ordered" else min(count, behind)
        behind, count = behind - turn, count - turn
        if turn:
            yield _Aged(entry.since + max(threshold, patience), turn, entry)
        waits = min(count, elastic)
        elastic -= waits
        if waits:
            yield _Aged(_end_of_wait(share, entry, threshold, patience), waits, entry)
        if count > waits:
            long = max(threshold, patience) if entry.provisioning == "ordered" else threshold
            yield _Aged(entry.since + long, count - waits, entry)


def _elastic_first(entry: Unschedulable) -> tuple[int, float]:
    rank = 0 if entry.provisioning in REFUSED else 1 if entry.provisioning == "ordered" else 2
    return rank, -entry.since


def _end_of_wait(share: Share, entry: Unschedulable, threshold: float, patience: float) -> float:
    if entry.provisioning in REFUSED:
        return entry.since
    return max(entry.since + threshold, min(share.deadline or 0.0, entry.since + patience))


def _stuck_in(placement: Placement, share: Share, status: Status, aged: list[_Aged]) -> Stuck | None:
    """retiring replicas are asked for already, and nothing moves that the share does not hold."""
    if not aged:
        return None
    count = sum(part.count for part in aged)
    if status.first_stuck_ordinal is not None:
        count = max(count, share.replicas - status.first_stuck_ordinal)
    if not placement.whole:
        count = min(count, share.replicas)
    count -= share.retiring
    if count <= 0:
        return None
    first = min(aged, key=lambda part: part.entry.since).entry
    return Stuck(member=share.member, count=count, ready=status.ready, since=first.since, message=first.message)
