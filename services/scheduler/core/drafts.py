"""A decision while it is being made: what each member has, and what is to become of it."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter

from services.scheduler.core.filtering import Candidates, Fleet, Verdict
from services.scheduler.core.room import FleetRoom
from services.scheduler.core.values import Policy, Rules, Shape, Workload
from services.scheduler.core.waves import Measured, Plan
from shared.contracts.placement import Cause, Failback, Placement, Reason, Rest, Seen, Share, Waves
from shared.contracts.rebalance import Rebalance
from shared.contracts.status import Status


@dataclass(slots=True, eq=False)
class Draft:
    """One share in the making. replicas = free + elastic + virtual where room was counted; retiring ≤ replicas.

    was: replicas of the previous placement. confirmed: its removal is. unbound: replicas that have no node yet.
    added: of the free ones, those on nodes that were added for them. was_present: the previous placement had it there.
    target: the revision that the share names from now on. surge: pods beyond the replicas that its update may make.
    bound: pods of it that have a node, None where that is not known; on_virtual: those on virtual nodes.
    """

    member: str
    verdict: Verdict
    tier: int
    replicas: int = 0
    free: int = 0
    elastic: int = 0
    virtual: int = 0
    added: int = 0
    retiring: int = 0
    present: bool = True
    completions: int | None = None
    deadline: float | None = None
    autoscaled: bool = False
    finished: bool = False
    was: int = 0
    revision: int = 0
    confirmed: bool = False
    status: Status | None = None
    serving: int = 0
    unbound: int = 0
    per_hour: float = 0.0
    was_present: bool = False
    target: int = 0
    surge: int = 0
    bound: int | None = None
    on_virtual: int = 0

    @property
    def healthy(self) -> int:
        """Replicas that are to stay."""
        return self.replicas - self.retiring

    def cut(self, count: int) -> None:
        """`count` replicas go, the expensive ones first."""
        self.replicas -= count
        for kind in ("virtual", "elastic", "free"):
            taken = min(count, getattr(self, kind))
            setattr(self, kind, getattr(self, kind) - taken)
            count -= taken
            if kind == "free":
                self.added = max(0, min(self.added - taken, self.free))

    def relabel(self) -> None:
        """Bound pods are where they are, whatever room was thought of for them."""
        if self.bound is None or self.free + self.elastic + self.virtual != self.replicas:
            return  # nothing is known of it, or its kinds are not told
        change = on_virtual_of(self.replicas, self.virtual, self.bound, self.on_virtual) - self.virtual
        self.virtual += change
        taken = min(change, self.free)
        self.free -= taken
        self.elastic -= change - taken
        self.added = max(0, min(self.added, self.free))

    @property
    def idle(self) -> int:
        """Replicas that wait: not bound, or pending in the member, and not serving."""
        if self.status is None:
            return min(self.healthy, self.unbound)
        waiting = max(self.status.pending, sum(entry.count for entry in self.status.unschedulable), self.unbound)
        return min(self.healthy, waiting, max(0, self.replicas - self.status.ready))


@dataclass(slots=True, eq=False)
class Sight:
    """What a decision saw of the room, in the order it looked; `given` is filled in at the end."""

    members: list[str] = field(default_factory=list)
    tiers: list[int] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    elastic: list[int] = field(default_factory=list)
    virtual: list[int] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Case:
    """All that one decision is made from, and its parts so far.

    own: replicas of this very workload that count as free room: pods that are bound beyond the share (a scale-in that
    is not carried out yet), and where it is divided afresh what it has. Under a ceiling the former do not count: nobody
    tells which of them are paid for. own_virtual: those of the former that are on virtual nodes are room of that kind.
    """

    workload: Workload
    policy: Policy
    fleet: Fleet
    candidates: Candidates
    room: FleetRoom
    previous: Placement | None
    statuses: Mapping[str, Status]
    gone: Set[str]
    now: float
    rules: Rules
    request: Rebalance | None
    drafts: dict[str, Draft] = field(default_factory=dict)
    rests: dict[str, Rest] = field(default_factory=dict)
    reasons: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    sight: Sight = field(default_factory=Sight)
    given: dict[str, int] = field(default_factory=dict)
    given_by_kind: dict[tuple[str, str], int] = field(default_factory=dict)
    prices: dict[tuple[str, int], float] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)
    own_virtual: dict[str, int] = field(default_factory=dict)
    plan: Plan | None = None
    measured: Mapping[str, Measured] = field(default_factory=dict)
    before: int = 0
    waves: Waves | None = None
    due: float | None = None
    cause: Cause = "capacity"
    pending: int = 0
    failbacks: tuple[Failback, ...] = ()
    looked: set[str] = field(default_factory=set)

    @property
    def shape(self) -> Shape:
        return self.workload.components[0].shape

    @property
    def ceiling(self) -> float | None:
        """What elastic and virtual room may cost per hour: the lower of the workload's and its policy's."""
        given = [one for one in (self.workload.ceiling, self.policy.ceiling) if one is not None]
        return min(given, default=None)

    def because(self, code: str, sentence: str, *members: str) -> None:
        """A reason; members with the same one are told together."""
        self.reasons.setdefault((code, sentence), []).extend(members)

    def resting(self, member: str) -> bool:
        rest = self.rests.get(member)
        return rest is not None and rest.until > self.now

    def draft(self, member: str) -> Draft:
        """The member's draft, a new one if it has none."""
        found = self.drafts.get(member)
        if found is None:
            verdict = self.candidates.verdicts.get(member, "leave")
            tier = self.candidates.tier_of.get(member, len(self.candidates.tiers))
            found = self.drafts[member] = Draft(member, verdict, tier)
        return found

    def hesitates(self, tier: int) -> bool:
        """Whether a member of the tier may have room that is only not known yet: for a moment no later tier is used."""
        names = self.candidates.unknown[tier] if self.candidates.unknown else ()
        times = [self.fleet.unknown_since.get(name, self.now) + self.rules.unknown_for for name in names]
        until = max(times, default=self.now)
        if until <= self.now or tier + 1 >= len(self.candidates.tiers):
            return False
        self.wake_at(until)
        self.because("LaterTiersWait", "later tiers are not used before its room is known, for a moment", *names)
        return True

    def wake_at(self, at: float | None) -> None:
        """Decide again then, at the latest."""
        self.due = at if self.due is None else self.due if at is None else min(self.due, at)

    def blocked(self, draft: Draft) -> bool:
        """May not take new replicas: it rests, is being emptied, or somebody else owns its count."""
        return not draft.present or draft.autoscaled or self.resting(draft.member)


