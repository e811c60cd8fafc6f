"""Which replicas are stuck, how many exactly, and when the next one will be."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.descheduler.core.stuck import find
from shared.contracts.placement import Placement, Share
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status, Unschedulable

NOW = 1_000_000.0
THRESHOLD = 30.0
UID = "workload-1"
ORDER = Order(epoch=1, counter=5)
OLDER = Order(epoch=1, counter=4)


def ref(kind: str = "Deployment") -> ObjectRef:
    group = {"Job": "batch"}.get(kind, "apps")
    return ObjectRef(group=group, version="v1", kind=kind, namespace="test", name="web")


def placed(*shares: Share, **fields: Any) -> Placement:
    return Placement(
        **{
            "ref": ref(fields.pop("kind", "Deployment")),
            "uid": UID,
            "generation": 1,
            "order": ORDER,
            "revision": 1,
            "shares": shares,
            "cause": "created",
            "decided_at": NOW,
            **fields,
        }
    )


def share(replicas: int = 4, member: str = "idc", **fields: Any) -> Share:
    return Share(member=member, replicas=replicas, revision=1, **fields)


def pending(
    count: int, age: float, provisioning: str = "none", message: str = "0/3 nodes", *, no_instance: bool = False
) -> Unschedulable:
    told = {"since": NOW - age, "count": count, "message": message, "provisioning": provisioning}
    return Unschedulable.model_validate(told | {"no_instance": no_instance})


def status(*entries: Unschedulable, member: str = "idc", kind: str = "Deployment", **fields: Any) -> Status:
    return Status(
        **{
            "member": member,
            "ref": ref(kind),
            "uid": UID,
            "order": ORDER,
            "revision": 1,
            "observed_at": NOW,
            "replicas": 4,
            "unschedulable": entries,
            **fields,
        }
    )


@dataclass(frozen=True)
class Case:
    """counts: stuck replicas per member. next_in: seconds until more may be stuck."""

    name: str
    placement: Placement
    statuses: tuple[Status, ...]
    counts: dict[str, int] = field(default_factory=dict)
    next_in: float = inf
    unmovable: tuple[str, ...] = ()


ELASTIC = {"elastic": 2, "free": 2, "deadline": NOW + 200}

CASES = [
    Case("nothing is pending", placed(share()), (status(),)),
    Case("no status yet", placed(share()), ()),
    Case("too young", placed(share()), (status(pending(2, 29)),), {}, 1.0),
    Case("just old enough", placed(share()), (status(pending(2, 30)),), {"idc": 2}),
    Case("only the old ones", placed(share()), (status(pending(2, 40), pending(1, 10)),), {"idc": 2}, 20.0),
    Case(
        "in two members",
        placed(share(), share(member="cloud")),
        (status(pending(1, 40)), status(pending(3, 50), member="cloud")),
        {"idc": 1, "cloud": 3},
    ),
    Case("a pending surge pod counts", placed(share(4)), (status(pending(1, 40), ready=4),), {"idc": 1}),
    Case("never more than the share holds", placed(share(2)), (status(pending(3, 40), replicas=2),), {"idc": 2}),
    Case("what retires is asked for already", placed(share(4, retiring=1)), (status(pending(1, 40)),)),
    Case("more than what retires", placed(share(4, retiring=1)), (status(pending(3, 40)),), {"idc": 2}),
    Case("of an earlier order, another count", placed(share(3)), (status(pending(1, 40), order=OLDER),)),
    Case("of an earlier order, the same share", placed(share(4)), (status(pending(1, 40), order=OLDER),), {"idc": 1}),
    Case("of an earlier revision", placed(share(4)), (status(pending(1, 40), order=OLDER, revision=0),)),
    Case("another workload of that name", placed(share()), (status(pending(1, 40), uid="workload-2"),)),
    Case(
        "the member's controllers are behind",
        placed(share()),
        (status(pending(1, 40), generation=3, observed_generation=2),),
    ),
    Case("a finished Job", placed(share(), kind="Job"), (status(pending(1, 40), kind="Job", finished=True),)),
    Case(
        "a Job before its first success", placed(share(), kind="Job"), (status(pending(1, 40), kind="Job"),), {"idc": 1}
    ),
    Case(
        "a Job after its first success stays",
        placed(share(), kind="Job"),
        (status(pending(1, 40), kind="Job", succeeded=1),),
        unmovable=("idc",),
    ),
    Case("suspended", placed(share(), suspended=True), (status(pending(1, 40)),)),
    Case("suspended in the member", placed(share(suspended=True)), (status(pending(1, 40)),)),
    Case("being deleted", placed(share(), deleted=True), (status(pending(1, 40)),)),
    Case("leaving the member", placed(share(present=False)), (status(pending(1, 40)),)),
    Case("an autoscaler owns the count", placed(share(autoscaled=True)), (status(pending(1, 40)),), unmovable=("idc",)),
    Case(
        "an autoscaler that brim just saw",
        placed(share()),
        (status(pending(1, 40), autoscaler="h"),),
        unmovable=("idc",),
    ),
    Case(
        "serverless replicas wait until the nodes before them came, whatever the autoscaler says of them",
        placed(share(elastic=1, virtual=1, deadline=NOW + 200)),
        (status(pending(1, 40, "no-stock"), pending(1, 40, "ordered")),),
        next_in=200,
    ),
    Case(
        "what the autoscaler refuses beyond those is stuck",
        placed(share(elastic=1, virtual=1, deadline=NOW + 200)),
        (status(pending(2, 40, "no-stock")),),
        {"idc": 1},
    ),
    Case(
        "serverless replicas alone",
        placed(share(virtual=1)),
        (status(pending(1, 40)),),
        {"idc": 1},
    ),
    Case(
        "serverless replicas that have a node but no instance wait for nothing more",
        placed(share(elastic=1, virtual=1, deadline=NOW + 200)),
        (status(pending(1, 40, "ordered"), pending(1, 31, no_instance=True)),),
        {"idc": 1},
        200,
    ),
    Case("a batch of a rollout", placed(share()), (status(pending(1, 40), rolling=True),), unmovable=("idc",)),
    Case(
        "ordered pods: from the stuck ordinal up",
        placed(share(5), kind="StatefulSet"),
        (status(pending(1, 40), kind="StatefulSet", replicas=5, first_stuck_ordinal=2),),
        {"idc": 3},
    ),
    Case(
        "ordered pods, still young",
        placed(share(5), kind="StatefulSet"),
        (status(pending(1, 10), kind="StatefulSet", replicas=5, first_stuck_ordinal=2),),
        {},
        20.0,
    ),
    Case("elastic: on their way until the deadline", placed(share(4, **ELASTIC)), (status(pending(2, 90)),), {}, 200.0),
    Case(
        "elastic: more pending than were given elastic room, the oldest are stuck",
        placed(share(4, **ELASTIC)),
        (status(pending(1, 90), pending(2, 80)),),
        {"idc": 1},
        200.0,
    ),
    Case(
        "elastic: ordered nodes are for those who wait",
        placed(share(4, **ELASTIC)),
        (status(pending(1, 90, "ordered"), pending(2, 80)),),
        {"idc": 1},
        200.0,
    ),
    Case(
        "elastic: no stock, stuck at once",
        placed(share(4, **ELASTIC)),
        (status(pending(2, 1, "no-stock")),),
        {"idc": 2},
    ),
    Case("elastic: provisioning failed", placed(share(4, **ELASTIC)), (status(pending(1, 1, "failed")),), {"idc": 1}),
    Case(
        "no stock says nothing of replicas on free room",
        placed(share(4)),
        (status(pending(1, 1, "no-stock")),),
        {},
        29.0,
    ),
    Case(
        "elastic: the deadline has passed",
        placed(share(4, elastic=2, deadline=NOW - 1)),
        (status(pending(2, 300, "ordered")),),
        {"idc": 2},
    ),
    Case("whole: every pod counts", placed(share(0), whole=True), (status(pending(3, 40), replicas=9),), {"idc": 3}),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_finding(case: Case) -> None:
    finding = find(case.placement, {one.member: one for one in case.statuses}, NOW, THRESHOLD)
    assert {stuck.member: stuck.count for stuck in finding.stuck} == case.counts
    assert finding.next_at - NOW == pytest.approx(case.next_in)
    assert tuple(member for member, _ in finding.unmovable) == case.unmovable


def test_a_deadline_that_moves_on_for_younger_replicas_does_not_save_one_that_has_waited_long_enough() -> None:
    held = share(3, elastic=3, deadline=NOW + 290)
    entries = (pending(1, age=400), pending(2, age=10, provisioning="ordered"))
    finding = find(placed(held), {"idc": status(*entries, replicas=3)}, NOW, THRESHOLD, patience=300)
    assert ([stuck.count for stuck in finding.stuck], finding.next_at) == ([1], NOW + 290)


@pytest.mark.parametrize(("said", "until"), [("ordered", 300.0), ("none", 30.0), ("no-stock", 30.0), ("failed", 30.0)])
def test_replicas_whose_free_room_vanished_are_left_to_nodes_that_are_on_their_way(said: str, until: float) -> None:
    statuses = {"idc": status(pending(2, age=0, provisioning=said))}
    young, old = (find(placed(share()), statuses, NOW + age, THRESHOLD, patience=300) for age in (until - 1, until))
    assert (young.stuck, young.next_at) == ((), NOW + until)
    assert [stuck.count for stuck in old.stuck] == [2]


def test_a_finding_says_since_when_why_and_what_serves() -> None:
    entries = (pending(1, 35, message="later"), pending(1, 50, message="first"))
    (stuck,) = find(placed(share()), {"idc": status(*entries, ready=3)}, NOW, THRESHOLD).stuck
    assert (stuck.since, stuck.message, stuck.ready) == (NOW - 50, "first", 3)


ENTRIES = st.lists(
    st.builds(
        pending,
        st.integers(1, 5),
        st.floats(0, 400),
        st.sampled_from(["none", "ordered", "no-stock", "failed"]),
    ),
    max_size=4,
)


@given(entries=ENTRIES, replicas=st.integers(0, 8), elastic=st.integers(0, 4), retiring=st.integers(0, 3))
def test_never_more_than_is_pending_nor_than_the_share_holds(
    entries: list[Unschedulable], replicas: int, elastic: int, retiring: int
) -> None:
    held = share(replicas, elastic=elastic, retiring=retiring, deadline=NOW + 60 if elastic else None)
    finding = find(placed(held), {"idc": status(*entries, replicas=replicas)}, NOW, THRESHOLD)
    count = sum(stuck.count for stuck in finding.stuck)
    assert count <= max(0, min(sum(entry.count for entry in entries), replicas) - retiring)


@given(entries=ENTRIES, elastic=st.integers(0, 4))
def test_at_the_time_it_names_more_are_stuck_and_not_before(entries: list[Unschedulable], elastic: int) -> None:
    held = share(99, elastic=elastic, deadline=NOW + 60 if elastic else None)
    statuses = {"idc": status(*entries, replicas=99)}

    def count(now: float) -> int:
        return sum(stuck.count for stuck in find(placed(held), statuses, now, THRESHOLD).stuck)

    next_at = find(placed(held), statuses, NOW, THRESHOLD).next_at
    if next_at == inf:
        assert count(NOW + 10_000) == count(NOW)
    else:
        assert count(next_at) > count(NOW)
        assert count((NOW + next_at) / 2) == count(NOW)
