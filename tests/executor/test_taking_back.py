"""What Kruise's ways ask of the executor: going back where it is paused, and what a rollout leaves behind."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.executor.core import marks
from services.executor.core.live import Live, mapping, read
from services.executor.core.target import Target, target_of
from services.executor.core.writes import Apply, Decision, Patch, from_live, from_memory
from shared.contracts.annotations import UNDONE_ANNOTATION
from shared.contracts.base import JsonObject
from shared.contracts.placement import Placement, Share
from tests.executor.wishes import DEPLOYMENT, FOREIGN, NEW_IMAGE, live_of, remembered, wish


def rollout(*, paused: bool, undone: str = "") -> Target:
    return wish(
        {
            "apiVersion": "rollouts.kruise.io/v1beta1",
            "kind": "Rollout",
            "metadata": {"name": "web", "annotations": {UNDONE_ANNOTATION: undone} if undone else {}},
            "spec": {"strategy": {"paused": paused}},
        }
    )


UNDONE = rollout(paused=True, undone="now")
GOES_ON = rollout(paused=False)


def in_the_middle(target: Target, **changes: object) -> Live:
    return live_of(target, progressing=True, **changes)


def sent(decision: Decision) -> list[tuple[bool, str]]:
    """What is applied: whether it stands still, and the undo that it has come back from."""
    applied = [write.manifest for write in decision.writes if isinstance(write, Apply)]
    assert len(applied) == len(decision.writes)
    return [
        (
            mapping(mapping(one["spec"])["strategy"])["paused"] is True,
            str(mapping(mapping(one["metadata"])["annotations"]).get(UNDONE_ANNOTATION, "")),
        )
        for one in applied
    ]


CASES: dict[str, tuple[Live, list[tuple[bool, str]], str]] = {
    "it went on: it is not paused yet": (in_the_middle(GOES_ON), [], "BeingTakenBack"),
    "it stood still: it goes on": (in_the_middle(rollout(paused=True)), [(False, "")], "BeingTakenBack"),
    "on its way back": (in_the_middle(UNDONE.let_back()), [], "BeingTakenBack"),
    "back": (live_of(UNDONE.let_back()), [(True, "now")], ""),
    "back, and in the middle of the next one": (in_the_middle(UNDONE, undone="now"), [], ""),
    "undone once more in the next one": (
        in_the_middle(rollout(paused=True, undone="once"), undone="once"),
        [(False, "")],
        "BeingTakenBack",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_it_is_paused_once_it_is_back(name: str) -> None:
    live, wanted, code = CASES[name]
    decision = from_live(UNDONE, live)
    assert (sent(decision), decision.code) == (wanted, code)
    assert (decision.result, decision.recheck is not None) == (("retrying", True) if code else ("applied", False)), (
        "it says so only when it is so"
    )


def test_what_is_not_paused_has_nothing_to_wait_for() -> None:
    assert sent(from_live(rollout(paused=False, undone="now"), in_the_middle(rollout(paused=True)))) == [(False, "now")]


def test_memory_alone_pauses_nothing_that_was_undone() -> None:
    assert from_memory(UNDONE, remembered(GOES_ON)) is None
    settled = from_memory(UNDONE, remembered(UNDONE))
    assert settled is not None
    assert settled.result == "applied"


def test_what_is_sent_meanwhile_is_known_again() -> None:
    """Another look sends nothing."""
    (write,) = from_live(UNDONE, in_the_middle(GOES_ON, applied="")).writes
    assert isinstance(write, Apply)
    digest = marks.digest_of(write.manifest)
    assert from_live(UNDONE, in_the_middle(GOES_ON, applied=digest)).writes == ()


def test_another_member_is_told_nothing_of_it() -> None:
    """The annotation names the members; see target_of."""
    manifest: JsonObject = {
        **(UNDONE.manifest or {}),
        "metadata": {"name": "web", "annotations": {UNDONE_ANNOTATION: "now idc"}},
    }
    shares = (Share(member="idc"), Share(member="ack"))
    placement = Placement(
        ref=UNDONE.ref,
        uid="u",
        generation=1,
        order=UNDONE.order,
        shares=shares,
        cause="created",
        decided_at=1.0,
        whole=True,
    )
    idc, ack = (target_of(placement, share, manifest) for share in shares)
    assert (idc.undone, ack.undone) == ("now idc", "")


# -- what a rollout leaves behind --------------------------------------------------------------------------------

RECREATES = wish({**DEPLOYMENT, "spec": {**mapping(DEPLOYMENT["spec"]), "strategy": {"type": "Recreate"}}}, revision=2)
LEFT: dict[str, tuple[Target, Live, list[str]]] = {
    "bounds that no Recreate is taken beside": (RECREATES, live_of(wish(), rolls=True), ["Patch", "Apply"]),
    "the same, and the count is not handed over yet": (
        RECREATES,
        live_of(wish(), rolls=True, count_owners=frozenset({"brim"})),
        ["Patch"],
    ),
    "nothing": (RECREATES, live_of(wish()), ["Apply"]),
    "bounds that are wanted": (wish(NEW_IMAGE, revision=2), live_of(wish(), rolls=True), ["Apply"]),
    "bounds of somebody else's Deployment": (RECREATES, replace(FOREIGN, rolls=True), []),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_was_left_behind_is_taken_away_first(name: str) -> None:
    target, live, wanted = LEFT[name]
    decision = from_live(target, live)
    assert [type(write).__name__ for write in decision.writes] == wanted
    assert decision.look_again == (wanted == ["Patch"])
    if "Patch" in wanted:
        assert decision.writes[0] == Patch(
            {"metadata": {"uid": live.uid}, "spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}
        )


def test_bounds_are_read() -> None:
    spec: JsonObject = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}
    assert read({"spec": spec}, None).rolls
    assert not read({"spec": {"strategy": {"type": "Recreate"}}}, None).rolls
