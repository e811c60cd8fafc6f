"""What workloads have cost and cost now, per member and unit, as a table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cli.tables import Table
from shared.contracts.cost import Cost
from shared.units import UNITS, Unit


@dataclass(frozen=True, slots=True)
class Line:
    """One unit of one member. pods, per_hour: that run now. hours, amount: of all that ran and runs."""

    unit: Unit
    pods: int
    per_hour: float
    hours: float
    amount: float


def lines(cost: Cost, now: float) -> list[Line]:
    """In the order of the units; those in which nothing ever ran are left out. now: Unix seconds."""
    found = []
    for unit in UNITS:
        running = [meter for meter in cost.meters if meter.unit == unit]
        rest = [one for one in cost.rest if one.unit == unit]
        booked = [entry for entry in cost.booked if entry.unit == unit]
        if not running and not rest and not booked:
            continue
        meters = [(1, meter.since, meter.per_hour) for meter in running]
        meters += [(one.pods, one.since, one.per_hour) for one in rest]
        hours = [max(0.0, now - since) / 3600.0 for _, since, _ in meters]
        found.append(
            Line(
                unit,
                sum(pods for pods, _, _ in meters),
                sum(per_hour for _, _, per_hour in meters),
                sum(entry.hours for entry in booked) + sum(each * m[0] for each, m in zip(hours, meters, strict=True)),
                sum(entry.amount for entry in booked) + sum(each * m[2] for each, m in zip(hours, meters, strict=True)),
            )
        )
    return found


def cost_table(found: Sequence[Cost], now: float, *, namespaces: bool = False) -> Table:
    """One row per workload, member and unit, and a last one for all of them."""
    rows = []
    total = [0, 0.0, 0.0]
    for cost in found:
        for line in lines(cost, now):
            name = f"{cost.ref.kind.lower()}/{cost.ref.name}"
            rows.append(_row((cost.ref.namespace, name) if namespaces else (name,), cost.member, line.unit, line))
            total = [total[0] + line.pods, total[1] + line.per_hour, total[2] + line.amount]
    if len(rows) > 1:
        blank = ("", "TOTAL") if namespaces else ("TOTAL",)
        rows.append((*blank, "", "", str(total[0]), money(total[1]), "", money(total[2])))
    heading = ("NAME", "CLUSTER", "UNIT", "PODS", "PER-HOUR", "POD-HOURS", "SO-FAR")
    return Table(("NAMESPACE", *heading) if namespaces else heading, tuple(rows))


def _row(first: tuple[str, ...], member: str, unit: Unit, line: Line) -> tuple[str, ...]:
    return (*first, member, unit, str(line.pods), money(line.per_hour), f"{line.hours:.2f}", money(line.amount))


def money(amount: float) -> str:
    """In the fleet's one currency; small amounts keep what makes them differ from nothing."""
    return f"{amount:.4f}" if 0 < abs(amount) < 1 else f"{amount:.2f}"
