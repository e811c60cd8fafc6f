"""Tables as values: what `get` prints, from plain values to rows and from rows to text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cli.json_values import table_of, text
from shared.contracts.annotations import MANAGED_LABEL, WORKLOAD_LABEL
from shared.contracts.base import JsonObject
from simulator.columns import GENERIC, PRINTERS

NONE = "<none>"
GAP = "   "
PASSING = frozenset({"AGE", "DURATION", "LAST SEEN"})  # columns that change by time alone
UNREAD = ("configmaps", "secrets")  # inventory never takes their contents out of a member: no count of them either


@dataclass(frozen=True, slots=True)
class Table:
    """columns: headings. rows: one cell per column; the first cell of each is the object's name."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class MemberObject:
    """One Kubernetes object and the member that holds it."""

    member: str
    alias: str
    manifest: JsonObject


def render(table: Table, *, header: bool = True, only: Sequence[int] | None = None) -> str:
    """Left-aligned columns, as wide as their widest cell; no spaces at the ends of lines.

    only: places of the rows to show; the columns stay as wide as all rows need them.
    """
    rows = table.rows if only is None else tuple(table.rows[place] for place in only)
    lines = [table.columns, *rows] if header else list(rows)
    everything = [table.columns, *table.rows] if header or only is not None else list(table.rows)
    widths = [max((len(line[place]) for line in everything), default=0) for place in range(len(table.columns))]
    return "\n".join(
        GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def member_table(
    resource: str, found: Sequence[MemberObject], now: float, *, wide: bool = False, namespaces: bool = False
) -> Table:
    """Objects of several members. resource: `pods`, `deployments.apps`, …; now: Unix seconds of fleet time.

    The columns are kubectl's own for the kind, with CLUSTER second, CLUSTER_ALIAS after it for pods and nodes,
    and ADOPTION last (of pods only when wide): whether the fleet manages the object.
    """
    printer = GENERIC if resource in UNREAD else PRINTERS.get(resource, GENERIC)
    shown = [place for place, (_, only_wide) in enumerate(printer.columns) if wide or not only_wide]
    with_alias = resource in ("pods", "nodes")
    with_adoption = resource != "pods" or wide
    columns = [
        *(["NAMESPACE"] if namespaces else []),
        "NAME",
        "CLUSTER",
        *(["CLUSTER_ALIAS"] if with_alias else []),
        *(printer.columns[place][0].upper() for place in shown if place),
        *(["ADOPTION"] if with_adoption else []),
    ]
    rows = []
    for entry in found:
        cells = [str(cell) for cell in printer.cells(entry.manifest, now)]
        rows.append(
            (
                *([text(entry.manifest, "metadata", "namespace")] if namespaces else []),
                cells[0],
                entry.member,
                *([entry.alias or NONE] if with_alias else []),
                *(cells[place] for place in shown if place),
                *([adoption(entry.manifest)] if with_adoption else []),
            )
        )
    return Table(tuple(columns), tuple(rows))


def adoption(manifest: JsonObject) -> str:
    """Y: the fleet manages this very object. N: it does not (a pod belongs to its workload, not to the fleet)."""
    return "Y" if table_of(manifest, "metadata", "labels").get(MANAGED_LABEL) == "true" else "N"


def matches(labels: Mapping[str, str], wanted: Mapping[str, str | None]) -> bool:
    """Equality-based selection: every wanted key has its value; None asks only that the key is there."""
    return all(key in labels and value in (None, labels[key]) for key, value in wanted.items())


def changed_rows(before: Table | None, after: Table) -> tuple[int, ...]:
    """Places of the rows that are new or different, for a watch; that time passes is no difference."""
    known = frozenset(_lasting(before)) if before is not None else frozenset()
    return tuple(place for place, row in enumerate(_lasting(after)) if row not in known)


def _lasting(table: Table) -> list[tuple[str, ...]]:
    """The rows without the cells that change by time alone."""
    kept = [place for place, column in enumerate(table.columns) if column not in PASSING]
    return [tuple(row[place] for place in kept) for row in table.rows]


def joined(parts: Iterable[str]) -> str:
    return ",".join(parts) or NONE


def workload_of(manifest: JsonObject) -> str:
    """The uid of the workload that an object belongs to; empty where it belongs to none of brim's."""
    return table_of(manifest, "metadata", "labels").get(WORKLOAD_LABEL, "")
