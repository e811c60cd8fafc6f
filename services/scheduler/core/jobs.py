"""Divided Jobs. Completions are immutable: a Job moves by delete and create, and only before its first success.

All completions are given out at the first placement, so that what is placed can finish; where parallelism did not
fit it grows later, in members that have the Job. An Indexed Job goes whole to one member.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.scheduler.core import divided, division, growing, moving
from services.scheduler.core.division import hash_of, tie_breaks
from services.scheduler.core.drafts import Case, Draft
from services.scheduler.core.nodes import ELASTIC, FREE, VIRTUAL_ROOM

_KINDS = ("free", "elastic", "virtual")


def decide(case: Case) -> None:
    for draft in _movers(case):
        _move(case, draft)
    present = [draft for draft in case.drafts.values() if draft.present]
    need = case.workload.replicas - sum(draft.replicas for draft in present)
    if not present and not case.drafts:
        need = _place(case, case.workload.replicas, case.workload.completions, lambda name: True)
    elif need > 0:
        having = {draft.member for draft in present if draft.verdict == "open" and not _finished(draft)}
        need = growing.grow(case, need, lambda name: name in having)
    elif need < 0:
        divided.shrink(case, -need, floor=1 if case.workload.replicas else 0)
    if all(_finished(draft) for draft in present) and present:
        need = 0
    case.pending = max(case.pending, need)
    if case.pending:
        plural = "s" * (case.pending != 1)
        case.because("Pending", f"{case.pending} replica{plural} fit nowhere now; tried again when room appears")
        divided.say_resting(case)
        growing.explain_shortage(case)


def _finished(draft: Draft) -> bool:
    return draft.status is not None and draft.status.finished


def _movers(case: Case) -> list[Draft]:
    """Shares that should be elsewhere: their member is drained, deselected or lost, or they are stuck there."""
    request = case.request
    stuck = {entry.member for entry in request.stuck} if request is not None and request.cause == "stuck" else set()
    for member in stuck & case.drafts.keys():
        case.cause = "rebalance"
        moving.rest(case, member)
    return [
        draft
        for draft in list(case.drafts.values())
        if draft.present and not _finished(draft) and (draft.member in stuck or draft.verdict in ("leave", "dead"))
    ]


def _move(case: Case, draft: Draft) -> None:
    if draft.status is not None and draft.status.succeeded > 0:
        sentence = f"{draft.status.succeeded} of its pods succeeded there: a Job's completions cannot move any more"
        case.because("JobHasSucceeded", sentence, draft.member)
        return
    elsewhere = set(case.drafts)
    left = _place(case, draft.replicas, draft.completions, lambda name: name not in elsewhere)
    if left == draft.replicas and draft.replicas:
        case.because("NoRoomElsewhere", "the Job has to leave, but no other member has room", draft.member)
        case.pending += draft.replicas
        return
    if draft.verdict == "dead":
        case.cause = "lost"
    elif draft.verdict == "leave":
        case.cause = "drain" if case.candidates.verdicts.get(draft.member) == "leave" else "policy"
    draft.replicas = draft.free = draft.elastic = draft.virtual = draft.retiring = 0
    draft.present = False


def _place(case: Case, replicas: int, completions: int | None, allowed: Callable[[str], bool]) -> int:
    """New shares for these replicas and all of these completions; returns the replicas that found no room."""
    before = {draft.member for draft in case.drafts.values() if draft.present}
    place = _place_whole if case.workload.indexed else growing.grow
    left = place(case, replicas, allowed)
    new = [draft for name, draft in case.drafts.items() if name not in before and draft.present]
    if completions is not None and new:
        votes = np.array([draft.replicas for draft in new], dtype=np.int64)
        ties = tie_breaks(case.workload.uid, np.array([hash_of(draft.member) for draft in new], dtype=np.uint64))
        for draft, share in zip(new, division.webster(votes, completions, ties).tolist(), strict=True):
            draft.completions = share
    return left


def _place_whole(case: Case, replicas: int, allowed: Callable[[str], bool]) -> int:
    for index in range(len(case.candidates.tiers)):
        looked = growing.look(case, index, allowed)
        total = looked.room[FREE] + looked.room[ELASTIC] + looked.room[VIRTUAL_ROOM]
        enough = np.flatnonzero(total >= max(1, replicas))
        if not len(enough):
            continue
        best = int(enough[np.argmax(looked.room[FREE][enough])])
        for kind in (FREE, ELASTIC, VIRTUAL_ROOM):
            taken = min(replicas, int(looked.room[kind][best]))
            if taken:
                growing.add(case, looked.tier.names[best], _KINDS[kind], taken)
                replicas -= taken
        return 0
    case.because("IndexedJob", "an Indexed Job goes whole to one member, and none has room for all of it")
    return replicas
