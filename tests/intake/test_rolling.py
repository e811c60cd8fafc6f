"""Rolls: undo and restart a workload, pause and resume its rollout, in some members or in all."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from services.scheduler.intake import rolling
from services.scheduler.intake.changes import Stamp, Verdict
from shared.clock import rfc3339
from shared.contracts.annotations import PAUSED_ANNOTATION, UNDONE_ANNOTATION
from shared.contracts.desired import Asked, Desired
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Roll
from tests.intake.test_changes import CLUSTER, WEB, Desk, web
from tests.intake.test_rollouts import rollout

ROLLOUT = ObjectRef(group="rollouts.kruise.io", version="v1beta1", kind="Rollout", namespace="default", name="one")
WAVES = ObjectRef(group="brim.dev", version="v1alpha1", kind="FleetRollout", namespace="default", name="waves")


class RollDesk(Desk):
    """Three revisions of one workload, with a Rollout and a FleetRollout."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = {1, 2}
        self.before = 0
        self.apply(CLUSTER)
        self.apply(CLUSTER.replace("idc", "ack"))
        for image in ("a", "b", "c"):
            self.apply(web(image=image))
        self.apply(rollout())
        self.apply(
            json.dumps(
                {
                    "apiVersion": "brim.dev/v1alpha1",
                    "kind": "FleetRollout",
                    "metadata": {"name": "waves"},
                    "spec": {
                        "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                        "waves": [{"name": "all"}],
                    },
                }
            )
        )

    @property
    def stamp(self) -> Stamp:
        kept, before = self.kept, self.before
        return replace(super().stamp, has_revision=lambda _uid, number: number in kept, before=lambda _desired: before)

    def roll(self, verb: str, *members: str, ref: ObjectRef = WEB, **fields: Any) -> Verdict:
        request = Roll.model_validate({"verb": verb, "ref": ref, "members": members, **fields})
        return self._take(rolling.roll(request, self.known, self.stamp))

    def desired(self, ref: ObjectRef = WEB) -> Desired:
        found = self.known.live(ref.key)
        assert found is not None
        return found

    def spec(self, ref: ObjectRef) -> Any:
        return self.manifest(ref)["spec"]


def codes(verdict: Verdict) -> list[str]:
    return [fault.code for fault in verdict.faults]


class TestUndo:
    @pytest.mark.parametrize("ref", [WEB, ROLLOUT, WAVES], ids=str)
    def test_every_member_goes_back_to_the_one_before(self, ref: ObjectRef) -> None:
        desk = RollDesk()
        (write,) = desk.roll("undo", ref=ref).writes
        assert (write.change, desk.desired().pins, desk.desired().revision) == ("undone", {"*": 2}, 3)

    def test_one_member_to_a_revision(self) -> None:
        desk = RollDesk()
        desk.roll("undo", "idc", revision=1)
        desk.roll("undo", "ack")
        assert desk.desired().pins == {"idc": 1, "ack": 2}

    def test_the_one_before_is_what_members_had_until_the_newest_came(self) -> None:
        desk = RollDesk()
        desk.before = 1  # revision 2 was replaced before it reached them all
        desk.roll("undo")
        assert desk.desired().pins == {"*": 1}

    def test_who_asked_for_it_is_kept_until_something_else_changes(self) -> None:
        desk = RollDesk()
        desk.roll("undo", "idc", who="ada")
        assert desk.desired().asked == Asked(change="undone", who="ada", members=("idc",), revision=2)
        desk.scale(7)
        assert desk.desired().asked is None

    def test_twice_is_once(self) -> None:
        desk = RollDesk()
        desk.roll("undo")
        (write,) = desk.roll("undo").writes
        assert (write.change, write.payload) == ("unchanged", None)

    def test_a_newer_template_ends_it_and_anything_else_does_not(self) -> None:
        desk = RollDesk()
        desk.roll("undo")
        desk.scale(7)
        desk.apply(web(image="c", labels="a: b"))
        assert desk.desired().pins == {"*": 2}
        desk.apply(web(image="d"))
        assert desk.desired().pins == {}

    @pytest.mark.parametrize("revision", [0, 3, 4])
    def test_what_is_not_older_is_refused(self, revision: int) -> None:
        assert codes(RollDesk().roll("undo", revision=revision)) == ["NoRevision"]

    def test_what_is_not_kept_is_refused(self) -> None:
        desk = RollDesk()
        desk.kept = {2}
        assert codes(desk.roll("undo", revision=1)) == ["NoRevision"]

    def test_unknown_objects_and_members(self) -> None:
        desk = RollDesk()
        assert codes(desk.roll("undo", "moon")) == ["NotFound"]
        assert codes(desk.roll("undo", ref=WEB.model_copy(update={"name": "other"}))) == ["NotFound"]
        cluster = ObjectRef(group="brim.dev", version="v1alpha1", kind="Cluster", name="idc")
        assert codes(desk.roll("undo", ref=cluster)) == ["NoTemplate"]


