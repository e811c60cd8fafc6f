"""`brim explain`: the page that says why."""

from __future__ import annotations

from cli.explain import explanation
from cli.fleet_tables import Workload
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement, Reason, Rest, Seen, Share
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status, Unschedulable

NOW = 1_767_225_600.0
REF = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="qwen3")
ORDER = Order(epoch=2, counter=7)


def desired(generation: int = 2) -> Desired:
    return Desired(
        ref=REF, uid="u", generation=generation, order=ORDER, manifest={}, created_at=NOW - 60, changed_at=NOW
    )


PLACEMENT = Placement(
    ref=REF,
    uid="u",
    generation=2,
    order=ORDER,
    policy="PropagationPolicy test/pp",
    wanted=7,
    pending=1,
    shares=(Share(member="idc", replicas=2, free=2), Share(member="ack", replicas=4, elastic=4, retiring=1)),
    rests=(Rest(member="far", until=NOW + 60, step=2),),
    seen=Seen(members=["idc", "ack"], tiers=[0, 1], free=[2, 0], elastic=[0, 4], virtual=[0, 0], given=[0, 2]),
    reasons=(
        Reason(code="Cordoned", message="the member is cordoned", members=("old",)),
        Reason(code="NoRoom", message="needs 1 × nvidia.com/gpu; none free, no headroom left"),
    ),
    cause="scaled",
    decided_at=NOW - 30,
)


def test_the_whole_page() -> None:
    statuses = (Status(member="idc", ref=REF, observed_at=NOW, replicas=2, ready=2),)
    outcomes = (
        Outcome(member="ack", ref=REF, uid="u", order=ORDER, result="retrying", message="it does not answer", at=NOW),
    )
    first = PLACEMENT.model_copy(
        update={"order": Order(epoch=2, counter=6), "cause": "created", "pending": 0, "decided_at": NOW - 60}
    )
    page = explanation(Workload(desired(), PLACEMENT, statuses, outcomes), [first, PLACEMENT], NOW)
    assert page.splitlines() == [
        "Deployment test/qwen3",
        "Policy:   PropagationPolicy test/pp",
        "Replicas: 7 wanted, 6 placed, 2 ready, 1 pending",
        "Decided:  2025-12-31 23:59:30 UTC (30s ago), because: scaled",
        "",
        "MEMBER   TIER   FREE   ELASTIC   VIRTUAL   GIVEN   REPLICAS   READY   WHY",
        "idc      1      2      0         0         +0      2          2       2 on free room",
        "ack      2      0      4         0         +2      4          0       "
        "4 on nodes that are added; retrying: it does not answer; 1 leave once replacements are Ready",
        "old      -      -      -         -         -       0          0       the member is cordoned",
        "",
        "Why 1 pending",
        "- needs 1 × nvidia.com/gpu; none free, no headroom left (NoRoom)",
        "",
        "Resting",
        "- far rests until 2026-01-01 00:01:00 UTC (stuck 2 times in a row)",
        "",
        "History",
        "DECIDED               ORDER   CAUSE     WANTED   PENDING   MEMBERS",
        "2025-12-31 23:59:30   2.7     scaled    7        1         idc:2,ack:4",
        "2025-12-31 23:59:00   2.6     created   7        0         idc:2,ack:4",
    ]


def test_nothing_decided_yet() -> None:
    page = explanation(Workload(desired()), [], NOW)
    assert page.startswith("Deployment test/qwen3\n\nNothing is decided yet")


def test_a_newer_change_is_said() -> None:
    assert "A newer change of this object is not decided yet." in explanation(
        Workload(desired(generation=3), PLACEMENT), [], NOW
    )


def test_a_frozen_placement_is_said() -> None:
    frozen = PLACEMENT.model_copy(update={"policy": ""})
    assert "none selects it: its placement is frozen" in explanation(Workload(desired(), frozen), [], NOW)


def test_rests_that_ended_are_not_shown() -> None:
    assert "Resting" not in explanation(Workload(desired(), PLACEMENT), [], NOW + 61)


def test_the_room_is_that_of_the_last_decision_that_looked_at_it() -> None:
    """What only settles an earlier decision saw no room of its own."""
    settled = PLACEMENT.model_copy(
        update={"order": Order(epoch=2, counter=8), "cause": "settled", "seen": Seen(), "decided_at": NOW - 5}
    )
    page = explanation(Workload(desired(), settled), [PLACEMENT, settled], NOW).splitlines()
    assert page[3:5] == [
        "Decided:  2025-12-31 23:59:55 UTC (5s ago), because: settled",
        "Room:     as seen 2025-12-31 23:59:30 UTC (30s ago), because: scaled",
    ]
    assert page[7].split()[:6] == ["idc", "1", "2", "0", "0", "+0"]


def test_unschedulable_replicas_are_told_where_they_are() -> None:
    waiting = (Unschedulable(since=NOW - 9, count=2, provisioning="no-stock"),)
    status = Status(member="ack", ref=REF, observed_at=NOW, replicas=4, ready=2, unschedulable=waiting)
    page = explanation(Workload(desired(), PLACEMENT, (status,)), [], NOW)
    assert "2 unschedulable: no stock to add nodes" in page


def test_an_object_without_replicas_has_no_room_but_results() -> None:
    ref = ObjectRef(version="v1", kind="Service", namespace="test", name="qwen3")
    whole = PLACEMENT.model_copy(
        update={"ref": ref, "whole": True, "wanted": 0, "pending": 0, "rests": (), "reasons": PLACEMENT.reasons[:1]}
    )
    outcomes = tuple(
        Outcome(member=member, ref=ref, uid="u", order=ORDER, result=result, message=told, at=NOW)
        for member, result, told in (("idc", "applied", ""), ("ack", "conflict", "it belongs to somebody else"))
    )
    page = explanation(Workload(desired().model_copy(update={"ref": ref}), whole, (), outcomes), [], NOW)
    assert page.splitlines()[4:] == [
        "MEMBER   RESULT      WHY",
        "idc      applied     <none>",
        "ack      conflict    conflict: it belongs to somebody else",
        "old      not there   the member is cordoned",
    ]
