"""`brim events` and `brim rejected`: messages as lines of one story."""

from __future__ import annotations

import pytest

from cli.stories import Line, as_text, line_of
from shared.bus import Message
from shared.contracts.action import Acted, Action
from shared.contracts.base import Contract
from shared.contracts.desired import Asked, Desired
from shared.contracts.outcome import FieldFault, Outcome, Rejected
from shared.contracts.placement import Placement, Share
from shared.contracts.refs import ObjectRef, Order

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z
REF = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web")
ORDER = Order(epoch=1, counter=2)


PLACED = Placement(
    ref=REF,
    uid="u",
    generation=1,
    order=ORDER,
    wanted=3,
    pending=1,
    shares=(Share(member="idc", replicas=2, retiring=1),),
    cause="scaled",
    decided_at=NOW,
)
REFUSED = Rejected(
    service="scheduler",
    subject="brim.submit.apply",
    at=NOW,
    faults=(
        FieldFault(object="Deployment test/web", field="spec.replicas", message="it is -1"),
        FieldFault(object="document 2", message="it is a text"),
    ),
    excerpt="kind:\n  Deployment",
)


ROLLOUT = ObjectRef(group="rollouts.kruise.io", version="v1beta1", kind="Rollout", namespace="test", name="web")
ACTION = Action(id="5f", verb="approve", ref=ROLLOUT, who="ada", asked_at=NOW)


def asked(what: Asked | None) -> Desired:
    return Desired(ref=REF, uid="u", generation=2, order=ORDER, manifest={}, created_at=NOW, changed_at=NOW, asked=what)


def told(subject: str, contract: Contract) -> str:
    line = line_of(Message(subject=subject, data=contract.encode(), sequence=1, published_at=NOW))
    assert line is not None
    return line.as_text(20)


@pytest.mark.parametrize(
    ("subject", "contract", "text"),
    [
        (
            "brim.placement.x",
            PLACED,
            "placed      Deployment test/web   scaled: idc:2, 1 pending; 1 leave idc once replaced",
        ),
        (
            "brim.placement.x",
            PLACED.model_copy(update={"cause": "rebalance", "pending": 0}),
            "rebalanced  Deployment test/web   rebalance: idc:2; 1 leave idc once replaced",
        ),
        (
            "brim.outcome.idc.x",
            Outcome(member="idc", ref=REF, uid="u", order=ORDER, result="applied", at=NOW),
            "applied     Deployment test/web   in idc",
        ),
        (
            "brim.outcome.idc.x",
            Outcome(member="idc", ref=REF, uid="u", order=ORDER, result="failed", message="quota exceeded", at=NOW),
            "failed      Deployment test/web   in idc: quota exceeded",
        ),
        (
            "brim.rejected.scheduler",
            REFUSED,
            "rejected    brim.submit.apply     by scheduler: Deployment test/web: spec.replicas: it is -1; "
            "document 2: it is a text",
        ),
        (
            "brim.desired.x",
            asked(Asked(change="undone", who="ada", members=("idc", "ack"), revision=1)),
            "undone      Deployment test/web   in idc, ack, to revision 1, by ada",
        ),
        (
            "brim.desired.x",
            asked(Asked(change="paused")),
            "paused      Deployment test/web   everywhere, by somebody unnamed",
        ),
        (
            "brim.acted.5f.idc",
            Acted.of(ACTION, NOW, member="idc", done=True, message="step 1 of 3 approved"),
            "approved    Rollout test/web      in idc, by ada: step 1 of 3 approved",
        ),
        (
            "brim.acted.5f.idc",
            Acted.of(ACTION, NOW, member="idc", done=False, code="NotPaused", message="it is not paused"),
            "approve     Rollout test/web      in idc, by ada: not done: it is not paused",
        ),
    ],
    ids=["placed", "rebalanced", "applied", "failed", "rejected", "undone", "paused", "approved", "not approved"],
)
def test_every_message_is_one_line(subject: str, contract: Contract, text: str) -> None:
    assert told(subject, contract) == f"2026-01-01 00:00:00  {text}"


def test_what_a_manifest_changed_is_told_by_what_follows() -> None:
    assert line_of(Message(subject="brim.desired.x", data=asked(None).encode())) is None


def test_lines_stand_in_the_order_of_time() -> None:
    later, earlier = Line(NOW + 1, "placed", "a", "", REF), Line(NOW, "placed", "b", "", None)
    assert sorted([later, earlier]) == [earlier, later]


def test_scripts_get_the_time_as_kubernetes_writes_it() -> None:
    assert Line(NOW, "placed", "Deployment test/web", "created: idc:2", REF).as_json() == {
        "time": "2026-01-01T00:00:00Z",
        "at": NOW,
        "event": "placed",
        "object": "Deployment test/web",
        "message": "created: idc:2",
    }


def test_a_refused_message_is_told_fault_by_fault() -> None:
    assert as_text(REFUSED).splitlines() == [
        "2026-01-01 00:00:00  brim.submit.apply  by scheduler",
        "  - Deployment test/web: spec.replicas: it is -1",
        "  - document 2: it is a text",
        "  began with: kind: Deployment",
    ]
