"""Why a workload's replicas are where they are, and why the rest is pending. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cli.costs import money
from cli.fleet_tables import Workload, age, is_whole, shares_text, trouble_in, unscheduled
from cli.tables import NONE, Paint, Table, render
from shared.contracts.annotations import UNIT_ANNOTATION
from shared.contracts.placement import Placement, Seen, Share
from shared.contracts.pod import Pod

# Kinds whose controllers do not ask what a replica costs when they give one up.
_NOT_IN_ORDER = {
    "StatefulSet": "a StatefulSet gives up its highest ordinal first, whichever unit that is in",
    "Job": "a Job gives up pods without regard to their unit",
}


def explanation(
    workload: Workload,
    history: Sequence[Placement],
    now: float,
    *,
    pods: Sequence[Pod] = (),
    paint: Paint | None = None,
) -> str:
    """The whole page: the decision in force, member by member, its reasons, and how it came to be.

    pods: that brim binds itself.
    """
    placement = workload.placement
    if placement is None:
        why = "Nothing is decided yet: does `brim run scheduler` run, and does a policy select this object?"
        return f"{workload.desired.ref}\n\n{why}"
    looked = last_look(placement, history)
    parts = [headline(workload, placement, looked, now)]
    if workload.divided:
        parts.append(render(room_table(workload, placement, looked), paint=paint))
    else:
        parts.append(render(whole_table(workload, placement), paint=paint))
    if pods:
        parts.append(units_part(workload, pods, paint))
    parts += reasons(placement, now)
    if history:
        parts.append("History\n" + render(history_table(history), paint=paint))
    return "\n\n".join(parts)


def last_look(placement: Placement, history: Sequence[Placement]) -> Placement:
    """The newest placement that looked at room: one that only settles what was decided before does not."""
    newest = sorted(history, key=_order, reverse=True)
    return next((entry for entry in (placement, *newest) if entry.seen.members), placement)


def headline(workload: Workload, placement: Placement, looked: Placement, now: float) -> str:
    lines = [f"{workload.desired.ref}", f"Policy:   {placement.policy or 'none selects it: its placement is frozen'}"]
    if workload.divided:
        lines.append(
            f"Replicas: {placement.wanted} wanted, {workload.placed} placed, {workload.ready} ready, "
            f"{placement.pending} pending"
        )
    lines.append(f"Decided:  {ago(placement.decided_at, now)}, because: {placement.cause}")
    if looked is not placement:
        lines.append(f"Room:     as seen {ago(looked.decided_at, now)}, because: {looked.cause}")
    if placement.generation < workload.desired.generation:
        lines.append("A newer change of this object is not decided yet.")
    return "\n".join(lines)


def ago(seconds: float, now: float) -> str:
    return f"{moment(seconds)} UTC ({age(seconds, now)} ago)"


def room_table(workload: Workload, placement: Placement, looked: Placement) -> Table:
    """Per member: the room that was seen, by kind, and what it was given."""
    seen = looked.seen
    place = {member: number for number, member in enumerate(seen.members)}
    shares = {share.member: share for share in placement.shares}
    statuses = {status.member: status for status in workload.statuses}
    told = {member: reason.message for reason in placement.reasons for member in reason.members}
    rows = []
    for member in dict.fromkeys([*seen.members, *shares, *told]):
        number, share, status = place.get(member), shares.get(member), statuses.get(member)
        why = [told.get(member, "") or _by_room(seen, number, share)]
        why += unscheduled(status) if status is not None else []
        why.append(trouble_in(workload, member))
        if share is not None and share.per_hour:
            why.append(f"costs {money(share.per_hour)} per hour")
        if share is not None and share.surge:
            why.append(f"room for {share.surge} more is kept while it is updated")
        if share is not None and share.retiring:
            why.append(f"{share.retiring} leave once replacements are Ready")
        rows.append(
            (
                member,
                *_seen_cells(seen, number),
                "0" if share is None or not share.present else str(share.replicas),
                str(status.ready if status is not None else 0),
                "; ".join(part for part in why if part) or NONE,
            )
        )
    return Table(("MEMBER", "TIER", "FREE", "ELASTIC", "VIRTUAL", "GIVEN", "REPLICAS", "READY", "WHY"), tuple(rows))


def units_part(workload: Workload, pods: Sequence[Pod], paint: Paint | None) -> str:
    """Inside the members: the units that pods are in, and why some have none."""
    counts: dict[tuple[str, str], int] = {}
    for pod in pods:
        unit = pod.annotations.get(UNIT_ANNOTATION, "-") if pod.node else "none yet"
        counts[pod.member, unit] = counts.get((pod.member, unit), 0) + 1
    rows = [(member, unit, str(count)) for (member, unit), count in sorted(counts.items())]
    lines = ["Units", render(Table(("MEMBER", "UNIT", "PODS"), tuple(rows)), paint=paint)]
    waiting = {f"- {pod.member}: {pod.unschedulable}": None for pod in pods if not pod.node and pod.unschedulable}
    lines += waiting
    note = _NOT_IN_ORDER.get(workload.desired.ref.kind)
    return "\n".join([*lines, f"- {note}"] if note else lines)


def _seen_cells(seen: Seen, number: int | None) -> tuple[str, ...]:
    if number is None:
        return ("-",) * 5
    counts = (seen.tiers[number] + 1, seen.free[number], seen.elastic[number], seen.virtual[number])
    return (*(str(count) for count in counts), f"+{seen.given[number]}")


def whole_table(workload: Workload, placement: Placement) -> Table:
    """Of an object without replicas: the members that hold it, and why others do not."""
    told = {member: reason.message for reason in placement.reasons for member in reason.members}
    results = {outcome.member: outcome for outcome in workload.outcomes if not outcome.order < placement.order}
    held = {share.member for share in placement.shares if share.present}
    rows = []
    for member in dict.fromkeys([*(share.member for share in placement.shares), *told]):
        outcome = results.get(member)
        why = (told.get(member, ""), trouble_in(workload, member))
        result = outcome.result if outcome is not None else "not yet applied" if member in held else "not there"
        rows.append((member, result, "; ".join(part for part in why if part) or NONE))
    return Table(("MEMBER", "RESULT", "WHY"), tuple(rows))


def _by_room(seen: Seen, number: int | None, share: Share | None) -> str:
    """What the room says where the decision gave no other reason."""
    if share is not None and share.present and share.replicas:
        kinds = ((share.free, "on free room"), (share.elastic, "on nodes that are added"), (share.virtual, "virtual"))
        held = ", ".join(f"{count} {kind}" for count, kind in kinds if count)
        full = number is not None and not seen.given[number] and not _room(seen, number)
        return "; ".join(part for part in (held, "no room for more" if full else "") if part)
    if number is None:
        return ""
    return "others of its tier have more room" if _room(seen, number) else "no room"


def _room(seen: Seen, number: int) -> int:
    return seen.free[number] + seen.elastic[number] + seen.virtual[number]


def reasons(placement: Placement, now: float) -> list[str]:
    """Reasons that concern no single member, the pending rest, and the members that rest."""
    general = [f"- {reason.message} ({reason.code})" for reason in placement.reasons if not reason.members]
    parts = []
    if placement.pending:
        parts.append(f"Why {placement.pending} pending\n" + "\n".join(general or ["- no member has room"]))
    elif general:
        parts.append("Notes\n" + "\n".join(general))
    resting = [
        f"- {rest.member} rests until {moment(rest.until)} UTC (stuck {rest.step} times in a row)"
        for rest in placement.rests
        if rest.until > now
    ]
    return [*parts, "Resting\n" + "\n".join(resting)] if resting else parts


def history_table(history: Sequence[Placement]) -> Table:
    """The newest placement first."""
    rows = [
        (
            moment(entry.decided_at),
            str(entry.order),
            entry.cause,
            *(("-", "-") if is_whole(entry) else (str(entry.wanted), str(entry.pending))),
            shares_text(entry),
        )
        for entry in sorted(history, key=_order, reverse=True)
    ]
    return Table(("DECIDED", "ORDER", "CAUSE", "WANTED", "PENDING", "MEMBERS"), tuple(rows))


def _order(placement: Placement) -> tuple[int, int]:
    return placement.order.epoch, placement.order.counter


def moment(seconds: float) -> str:
    """A point of fleet time, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
