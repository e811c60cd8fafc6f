"""`--wait`: when something runs as wanted, and what is said until then."""

from __future__ import annotations

import pytest

from cli.fleet_tables import Workload
from cli.waiting import progress
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome, Result
from shared.contracts.placement import Placement, Reason, Share
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status, Unschedulable

REF = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web")
SERVICE = ObjectRef(version="v1", kind="Service", namespace="test", name="web")


def desired(ref: ObjectRef = REF) -> Desired:
    return Desired(ref=ref, uid="u", generation=2, order=Order(), manifest={}, created_at=1, changed_at=1)


def placed(ref: ObjectRef = REF, *, generation: int = 2, pending: int = 0, wanted: int = 2) -> Placement:
    return Placement(
        ref=ref,
        uid="u",
        generation=generation,
        order=Order(epoch=1, counter=5),
        whole=ref is SERVICE,
        wanted=wanted,
        pending=pending,
        shares=(Share(member="idc", replicas=2),),
        reasons=(Reason(code="NoRoom", message="no GPU is free"),) if pending else (),
        cause="created",
        decided_at=1,
    )


def outcome(result: Result = "applied", counter: int = 5, ref: ObjectRef = REF, message: str = "") -> Outcome:
    order = Order(epoch=1, counter=counter)
    return Outcome(member="idc", ref=ref, uid="u", order=order, result=result, message=message, at=1)


def status(ready: int, *, finished: bool = False, updated: int | None = None, **more: object) -> Status:
    known = Status(
        member="idc",
        ref=REF,
        observed_at=1,
        replicas=2,
        ready=ready,
        finished=finished,
        order=Order(epoch=1, counter=5),
    )
    return known.model_copy(update={"updated": ready if updated is None else updated, "bound": ready, **more})


def retiring(count: int) -> Placement:
    return placed().model_copy(update={"shares": (Share(member="idc", replicas=2, retiring=count),)})


PAUSED = desired().model_copy(update={"manifest": {"spec": {"paused": True}}})
ORDERED = (Unschedulable(since=1, count=1, message="0/3 nodes", provisioning="ordered"),)

CASES = [
    ("not placed", Workload(desired()), False, "accepted, not placed yet"),
    ("placed as it was before", Workload(desired(), placed(generation=1)), False, "accepted, not placed yet"),
    ("not ready", Workload(desired(), placed(), (status(1),), (outcome(),)), False, "1/2 ready (idc 1/2"),
    ("ready, not applied", Workload(desired(), placed(), (status(2),)), False, "2/2 ready (idc 2/2)"),
    ("ready, an older order applied", Workload(desired(), placed(), (status(2),), (outcome(counter=4),)), False, "2/2"),
    ("ready and applied", Workload(desired(), placed(), (status(2),), (outcome(),)), True, "2/2 ready (idc 2/2)"),
    (
        "ready, but of the template before",
        Workload(desired(), placed(), (status(2, updated=1),), (outcome(),)),
        False,
        "2/2 ready (idc 2/2, 1 to update)",
    ),
    (
        "ready, as the member told before the change",
        Workload(desired(), placed(), (status(2, order=Order(epoch=1, counter=4)),), (outcome(),)),
        False,
        "2/2 ready (idc 2/2)",
    ),
    (
        "ready, but the member's controller has not seen the change",
        Workload(desired(), placed(), (status(2, generation=3, observed_generation=2),), (outcome(),)),
        False,
        "2/2 ready",
    ),
    (
        "an old pod stands in for a new one",
        Workload(desired(), placed(), (status(2, bound=3),), (outcome(),)),
        False,
        "2/2 ready (idc 2/2)",
    ),
    ("a new pod has no node yet", Workload(desired(), placed(), (status(2, pending=1),), (outcome(),)), False, "2/2"),
    (
        "held back by the workload itself",
        Workload(PAUSED, placed(), (status(2, updated=0),), (outcome(),)),
        True,
        "2/2",
    ),
    ("more than wanted", Workload(desired(), placed(), (status(3),), (outcome(),)), False, "3/2 ready (idc 3/2)"),
    (
        "some on their way out",
        Workload(desired(), retiring(1), (status(2),), (outcome(),)),
        False,
        "2/2 ready (idc 2/2, 1 leave once replaced)",
    ),
    (
        "nodes on their way",
        Workload(desired(), placed(), (status(1, updated=2, unschedulable=ORDERED),), (outcome(),)),
        False,
        "1/2 ready (idc 1/2, 1 unschedulable: nodes are being added)",
    ),
    ("a finished job", Workload(desired(), placed(), (status(0, finished=True),), (outcome(),)), True, "0/2"),
    (
        "a rest pending",
        Workload(desired(), placed(pending=1, wanted=3), (status(2),), (outcome(),)),
        False,
        "2/3 ready (idc 2/2), 1 pending: no GPU is free",
    ),
    (
        "refused",
        Workload(desired(), placed(), (), (outcome("failed", message="quota exceeded"),)),
        False,
        "failed in idc: quota exceeded",
    ),
    (
        "a whole object, applied",
        Workload(desired(SERVICE), placed(SERVICE, wanted=0), (), (outcome(ref=SERVICE),)),
        True,
        "1/1 members applied (idc)",
    ),
    ("a whole object, not yet", Workload(desired(SERVICE), placed(SERVICE, wanted=0)), False, "0/1 members applied"),
]


@pytest.mark.parametrize(("workload", "done", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_progress(workload: Workload, done: bool, words: str) -> None:
    found = progress(workload, generation=2)
    assert found.done is done
    assert found.words.startswith(words)


@pytest.mark.parametrize(("result", "final"), [("failed", True), ("conflict", True), ("retrying", False)])
def test_what_only_a_person_can_mend_is_not_waited_for(result: Result, final: bool) -> None:
    assert progress(Workload(desired(), placed(), (), (outcome(result, message="no"),)), generation=2).final is final


CLONESET = ObjectRef(group="apps.kruise.io", version="v1alpha1", kind="CloneSet", namespace="test", name="web")
HELD: dict[str, tuple[dict[str, object], bool]] = {
    "all of them follow": ({}, False),
    "a partition of none": ({"partition": "0%"}, False),
    "a partition": ({"partition": 1}, True),
    "a partition of all": ({"partition": "100%"}, True),
    "paused": ({"paused": True}, True),
}


@pytest.mark.parametrize("name", HELD)
def test_a_cloneset_is_rolled_out_when_all_pods_follow_that_are_to(name: str) -> None:
    strategy, done = HELD[name]
    wanted = desired(CLONESET).model_copy(update={"manifest": {"spec": {"updateStrategy": strategy}}})
    one_left = status(2, updated=1).model_copy(update={"ref": CLONESET})
    seen = Workload(wanted, placed(CLONESET), (one_left,), (outcome(ref=CLONESET),))
    assert progress(seen, 2).done is done
