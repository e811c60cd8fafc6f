"""Decisions as spans: whose story each goes on with, what meets in it, and what it says of itself."""

from __future__ import annotations

import pytest

from services.scheduler.core.values import WorkloadKey
from services.scheduler.tracing import CAUSES, LISTED, Stories, Story, Trace, attributes_of, joined
from shared import telemetry
from shared.contracts import subjects
from shared.contracts.placement import Placement, Reason, Seen, Share
from shared.contracts.refs import ObjectRef, Order

KEY: WorkloadKey = ("Deployment", "apps", "test", "web")
WISH, POLICY, STATUS = ({"traceparent": f"00-{number:032x}-{number:016x}-01"} for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("last", "causes", "waits", "story"),
    [
        (None, (), False, Story({}, ())),
        (None, (WISH,), False, Story(WISH, (WISH,))),
        (None, (WISH, POLICY), False, Story(POLICY, (WISH, POLICY))),
        (WISH, (STATUS,), False, Story(STATUS, (STATUS, WISH))),
        (WISH, (WISH,), False, Story(WISH, (WISH,))),
        (WISH, (), True, Story(WISH, (WISH,))),
        (WISH, (), False, Story({}, (WISH,))),
    ],
    ids=[
        "nothing is known",
        "the wish alone",
        "of several causes the newest goes on, all are linked",
        "another story met this one",
        "the same story is linked once",
        "room for what was pending: its story goes on",
        "room or time, while all was placed: a story of its own",
    ],
)
def test_whose_story_a_decision_goes_on_with(
    last: Trace | None, causes: tuple[Trace, ...], waits: bool, story: Story
) -> None:
    stories = Stories()
    stories.told(KEY, last or {})
    assert stories.of(KEY, causes, waits=waits) == story


def test_an_object_that_is_gone_has_no_story() -> None:
    stories = Stories()
    stories.told(KEY, WISH)
    stories.gone(KEY)
    assert stories.of(KEY, (), waits=True) == Story({}, ())


def test_an_event_without_a_trace_hides_none() -> None:
    assert joined(joined((), WISH), {}) == (WISH,)


def test_a_decision_remembers_some_of_its_causes_the_newest() -> None:
    traces: tuple[Trace, ...] = ()
    for number in range(1, CAUSES + 3):
        traces = joined(traces, {"traceparent": str(number)})
    assert [trace["traceparent"] for trace in traces] == [str(number) for number in range(3, CAUSES + 3)]


def placement(members: int) -> Placement:
    names = [f"m{number}" for number in range(members)]
    return Placement(
        ref=ObjectRef(group="apps", version="v1", kind="Deployment", namespace="test", name="web"),
        uid="w-1",
        generation=1,
        order=Order(epoch=2, counter=3),
        wanted=5,
        pending=1,
        cause="created",
        decided_at=1.0,
        shares=tuple(Share(member=name, replicas=2) for name in names),
        seen=Seen(
            members=names,
            tiers=[0] * members,
            free=[2] * members,
            elastic=[4] * members,
            virtual=[0] * members,
            given=[2] * members,
        ),
        reasons=(Reason(code="NoRoom", message="no member has room for more"),),
    )


def test_a_decision_says_what_it_saw_and_why() -> None:
    says = attributes_of(placement(2))
    assert (says["brim.order"], says["brim.wanted"], says["brim.pending"]) == ("2.3", 5, 1)
    assert says["brim.shares"] == ["m0: 2", "m1: 2"]
    assert says["brim.room"] == [f"m{n}: tier 1, free 2, elastic 4, virtual 0, given 2" for n in range(2)]
    assert says["brim.reasons"] == ["NoRoom: no member has room for more"]


def test_of_a_large_fleet_it_says_the_beginning() -> None:
    says = attributes_of(placement(LISTED + 7))
    room = says["brim.room"]
    assert isinstance(room, list)
    assert (len(room), room[-1]) == (LISTED + 1, "and 7 more")


async def test_what_was_pending_is_placed_in_the_trace_of_its_wish(stage) -> None:
    with telemetry.recorded() as spans:
        async with stage.scheduler():
            idc = await stage.member("idc", 1)
            await stage.apply(stage.policy(["idc"]))
            wish = f"00-{7:032x}-{7:016x}-01"
            await stage.bus.request(
                subjects.APPLY, stage.deployment(replicas=2).encode(), headers={"traceparent": wish}
            )
            await stage.until({"idc": 1}, pending=1)
            await idc.send(idc.delta(1, 1))
            await stage.until({"idc": 2})
    decided = [span for span in spans.finished() if span.name.startswith("decide ")]
    assert {span.trace_id for span in decided} == {f"{7:032x}"}
    assert [span.attributes["brim.pending"] for span in decided][-1] == 0