class TestRestart:
    def test_a_new_revision_of_the_same_template(self) -> None:
        desk = RollDesk()
        (write,) = desk.roll("restart").writes
        assert (write.change, desk.desired().revision, desk.desired().pins) == ("restarted", 4, {})
        template = desk.spec(WEB)["template"]
        assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]
        assert write.superseded is not None
        assert write.superseded.number == 3

    def test_one_member_alone_leaves_the_others_where_they_are(self) -> None:
        desk = RollDesk()
        desk.roll("restart", "idc")
        assert desk.desired().pins == {"*": 3, "idc": 4}
        desk.now += 60
        desk.roll("restart", "ack")
        assert desk.desired().pins == {"*": 3, "idc": 4, "ack": 5}
        desk.now += 60
        desk.roll("restart")
        assert (desk.desired().pins, desk.desired().revision) == ({}, 6)

    @pytest.mark.parametrize("members", [(), ("idc",), ("ack", "idc")])
    def test_what_was_taken_back_does_not_go_forward_by_it(self, members: tuple[str, ...]) -> None:
        desk = RollDesk()
        desk.roll("undo", "idc")
        desk.now += 60
        (fault,) = desk.roll("restart", *members).faults
        assert fault.code == "TakenBack"
        assert "idc was taken back to revision 2 and would go forward to revision 3 again" in fault.message
        desk.roll("restart", "ack")
        desk.now += 60
        desk.roll("restart", "ack")
        assert desk.desired().pins == {"*": 3, "idc": 2, "ack": 5}
        assert codes(desk.roll("restart", *members)) == ["TakenBack"]

    def test_a_fleet_that_was_taken_back_is_not_restarted_forward(self) -> None:
        desk = RollDesk()
        desk.roll("undo")
        (fault,) = desk.roll("restart").faults
        assert fault.message.startswith("every member was taken back to revision 2")
        desk.apply(web(image="d"))
        assert desk.roll("restart").faults == []


