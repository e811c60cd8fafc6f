"""Why a workload's replicas are where they are, and why the rest is pending. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from cli.fleet_tables import Workload, shares_text
from cli.tables import NONE, Table, render
from shared.contracts.placement import Placement, Seen, Share


def explanation(workload: Workload, history: Sequence[Placement], now: float) -> str:
    """The whole page: the decision in force, member by member, its reasons, and how it came to be."""
    parts = [headline(workload)]
    if workload.placement is None:
        parts.append("Nothing is decided yet: does `brim run scheduler` run, and does a policy select this object?")
        return "\n\n".join(parts)
    parts.append(render(room_table(workload)))
    parts += reasons(workload.placement, now)
    if history:
        parts.append("History\n" + render(history_table(history)))
    return "\n\n".join(parts)


def headline(workload: Workload) -> str:
    ref, placement = workload.desired.ref, workload.placement
    lines = [f"{ref}"]
    if placement is not None:
        lines.append(f"Policy:   {placement.policy or 'none selects it: its placement is frozen'}")
        if workload.divided:
            lines.append(
                f"Replicas: {placement.wanted} wanted, {workload.placed} placed, {workload.ready} ready, "
                f"{placement.pending} pending"
            )
        lines.append(f"Decided:  {moment(placement.decided_at)}, because: {placement.cause}")
        if placement.generation < workload.desired.generation:
            lines.append("A newer change of this object is not decided yet.")
    return "\n".join(lines)


def room_table(workload: Workload) -> Table:
    """Per member: the room that the decision saw, by kind, and what it was given."""
    placement = workload.placement
    assert placement is not None
    seen = placement.seen
    place = {member: number for number, member in enumerate(seen.members)}
    shares = {share.member: share for share in placement.shares}
    ready = {status.member: status.ready for status in workload.statuses}
    told = {member: reason.message for reason in placement.reasons for member in reason.members}
    outcomes = {outcome.member: outcome for outcome in workload.outcomes}
    rows = []
    for member in dict.fromkeys([*seen.members, *shares, *told]):
        number, share = place.get(member), shares.get(member)
        column = "-" if number is None else None
        outcome = outcomes.get(member)
        why = told.get(member, "") or _by_room(seen, number, share)
        if outcome is not None and outcome.result in ("retrying", "failed", "conflict"):
            why = "; ".join(part for part in (why, f"{outcome.result}: {outcome.message}") if part)
        if share is not None and share.retiring:
            why = "; ".join(part for part in (why, f"{share.retiring} leave once replacements are Ready") if part)
        rows.append(
            (
                member,
                column or str(seen.tiers[number or 0] + 1),
                column or str(seen.free[number or 0]),
                column or str(seen.elastic[number or 0]),
                column or str(seen.virtual[number or 0]),
                column or f"+{seen.given[number or 0]}",
                "0" if share is None or not share.present else str(share.replicas),
                str(ready.get(member, 0)),
                why or NONE,
            )
        )
    return Table(("MEMBER", "TIER", "FREE", "ELASTIC", "VIRTUAL", "GIVEN", "REPLICAS", "READY", "WHY"), tuple(rows))


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
        f"- {rest.member} rests until {moment(rest.until)} (stuck {rest.step} times in a row)"
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
            str(entry.wanted),
            str(entry.pending),
            shares_text(entry),
        )
        for entry in sorted(
            history, key=lambda placement: (placement.order.epoch, placement.order.counter), reverse=True
        )
    ]
    return Table(("DECIDED", "ORDER", "CAUSE", "WANTED", "PENDING", "MEMBERS"), tuple(rows))


def moment(seconds: float) -> str:
    """A point of fleet time, UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