def begin(case: Case) -> None:
    """Drafts from the previous placement's shares. A returning member converges before it gets work: a share that
    is to go stays so until that is confirmed."""
    previous = case.previous
    if previous is None:
        return
    case.failbacks = tuple(past for past in previous.failbacks if past.at > case.now - 3600.0)
    for rest in previous.rests:
        if rest.until + case.rules.rest_max > case.now:  # remembered a while longer, for its step
            case.rests[rest.member] = rest
    for share in previous.shares:
        if share.member in case.fleet.members:
            bound = _bound(case, share.member)
            draft = _from_share(case, share, bound)
            if not draft.confirmed:
                case.drafts[share.member] = draft
            if (left := _not_taken(case, share, bound)) > 0:
                _own(case, draft, left)
        elif share.replicas:
            case.cause = "lost"
            case.because("MemberRemoved", "no longer in the fleet; its replicas are replaced", share.member)


def _not_taken(case: Case, share: Share, bound: int) -> int:
    """Bound pods beyond the share that the member still asks for, as it has not been told of the scale-in yet. Those of
    an update's surge go by themselves."""
    status = case.statuses.get(share.member)
    return min(bound, status.replicas) - share.replicas if status is not None else 0


def _own(case: Case, draft: Draft, count: int) -> None:
    virtual = min(count, max(0, draft.on_virtual - draft.virtual))
    if virtual:
        case.own_virtual[draft.member] = virtual
    if case.ceiling is None and count > virtual:
        case.own[draft.member] = count - virtual


def on_virtual_of(replicas: int, planned: int, bound: int, on_virtual: int) -> int:
    """Of so many replicas those on virtual nodes: `planned`, as far as what is bound agrees.

    Pods that are bound beyond the replicas go from virtual nodes first; those that are not bound yet may come there.
    """
    least = max(0, on_virtual - max(0, bound - replicas))
    most = on_virtual + max(0, replicas - bound)
    return min(replicas, max(least, min(planned, most)))


