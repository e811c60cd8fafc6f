"""Warnings: accepted, but a person should know."""

from __future__ import annotations

import itertools
import json

import pytest

from services.scheduler.core.matching import Policies
from services.scheduler.core.values import Policy
from services.scheduler.intake import changes
from services.scheduler.intake.advice import Advisor
from services.scheduler.intake.changes import Stamp
from services.scheduler.intake.intake import read_manifests
from services.scheduler.intake.known import Known
from services.scheduler.normalise import wanted_of
from shared.errors import Invalid

CLUSTER = "{apiVersion: brim.dev/v1alpha1, kind: Cluster, metadata: {name: idc}, spec: {kubeconfig: {context: idc}}}"
SERVICE = "{apiVersion: v1, kind: Service, metadata: {name: web}}"


def policy(names: str = "[idc]", selector: str = "{apiVersion: v1, kind: Service}", name: str = "p") -> str:
    return (
        f"{{apiVersion: policy.karmada.io/v1alpha1, kind: PropagationPolicy, metadata: {{name: {name}}}, "
        f"spec: {{resourceSelectors: [{selector}], placement: {{clusterAffinity: {{clusterNames: {names}}}}}}}}}"
    )


def warnings(*submissions: str) -> list[str]:
    """The warnings of the last submission, the others having been accepted before."""
    known, policies = Known(), Policies()
    sequence = itertools.count(1)
    advice: list[str] = []
    for text in submissions:
        sound = read_manifests(text.encode())
        verdict = changes.apply(sound, known, Stamp(1.0, 1, lambda: "uid"))
        assert verdict.faults == []
        for write in verdict.writes:
            known.put(write.desired, next(sequence))
            value = wanted_of(write.desired)
            if isinstance(value, Policy):
                policies.put(value)
        advice = [one for found in Advisor(known, policies).advise(sound).values() for one in found]
    return advice


def test_all_is_well() -> None:
    assert warnings(CLUSTER, SERVICE, policy()) == []
    assert warnings(CLUSTER, policy() + "\n---\n" + SERVICE) == []


def test_a_policy_that_names_unknown_members() -> None:
    (warning,) = warnings(CLUSTER, SERVICE, policy(names="[idc, moon, sun]"))
    assert warning == "no member of the fleet is called moon, sun; there are idc"


def test_members_of_the_same_submission_are_known() -> None:
    assert warnings(SERVICE, policy() + "\n---\n" + CLUSTER) == []


def test_a_policy_that_matches_nothing() -> None:
    selectors = {
        "another kind": "{apiVersion: apps/v1, kind: Deployment}",
        "another name": "{apiVersion: v1, kind: Service, name: other}",
        "other labels": "{apiVersion: v1, kind: Service, labelSelector: {matchLabels: {a: b}}}",
    }
    for name, selector in selectors.items():
        (warning,) = warnings(CLUSTER, SERVICE, policy(selector=selector))
        assert "matches no object yet" in warning, name


def test_an_object_that_no_policy_selects() -> None:
    (warning,) = warnings(CLUSTER, policy(selector="{apiVersion: apps/v1, kind: Deployment}"), SERVICE)
    assert "no policy selects it" in warning


FLEET = (
    "{apiVersion: brim.dev/v1alpha1, kind: Fleet, members: ["
    "{id: ack, kubeconfig: {context: ack}}, {id: edge, kubeconfig: {context: edge}}]}"
)


def test_a_fleet_file_is_its_members_and_who_is_not_in_it_is_told() -> None:
    assert warnings(FLEET) == []
    assert warnings(FLEET, FLEET) == []
    (warning,) = warnings(CLUSTER, FLEET)
    assert warning == (
        "Not in this fleet file, but known from before: idc. Where one is gone for good: brim delete cluster idc"
    )
    assert warnings(FLEET, CLUSTER) == [], "a single member says nothing of the others"


