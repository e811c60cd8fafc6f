"""What is known of each workload, and where to find it by kind, member and policy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from services.scheduler.core import revising, units
from services.scheduler.core.drafts import share_like
from services.scheduler.core.matching import Anchor, anchor_of, anchors_of, specificity
from services.scheduler.core.values import Component, Policy, Workload, WorkloadKey
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement, Seen, Share
from shared.contracts.rebalance import Rebalance
from shared.contracts.refs import Order
from shared.contracts.status import Status

_Place: TypeAlias = tuple[str, str, Anchor]  # kind, group
SHORTFALL: Final = "Shortfall"  # the code of a reason: replicas that the policy asks for have no room
_REMOVED: Final = ("deleted", "released")
_NONE: frozenset[str] = frozenset()
_UNSEEN: Final = Seen()


@dataclass(slots=True, eq=False)
class Record:
    """placement: in force, maybe not stored yet. stored: the last one known to be stored.

    leaving: per member whose share is not present, the order of the placement that first said so.
    """

    workload: Workload | None = None
    placement: Placement | None = None
    stored: Placement | None = None
    statuses: dict[str, Status] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    leaving: dict[str, Order] = field(default_factory=dict)
    request: Rebalance | None = None

    def put(self, placement: Placement) -> Placement | None:
        """Makes it the one in force; returns the one before."""
        previous, self.placement = self.placement, placement
        self.leaving = {
            share.member: self.leaving.get(share.member, placement.order)
            for share in placement.shares
            if not share.present
        }
        return previous

    def statuses_of(self, uid: str) -> Mapping[str, Status]:
        """Statuses that are about this very workload, not a namesake."""
        return {member: status for member, status in self.statuses.items() if status.uid == uid}

    def succeeded(self, workload: Workload, member: str) -> int:
        """Pods of a Job that did their part there, as far as is known."""
        status = self.statuses.get(member) if workload.is_job else None
        return status.succeeded if status is not None and status.uid == workload.uid else 0

    def gone(self, member: str) -> bool:
        """The removal that the placement asks for is confirmed."""
        outcome, since = self.outcomes.get(member), self.leaving.get(member)
        return (
            outcome is not None
            and since is not None
            and self.placement is not None
            and outcome.uid == self.placement.uid
            and outcome.result in _REMOVED
            and not outcome.order < since
        )

    def all_gone(self) -> Set[str]:
        return {member for member in self.leaving if self.gone(member)}

    @property
    def empty(self) -> bool:
        return self.workload is None and self.placement is None and not self.statuses and not self.outcomes


class Records:
    def __init__(self) -> None:
        self._all: dict[WorkloadKey, Record] = {}
        self._anchors: dict[_Place, set[WorkloadKey]] = {}
        self._members: defaultdict[str, set[WorkloadKey]] = defaultdict(set)
        self._ending: dict[WorkloadKey, None] = {}
        self._uids: dict[str, WorkloadKey] = {}

    def get(self, key: WorkloadKey) -> Record:
        found = self._all.get(key)
        if found is None:
            found = self._all[key] = Record()
        return found

    def peek(self, key: WorkloadKey) -> Record:
        """Like `get`, but nothing is kept for a key that is not known."""
        return self._all.get(key) or Record()

    def by_uid(self, uid: str) -> Record | None:
        """Of a workload that somebody wants."""
        key = self._uids.get(uid)
        return self._all.get(key) if key is not None else None

    def keys(self) -> Iterator[WorkloadKey]:
        return (key for key, record in self._all.items() if record.workload is not None)

    def placements(self) -> list[Placement]:
        """Those in force, of all that is wanted."""
        wanted = (record.placement for record in self._all.values() if record.workload is not None)
        return [placement for placement in wanted if placement is not None]

    def index(self, old: Workload | None, workload: Workload | None) -> None:
        """Where `selected_by` finds it from now on."""
        if old is not None and self._uids.get(old.uid) == old.key:
            del self._uids[old.uid]
        if workload is not None:
            self._uids[workload.uid] = workload.key
        before, after = _places(old), _places(workload)
        for place in before - after:
            assert old is not None
            self._anchors[place].discard(old.key)
            if not self._anchors[place]:
                del self._anchors[place]
        for place in after - before:
            assert workload is not None
            self._anchors.setdefault(place, set()).add(workload.key)

    def selected_by(self, policy: Policy) -> set[WorkloadKey]:
        """Workloads that match one of the policy's selectors, whether or not another policy wins them."""
        found = {key for s in policy.selectors for key in self._anchors.get((s.kind, s.group, anchor_of(s)), ())}
        workloads = ((key, self._all[key].workload) for key in found)
        return {key for key, workload in workloads if workload is not None and specificity(policy, workload)}

    def index_placement(self, key: WorkloadKey, previous: Placement | None, placement: Placement | None) -> None:
        before = {share.member for share in previous.shares} if previous is not None else _NONE
        after = {share.member for share in placement.shares} if placement is not None else _NONE
        for member in before - after:
            self._members[member].discard(key)
        for member in after - before:
            self._members[member].add(key)
        if placement is not None and placement.deleted:
            self._ending[key] = None

    def placed_in(self, member: str) -> Set[WorkloadKey]:
        return set(self._members.get(member, ()))

    def interested(self, member: str) -> Iterable[WorkloadKey]:
        """Workloads that might want a share in a member that became usable: those that have none there."""
        here = self._members.get(member, set())
        return [key for key in self.keys() if key not in here]

    def done(self) -> Collection[Placement]:
        found = []
        for key in list(self._ending):
            placement = self.peek(key).stored
            if placement is not None and placement.deleted and not placement.shares:
                found.append(placement)
        return found

    def pop(self, key: WorkloadKey) -> Record | None:
        record = self._all.pop(key, None)
        self._ending.pop(key, None)
        if record is not None:
            self.index(record.workload, None)
        if record is not None and record.placement is not None:
            self.index_placement(key, record.placement, None)
        return record


