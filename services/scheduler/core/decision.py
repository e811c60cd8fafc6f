"""What is to become of one workload: a function of what is known, in numbered phases."""

from __future__ import annotations

from collections.abc import Mapping, Set
from types import MappingProxyType

from services.scheduler.core import divided, drafts, fixed, fixed_jobs, jobs, revising, spending, whole
from services.scheduler.core.drafts import Case
from services.scheduler.core.filtering import Fleet
from services.scheduler.core.room import FleetRoom
from services.scheduler.core.values import Decision, Policy, Rules, Workload
from services.scheduler.core.waves import Measured, Plan
from shared.contracts.placement import Cause, Placement, Reason, Share
from shared.contracts.rebalance import Rebalance
from shared.contracts.status import Status

_NOTHING: frozenset[str] = frozenset()
_NOT_MEASURED: Mapping[str, Measured] = MappingProxyType({})


def decide(
    workload: Workload,
    policy: Policy | None,
    fleet: Fleet,
    room: FleetRoom,
    previous: Placement | None,
    statuses: Mapping[str, Status],
    now: float,
    rules: Rules,
    request: Rebalance | None = None,
    gone: Set[str] = _NOTHING,
    plan: Plan | None = None,
    measured: Mapping[str, Measured] = _NOT_MEASURED,
) -> Decision:
    """The placement that should be in force. Nothing is reserved; asked again with the same inputs (and its own
    answer as `previous`) it answers the same.

    statuses: by member. request: a wish to move, already known to be about `previous`. gone: members where the
    removal of a share that is not present is confirmed. plan: the workload's FleetRollout; measured: what its gate's
    query said, by member.
    """
    if previous is not None and previous.uid != workload.uid:
        previous = None
    # 1. Deleted: every share goes.
    if workload.deleted is not None:
        return _delete(workload, previous, fleet, now, gone)
    # 2. No policy, or one that suspends scheduling: what is there stays as it is.
    if policy is None:
        return _keep(workload, None, previous, now, "NoPolicy", "no policy selects it")
    if policy.suspend_scheduling:
        return _keep(workload, policy, previous, now, "Suspended", f"{policy.key} suspends scheduling")
    # 3. What the policy's members have now.
    case = Case(workload, policy, fleet, fleet.candidates(policy), room, previous, statuses, gone, now, rules, request)
    case.plan, case.measured = plan, measured
    case.cause = _first_cause(workload, policy, previous)
    drafts.begin(case)
    # 4. Divide, by kind and policy.
    wanted = _divide(case)
    for draft in case.drafts.values():
        draft.relabel()
    spending.settle(case)
    revising.settle(case)
    # 5. The answer.
    return Decision(
        workload=workload,
        cause=case.cause,
        decided_at=now,
        policy=policy.key,
        whole=not workload.divisible or not workload.components,
        wanted=wanted,
        pending=case.pending,
        shares=drafts.shares_of(case),
        rests=tuple(case.rests[member] for member in sorted(case.rests)),
        seen=drafts.seen_of(case),
        reasons=drafts.reasons_of(case),
        revision=workload.revision,
        suspended=policy.suspend_dispatching,
        overwrite=policy.overwrite,
        preserve=policy.preserve,
        failbacks=case.failbacks,
        before=case.before,
        waves=case.waves,
        due=case.due,
    )


def _divide(case: Case) -> int:
    workload = case.workload
    if not workload.components:
        whole.decide_everywhere(case)
        return 0
    if not workload.divisible:
        whole.decide_together(case)
        return workload.pods
    if case.policy.fixed and not workload.is_job:
        fixed.decide(case)
        return workload.replicas
    if workload.is_job and not case.policy.fixed:
        jobs.decide(case)
        return workload.replicas
    if workload.is_job:
        fixed_jobs.decide(case)
        return workload.replicas
    divided.decide(case)
    return workload.replicas


def _first_cause(workload: Workload, policy: Policy, previous: Placement | None) -> Cause:
    """What the placement would be redone for, unless something stronger shows."""
    if previous is None:
        return "created"
    if previous.policy != policy.key:
        return "policy"
    wanted = workload.replicas if workload.divisible else workload.pods
    if workload.components and previous.wanted != wanted:
        return "scaled"
    if previous.generation != workload.generation:
        return "changed"
    return "capacity"


def _delete(workload: Workload, previous: Placement | None, fleet: Fleet, now: float, gone: Set[str]) -> Decision:
    """Nobody can say of a member that left the fleet that the object is gone there, so none is waited for.

    Whether the objects are preserved is what the tombstone says: the intake asked the policy where people did not.
    """
    shares = tuple(
        Share(member=share.member, present=False, revision=share.revision)
        for share in (previous.shares if previous is not None else ())
        if share.member in fleet.members and (share.present or share.member not in gone)
    )
    assert workload.deleted is not None
    return Decision(
        workload=workload,
        cause="deleted",
        decided_at=now,
        policy=previous.policy if previous is not None else "",
        whole=previous.whole if previous is not None else False,
        shares=shares,
        revision=workload.revision,
        preserve=workload.deleted.preserve,
    )


def _keep(
    workload: Workload, policy: Policy | None, previous: Placement | None, now: float, code: str, message: str
) -> Decision:
    """Frozen: shares, revision and rests as they were."""
    shares = previous.shares if previous is not None else ()
    placed = sum(share.replicas - share.retiring for share in shares)
    whole_kind = not workload.divisible or not workload.components
    wanted = 0 if not workload.components else workload.pods
    return Decision(
        workload=workload,
        cause="policy" if previous is not None else "created",
        decided_at=now,
        policy=policy.key if policy is not None else "",
        whole=whole_kind,
        wanted=wanted,
        pending=max(0, wanted - placed),
        shares=shares,
        rests=previous.rests if previous is not None else (),
        reasons=(Reason(code=code, message=message),),
        revision=previous.revision if previous is not None else workload.revision,
        suspended=policy.suspend_dispatching if policy is not None else bool(previous and previous.suspended),
        overwrite=policy.overwrite if policy is not None else bool(previous and previous.overwrite),
        preserve=policy.preserve if policy is not None else bool(previous and previous.preserve),
        failbacks=previous.failbacks if previous is not None else (),
        before=previous.before if previous is not None else 0,
        waves=previous.waves if previous is not None else None,
    )
