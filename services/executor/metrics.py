"""The executor's metrics."""

from __future__ import annotations

from dataclasses import dataclass

from shared.metrics import Counter, Gauge, Histogram, Metrics


@dataclass(frozen=True, slots=True)
class ExecutorMetrics:
    """writes: requests that change a member, by verb and result ("ok" or the error's code). looks: objects read
    back. outcomes: published. carried_out: seconds from the placement being stored to its outcome. waiting,
    breaker_open: per member. pods: orders about pods carried out, by form and result ("ok", "void", or the error's
    code). events_dropped: events about pods that nobody will read, since too many waited.
    actions: one-shot verbs carried out, by verb and result, per member and action."""

    service: Metrics
    writes: Counter
    write_seconds: Histogram
    looks: Counter
    outcomes: Counter
    carried_out: Histogram
    waiting: Gauge
    breaker_open: Gauge
    bad_messages: Counter
    pods: Counter
    events_dropped: Counter
    actions: Counter

    @classmethod
    def of(cls, metrics: Metrics) -> ExecutorMetrics:
        return cls(
            service=metrics,
            writes=metrics.counter("writes", "Writes to members", ("member", "verb", "result"), unit="requests"),
            write_seconds=metrics.histogram("write_seconds", "Duration of a write", ("member", "verb")),
            looks=metrics.counter("looks", "Objects read back from members", ("member",), unit="objects"),
            outcomes=metrics.counter("outcomes", "Outcomes published", ("member", "result"), unit="messages"),
            carried_out=metrics.histogram("carried_out_seconds", "Placement stored to outcome", ("member",)),
            waiting=metrics.gauge("waiting", "Objects whose turn has come", ("member",), unit="objects"),
            breaker_open=metrics.gauge("breaker_open", "1 while a member is only probed", ("member",), unit="0 or 1"),
            pods=metrics.counter("pods", "Orders about pods", ("member", "form", "result"), unit="orders"),
            events_dropped=metrics.counter(
                "events_dropped", "Events about pods not written", ("member",), unit="events"
            ),
            actions=metrics.counter("actions", "Actions in members", ("verb", "result"), unit="actions"),
            bad_messages=metrics.counter(
                "bad_messages", "Messages that could not be read", ("stream",), unit="messages"
            ),
        )

    def forget_member(self, member: str) -> None:
        """It left the fleet."""
        self.service.forget(member=member)