def _places(workload: Workload | None) -> set[_Place]:
    if workload is None:
        return set()
    return {(workload.ref.kind, workload.ref.group, anchor) for anchor in anchors_of(workload)}


def kept(placement: Placement, **others: object) -> Placement:
    """As it is remembered: without what was merely seen, which is most of it and serves people only."""
    return placement.model_copy(update={"seen": _UNSEEN, **others})


def learned(placement: Placement) -> Placement:
    """As `kept`, for one that was not decided here: its shares are like those that were."""
    return kept(placement, shares=tuple([share_like(share) for share in placement.shares]))


def components_in(workload: Workload, share: Share, succeeded: int = 0) -> tuple[Component, ...]:
    """What a share asks of its member, for reservations. succeeded: pods of a Job, which stay bound."""
    asks = share.present and not share.finished
    serverless = bool(share.virtual) and not share.elastic
    if workload.divisible:
        first, count = workload.components[0], share.replicas + share.surge if asks else 0
        if succeeded and count:
            left = count if share.completions is None else max(0, share.completions - succeeded)
            count = succeeded + min(count, left)
        told = share.free or share.elastic or share.virtual  # not where the policy fixes the numbers
        if workload.units and told:  # surge goes on where the share ends: units fill from the top
            return units.components(workload, count, share.virtual + share.surge * bool(share.virtual))
        return (Component(first.name, first.shape, count, serverless),)
    if asks and share.replicas:
        return tuple(replace(component, serverless=serverless) for component in workload.components)
    return tuple(Component(c.name, c.shape, 0) for c in workload.components)


def needs_status(workload: Workload, placement: Placement, old: Status | None, new: Status) -> bool:
    """Whether a decision could come out otherwise: replicas are retiring, a count that others own changed, a
    shortfall is over, or what runs to completion did so."""
    if any(share.retiring for share in placement.shares) or revising.watches(placement, old, new):
        return True
    before = (None, 0) if old is None or old.autoscaler is None else (old.autoscaler, old.replicas)
    after = (None, 0) if new.autoscaler is None else (new.autoscaler, new.replicas)
    if before != after:
        return True
    share = placement.share(new.member)
    if share is None or not share.present:
        return False
    short = any(reason.code == SHORTFALL and new.member in reason.members for reason in placement.reasons)
    return (short and new.ready >= share.replicas) or (workload.ends and share.finished != new.finished)
