"""Tables as values: what `get` prints, from plain values to rows and from rows to text. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from cli.json_values import table_of, text
from shared.contracts.annotations import MANAGED_LABEL
from shared.contracts.base import JsonObject
from simulator.columns import GENERIC, PRINTERS

NONE = "<none>"
GAP = "   "
ADOPTION = "ADOPTION"
STATES = frozenset({"STATUS", "RESULT", "SEEN"})  # columns whose cells name a state
UNMANAGED = ("pods", "events")  # what these hold is never the fleet's own
PASSING = frozenset({"AGE", "DURATION", "LAST SEEN"})  # columns that change by time alone
Paint = Callable[[str, bool], str]  # (a cell, whether it is a heading) → the cell as a terminal shows it
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


def render(table: Table, *, header: bool = True, only: Sequence[int] | None = None, paint: Paint | None = None) -> str:
    """Left-aligned columns, as wide as their widest cell; no spaces at the ends of lines.

    only: places of the rows to show; the columns stay as wide as all rows need them. paint: colours the cells of
    columns that name a state, and gets the headings too.
    """
    rows = table.rows if only is None else tuple(table.rows[place] for place in only)
    everything = [table.columns, *table.rows] if header or only is not None else list(table.rows)
    widths = [max((wide(line[place]) for line in everything), default=0) for place in range(len(table.columns))]
    states = [paint is not None and column in STATES for column in table.columns]
    lines = []
    for line in [table.columns, *rows] if header else rows:
        cells = [cell + " " * (width - wide(cell)) for cell, width in zip(line, widths, strict=True)]
        cells[-1] = cells[-1].rstrip()
        if paint is not None:
            heading = line is table.columns
            cells = [paint(cell, heading) if one or heading else cell for cell, one in zip(cells, states, strict=True)]
        lines.append(GAP.join(cells).rstrip())
    return "\n".join(lines)


def wide(cell: str) -> int:
    """Columns of a terminal that a cell takes: letters of the far east take two, accents of their own none."""
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in cell
    )


def member_table(
    resource: str, found: Sequence[MemberObject], now: float, *, wide: bool = False, namespaces: bool = False
) -> Table:
    """Objects of several members. resource: `pods`, `deployments.apps`, …; now: Unix seconds of fleet time.

    The columns are kubectl's own for the kind, with CLUSTER second, CLUSTER_ALIAS after it for pods and nodes,
    and ADOPTION last (of pods and events only when wide): whether the fleet manages the object.
    """
    printer = GENERIC if resource in UNREAD else PRINTERS.get(resource, GENERIC)
    shown = [place for place, (_, only_wide) in enumerate(printer.columns) if wide or not only_wide]
    with_alias = resource in ("pods", "nodes")
    with_adoption = resource not in UNMANAGED or wide
    columns = [
        *(["NAMESPACE"] if namespaces else []),
        printer.columns[0][0].upper(),
        "CLUSTER",
        *(["CLUSTER_ALIAS"] if with_alias else []),
        *(printer.columns[place][0].upper() for place in shown if place),
        *([ADOPTION] if with_adoption else []),
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


def with_labels(table: Table, labels: Sequence[Mapping[str, str]], keys: Sequence[str], *, every: bool) -> Table:
    """The table with a column for each of these keys, and one for all labels; what is last on member tables stays last.

    labels: of each row's object.
    """
    headings = [key.rpartition("/")[2].upper() for key in keys] + (["LABELS"] if every else [])
    place = len(table.columns) - (table.columns[-1] == ADOPTION)
    rows = []
    for row, own in zip(table.rows, labels, strict=True):
        cells = [own.get(key, "") for key in keys]
        if every:
            cells.append(joined(f"{key}={own[key]}" for key in sorted(own)))
        rows.append((*row[:place], *cells, *row[place:]))
    return Table((*table.columns[:place], *headings, *table.columns[place:]), tuple(rows))


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
