"""What the scheduler tells Prometheus, all under brim_scheduler_."""

from __future__ import annotations

from collections.abc import Mapping

from shared.metrics import Metrics

_LATENCIES = (0.0005, 0.001, 0.002, 0.003, 0.004, 0.006, 0.008, 0.012, 0.015, 0.03, 0.06, 0.12, 0.5, 2.0, 10.0, 60.0)


class SchedulerMetrics:
    """Times are real seconds, unless their unit says otherwise."""

    def __init__(self, metrics: Metrics) -> None:
        self._submissions = metrics.counter(
            "submissions", "Submissions and requests, by verb and result", ("verb", "result"), unit="submissions"
        )
        self._intake = metrics.histogram("intake_seconds", "From taking a submission to its end", ("verb",))
        self._decisions = metrics.counter("decisions", "Placements stored, by cause", ("cause",), unit="placements")
        self._latency = metrics.histogram(
            "decision_seconds", "From hearing of a change to its placement's acknowledgement", buckets=_LATENCIES
        )
        self._lost = metrics.counter(
            "publishes_lost", "Placements that could not be stored, by error", ("code",), unit="placements"
        )
        self._snapshots = metrics.counter(
            "snapshots_asked", "Snapshots asked for after a gap", ("member",), unit="requests"
        )
        self.pending = metrics.gauge("pending_replicas", "Replicas that fit nowhere now", unit="replicas")
        self.workloads = metrics.gauge("workloads", "Objects that are desired", unit="objects")
        self.in_flight = metrics.gauge(
            "placements_in_flight", "Placements sent and not acknowledged yet", unit="placements"
        )
        self._pods = metrics.counter(
            "pod_decisions", "Decisions about pods, by unit and reason", ("unit", "code"), unit="decisions"
        )
        self._pod_latency = metrics.histogram("pod_decision_seconds", "Choosing a node for one pod", buckets=_LATENCIES)
        self.pods_waiting = metrics.gauge("pods_waiting", "Pods of brim's that have no node yet", unit="pods")
        self._rejected = metrics.counter(
            "rejected", "Messages refused and put into REJECTED", ("stream",), unit="messages"
        )
        self._bad_messages = metrics.counter(
            "bad_messages", "Messages that could not be read", ("stream",), unit="messages"
        )
        self._leaks = metrics.counter("leaks", "Found by sweeps inside members, by kind", ("kind",), unit="findings")
        self._ages = metrics.gauge(
            "oldest_reservation_seconds",
            "How long the oldest reservation has waited for its pods",
            ("member",),
            unit="fleet seconds",
        )
        self.leading = metrics.gauge("leading", "1 while this process decides, 0 while it stands by", unit="0 or 1")

    def submitted(self, verb: str, result: str, seconds: float) -> None:
        self._submissions.add(verb=verb, result=result)
        self._intake.observe(seconds, verb=verb)

    def decided(self, cause: str, seconds: float | None) -> None:
        """seconds: since the change that caused it was heard of; None where no one change did."""
        self._decisions.add(cause=cause)
        if seconds is not None:
            self._latency.observe(seconds)

    def pod_decided(self, unit: str | None, code: str, seconds: float) -> None:
        """unit: where it goes, None for nowhere now."""
        self._pods.add(unit=unit or "none", code=code)
        self._pod_latency.observe(seconds)

    def leaked(self, kind: str, count: int) -> None:
        self._leaks.add(count, kind=kind)

    def reserved_for(self, ages: Mapping[str, float]) -> None:
        """ages: of the oldest reservation per member, seconds of the fleet."""
        self._ages.set_all(ages, "member")

    def rejected(self, stream: str) -> None:
        self._rejected.add(stream=stream)

    def unreadable(self, stream: str) -> None:
        self._bad_messages.add(stream=stream)

    def lost(self, code: str) -> None:
        self._lost.add(code=code)

    def snapshot_asked(self, member: str) -> None:
        self._snapshots.add(member=member)
