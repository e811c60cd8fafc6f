"""The descheduler's metrics."""

from __future__ import annotations

from dataclasses import dataclass

from shared.metrics import Counter, Gauge, Histogram, Metrics


@dataclass(frozen=True, slots=True)
class DeschedulerMetrics:
    """asked: replicas that were asked to move, per member they are stuck in. requests: messages sent.
    lateness: fleet seconds from a replica being stuck to its request. unmovable: members whose stuck replicas
    cannot move. watched: objects with unschedulable replicas now."""

    asked: Counter
    requests: Counter
    lateness: Histogram
    unmovable: Counter
    watched: Gauge
    bad_messages: Counter

    @classmethod
    def of(cls, metrics: Metrics) -> DeschedulerMetrics:
        return cls(
            asked=metrics.counter("stuck_replicas_asked", "Replicas asked to move", ("member",)),
            requests=metrics.counter("requests", "Rebalance requests sent"),
            lateness=metrics.histogram("lateness_seconds", "Threshold passed to request sent"),
            unmovable=metrics.counter("unmovable", "Findings that cannot move", ("member",)),
            watched=metrics.gauge("watched", "Objects with unschedulable replicas"),
            bad_messages=metrics.counter("bad_messages", "Messages that could not be read", ("stream",)),
        )
