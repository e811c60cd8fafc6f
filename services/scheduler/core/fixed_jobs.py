"""Jobs whose numbers the policy fixes: completions are given out once, afterwards only the parallelism changes."""

from __future__ import annotations

import numpy as np

from services.scheduler.core import division, fixed, jobs
from services.scheduler.core.division import hash_of, tie_breaks
from services.scheduler.core.drafts import Case


def decide(case: Case) -> None:
    fixed.say_fixed(case)
    duplicated = case.policy.division == "duplicated"
    going = {draft.member for draft in case.drafts.values() if not draft.present}  # until the old Job is gone there
    names = [name for name in fixed.members_of(case) if name not in going]
    _leave(case, names)
    there = [draft for draft in case.drafts.values() if draft.present]
    missing = 0 if duplicated else jobs.missing_completions(case, there)
    if there and not duplicated and not missing:
        names = [name for name in names if name in case.drafts]
    targets = fixed.targets_of(case, names)
    for draft in there:
        wanted = targets.get(draft.member, draft.replicas)
        draft.replicas = max(wanted, min(1, case.workload.replicas))
    new = {name: count for name, count in targets.items() if name not in case.drafts and count}
    if missing and there and not new and not jobs.take_over(case, missing):
        case.pending = min(missing, case.workload.replicas)
    _create(case, new, missing)
    if not there and not new:
        case.pending = case.workload.replicas
        case.because("Pending", "no member can take it now")
    for draft in case.drafts.values():
        draft.free = draft.elastic = draft.virtual = 0
    fixed.say_shortfall(case)


def _leave(case: Case, names: list[str]) -> None:
    """Out of members that are lost, drained or deselected, where others may take it, before any success."""
    for draft in case.drafts.values():
        if not draft.present or draft.verdict not in ("leave", "dead"):
            continue
        replaced = case.policy.division != "duplicated" and any(name != draft.member for name in names)
        leaves = replaced or (case.policy.division == "duplicated" and draft.verdict == "leave")
        if draft.finished or not leaves or jobs.stays(case, draft):
            draft.verdict = "stay"
        else:
            jobs.go(case, draft)


def _create(case: Case, new: dict[str, int], missing: int) -> None:
    votes = np.array(list(new.values()), dtype=np.int64)
    ties = tie_breaks(case.workload.uid, np.array([hash_of(name) for name in new], dtype=np.uint64))
    parts = division.webster(votes, missing, ties).tolist() if new else []
    for (name, count), part in zip(new.items(), parts, strict=True):
        draft = case.draft(name)
        draft.replicas = case.given[name] = count
        if case.workload.completions is not None:
            draft.completions = case.workload.completions if case.policy.division == "duplicated" else part