@pytest.mark.parametrize(
    ("members", "fields"),
    [
        ("{id: ack, simulated: {}}", ["members[0]"]),
        ("{id: ack, kubeconfig: {context: a, token: t}}", ["members[0].kubeconfig.token"]),
        ("{id: ack, kubeconfig: {context: a}}, {id: ack, kubeconfig: {context: b}}", ["members"]),
    ],
    ids=["simulated", "with a secret", "twice the same"],
)
def test_a_fleet_file_that_is_not_sound_adds_nobody(members: str, fields: list[str]) -> None:
    with pytest.raises(Invalid) as raised:
        read_manifests(f"{{apiVersion: brim.dev/v1alpha1, kind: Fleet, members: [{members}]}}".encode())
    assert [fault.field for fault in raised.value.faults] == fields


def test_a_fleet_of_somebody_elses_is_an_object_like_any() -> None:
    (checked,) = read_manifests(b"{apiVersion: agones.dev/v1, kind: Fleet, metadata: {name: games}}")
    assert (checked.ref.group, checked.ref.kind) == ("agones.dev", "Fleet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"alias": "home"}, "idc is called home too: commands will need the id"),
        ({"alias": "idc"}, "idc is called idc too: commands will need the id"),
        ({"kubeconfig": {"context": "idc"}}, "it is reached just as idc is: the room of one cluster would count twice"),
        ({"stock": {"source": "karpenter"}}, "stock from karpenter promises nothing without `pools`"),
        ({"stock": {"source": "static"}}, "stock from static promises nothing without `pools`"),
    ],
    ids=str,
)
def test_a_member_that_is_sound_but_odd(change: dict[str, object], said: str) -> None:
    first = CLUSTER.replace("spec: {", "spec: {alias: home, ")
    spec = {"kubeconfig": {"context": "new"}, **change}
    second = {"apiVersion": "brim.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "new"}, "spec": spec}
    (warning,) = warnings(first, json.dumps(second))
    assert warning.startswith(said)


def units(name: str, selector: str) -> str:
    return (
        "{apiVersion: scheduling.alibabacloud.com/v1alpha1, kind: ResourcePolicy, "
        f"metadata: {{name: {name}, namespace: test}}, "
        f"spec: {{selector: {selector}, units: [{{resource: idc}}, {{resource: eci}}]}}}}"
    )


def test_two_resource_policies_that_can_select_one_pod() -> None:
    assert warnings(units("a", "{app: web}"), units("b", "{app: db}")) == []
    (warning,) = warnings(units("a", "{app: web}"), units("b", "{tier: front}"))
    assert warning.startswith("ResourcePolicy test/a can select the same pods")


def test_a_resource_policy_is_no_object_that_goes_to_members() -> None:
    assert warnings(CLUSTER, units("a", "{app: web}")) == []


SHARE_THEN_COUNT: list[dict[str, int | str]] = [{"replicas": "10%"}, {"replicas": 5}]
NEVER = "step 2 has replicas 5 after 10%: Kruise never comes to a count that follows a percentage, so give percentages"
STEPS: dict[str, tuple[dict[str, object], bool]] = {
    "a Deployment in partitions": ({"canary": {"steps": SHARE_THEN_COUNT}}, True),
    "a count, then a percentage": ({"canary": {"steps": [{"replicas": 1}, {"replicas": "50%"}]}}, False),
    "with an extra workload": ({"canary": {"steps": SHARE_THEN_COUNT, "enableExtraWorkloadForCanary": True}}, False),
    "blue-green": ({"blueGreen": {"steps": SHARE_THEN_COUNT}}, False),
}


@pytest.mark.parametrize("name", STEPS)
def test_steps_that_kruise_never_comes_to(name: str) -> None:
    strategy, warned = STEPS[name]
    assert (NEVER in warnings(json.dumps(_rollout("Deployment", strategy)))) == warned


def test_other_kinds_come_to_every_step() -> None:
    assert NEVER not in warnings(json.dumps(_rollout("StatefulSet", {"canary": {"steps": SHARE_THEN_COUNT}})))


def _rollout(kind: str, strategy: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "rollouts.kruise.io/v1beta1",
        "kind": "Rollout",
        "metadata": {"name": "web"},
        "spec": {"workloadRef": {"apiVersion": "apps/v1", "kind": kind, "name": "web"}, "strategy": strategy},
    }
