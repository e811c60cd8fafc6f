"""Pages about members and policies, as `describe` shows them. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cli import fleet_tables, room
from cli.fleet_tables import MemberLine, Workload, age, member_state, shares_text
from cli.tables import NONE, Paint, Table, joined, render
from shared.contracts.capacity import Capacity
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome


def described_member(
    line: MemberLine,
    messages: Sequence[Capacity],
    held: Sequence[Workload],
    now: float,
    *,
    eci_label: Outcome | None = None,
    paint: Paint | None = None,
) -> str:
    """messages: all of CAPACITY about the member, oldest first. held: workloads with a share there. eci_label: what
    became of the wish that pods which ask for ECI by label go to brim's scheduler."""
    cluster, found = line.cluster, room.room_of(messages)
    spec = cluster.spec
    heard = f", heard of {age(line.last.observed_at, now)} ago" if line.last is not None else ""
    facts = (
        ("State", f"{member_state(cluster, line.last, now)}{heard}"),
        ("Where", ", ".join(part for part in (spec.provider, spec.region, spec.zone) if part) or NONE),
        ("Labels", joined(f"{key}={value}" for key, value in sorted(cluster.metadata.labels.items()))),
        ("Taints", joined(f"{taint.key}={taint.value}:{taint.effect}" for taint in spec.taints)),
        ("Reached by", str(spec.kubeconfig)),
        ("Stock from", spec.stock.source),
        *([("ECI label", eci_label.message)] if eci_label is not None else []),
        ("Nodes", room.phases(found)),
    )
    width = max(len(name) for name, _ in facts) + 1
    alias = f" ({spec.alias})" if spec.alias else ""
    parts = ["\n".join([f"Cluster {cluster.id}{alias}", *(f"{name + ':':<{width}} {told}" for name, told in facts)])]
    if found.nodes:
        parts.append("Room of the nodes that are ready\n" + render(room.resources(found), paint=paint))
    if found.pools:
        parts.append("Pools\n" + render(room.pools(found), paint=paint))
    parts.append("Holds\n" + (render(_held(cluster.id, held), paint=paint) if held else NONE))
    return "\n\n".join(parts)


def _held(member: str, held: Sequence[Workload]) -> Table:
    rows = []
    for entry in held:
        assert entry.placement is not None
        share, ref = entry.placement.share(member), entry.desired.ref
        ready = sum(status.ready for status in entry.statuses if status.member == member)
        counts = (str(share.replicas if share is not None else 0), str(ready)) if entry.divided else ("-", "-")
        rows.append((ref.kind, ref.namespace or NONE, ref.name, *counts))
    return Table(("KIND", "NAMESPACE", "NAME", "REPLICAS", "READY"), tuple(rows))


def described_policy(desired: Desired, governed: Sequence[Workload], now: float) -> str:
    """governed: objects whose placement follows the policy."""
    row = dict(zip(*_cells(desired, now), strict=True))
    facts = [f"{name.capitalize() + ':':<10} {row[name]}" for name in ("SELECTS", "MEMBERS", "DIVISION", "PRIORITY")]
    rows = tuple(
        (
            entry.desired.ref.kind,
            entry.desired.ref.namespace or NONE,
            entry.desired.ref.name,
            str(entry.wanted) if entry.divided else "-",
            str(entry.pending) if entry.divided else "-",
            shares_text(entry.placement),
        )
        for entry in governed
    )
    table = Table(("KIND", "NAMESPACE", "NAME", "WANTED", "PENDING", "MEMBERS"), rows)
    return "\n".join([str(desired.ref), *facts, "", "Governs", render(table) if rows else NONE])


def _cells(desired: Desired, now: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    table = fleet_tables.policy_table([desired], now)
    return table.columns, table.rows[0]
