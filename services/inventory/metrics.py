"""Inventory's metrics."""

from __future__ import annotations

from dataclasses import dataclass

from shared.metrics import Counter, Gauge, Histogram, Metrics


@dataclass(frozen=True, slots=True)
class InventoryMetrics:
    """Labelled by member, and where it says so by source: what is watched ("nodes", "pods", a kind)."""

    service: Metrics
    members: Gauge
    reachable: Gauge
    lost: Gauge
    nodes: Gauge
    pods: Gauge
    events: Counter
    lists: Counter
    disconnects: Counter
    deltas: Counter
    snapshots: Counter
    statuses: Counter
    pods_told: Gauge
    pod_messages: Counter
    cost: Counter
    cost_per_hour: Gauge
    publish_failures: Counter
    malformed: Counter
    reads: Counter
    delta_age: Histogram

    @classmethod
    def on(cls, metrics: Metrics) -> InventoryMetrics:
        member, source = ("member",), ("member", "source")
        return cls(
            service=metrics,
            members=metrics.gauge("members", "Members that are followed", unit="members"),
            reachable=metrics.gauge("member_reachable", "1 while the member answers", member, unit="0 or 1"),
            lost=metrics.gauge("member_lost", "1 while the member counts as lost", member, unit="0 or 1"),
            nodes=metrics.gauge("nodes", "Nodes known", member, unit="nodes"),
            pods=metrics.gauge("pods", "Pods known", member, unit="pods"),
            events=metrics.counter("watch_events", "Changes that watches told of", source, unit="changes"),
            lists=metrics.counter("lists", "Complete lists read", source, unit="lists"),
            disconnects=metrics.counter("watch_disconnects", "Failures of lists and watches", source, unit="failures"),
            deltas=metrics.counter("capacity_deltas", "Capacity deltas published", member, unit="messages"),
            snapshots=metrics.counter("capacity_snapshots", "Capacity snapshots published", member, unit="messages"),
            statuses=metrics.counter("statuses", "Statuses published or removed", member, unit="messages"),
            pods_told=metrics.gauge(
                "pods_told", "Pods and instances without a pod that PODS holds", member, unit="pods"
            ),
            pod_messages=metrics.counter(
                "pod_messages", "States of pods published or removed", member, unit="messages"
            ),
            cost=metrics.counter(
                "cost",
                "What pods that ended, or changed their price, came to",
                ("member", "unit"),
                unit="the fleet's currency",
            ),
            cost_per_hour=metrics.gauge(
                "cost_per_hour", "What metered pods cost now", ("member", "unit"), unit="the fleet's currency per hour"
            ),
            publish_failures=metrics.counter(
                "publish_failures", "Publishes that failed and are repeated", member, unit="failures"
            ),
            malformed=metrics.counter(
                "malformed", "ConfigMaps of a member that could not be read", source, unit="readings"
            ),
            reads=metrics.counter(
                "reads", "Requests answered from the caches or by the member", ("member", "verb"), unit="requests"
            ),
            delta_age=metrics.histogram("capacity_delta_seconds", "Time a capacity delta took to be stored", member),
        )

    def forget_member(self, member: str) -> None:
        """It left the fleet."""
        self.service.forget(member=member)
