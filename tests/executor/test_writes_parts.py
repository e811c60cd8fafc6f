"""What a write is made of: its body, what is released, what is read back, what Kruise took over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from services.executor.core import marks
from services.executor.core.live import mapping, read
from services.executor.core.target import target_of
from services.executor.core.writes import Apply, Decision, from_live, from_memory, known_of
from shared.contracts.base import JsonObject
from shared.contracts.placement import Placement, Share
from shared.contracts.refs import ObjectRef, Order
from shared.workloads import kind_of
from tests.executor.wishes import DEPLOYMENT, FOREIGN, JOB, NEW_IMAGE, UID, live_of, remembered, wish


class TestBody:
    def test_says_whose_it_is_on_the_object_and_on_every_pod(self) -> None:
        applied = marks.body(wish())
        metadata = mapping(applied["metadata"])
        assert mapping(metadata["labels"]) == {
            "app": "web",
            "brim.dev/managed": "true",
            "brim.dev/workload": UID,
        }
        assert mapping(metadata["annotations"])["brim.dev/revision"] == "1"
        template = mapping(mapping(applied["spec"])["template"])
        labels: JsonValue = mapping(template["metadata"])["labels"]
        assert labels == {"app": "web", "brim.dev/workload": UID}

    def test_leaves_out_what_a_server_fills_in_and_the_count(self) -> None:
        applied = marks.body(wish())
        assert "status" not in applied
        assert "resourceVersion" not in mapping(applied["metadata"])
        assert "replicas" not in mapping(applied["spec"])

    def test_does_not_change_the_wish(self) -> None:
        before = repr(DEPLOYMENT)
        marks.body(wish())
        assert repr(DEPLOYMENT) == before

    def test_a_job_says_its_own_completions(self) -> None:
        spec = mapping(marks.body(wish(JOB, completions=4))["spec"])
        assert (spec["completions"], "parallelism" in spec) == (4, False)

    @given(st.integers(0, 9), st.integers(1, 99))
    def test_is_the_same_for_any_count_and_order(self, replicas: int, counter: int) -> None:
        other = wish(replicas=replicas, order=Order(counter=counter), traceparent="00-1-2-01")
        assert marks.digest_of(marks.body(other)) == marks.digest_of(marks.body(wish()))

    def test_without_a_manifest_there_is_none(self) -> None:
        with pytest.raises(ValueError, match="has no manifest"):
            marks.body(replace(wish(), manifest=None))


class TestRelease:
    def test_takes_only_what_is_brims(self) -> None:
        kubectl: JsonObject = {"manager": "kubectl", "operation": "Update"}
        brim: JsonObject = {"manager": "brim", "operation": "Apply"}
        body = marks.release_patch(live_of(wish(), managers=(brim, kubectl)))
        metadata = mapping(body["metadata"])
        assert metadata["managedFields"] == [kubectl]
        assert mapping(metadata["labels"]) == {"brim.dev/managed": None, "brim.dev/workload": None}
        assert metadata["resourceVersion"] == "5"

    def test_without_other_owners_one_empty_entry_clears_the_list(self) -> None:
        body = marks.release_patch(live_of(wish(), managers=({"manager": "brim"},)))
        assert mapping(body["metadata"])["managedFields"] == [{}]


class TestReading:
    def test_rubbish_counts_as_missing(self) -> None:
        rubbish: JsonObject = {
            "metadata": {
                "uid": 7,
                "labels": [],
                "annotations": {"brim.dev/order": "x", "brim.dev/revision": "-"},
                "managedFields": [1, {"manager": "brim", "operation": "Apply", "fieldsV1": 3}],
            },
            "spec": 4,
            "status": {"succeeded": "many"},
        }
        live = read(rubbish, kind_of("Deployment", "apps"))
        assert (live.uid, live.workload, live.order, live.revision, live.replicas) == ("", "", None, None, None)
        assert live.brims  # brim's manager still owns fields

    def test_nothing_is_remembered_of_an_object_without_marks(self) -> None:
        assert known_of(FOREIGN) is None


class TestSettingsThatKruiseTookOver:
    """In the middle of a blue-green rollout a new revision is the way back: nothing but the template may be sent, or
    the member's own controller would act on bounds that are not meant for two versions side by side."""

    MANIFEST: JsonObject = {
        **DEPLOYMENT,
        "spec": {**mapping(DEPLOYMENT["spec"]), "minReadySeconds": 5, "strategy": {"type": "RollingUpdate"}},
    }
    BACK = wish(MANIFEST, revision=2)

    def spec_of(self, decision: Decision) -> JsonObject:
        applies = [write for write in decision.writes if isinstance(write, Apply) and write.manager == "brim"]
        return mapping(applies[0].manifest["spec"])

    def test_they_stay_kruises(self) -> None:
        decision = from_live(self.BACK, live_of(wish(self.MANIFEST), in_progress=True, taken_over=True))
        assert self.spec_of(decision).keys() == {"selector", "template"}
        assert (decision.result, decision.recheck) == ("applied", 15.0)

    def test_a_new_revision_is_not_sent_unseen(self) -> None:
        assert from_memory(self.BACK, remembered(wish(self.MANIFEST))) is None
        assert from_memory(wish(NEW_IMAGE, revision=2), remembered(wish())) is not None, "it says nothing of the sort"

    def test_they_come_back_with_the_end(self) -> None:
        partly = marks.digest_of(marks.body(self.BACK, without=marks.TAKEN_OVER))
        after = live_of(self.BACK, applied=partly)
        assert self.spec_of(from_live(self.BACK, after))["minReadySeconds"] == 5
        decision = from_live(self.BACK, replace(after, in_progress=True, taken_over=True))
        assert (decision.writes, decision.code) == ((), "RolloutInProgress")

    def test_in_other_styles_they_are_sent_and_kruises_admission_keeps_its_own(self) -> None:
        decision = from_live(self.BACK, live_of(wish(self.MANIFEST), in_progress=True))
        assert "strategy" in self.spec_of(decision)


class TestRolloutsThatArePausedInSomeMembers:
    MANIFEST: JsonObject = {
        "apiVersion": "rollouts.kruise.io/v1beta1",
        "kind": "Rollout",
        "metadata": {"name": "r", "namespace": "test", "annotations": {"brim.dev/paused": "idc,eu"}},
        "spec": {"strategy": {"canary": {"steps": []}}},
    }

    @pytest.mark.parametrize(("member", "paused"), [("idc", True), ("eu", True), ("ack", None)])
    def test_only_those_get_it_paused_and_the_list_stays_home(self, member: str, paused: bool | None) -> None:
        ref = ObjectRef.of(self.MANIFEST)
        placement = Placement(
            ref=ref, uid="u", generation=1, order=Order(epoch=1, counter=1), whole=True, cause="created", decided_at=1.0
        )
        manifest: Any = target_of(placement, Share(member=member), self.MANIFEST).manifest
        assert manifest["spec"]["strategy"].get("paused") is paused
        assert "annotations" not in manifest["metadata"]
