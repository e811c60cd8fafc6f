"""How a managed object fares."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inventory.core.facts import PodFacts
from services.inventory.core.statuses import ObjectFacts, provisioning_of, status_of, unschedulable
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status, Unschedulable

WEB = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web")
SET = ObjectRef(group="apps", version="v1", kind="StatefulSet", namespace="test", name="db")


def stuck(name: str = "web-1", since: float = 100.0, message: str = "0/3 nodes", **fields: object) -> PodFacts:
    return PodFacts("test", name, uid=name, unschedulable_since=since, message=message, **fields)  # type: ignore[arg-type]


def running(name: str = "web-0", **fields: object) -> PodFacts:
    return PodFacts("test", name, uid=name, node="a", workload="w", phase="Running", ready=True, **fields)  # type: ignore[arg-type]


def told(facts: ObjectFacts, *pods: PodFacts, **said: str) -> Status:
    return status_of("idc", facts, pods, said, None, now=200.0)  # type: ignore[arg-type]


def test_the_objects_own_counts_are_believed_where_it_has_them() -> None:
    status = told(ObjectFacts(WEB, "w", replicas=3, ready=1, updated=2, available=1), running(), running("web-1"))
    assert (status.replicas, status.ready, status.updated, status.available) == (3, 1, 2, 1)


def test_pods_are_counted_where_a_kind_has_no_counts() -> None:
    status = told(ObjectFacts(WEB, "w"), running(), running("web-1", terminating=True), stuck("web-2"))
    assert (status.ready, status.bound, status.pending) == (1, 1, 1)


@pytest.mark.parametrize(
    "pod",
    [
        pytest.param(running(), id="running"),
        pytest.param(stuck(terminating=True), id="being deleted"),
        pytest.param(stuck(phase="Failed"), id="failed"),
        pytest.param(stuck(node="a"), id="bound in the meantime"),
    ],
)
def test_what_is_not_unschedulable(pod: PodFacts) -> None:
    assert told(ObjectFacts(WEB, "w"), pod).unschedulable == ()


def test_groups_by_whole_second_and_reason() -> None:
    pods = [stuck("a", 100.2), stuck("b", 100.9), stuck("c", 101.0), stuck("d", 101.0, "taints"), stuck("e", 101.0)]
    assert told(ObjectFacts(WEB, "w"), *pods, e="ordered").unschedulable == (
        Unschedulable(since=100.0, count=2, message="0/3 nodes"),
        Unschedulable(since=101.0, count=1, message="0/3 nodes"),
        Unschedulable(since=101.0, count=1, message="0/3 nodes", provisioning="ordered"),
        Unschedulable(since=101.0, count=1, message="taints"),
    )


def test_who_has_a_virtual_node_but_no_instance_is_stuck_too() -> None:
    pods = [stuck("a"), stuck("b", node="vk", no_instance_since=120.0), stuck("c", node="vk")]
    assert told(ObjectFacts(WEB, "w"), *pods, b="ordered").unschedulable == (
        Unschedulable(since=100.0, count=1, message="0/3 nodes"),
        Unschedulable(since=120.0, count=1, message="0/3 nodes", no_instance=True),
    )


@given(st.lists(st.tuples(st.integers(0, 400), st.sampled_from(["a", "b"])), max_size=300), st.integers(1, 100))
def test_groups_are_bounded_and_lose_nobody(pods: list[tuple[int, str]], limit: int) -> None:
    facts = [stuck(str(place), float(since), message) for place, (since, message) in enumerate(pods)]
    groups = unschedulable(facts, {}, limit)
    assert len(groups) <= limit
    assert sum(group.count for group in groups) == len(pods)
    if pods:
        assert groups[0].since == min(since for since, _ in pods)


@pytest.mark.parametrize(
    ("ordered", "names", "first"),
    [
        (True, ["db-7", "db-3", "db-12"], 3),
        (False, ["db-3"], None),
        (True, [], None),
    ],
)
def test_the_first_stuck_ordinal(ordered: bool, names: list[str], first: int | None) -> None:
    assert told(ObjectFacts(SET, "w", ordered=ordered), *map(stuck, names)).first_stuck_ordinal == first


def test_ordinals_count_from_the_first_whatever_its_number_is() -> None:
    assert (
        told(ObjectFacts(SET, "w", ordered=True, first_ordinal=5), stuck("db-7"), stuck("db-8")).first_stuck_ordinal
        == 2
    )


@pytest.mark.parametrize(
    ("reason", "message", "meaning"),
    [
        ("ProvisionNode", "Provision node p1-x in p1 for pod", "ordered"),
        ("TriggeredScaleUp", "pod triggered scale-up", "ordered"),
        ("NotTriggerScaleUp", "pod didn't trigger scale-up: p1: NodePool NoStock", "no-stock"),
        ("NotTriggerScaleUp", "pod didn't trigger scale-up: p1: max node group size reached", None),
        ("NotTriggerScaleUp", "pod didn't trigger scale-up: 2 in backoff after failed scale-up", "failed"),
        ("ProvisionNodeFailed", "Provision node failed in p1", "failed"),
        ("Nominated", "Pod should schedule on: nodeclaim/default-x7", "ordered"),
        ("Nominated", "Pod should schedule on: node/ip-10-0-0-1", None),
        ("FailedScheduling", "all available instance types exceed limits for nodepool: default", "no-stock"),
        ("Scheduled", "", None),
    ],
)
def test_what_an_autoscaler_says(reason: str, message: str, meaning: str | None) -> None:
    assert provisioning_of(reason, message) == meaning
