"""What spread constraints ask of replicas that are placed: not in too many groups, nor in too few."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace

from services.scheduler.core import growing, spread
from services.scheduler.core.drafts import Case


def leave(case: Case) -> None:
    """Members beyond the groups that spread constraints allow at most: the policy changed, or a member's labels did."""
    if not case.policy.spread:
        return
    there = [d for d in case.drafts.values() if d.present and d.verdict in ("open", "stay")]
    choices = [spread.Choice(case.fleet.members[d.member], d.healthy > 0, d.healthy, d.tier) for d in there]
    kept = spread.select(choices, [replace(constraint, minimum=0) for constraint in case.policy.spread])
    assert not isinstance(kept, spread.Unsatisfied)
    for draft in there:
        if draft.member not in kept and draft.replicas:
            draft.verdict = "leave"


def floors(case: Case) -> Mapping[str, int]:
    """One replica stays in each of as many groups as constraints ask at least."""
    if not any(constraint.minimum > 1 for constraint in case.policy.spread):
        return {}
    held = [
        spread.Choice(case.fleet.members[draft.member], True, draft.healthy, draft.tier)
        for draft in case.drafts.values()
        if draft.healthy > 0
    ]
    return dict.fromkeys(spread.keepers(held, case.policy.spread, case.workload.replicas), 1)


def is_met(case: Case, members: Set[str]) -> bool:
    """Whether replicas in just these are in as many groups as constraints ask at least, or each in one of its own."""
    return _lacking(case, members) <= 0


def first(case: Case, holding: Set[str], weights: Mapping[str, int], count: int) -> Set[str]:
    """Which of the members with a weight get the first of `count` replicas, one each, beside those that hold some."""
    there = {draft.member for draft in case.drafts.values() if draft.healthy > 0}
    choices = [spread.Choice(case.fleet.members[name], True, 0, -1) for name in holding]
    choices += [spread.Choice(case.fleet.members[name], name in there, weights[name], 0) for name in weights]
    return spread.keepers(choices, case.policy.spread, len(holding) + count) - holding


def open_more(case: Case) -> None:
    """Where a policy that changed asks for more groups than are in use, replicas move to new ones."""
    if not any(constraint.minimum > 1 for constraint in case.policy.spread):
        return
    chosen = growing.chosen_by_spread(case)
    if isinstance(chosen, spread.Unsatisfied):
        case.because(spread.CODE, str(chosen))
        return
    if any(draft.retiring for draft in case.drafts.values()):
        return
    before = list(case.drafts)
    lacking = _lacking(case, {draft.member for draft in case.drafts.values() if draft.healthy > 0})
    moved = lacking - growing.seed(case, lacking, growing.both(None, chosen))
    kept = floors(case)
    for draft in sorted((case.drafts[name] for name in before), key=lambda draft: (-draft.healthy, draft.member)):
        if draft.present and not draft.autoscaled:
            count = min(moved, max(0, draft.healthy - kept.get(draft.member, 0)))
            draft.retiring += count
            moved -= count
            case.cause = "policy" if count else case.cause
    for name in case.drafts.keys() - set(before) if moved else ():  # nobody has one to spare for these
        moved -= case.drafts.pop(name).replicas


def _lacking(case: Case, members: Set[str]) -> int:
    """Groups that the constraint that lacks the most lacks where these alone hold replicas."""
    lacking = 0
    for constraint in case.policy.spread:
        used = {spread.group_of(constraint, case.fleet.members[member]) for member in members}
        lacking = max(lacking, min(constraint.minimum, case.workload.replicas) - len(used))
    return lacking
