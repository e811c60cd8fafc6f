"""What submissions do to DESIRED."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.intake import changes
from services.scheduler.intake.changes import Stamp, Verdict
from services.scheduler.intake.known import Known
from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Cordon, Delete, Scale
from shared.documents import Document, read

WEB = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="default", name="web")
CLUSTER = "{apiVersion: brim.dev/v1alpha1, kind: Cluster, metadata: {name: idc}, spec: {kubeconfig: {context: idc}}}"


def web(replicas: int | None = 3, image: str = "a", labels: str = "") -> str:
    count = "" if replicas is None else f"replicas: {replicas}, "
    return (
        f"{{apiVersion: apps/v1, kind: Deployment, metadata: {{name: web, labels: {{{labels}}}}}, spec: {{{count}"
        "selector: {matchLabels: {app: web}}, template: {metadata: {labels: {app: web}},"
        f" spec: {{containers: [{{name: c, image: {image}}}]}}}}}}}}"
    )


class Desk:
    """The intake without a bus: every accepted write is stored at once."""

    def __init__(self, max_payload: int = 1024 * 1024) -> None:
        self.known = Known()
        self.now = 100.0
        self.held = 0
        self._sequences = itertools.count(1)
        self._uids = (f"uid-{number}" for number in itertools.count(1))
        self._max_payload = max_payload

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.now, 7, lambda: next(self._uids), self._max_payload, held_in=lambda _: self.held)

    def apply(self, text: str) -> Verdict:
        documents, malformed = read(text.encode())
        assert malformed == []
        sound, faults = changes.check_all(documents)
        return self._take(Verdict(faults=faults) if faults else changes.apply(sound, self.known, self.stamp))

    def scale(self, replicas: int, ref: ObjectRef = WEB) -> Verdict:
        return self._take(changes.scale(Scale(ref=ref, replicas=replicas), self.known, self.stamp))

    def delete(self, ref: ObjectRef = WEB, preserve: bool | None = None, policy: bool = False) -> Verdict:
        request = Delete(refs=(ref,), preserve=preserve)
        return self._take(changes.delete(request, self.known, self.stamp, preserves=lambda _: policy))

    def cordon(self, wish: str, member: str = "idc") -> Verdict:
        request = Cordon.model_validate({"member": member, "wish": wish})
        return self._take(changes.cordon(request, self.known, self.stamp))

    def _take(self, verdict: Verdict) -> Verdict:
        for write in () if verdict.faults else verdict.writes:
            assert write.expected == self.known.sequence(write.desired.ref.key), "fenced by what is there"
            if write.payload is not None:
                self.known.put(write.desired, next(self._sequences))
        return verdict

    def manifest(self, ref: ObjectRef = WEB) -> JsonObject:
        desired = self.known.live(ref.key)
        assert desired is not None
        return desired.manifest


def codes(verdict: Verdict) -> list[str]:
    return [fault.code for fault in verdict.faults]


def test_a_new_object() -> None:
    (write,) = Desk().apply(web()).writes
    assert (write.change, write.desired.uid, write.desired.generation, write.desired.revision) == (
        "created",
        "uid-1",
        1,
        1,
    )
    assert (write.desired.order.epoch, write.desired.order.counter) == (7, 1)
    assert write.desired.created_at == write.desired.changed_at == 100.0


def test_applying_the_same_again_changes_nothing() -> None:
    desk = Desk()
    desk.apply(web())
    (write,) = desk.apply(web()).writes
    assert (write.change, write.payload, write.desired.generation) == ("unchanged", None, 1)


def test_a_change_outside_the_template_keeps_the_revision() -> None:
    desk = Desk()
    desk.apply(web())
    (write,) = desk.apply(web(labels="team: a")).writes
    assert (write.change, write.desired.generation, write.desired.revision) == ("configured", 2, 1)
    assert write.superseded is None


def test_a_new_template_is_a_new_revision_and_the_old_one_is_kept() -> None:
    desk = Desk()
    desk.apply(web(image="a"))
    before = desk.manifest()
    (write,) = desk.apply(web(image="b")).writes
    assert write.desired.revision == 2
    assert write.superseded is not None
    assert (write.superseded.uid, write.superseded.number, write.superseded.manifest) == ("uid-1", 1, before)


def test_a_manifest_without_replicas_keeps_the_scaled_count() -> None:
    desk = Desk()
    desk.apply(web(replicas=None))
    assert desk.scale(8).writes[0].change == "scaled"
    assert desk.apply(web(replicas=None)).writes[0].change == "unchanged"
    assert desk.apply(web(replicas=None, image="b")).writes[0].desired.manifest["spec"]["replicas"] == 8  # type: ignore[index, call-overload]
    assert desk.apply(web(replicas=2)).writes[0].desired.manifest["spec"]["replicas"] == 2  # type: ignore[index, call-overload]


def test_scaling_to_what_is_there_changes_nothing() -> None:
    desk = Desk()
    desk.apply(web(replicas=3))
    assert desk.scale(3).writes[0].payload is None


def test_two_documents_about_one_object_are_refused_and_nothing_is_done() -> None:
    desk = Desk()
    verdict = desk.apply(web() + "\n---\n" + web(replicas=4))
    assert codes(verdict) == ["Duplicate"]
    assert "document 2 is about the same object as document 1" in verdict.faults[0].message
    assert len(desk.known) == 0


def policy(group: str) -> str:
    return (
        f"{{apiVersion: {group}/v1alpha1, kind: PropagationPolicy, metadata: {{name: p}},"
        " spec: {resourceSelectors: [{apiVersion: apps/v1, kind: Deployment}]}}"
    )


def test_a_policy_of_one_name_in_two_groups_is_refused() -> None:
    desk = Desk()
    assert codes(desk.apply(policy("policy.karmada.io") + "\n---\n" + policy("one.alibabacloud.com"))) == ["Duplicate"]
    assert not desk.apply(policy("policy.karmada.io")).faults
    verdict = desk.apply(policy("one.alibabacloud.com"))
    assert codes(verdict) == ["Duplicate"]
    assert "already in group policy.karmada.io" in verdict.faults[0].message


def test_one_bad_document_keeps_all_out() -> None:
    desk = Desk()
    assert desk.apply(web() + "\n---\n{apiVersion: v1, kind: Service, metadata: {name: A}}").faults
    assert len(desk.known) == 0


def test_a_manifest_over_the_payload_limit_is_refused_with_its_size() -> None:
    desk = Desk(max_payload=20_000)
    verdict = desk.apply(
        '{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "%s"}}' % ("x" * 5_000)
    )
    assert codes(verdict) == ["TooLarge"]


def stateful(field: str) -> str:
    return web().replace("kind: Deployment", "kind: StatefulSet").replace("spec: {", f"spec: {{{field}, ", 1)


IMMUTABLE = {
    "a Deployment's selector": (
        web(),
        web().replace("{matchLabels: {app: web}}", "{matchExpressions: [{key: app, operator: Exists}]}"),
        "spec.selector",
    ),
    "how a StatefulSet manages its pods": (
        stateful("podManagementPolicy: OrderedReady"),
        stateful("podManagementPolicy: Parallel"),
        "spec.podManagementPolicy",
    ),
    "the service of a StatefulSet": (stateful("serviceName: a"), stateful("serviceName: b"), "spec.serviceName"),
    "a Job's completions": (
        "{apiVersion: batch/v1, kind: Job, metadata: {name: j},"
        " spec: {completions: 3, template: {spec: {containers: [{name: c}]}}}}",
        "{apiVersion: batch/v1, kind: Job, metadata: {name: j},"
        " spec: {completions: 4, template: {spec: {containers: [{name: c}]}}}}",
        "spec.completions",
    ),
    "a Job's template": (
        "{apiVersion: batch/v1, kind: Job, metadata: {name: j}, spec: {template: {spec: {containers: [{name: c}]}}}}",
        "{apiVersion: batch/v1, kind: Job, metadata: {name: j}, spec: {template: {spec: {containers: [{name: d}]}}}}",
        "spec.template",
    ),
}


@pytest.mark.parametrize("name", IMMUTABLE)
def test_what_every_member_would_refuse_is_refused_here(name: str) -> None:
    before, after, path = IMMUTABLE[name]
    desk = Desk()
    assert not desk.apply(before).faults
    verdict = desk.apply(after)
    assert [(fault.code, fault.field) for fault in verdict.faults] == [("Immutable", path)]


def test_a_deletion_is_a_tombstone_that_keeps_the_uid() -> None:
    desk = Desk()
    desk.apply(web())
    (write,) = desk.delete().writes
    assert (write.change, write.desired.uid, write.desired.generation) == ("deleted", "uid-1", 2)
    assert write.desired.deleted is not None
    assert desk.delete().writes[0].payload is None, "deleting twice is deleting once"


@pytest.mark.parametrize(
    ("given_by_user", "policy", "preserve"),
    [(None, False, False), (None, True, True), (False, True, False), (True, False, True)],
)
def test_what_a_user_says_of_preserving_wins_over_the_policy(
    given_by_user: bool | None, policy: bool, preserve: bool
) -> None:
    desk = Desk()
    desk.apply(web())
    (write,) = desk.delete(preserve=given_by_user, policy=policy).writes
    assert write.desired.deleted is not None
    assert write.desired.deleted.preserve is preserve


def test_an_object_comes_back_only_when_the_old_one_is_gone() -> None:
    desk = Desk()
    desk.apply(web())
    desk.delete()
    verdict = desk.apply(web())
    assert codes(verdict) == ["BeingDeleted"]
    assert verdict.waits
    desk.known.remove(WEB.key, 99)
    (write,) = desk.apply(web()).writes
    assert (write.change, write.desired.uid, write.expected) == ("created", "uid-2", 99)


def test_a_deleted_member_or_policy_may_come_back_at_once() -> None:
    desk = Desk()
    desk.apply(CLUSTER)
    ref = ObjectRef(group="brim.dev", version="v1alpha1", kind="Cluster", name="idc")
    desk.delete(ref)
    assert desk.apply(CLUSTER).writes[0].desired.uid == "uid-2"


def test_unknown_objects_are_not_found() -> None:
    desk = Desk()
    assert codes(desk.delete()) == codes(desk.scale(3)) == codes(desk.cordon("drained")) == ["NotFound"]


@pytest.mark.parametrize(("held", "told"), [(0, []), (1, ["1 object stay"]), (7, ["7 objects stay"])])
def test_taking_a_member_out_drains_nothing_and_says_so(held: int, told: list[str]) -> None:
    desk = Desk()
    desk.apply(CLUSTER)
    desk.held = held
    (write,) = desk.delete(ObjectRef(group="brim.dev", version="v1alpha1", kind="Cluster", name="idc")).writes
    assert [said in warning for warning, said in zip(write.warnings, told, strict=True)] == [True] * len(told)


def test_a_deleted_object_cannot_be_scaled() -> None:
    desk = Desk()
    desk.apply(web())
    desk.delete()
    assert codes(desk.scale(3)) == ["NotFound"]


def test_a_kind_without_replicas_cannot_be_scaled() -> None:
    desk = Desk()
    desk.apply("{apiVersion: v1, kind: Service, metadata: {name: web}}")
    ref = ObjectRef(version="v1", kind="Service", name="web")
    assert codes(desk.scale(3, ref)) == ["NotScalable"]


def test_refs_without_a_namespace_mean_the_default_one() -> None:
    desk = Desk()
    desk.apply(web())
    bare = WEB.model_copy(update={"namespace": ""})
    assert desk.scale(9, bare).writes[0].change == "scaled"
    assert desk.delete(bare).writes[0].change == "deleted"


def test_a_members_wish_lasts() -> None:
    desk = Desk()
    desk.apply(CLUSTER)
    assert desk.cordon("drained").writes[0].change == "drained"
    assert desk.cordon("drained").writes[0].payload is None
    assert desk.apply(CLUSTER).writes[0].change == "unchanged", "a fleet file that says nothing of it leaves it"
    assert desk.cordon("cordoned").writes[0].change == "cordoned"
    assert desk.cordon("open").writes[0].change == "uncordoned"


def test_an_unknown_member_is_told_with_those_there_are() -> None:
    desk = Desk()
    desk.apply(CLUSTER)
    assert "the fleet has idc" in desk.cordon("cordoned", "cloud").faults[0].message


@given(st.lists(st.sampled_from(["apply 1", "apply 2", "label", "image", "scale 5", "scale 1", "delete", "gone"])))
def test_generations_and_revisions_only_grow_and_only_by_changes(steps: list[str]) -> None:
    desk = Desk()
    for step in steps:
        before = desk.known.get(WEB.key)
        verb, _, number = step.partition(" ")
        if verb == "gone":
            if before is not None and before.desired.deleted:
                desk.known.remove(WEB.key, before.sequence + 1000)
            continue
        verdict = {
            "apply": lambda n: desk.apply(web(replicas=int(n))),
            "label": lambda _: desk.apply(web(labels="a: b")),
            "image": lambda _: desk.apply(web(image="b")),
            "scale": lambda n: desk.scale(int(n)),
            "delete": lambda _: desk.delete(),
        }[verb](number)
        after = desk.known.get(WEB.key)
        if verdict.faults or verdict.writes[0].payload is None:
            assert after == before
        elif before is not None and after is not None and before.desired.uid == after.desired.uid:
            assert after.desired.generation == before.desired.generation + 1
            assert after.desired.revision - before.desired.revision == (verdict.writes[0].superseded is not None)
            assert before.desired.order < after.desired.order


def test_a_checked_document_names_itself() -> None:
    _, faults = changes.check_all([Document("document 4", {"kind": "A"})])
    assert {fault.object for fault in faults} == {"document 4"}
