"""`python -m benchmarks [--only ROW] [--quick] [--output FILE]`: what the design promises, measured.

Rows run one after the other. The exit status is 0 when every row was measured, whether or not its bar was met.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from rich.console import Console

from benchmarks import decisions, inside, real, scenarios
from benchmarks.decisions import Decisions
from benchmarks.report import Figure, machine, show, write
from shared.errors import BrimError

OUTPUT = Path(__file__).parent / "results" / "latest.json"
Report = Callable[[list[Figure]], None]
GIB = 1024**3


async def _latency(ready: Decisions) -> list[Figure]:
    runs = await ready.latency()
    note = f"{ready.conditions}, {ready.load.rate:g} workloads/s offered, {len(runs[0].latencies)} each"
    return decisions.latency_figures("latency", runs, {"P50": 4.0, "P99": 15.0}, note)


async def _distinct(ready: Decisions) -> list[Figure]:
    runs = await ready.distinct()
    note = f"{ready.conditions}, {ready.load.rate:g} workloads/s offered, every shape distinct"
    return decisions.latency_figures("distinct", runs, {"P99": 60.0}, note)


async def _burst(ready: Decisions) -> list[Figure]:
    note = f"{ready.conditions}, {ready.load.burst} workloads at once"
    return [decisions.rate_figure("burst", await ready.burst(), 1000.0, note)]


async def _churn(ready: Decisions) -> list[Figure]:
    runs, rates = await ready.burst_under_churn()
    note = f"{ready.conditions}, {ready.load.burst} workloads at once, {min(rates):,.0f} node changes/s"
    return [decisions.rate_figure("churn", runs, 700.0, note)]


async def _memory(ready: Decisions) -> list[Figure]:
    now, most = ready.scheduler.memory()
    note = (
        f"{ready.conditions}, read and every shape seen; after {ready.placed:,} workloads {now / GIB:.2f} GiB, "
        f"at most {most / GIB:.2f} GiB on the way"
    )
    return [Figure("memory", "resident", "GiB", (ready.memory_read / GIB,), 2.0, note=note)]


DECISION_ROWS: dict[str, Callable[[Decisions], Awaitable[list[Figure]]]] = {
    "latency": _latency,
    "burst": _burst,
    "churn": _churn,
    "distinct": _distinct,
    "memory": _memory,
}
SCENARIO_ROWS: dict[str, Callable[[Path, bool], Awaitable[list[Figure]]]] = {
    "tiling": scenarios.tiling,
    "overflow": scenarios.overflow,
    "stuck": scenarios.stuck,
    "binding": inside.binding,
    "real": real.latency,
    "real-burst": real.burst,
}


def main() -> int:
    arguments = _arguments()
    console = Console()
    rows = arguments.only or [*DECISION_ROWS, *SCENARIO_ROWS]
    console.print({**machine(), "quick": arguments.quick, "seed": arguments.seed})
    figures: list[Figure] = []
    missing: dict[str, str] = {}

    def found(new: list[Figure]) -> None:
        figures.extend(new)
        for figure in new:
            console.print(f"{figure.row}: {figure.name} {figure.value:,.1f} {figure.unit}  ({figure.note})")

    with tempfile.TemporaryDirectory(prefix="brim-bench-") as folder:
        anyio.run(  # as the services do: who offers the load must not be what is measured
            partial(_measure, rows, arguments, Path(folder), found, missing),
            backend_options={"use_uvloop": sys.platform != "win32"},
        )
    show(figures, missing, console)
    write(arguments.output, figures, missing, {"quick": arguments.quick, "seed": arguments.seed, "rows": rows})
    console.print(f"written to {arguments.output}")
    return 1 if missing else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    rows = [*DECISION_ROWS, *SCENARIO_ROWS]
    parser.add_argument("--only", action="append", choices=rows, metavar="ROW", help=f"one of {', '.join(rows)}; again")
    parser.add_argument("--quick", action="store_true", help="small and short: whether it works, not how fast it is")
    parser.add_argument("--seed", type=int, default=1, help="of everything that is generated")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the JSON file")
    parser.add_argument("--profile", type=Path, help="a folder for cProfile's findings about the scheduler; slows it")
    return parser.parse_args()


async def _measure(
    rows: list[str], options: argparse.Namespace, folder: Path, found: Report, missing: dict[str, str]
) -> None:
    wanted = [row for row in DECISION_ROWS if row in rows]
    if wanted:
        try:
            await _decisions(wanted, options, folder / "decisions", found, missing)
        except* BrimError as group:
            missing.update({row: _sentence(group) for row in wanted if row not in missing})
    for row in SCENARIO_ROWS:
        if row in rows:
            try:
                found(await SCENARIO_ROWS[row](folder / row, options.quick))
            except* BrimError as group:
                missing[row] = _sentence(group)


async def _decisions(
    rows: list[str], options: argparse.Namespace, folder: Path, found: Report, missing: dict[str, str]
) -> None:
    """All rows on one stage: reading 500,000 nodes takes a while."""
    base = decisions.QUICK if options.quick else decisions.Load()
    async with decisions.decisions(folder, replace(base, seed=options.seed, profile=options.profile)) as ready:
        for row in rows:
            try:
                found(await DECISION_ROWS[row](ready))
            except* BrimError as group:
                missing[row] = _sentence(group)


def _sentence(group: BaseExceptionGroup[BrimError]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


if __name__ == "__main__":
    sys.exit(main())