class TestPause:
    def test_a_rollout_everywhere(self) -> None:
        desk = RollDesk()
        desk.roll("pause", ref=ROLLOUT)
        assert desk.spec(ROLLOUT)["strategy"]["paused"] is True
        desk.roll("resume", ref=ROLLOUT)
        assert desk.spec(ROLLOUT)["strategy"]["paused"] is False

    def test_a_rollout_in_some_members(self) -> None:
        desk = RollDesk()
        desk.roll("pause", "idc", ref=ROLLOUT)
        desk.roll("pause", "ack", ref=ROLLOUT)
        metadata: Any = desk.manifest(ROLLOUT)["metadata"]
        assert metadata["annotations"][PAUSED_ANNOTATION] == "ack,idc"
        desk.roll("resume", "ack", "idc", ref=ROLLOUT)
        metadata = desk.manifest(ROLLOUT)["metadata"]
        assert "annotations" not in metadata

    def test_what_is_paused_everywhere_is_resumed_everywhere(self) -> None:
        desk = RollDesk()
        desk.roll("pause", ref=ROLLOUT)
        assert codes(desk.roll("resume", "idc", ref=ROLLOUT)) == ["PausedEverywhere"]
        (write,) = desk.roll("pause", "idc", ref=ROLLOUT).writes
        assert write.change == "unchanged"

    def test_waves(self) -> None:
        desk = RollDesk()
        desk.roll("pause", ref=WAVES)
        assert desk.spec(WAVES)["paused"] is True
        assert codes(desk.roll("pause", "idc", ref=WAVES)) == ["NotSupported"]
        generation = desk.desired(WAVES).generation
        desk.now += 60
        desk.roll("resume", ref=WAVES)
        desk.now += 60
        desk.roll("resume", ref=WAVES)
        assert (desk.spec(WAVES)["paused"], desk.desired(WAVES).generation) == (False, generation + 2)

    def test_a_workload_has_nothing_to_pause(self) -> None:
        assert codes(RollDesk().roll("pause")) == ["NotSupported"]


def test_abort_undoes_and_pauses() -> None:
    desk = RollDesk()
    desk.roll("abort", ref=ROLLOUT)
    assert (desk.spec(ROLLOUT)["strategy"]["paused"], desk.desired().pins) == (True, {"*": 2})
    assert undone(desk) == rfc3339(desk.now)


def undone(desk: RollDesk) -> str:
    metadata: Any = desk.manifest(ROLLOUT)["metadata"]
    return str((metadata.get("annotations") or {}).get(UNDONE_ANNOTATION, ""))


class TestUndoOfWhatIsPaused:
    """Kruise takes nothing back in a Rollout that is paused: the executor is told to let it back first."""

    @pytest.mark.parametrize("ref", [WEB, ROLLOUT], ids=["by the workload", "by the Rollout"])
    def test_it_says_when_and_where(self, ref: ObjectRef) -> None:
        desk = RollDesk()
        desk.roll("pause", ref=ROLLOUT)
        assert [write.change for write in desk.roll("undo", "idc", ref=ref).writes] == ["undone", "undone"]
        assert undone(desk) == f"{rfc3339(desk.now)} idc"
        assert (desk.spec(ROLLOUT)["strategy"]["paused"], desk.desired().pins) == (True, {"idc": 2})

    def test_paused_in_some_members(self) -> None:
        desk = RollDesk()
        desk.roll("pause", "ack", ref=ROLLOUT)
        desk.roll("undo")
        assert undone(desk) == rfc3339(desk.now)

    def test_one_that_goes_on_is_left_as_it_is(self) -> None:
        desk = RollDesk()
        (write,) = desk.roll("undo", ref=ROLLOUT).writes
        assert (write.desired.ref.key, undone(desk)) == (WEB.key, "")

    def test_each_undo_is_another(self) -> None:
        desk = RollDesk()
        desk.roll("abort", ref=ROLLOUT)
        first = undone(desk)
        desk.kept.add(3)
        desk.apply(web(image="d"))
        desk.now += 60
        desk.roll("undo", ref=ROLLOUT)
        assert undone(desk) != first


def test_one_member_alone_is_aborted_also_where_all_are_paused() -> None:
    desk = RollDesk()
    desk.roll("abort", "idc", ref=ROLLOUT)
    metadata: Any = desk.manifest(ROLLOUT)["metadata"]
    assert (metadata["annotations"][PAUSED_ANNOTATION], desk.desired().pins) == ("idc", {"idc": 2})
    desk.roll("pause", ref=ROLLOUT)
    assert desk.roll("abort", "ack", ref=ROLLOUT).faults == []
    assert desk.desired().pins == {"idc": 2, "ack": 2}
