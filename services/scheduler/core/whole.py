"""Objects that are not divided: those without pods go to every selected member, those with pods to the first member
where all of it fits together (or to all, where the policy says Duplicated)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from services.scheduler.core import divided, filtering, fixed, moving, spread
from services.scheduler.core.drafts import Case, Draft
from services.scheduler.core.nodes import HEADROOM, READY, UPCOMING, VIRTUAL
from services.scheduler.core.records import SHORTFALL

# The nodes that all of it may be on, one choice after the other.
_WITHOUT: Final = ((READY,), (READY, VIRTUAL))
_WITH_ELASTIC: Final = ((READY,), (READY, UPCOMING, HEADROOM), (READY, VIRTUAL), (READY, UPCOMING, HEADROOM, VIRTUAL))


def decide_everywhere(case: Case) -> None:
    """Kinds without replicas. They follow the policy's selection; a drained, cordoned or lost member keeps its copy."""
    names = [name for name in case.candidates.selected if name in case.drafts or _may_start(case, name)]
    if case.policy.spread:
        choices = [
            spread.Choice(case.fleet.members[name], name in case.drafts, 1, case.candidates.tier_of[name])
            for name in names
        ]
        chosen = spread.select(choices, case.policy.spread)
        if isinstance(chosen, spread.Unsatisfied):
            case.because(spread.CODE, str(chosen))
            names = [name for name in names if name in case.drafts]
        else:
            names = [name for name in names if name in chosen]
    for draft in case.drafts.values():
        if draft.member not in names and draft.present:
            draft.present = False
            case.cause = "policy"
    for name in names:
        draft = case.draft(name)
        if not draft.present and _may_start(case, name):
            draft.present = True
        draft.verdict = "open"  # nothing of it serves by itself, so nothing has to leave


def _may_start(case: Case, name: str) -> bool:
    """Room does not matter for it, so the member's capacity need not be known."""
    verdict, _, _ = filtering.judge(case.policy, replace(case.fleet.members[name], heard_of=True))
    return verdict == "open"


def decide_together(case: Case) -> None:
    """Kinds with pods that cannot be divided."""
    if case.policy.division == "duplicated":
        _copy_everywhere(case)
        return
    pods = case.workload.pods
    if any(constraint.minimum > 1 for constraint in case.policy.spread):
        case.because("StaysWhole", "it goes whole to one member: it cannot be spread over several groups")
    if case.request is not None and case.request.cause == "manual":
        case.because("StaysWhole", "it is not divided: it stays in one member as long as it can")
    moving.leave(case)
    stuck = _stuck(case)
    able = [d for d in case.drafts.values() if d.present and d.verdict in ("open", "stay") and d.member not in stuck]
    homes = [d for d in case.drafts.values() if d.finished]
    homes = homes or [d for d in able if not d.retiring] or [d for d in able if not case.resting(d.member)][:1]
    leaving = [d for d in case.drafts.values() if d.present and d not in homes]
    if not homes:
        home = _first_fit(case)
        if home is None:
            case.pending = pods
            case.because("Pending", "all of it has to fit one member, and does nowhere now; tried again with new room")
            divided.say_resting(case)
            _say_no_room(case)
        else:
            homes.append(home)
    for draft in homes:
        draft.replicas, draft.retiring = pods, 0
        draft.free = pods - draft.elastic - draft.virtual
    if homes:
        _let_go(case, homes, leaving)


def _stuck(case: Case) -> set[str]:
    request = case.request
    if request is None or request.cause != "stuck":
        return set()
    found = {entry.member for entry in request.stuck if entry.member in case.drafts}
    for member in found:
        case.cause = "rebalance"
        moving.rest(case, member)
    return found


def _let_go(case: Case, homes: list[Draft], leaving: list[Draft]) -> None:
    """The old object goes when the new one serves, or at once where nothing of it serves."""
    serving = sum(min(home.serving, home.replicas) for home in homes)
    for draft in leaving:
        if draft.serving == 0 or serving >= case.workload.pods:
            draft.cut(draft.replicas)
            draft.retiring = 0
            draft.present = False
        else:
            draft.retiring = draft.replicas


def _first_fit(case: Case) -> Draft | None:
    """The first tier that can, there on nodes that exist before others, there the member with the most free room."""
    components = case.workload.components
    for index, tier in enumerate(case.candidates.tiers):
        ranked = []
        for name in tier.names:
            draft = case.drafts.get(name)
            if case.resting(name) or (draft is not None and (not draft.present or draft.retiring)):
                continue
            if not all(spread.group_of(constraint, case.fleet.members[name]) for constraint in case.policy.spread):
                continue  # it is in no group that the policy spreads over
            room = case.room.room(components[0].shape, name)
            ranked.append((-room.free, name))
            _see(case, name, index, room.free, room.elastic, room.virtual)
        for phases in _WITH_ELASTIC if case.policy.ecs_provision else _WITHOUT:
            for _, name in sorted(ranked):
                if case.room.fits_together(components, name, phases):
                    return _home(case, name, phases)
        if case.hesitates(index):
            break
    return None


def _home(case: Case, name: str, phases: Sequence[int]) -> Draft:
    draft, pods = case.draft(name), case.workload.pods
    if HEADROOM in phases:
        draft.elastic, draft.deadline = pods, case.now + case.rules.elastic_deadline
    elif VIRTUAL in phases:
        draft.virtual = pods
    case.given[name] = pods
    return draft


def _see(case: Case, name: str, tier: int, free: int, elastic: int, virtual: int) -> None:
    sight = case.sight
    sight.members.append(name)
    sight.tiers.append(tier)
    sight.free.append(free)
    sight.elastic.append(elastic)
    sight.virtual.append(virtual)


def _say_no_room(case: Case) -> None:
    for tier in case.candidates.tiers:
        for name in tier.names[:16]:
            if case.resting(name):
                continue
            for component in case.workload.components:
                room = case.room.room(component.shape, name)
                if room.free + room.elastic * case.policy.ecs_provision + room.virtual < component.count:
                    code, why = case.room.why(component.shape, name)
                    case.because(code, f"{component.name} needs {component.count}, room for {room.free}: {why}", name)
                    break
            else:
                case.because("InsufficientResources", "its parts fit one by one, but not together", name)


def _copy_everywhere(case: Case) -> None:
    """A copy for each open member of the tier in force; those elsewhere go when others serve."""
    pods = case.workload.pods
    fixed.keep_lost(case)
    moving.leave(case)
    names = fixed.members_of(case)
    for name in names:
        new = name not in case.drafts
        draft = case.draft(name)
        if not draft.present:
            fixed.say_removing(case, name)
            continue
        draft.replicas = draft.free = pods
        _say_shortfall(case, draft, new)
    there = [draft for draft in case.drafts.values() if draft.present]
    homes = [draft for draft in there if draft.finished or draft.verdict == "stay" or draft.member in names]
    for draft in homes:
        draft.retiring = 0
    _let_go(case, homes, [draft for draft in there if draft not in homes])
    if not case.drafts:
        case.pending = pods
        case.because("Pending", "no member can take it now")


def _say_shortfall(case: Case, draft: Draft, new: bool) -> None:
    pods = case.workload.pods
    if new and not case.room.fits_together(case.workload.components, draft.member):
        case.because(SHORTFALL, f"the policy asks for it there, but not all of its {pods} pods have room", draft.member)
    elif (owed := case.room.short(case.workload.uid, draft.member)) and not fixed.serves(draft):
        case.because(SHORTFALL, f"{owed} of its {pods} pods have no room there", draft.member)
