"""Divided Jobs. Completions are immutable: a Job moves by delete and create, and only before its first success.

All completions are given out at the first placement, so that what is placed can finish; where parallelism did not
fit it grows later, in members that have the Job. An Indexed Job goes whole to one member.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from operator import eq

import numpy as np

from services.scheduler.core import divided, division, growing, moving
from services.scheduler.core.division import hash_of, tie_breaks
from services.scheduler.core.drafts import Case, Draft
from services.scheduler.core.nodes import ELASTIC, FREE, VIRTUAL_ROOM

_KINDS = ("free", "elastic", "virtual")


def decide(case: Case) -> None:
    if case.request is not None and case.request.cause == "manual":
        case.because("JobStays", "a Job is not divided afresh: its completions are given out once")
    for draft in _movers(case):
        _move(case, draft)
    wanted = case.workload.replicas
    present = [draft for draft in case.drafts.values() if draft.present]
    if wanted:
        _start_again(case, present)
    need = wanted - sum(draft.replicas for draft in present)
    missing = missing_completions(case, present)
    if missing or not present:
        need = _give_out(case, need, missing)
    elif need > 0:
        need = _grow(case, need)
    elif need < 0:
        divided.shrink(case, -need, {draft.member: min(1, wanted) for draft in present})
    if all(draft.finished for draft in present) and present and not missing:
        need = 0
    case.pending = max(case.pending, need)
    if case.pending:
        plural = "s" * (case.pending != 1)
        case.because("Pending", f"{case.pending} replica{plural} fit nowhere now; tried again when room appears")
        divided.say_resting(case)
        growing.explain_shortage(case)


def _start_again(case: Case, present: Sequence[Draft]) -> None:
    """After a parallelism of 0 every part needs a replica, or its completions would never come."""
    for draft in present:
        if draft.replicas == 0 and draft.verdict == "open" and not draft.finished:
            case.pending += growing.grow(case, 1, partial(eq, draft.member))


def missing_completions(case: Case, present: Sequence[Draft]) -> int:
    """Completions that no share has: at first all of them, later those of a member that left the fleet."""
    if case.workload.completions is None:
        return 0
    return max(0, case.workload.completions - sum(draft.completions or 0 for draft in present))


def _give_out(case: Case, need: int, missing: int) -> int:
    """Completions go to members that do not have the Job; returns the replicas that found no room."""
    here = set(case.drafts)
    asked = max(need, min(1, case.workload.replicas))
    completions = missing if case.workload.completions is not None else None
    left = _place(case, asked, completions, lambda name: name not in here)
    if left < asked or not missing or not asked:
        return left
    if here and take_over(case, missing):
        return _grow(case, max(0, need))
    return left


def _grow(case: Case, need: int) -> int:
    """More parallelism where the Job is."""
    having = {
        draft.member
        for draft in case.drafts.values()
        if draft.present and draft.verdict == "open" and not draft.finished
    }
    return growing.grow(case, need, lambda name: name in having)


def take_over(case: Case, missing: int) -> bool:
    """A member that has the Job takes these completions too: it is created anew there, so before any success."""
    for draft in sorted(case.drafts.values(), key=lambda draft: (draft.tier, -draft.replicas, draft.member)):
        if draft.present and draft.verdict == "open" and not draft.finished and successes(draft) == 0:
            draft.completions = (draft.completions or 0) + missing
            return True
    sentence = f"{missing} completions have no member: those that have the Job have successes, and no other has room"
    case.because("CompletionsMissing", sentence)
    return False


def successes(draft: Draft) -> int:
    return draft.status.succeeded if draft.status is not None else 0


def stays(case: Case, draft: Draft) -> bool:
    """Whether successes keep the Job there; then it is said."""
    if not successes(draft):
        return False
    sentence = f"{successes(draft)} of its pods succeeded there: a Job's completions cannot move any more"
    case.because("JobHasSucceeded", sentence, draft.member)
    return True


def go(case: Case, draft: Draft) -> None:
    """The Job leaves the member."""
    if draft.verdict == "dead":
        case.cause = "lost"
    elif draft.verdict == "leave":
        case.cause = "drain" if case.candidates.verdicts.get(draft.member) == "leave" else "policy"
    draft.replicas = draft.free = draft.elastic = draft.virtual = draft.retiring = 0
    draft.present = False


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
        if draft.present and not draft.finished and (draft.member in stuck or draft.verdict in ("leave", "dead"))
    ]


def _move(case: Case, draft: Draft) -> None:
    if stays(case, draft):
        return
    elsewhere = set(case.drafts)
    left = _place(case, draft.replicas, draft.completions, lambda name: name not in elsewhere)
    if left == draft.replicas and draft.replicas:
        case.because("NoRoomElsewhere", "the Job has to leave, but no other member has room", draft.member)
        case.pending += draft.replicas
        return
    go(case, draft)


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
        if not len(enough) and case.hesitates(index):
            break
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
