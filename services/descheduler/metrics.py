"""The descheduler's metrics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from shared.contracts.status import Status
from shared.metrics import Counter, Gauge, Histogram, Metrics


@dataclass(frozen=True, slots=True)
class DeschedulerMetrics:
    """asked: replicas that were asked to move, per member they are stuck in. requests: messages sent.
    lateness: fleet seconds from a replica being stuck to its request. unmovable: members whose stuck replicas
    cannot move. unschedulable, waiting: replicas now, and for how many fleet seconds the oldest of them has been so."""

    asked: Counter
    requests: Counter
    lateness: Histogram
    unmovable: Counter
    unschedulable: Gauge
    waiting: Gauge
    bad_messages: Counter

    @classmethod
    def of(cls, metrics: Metrics) -> DeschedulerMetrics:
        return cls(
            asked=metrics.counter("stuck_replicas_asked", "Replicas asked to move", ("member",), unit="replicas"),
            requests=metrics.counter("requests", "Rebalance requests sent", unit="messages"),
            lateness=metrics.histogram("lateness_seconds", "Threshold passed to request sent", unit="fleet seconds"),
            unmovable=metrics.counter("unmovable", "Findings that cannot move", ("member",), unit="findings"),
            unschedulable=metrics.gauge(
                "unschedulable_replicas", "Replicas that cannot be scheduled", ("member",), unit="replicas"
            ),
            waiting=metrics.gauge(
                "oldest_unschedulable_seconds",
                "How long the oldest unschedulable replica has waited",
                ("member",),
                unit="fleet seconds",
            ),
            bad_messages=metrics.counter(
                "bad_messages", "Messages that could not be read", ("stream",), unit="messages"
            ),
        )

    def tell(self, statuses: Iterable[Status], now: float) -> None:
        """Those are all that have unschedulable replicas. now: Unix seconds of the fleet."""
        counts: dict[str, float] = {}
        ages: dict[str, float] = {}
        for status in statuses:
            for entry in status.unschedulable:
                counts[status.member] = counts.get(status.member, 0) + entry.count
                ages[status.member] = max(now - entry.since, ages.get(status.member, 0.0))
        self.unschedulable.set_all(counts, "member")
        self.waiting.set_all(ages, "member")
