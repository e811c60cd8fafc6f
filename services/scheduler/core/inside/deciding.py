"""One pod: unit after unit until a node takes it, or why none does and what could help."""

from __future__ import annotations

from dataclasses import dataclass

from services.scheduler.core.inside import preemption
from services.scheduler.core.inside.preemption import Plan
from services.scheduler.core.inside.queue import Help
from services.scheduler.core.inside.trial import Case, Choice, choose, full
from services.scheduler.core.inside.units import Stage, stages_of, waits
from services.scheduler.core.inside.why import why

_LONGEST = 900  # characters of a message: an event takes 1,024
_BY_LEAVING = frozenset({"UnitFull", "HostPortTaken", "PodAntiAffinity", "TopologySpread", "CostCeiling"})
_BY_SALES = frozenset({"NoStock", "SpotPriceLimit", "CostCeiling", "NoInstance", "BadInstanceSpec"})


@dataclass(frozen=True, slots=True)
class Refusal:
    """No node now. again_at: Unix seconds at which time alone may help. plan: whom to move aside for it."""

    code: str
    message: str
    wants: Help
    again_at: float | None = None
    plan: Plan | None = None


@dataclass(frozen=True, slots=True)
class _Miss:
    stage: Stage
    code: str
    message: str


def decide(case: Case, now: float) -> Choice | Refusal:
    policy = case.policy
    lacking = [key for key in policy.label_keys if key not in dict(case.record.labels)] if policy else []
    if policy is not None and lacking:
        message = (
            f"{policy} counts by label {lacking[0]}, which the pod does not have; give it one or change the policy"
        )
        return Refusal("LabelMissing", message, Help.NOTHING)
    misses: list[_Miss] = []
    waited = 0
    for stage in stages_of(case.record.needs, policy, case.wish is not None):
        found = _try(case, stage)
        if isinstance(found, Choice):
            return found
        misses.append(found)
        if policy is None or stage.rule is None or stage.place is None:
            continue
        early = preemption.plan(case, stage) if policy.preempts_early else None
        if early is not None and not early.violated:  # there may be room in another unit
            return _refusal(case, misses, plan=early)
        is_full = found.code == "UnitFull"
        if not waits(policy, stage.rule, is_full, case.member.counts.tally(policy).leaving(stage.place)):
            continue
        if policy.next_unit != "TimeoutOrExceedMax":
            return _refusal(case, misses, waiting=stage)
        waited += 1  # each unit that lacks room is waited for so long, one after the other
        until = (case.record.pod.created_at or now) + policy.timeout * waited
        if now < until:
            return _refusal(case, misses, waiting=stage, until=until)
    return _refusal(case, misses, plan=preemption.best_of(case, (miss.stage for miss in misses)))


def _try(case: Case, stage: Stage) -> Choice | _Miss:
    reason = full(case, stage)
    if reason is not None:
        return _Miss(stage, "UnitFull", f"full, {reason}")
    found = choose(case, stage)
    if isinstance(found, Choice):
        return found
    return _Miss(stage, *why(case, stage, found.reasons))


def _refusal(
    case: Case,
    misses: list[_Miss],
    *,
    plan: Plan | None = None,
    waiting: Stage | None = None,
    until: float | None = None,
) -> Refusal:
    parts = [f"{miss.stage.name}: {miss.message}" if miss.stage.name else miss.message for miss in misses]
    code = next((miss.code for miss in misses if miss.code == "CostCeiling"), misses[-1].code)
    if waiting is not None:
        code = "WaitingForUnit"
        parts.append(f"it waits for {waiting.name} as the policy's whenTryNextUnits says")
    if plan is not None:
        parts.append(f"room is being made on node {plan.node}{_violation(plan)}")
    message = "; ".join(parts)
    return Refusal(code, message[:_LONGEST], _helps(case, misses, waiting, plan), until, plan)


def _violation(plan: Plan) -> str:
    names = sorted({name for names in plan.violated.values() for name in names})
    listed = f"PodDisruptionBudget{'s' * (len(names) > 1)} {', '.join(names)}"
    return f", which violates {listed}: no place can be had without" if names else ""


def _helps(case: Case, misses: list[_Miss], waiting: Stage | None, plan: Plan | None) -> Help:
    codes = {miss.code for miss in misses}
    needs = case.record.needs
    found = Help.NODES
    if codes & _BY_LEAVING or waiting is not None or plan is not None or needs.anti_affinity or needs.ports:
        found |= Help.LEFT
    if needs.affinity or needs.spread:
        found |= Help.ARRIVED | Help.LEFT
    if codes & _BY_SALES or any(miss.stage.where.virtual for miss in misses):
        found |= Help.SALES
    return found