def _bound(case: Case, member: str) -> int:
    """Pods that have a node and run. Of a Job those that succeeded count as bound: they had their room."""
    bound, status = case.room.bound(case.workload.uid, member), case.statuses.get(member)
    return max(0, bound - status.succeeded) if case.workload.is_job and status is not None else bound


def _from_share(case: Case, share: Share, bound: int) -> Draft:
    name = share.member
    verdict = case.candidates.verdicts.get(name)
    if verdict is None:
        verdict = "dead" if case.fleet.members[name].lost else "leave"
    status = case.statuses.get(name)
    serving = status.ready if status is not None else bound
    draft = Draft(
        member=name,
        verdict=verdict,
        tier=case.candidates.tier_of.get(name, len(case.candidates.tiers)),
        replicas=share.replicas,
        free=share.replicas - share.elastic - share.virtual,  # all of it where a policy fixed the numbers until now
        elastic=share.elastic,
        virtual=share.virtual,
        added=share.added,
        retiring=share.retiring,
        present=share.present,
        completions=share.completions,
        deadline=share.deadline,
        finished=_is_finished(case.workload, share, status),
        was=share.replicas,
        revision=share.revision,
        was_present=share.present,
        confirmed=not share.present and name in case.gone,
        status=status,
        serving=min(serving, share.replicas),
        unbound=max(0, share.replicas - bound) if case.fleet.members[name].heard_of else 0,
    )
    arrived = draft.elastic - min(draft.elastic, max(0, draft.replicas - bound))
    draft.elastic -= arrived  # bound: the nodes that were on their way are there
    draft.free += arrived
    draft.added += arrived
    if case.workload.divisible and not case.workload.is_job and case.fleet.members[name].heard_of:
        draft.bound, draft.on_virtual = bound, case.room.bound_virtual(case.workload.uid, name)
        draft.relabel()
    return draft


def _is_finished(workload: Workload, share: Share, status: Status | None) -> bool:
    """What the member says; where it says nothing any more (a Job has a time to live), what it said last."""
    if not workload.ends or not share.present:
        return False
    return status.finished if status is not None else share.finished and share.revision == workload.revision


def shares_of(case: Case) -> tuple[Share, ...]:
    """The placement's shares, in tier order. A member that is empty while others hold goes; all empty stay. So does a
    Job's part: it has completions to give, or has given them."""
    drafts = sorted(case.drafts.values(), key=_BY_TIER)
    holding = any(draft.present and draft.replicas for draft in drafts)
    for draft in drafts if not case.workload.is_job else ():
        if draft.replicas == 0 and (holding or draft.verdict in ("leave", "dead")):
            draft.present = False
    return tuple([_share(draft, case) for draft in drafts])


_BY_TIER = attrgetter("tier", "member")


def _share(draft: Draft, case: Case) -> Share:
    suspended = draft.member in case.policy.suspend_on
    if not draft.present:
        return _made(member=draft.member, present=False, revision=draft.revision, suspended=suspended)
    return _made(
        member=draft.member,
        replicas=draft.replicas,
        free=draft.free,
        elastic=draft.elastic,
        virtual=draft.virtual,
        added=min(draft.added, draft.free),
        retiring=draft.retiring,
        completions=draft.completions,
        surge=draft.surge,
        revision=draft.target,
        deadline=draft.deadline if draft.elastic else None,
        autoscaled=draft.autoscaled,
        suspended=suspended,
        finished=draft.finished,
        per_hour=draft.per_hour,
    )


def share_like(share: Share) -> Share:
    """The one that stands for all that are equal."""
    return _made(**{name: value for name, value in share if name in share.model_fields_set})


@lru_cache(maxsize=16_384)
def _made(**fields: str | int | float | None) -> Share:
    """Equal shares are one object: a fleet's placements are made of few different ones, many times over."""
    return Share.model_validate(fields)


def seen_of(case: Case) -> Seen:
    sight = case.sight
    return Seen(
        members=sight.members,
        tiers=sight.tiers,
        free=sight.free,
        elastic=sight.elastic,
        virtual=sight.virtual,
        given=[case.given.get(member, 0) for member in sight.members],
    )


def reasons_of(case: Case) -> tuple[Reason, ...]:
    told = tuple(
        Reason(code=code, message=message, members=tuple(dict.fromkeys(members)))
        for (code, message), members in case.reasons.items()
    )
    return told + case.candidates.reasons
