"""Metrics: named `brim_<service>_…`, with labels that are declared and bounded.

Labels hold small sets only (a member's id, a verb, a reason): never a workload's or a pod's name. Where a label
takes more values than declared, the rest is counted under `other`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Generic, TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client import Counter as _Counter
from prometheus_client import Gauge as _Gauge
from prometheus_client import Histogram as _Histogram

CONTENT_TYPE = CONTENT_TYPE_LATEST
MAX_LABEL_SETS = 2000  # per metric
OTHER = "other"
SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)

_NAME = re.compile(r"[a-z][a-z0-9_]*")


class _Labels:
    """Which label values were seen: beyond the limit all new ones become `other`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.on_forget: Callable[[], None] = lambda: None
        self._seen: set[tuple[str, ...]] = set()

    def values(self, given: dict[str, str]) -> tuple[str, ...]:
        if given.keys() != set(self.names):
            raise ValueError(f"labels {sorted(given)} were given, {sorted(self.names)} are declared")
        values = tuple(given[name] for name in self.names)
        if values not in self._seen:
            if len(self._seen) >= MAX_LABEL_SETS:
                return (OTHER,) * len(self.names)
            self._seen.add(values)
        return values

    def forget(self, given: dict[str, str]) -> list[tuple[str, ...]]:
        """Label sets that contain these values, which are free for others from now on."""
        if not given.keys() <= set(self.names):
            return []
        wanted = [(place, given[name]) for place, name in enumerate(self.names) if name in given]
        found = [values for values in self._seen if all(values[place] == value for place, value in wanted)]
        self._seen.difference_update(found)
        self.on_forget()
        return found


MetricT = TypeVar("MetricT", _Counter, _Gauge, _Histogram)


class _Series(Generic[MetricT]):
    """A metric's series, by the labels as they are given: looking one up anew each time is not cheap."""

    def __init__(self, metric: MetricT, labels: _Labels) -> None:
        self._metric: MetricT = metric
        self._labels = labels
        self._known: dict[tuple[tuple[str, str], ...], MetricT] = {}
        labels.on_forget = self._known.clear

    def _of(self, labels: dict[str, str]) -> MetricT:
        given = tuple(labels.items())
        found = self._known.get(given)
        if found is None:
            values = self._labels.values(labels)
            found = self._metric.labels(*values) if values else self._metric
            if OTHER not in values:
                self._known[given] = found
        return found


class Counter(_Series[_Counter]):
    def add(self, amount: float = 1.0, **labels: str) -> None:
        self._of(labels).inc(amount)


class Gauge(_Series[_Gauge]):
    def set(self, value: float, **labels: str) -> None:
        self._of(labels).set(value)

    def clear(self) -> None:
        """Nothing is told; without labels, 0."""
        if not self._labels.names:
            self.set(0)
            return
        self._labels.forget({})
        self._metric.clear()

    def set_all(self, values: Mapping[str, float], label: str) -> None:
        """These values of its one label, and none beside them."""
        self.clear()
        for value, number in values.items():
            self.set(number, **{label: value})


class Histogram(_Series[_Histogram]):
    def observe(self, value: float, **labels: str) -> None:
        self._of(labels).observe(value)

    @contextmanager
    def timed(self, **labels: str) -> Iterator[None]:
        """Observe how many real seconds the block takes."""
        begin = perf_counter()
        try:
            yield
        finally:
            self.observe(perf_counter() - begin, **labels)


@dataclass(frozen=True, slots=True)
class Described:
    """A metric as Prometheus knows it; of a histogram there are `_bucket`, `_sum` and `_count`.

    unit: of its values; "seconds" are real ones, "fleet seconds" those of the fleet's clock.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    documentation: str
    unit: str


class Metrics:
    """The metrics of one service. Each has a registry of its own, so that services can share a process."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._prefix = f"brim_{service.replace('-', '_')}_"
        self._registry = CollectorRegistry()
        self._labelled: list[tuple[_Counter | _Gauge | _Histogram, _Labels]] = []
        self._gauges: list[Gauge] = []
        self._before_rendering: list[Callable[[], None]] = []
        self.described: list[Described] = []

    def _name(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no metric name: lower-case letters, digits and '_'")
        return self._prefix + name

    def _describe(self, name: str, kind: str, labels: Sequence[str], documentation: str, unit: str) -> None:
        """unit: where none is given, the one that the name ends with."""
        unit = unit or ("seconds" if name.endswith("_seconds") else "")
        full = self._name(name) + ("_total" if kind == "counter" else "")
        self.described.append(Described(full, kind, tuple(labels), documentation, unit))

    def counter(self, name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "") -> Counter:
        """Counts up. Its name gets `_total` at the end."""
        metric = _Counter(self._name(name), documentation, labels, registry=self._registry)
        self._describe(name, "counter", labels, documentation, unit)
        return Counter(metric, self._labels(metric, labels))

    def gauge(self, name: str, documentation: str, labels: Sequence[str] = (), *, unit: str = "") -> Gauge:
        """A value that goes up and down."""
        metric = _Gauge(self._name(name), documentation, labels, registry=self._registry)
        self._describe(name, "gauge", labels, documentation, unit)
        gauge = Gauge(metric, self._labels(metric, labels))
        self._gauges.append(gauge)
        return gauge

    def histogram(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = SECONDS,
        *,
        unit: str = "",
    ) -> Histogram:
        """A distribution; the default buckets are real seconds from half a millisecond to a minute."""
        metric = _Histogram(self._name(name), documentation, labels, registry=self._registry, buckets=tuple(buckets))
        self._describe(name, "histogram", labels, documentation, unit)
        return Histogram(metric, self._labels(metric, labels))

    def _labels(self, metric: _Counter | _Gauge | _Histogram, names: Sequence[str]) -> _Labels:
        labels = _Labels(names)
        if names:
            self._labelled.append((metric, labels))
        return labels

    def forget(self, **labels: str) -> None:
        """Drop every series with these labels: of a member that left, the last values would be told for ever."""
        for metric, known in self._labelled:
            for values in known.forget(labels):
                metric.remove(*values)

    def clear_gauges(self) -> None:
        """What this process knew of the fleet is another one's to tell now: it stands by."""
        for gauge in self._gauges:
            gauge.clear()

    def before_rendering(self, tell: Callable[[], None]) -> None:
        """For gauges that are cheaper to compute when somebody looks than whenever something changes."""
        self._before_rendering.append(tell)

    def render(self) -> bytes:
        """All metrics in Prometheus' text form."""
        for tell in self._before_rendering:
            tell()
        return generate_latest(self._registry)
