"""When the descheduler asks, and when it asks again."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import pytest

from services.descheduler.core.asking import LONGEST, Asked, decide
from services.descheduler.core.stuck import Finding
from shared.contracts.placement import Placement, Rest, Share
from shared.contracts.rebalance import Stuck
from shared.contracts.refs import ObjectRef, Order

NOW = 5000.0
PAUSE = 30.0
OLD, NEW = Order(epoch=1, counter=1), Order(epoch=1, counter=2)


def placed(order: Order = OLD, cause: Any = "created", resting: float = 0, held: int = 4) -> Placement:
    ref = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web")
    rests = (Rest(member="idc", until=NOW + resting),)
    shares = (Share(member="idc", replicas=held),)
    return Placement(ref=ref, uid="u", generation=1, order=order, cause=cause, decided_at=0, rests=rests, shares=shares)


def found(count: int = 2, since: float = NOW - 100) -> Finding:
    return Finding((Stuck(member="idc", count=count, since=since),))


def asked(age: float, *, times: int = 1, answered: bool = False) -> Asked:
    return Asked(OLD, {"idc": 2}, NOW - age, times, answered, {"idc": 4})


@dataclass(frozen=True)
class Case:
    name: str
    placement: Placement
    finding: Finding
    asked: Asked | None
    ask: bool
    again_in: float


CASES = [
    Case("nothing is stuck", placed(), Finding(), None, False, inf),
    Case("the first time: at once", placed(), found(), None, True, 30),
    Case("asked just now", placed(), found(), asked(10), False, 20),
    Case("nothing came of it: again, then later", placed(), found(), asked(30), True, 60),
    Case("the pause doubles", placed(), found(), asked(70, times=3), False, 50),
    Case("the pause is bounded", placed(), found(), asked(LONGEST, times=50), True, LONGEST),
    Case("more are stuck: at once", placed(), found(3), asked(1), True, 60),
    Case("fewer are stuck: wait", placed(), found(1), asked(10), False, 20),
    Case("others got stuck since: at once", placed(), found(since=NOW - 40), asked(80, times=2), True, 120),
    Case("overtaken by another decision: void, at once", placed(NEW, "scaled"), found(), asked(1), True, 60),
    Case("overtaken, but the member rests: answered", placed(NEW, "scaled", 60), found(), asked(10), False, 20),
    Case("answered, and still stuck: wait", placed(NEW, "rebalance"), found(), asked(10), False, 20),
    Case("one went and another is stuck: at once", placed(NEW, "settled", 60, 3), found(), asked(10), True, 30),
    Case(
        "one went, after long: the pause begins anew",
        placed(NEW, "settled", 60, 3),
        found(),
        asked(9, times=4),
        True,
        30,
    ),
    Case(
        "answered before, then decided anew: wait",
        placed(NEW, "capacity"),
        found(),
        asked(10, answered=True),
        False,
        20,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_asking(case: Case) -> None:
    answer = decide(case.placement, case.finding, case.asked, NOW, PAUSE)
    assert answer.ask == case.ask
    assert answer.again_at - NOW == pytest.approx(case.again_in)


def test_what_is_not_judged_for_a_moment_is_not_forgotten() -> None:
    before = asked(5)
    assert decide(placed(NEW, "rebalance"), Finding(), before, NOW, PAUSE).asked == before
