"""Figures against their bars: on the terminal, and as JSON with a description of the machine."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from shared.nats_server import binary


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that was promised. values: one per repetition; the median counts, the spread is shown.

    bar: what the design promises, in `unit`. at_least: larger is better. note: under which conditions.
    """

    row: str
    name: str
    unit: str
    values: tuple[float, ...]
    bar: float
    at_least: bool = False
    note: str = ""

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        return self.value >= self.bar if self.at_least else self.value <= self.bar

    @property
    def ratio(self) -> float | None:
        """How often the bar is met: 2.0 is twice as good as promised, 0.5 half. None where a bar is zero."""
        if self.at_least:
            return self.value / self.bar if self.bar else None
        return self.bar / self.value if self.value and self.bar else None


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of all do not exceed. Raises ValueError without values."""
    if not values:
        raise ValueError("no values were measured")
    ordered = sorted(values)
    return ordered[max(0, -(-int(share * 1000) * len(ordered) // 1000) - 1)]


def machine() -> dict[str, str | int | float]:
    """What the figures depend on."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0,
        "memoryGiB": _memory(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "natsServer": subprocess.run([binary(), "-v"], capture_output=True, text=True, check=True).stdout.strip(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> float:
    if not hasattr(os, "sysconf"):
        return 0.0
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3, 1)


def show(figures: Iterable[Figure], missing: Mapping[str, str], console: Console) -> None:
    """missing: rows that were not measured, and why."""
    table = Table(title="Figures", caption="ratio: how often the bar is met; above 1 is better than promised")
    for title in ("row", "figure", "bar", "ratio", "spread", "met"):
        table.add_column(title, justify="left" if title in ("row", "met") else "right")
    for figure in figures:
        sign = "≥" if figure.at_least else "≤"
        ratio = "–" if figure.ratio is None else f"{figure.ratio:.2f}"
        table.add_row(
            f"{figure.row}: {figure.name}",
            f"{figure.value:,.1f} {figure.unit}",
            f"{sign} {figure.bar:,g} {figure.unit}",
            ratio,
            f"{min(figure.values):,.1f} – {max(figure.values):,.1f}",
            "yes" if figure.met else "NO",
        )
    console.print(table)
    for row, reason in missing.items():
        console.print(f"not measured: {row}: {reason}")


def write(path: Path, figures: Iterable[Figure], missing: Mapping[str, str], options: Mapping[str, object]) -> None:
    """The same as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {
        "machine": machine(),
        "options": dict(options),
        "figures": [
            {**asdict(figure), "value": figure.value, "ratio": figure.ratio, "met": figure.met} for figure in figures
        ],
        "notMeasured": dict(missing),
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
