"""Metrics: named after their service, with declared and bounded labels."""

import pytest

from shared import metrics
from shared.metrics import Metrics


def lines(of: Metrics) -> list[str]:
    return [line for line in of.render().decode().splitlines() if not line.startswith("#") and "_created" not in line]


def test_names_begin_with_brim_and_the_service() -> None:
    own = Metrics("scheduler")
    own.counter("decisions", "Decisions.").add(3)
    own.gauge("pending", "Pending replicas.", ["member"]).set(2, member="idc")
    assert lines(own) == ["brim_scheduler_decisions_total 3.0", 'brim_scheduler_pending{member="idc"} 2.0']


def test_a_histogram_counts_into_buckets() -> None:
    own = Metrics("scheduler")
    own.histogram("decision_seconds", "Time.", ["kind"], buckets=(1.0, 2.0)).observe(1.5, kind="x")
    assert lines(own) == [
        'brim_scheduler_decision_seconds_bucket{kind="x",le="1.0"} 0.0',
        'brim_scheduler_decision_seconds_bucket{kind="x",le="2.0"} 1.0',
        'brim_scheduler_decision_seconds_bucket{kind="x",le="+Inf"} 1.0',
        'brim_scheduler_decision_seconds_count{kind="x"} 1.0',
        'brim_scheduler_decision_seconds_sum{kind="x"} 1.5',
    ]


def test_a_block_is_timed_even_when_it_fails() -> None:
    own = Metrics("scheduler")
    histogram = own.histogram("seconds", "Time.")
    with pytest.raises(ZeroDivisionError), histogram.timed():
        raise ZeroDivisionError
    assert "brim_scheduler_seconds_count 1.0" in lines(own)


def test_two_services_share_a_process() -> None:
    for service in ("a", "b"):
        Metrics(service).counter("x", "The same name.").add()
    Metrics("a").counter("x", "And again, for a second instance.").add()


def test_what_left_is_told_no_more_and_makes_room_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_LABEL_SETS", 2)
    service = Metrics("executor")
    lost, writes = service.gauge("lost", "Lost", ["member"]), service.counter("writes", "W", ["member", "verb"])
    alone = service.gauge("alone", "Of nobody")
    for member in ("idc", "cloud"):
        lost.set(1, member=member)
        writes.add(member=member, verb="apply")
    alone.set(3)
    service.forget(member="cloud")
    lost.set(0, member="third")
    text = service.render().decode()
    assert 'brim_executor_lost{member="idc"} 1.0' in text
    assert 'brim_executor_lost{member="third"} 0.0' in text
    assert "brim_executor_alone 3.0" in text
    assert "cloud" not in text


def test_a_gauge_is_computed_when_somebody_looks() -> None:
    own = Metrics("scheduler")
    age, ages = own.gauge("age_seconds", "Age", ["member"]), {"idc": 1.0, "ack": 2.0}
    own.before_rendering(lambda: age.set_all(ages, "member"))
    assert lines(own) == [
        'brim_scheduler_age_seconds{member="idc"} 1.0',
        'brim_scheduler_age_seconds{member="ack"} 2.0',
    ]
    ages.clear()
    ages["ack"] = 3.0
    assert lines(own) == ['brim_scheduler_age_seconds{member="ack"} 3.0']


def test_who_stands_by_tells_nothing_of_the_fleet_and_counts_on() -> None:
    own = Metrics("executor")
    own.gauge("lost", "Lost", ["member"]).set(1, member="idc")
    own.gauge("leading", "Leading").set(1)
    own.counter("writes", "Writes").add(3)
    own.clear_gauges()
    assert lines(own) == ["brim_executor_leading 0.0", "brim_executor_writes_total 3.0"]


def test_labels_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "MAX_LABEL_SETS", 2)
    own = Metrics("executor")
    counter = own.counter("writes", "Writes.", ["member"])
    for member in ("a", "b", "c", "d", "a"):
        counter.add(member=member)
    assert lines(own) == [
        'brim_executor_writes_total{member="a"} 2.0',
        'brim_executor_writes_total{member="b"} 1.0',
        'brim_executor_writes_total{member="other"} 2.0',
    ]


@pytest.mark.parametrize("labels", [{}, {"member": "a", "pod": "b"}, {"pod": "b"}])
def test_labels_are_those_declared(labels: dict[str, str]) -> None:
    counter = Metrics("executor").counter("writes", "Writes.", ["member"])
    with pytest.raises(ValueError, match="are declared"):
        counter.add(**labels)


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no metric name"):
        Metrics("executor").gauge("Depth-of-queue", "")
