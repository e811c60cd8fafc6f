"""docs/metrics.md, written from the metrics themselves.

`python -m tests.docs.metrics_page` writes it, with --check it ends with 1 where the page is not what would be written.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from services.descheduler.metrics import DeschedulerMetrics
from services.executor.metrics import ExecutorMetrics
from services.inventory.metrics import InventoryMetrics
from services.scheduler.metrics import SchedulerMetrics
from shared.metrics import Described, Metrics
from shared.service import consumer_lag

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
SERVICES: dict[str, Callable[[Metrics], object]] = {
    "inventory": InventoryMetrics.on,
    "scheduler": SchedulerMetrics,
    "executor": ExecutorMetrics.of,
    "descheduler": DeschedulerMetrics.of,
}
HEAD = """# Metrics

Each service tells Prometheus at `/metrics` of its health port; a gauge about the fleet is told by the process that
leads, and by no standby. Seconds are real ones, fleet seconds those of the fleet's clock: the same, unless it was told
to run fast. Labels hold small sets only, never the name of a workload or a pod; beyond 2,000 sets of a metric the rest
counts as `other`. A histogram has `_bucket`, `_sum` and `_count`. This page is written from the code by `make schema`.

`deploy/prometheus` has a scrape configuration and alert rules, `deploy/grafana` a dashboard with the files by which
Grafana loads it by itself. The rules and all of the dashboard's queries are tried with a real Prometheus
(`make test-prometheus`), and Grafana's own model of dashboards knows every field of it; no Grafana ever loaded it.
"""


def exposed() -> dict[str, Described]:
    """Metrics by the names of their series."""
    found: dict[str, Described] = {}
    for name, build in SERVICES.items():
        metrics = Metrics(name)
        consumer_lag(metrics)
        build(metrics)
        for one in metrics.described:
            suffixes = ("_bucket", "_sum", "_count") if one.kind == "histogram" else ("",)
            found |= {one.name + suffix: one for suffix in suffixes}
    return found


def page() -> str:
    return HEAD + "".join(_section(name) for name in SERVICES)


def _section(service: str) -> str:
    metrics = Metrics(service)
    consumer_lag(metrics)
    SERVICES[service](metrics)
    rows = [_row(one) for one in sorted(metrics.described, key=lambda one: one.name)]
    heading = ["", f"## {service}", "", "| metric | kind | unit | labels | what it says |", "|---|---|---|---|---|"]
    return "\n".join([*heading, *rows]) + "\n"


def _row(one: Described) -> str:
    labels = ", ".join(f"`{label}`" for label in one.labels) or "–"
    return f"| `{one.name}` | {one.kind} | {one.unit} | {labels} | {one.documentation} |"


def main(arguments: list[str]) -> int:
    if "--check" not in arguments:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == page():
        return 0
    print(f"{PAGE.name} is stale: write it anew with `make schema`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
