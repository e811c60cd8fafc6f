"""Policies as people write them: what is accepted, and what is refused by name."""

from __future__ import annotations

import copy

import pytest
import yaml

from shared.contracts.base import JsonObject
from shared.contracts.policy import GROUPS, Policy, kind_fault
from shared.contracts.refs import ObjectRef
from shared.errors import Invalid

HYBRID = """
apiVersion: policy.one.alibabacloud.com/v1alpha1
kind: PropagationPolicy
metadata: {name: vllm-deploy-pp, namespace: test}
spec:
  autoScaling: {ecsProvision: true}
  placement:
    clusterAffinities:
    - {affinityName: idc, clusterNames: [idc]}
    - {affinityName: ack, clusterNames: [cloud]}
    replicaScheduling:
      replicaSchedulingType: Divided
      replicaDivisionPreference: Weighted
      weightPreference: {dynamicWeight: AvailableReplicas}
  preserveResourcesOnDeletion: false
  resourceSelectors:
  - {apiVersion: apps/v1, kind: Deployment, namespace: test}
  schedulerName: default-scheduler
"""


def policy(text: str = HYBRID, **spec: object) -> JsonObject:
    manifest = yaml.safe_load(text)
    for path, value in spec.items():
        _put(manifest["spec"], path.split("__"), value)
    return copy.deepcopy(manifest)  # type: ignore[no-any-return]


def _put(node: dict[str, object], steps: list[str], value: object) -> None:
    for step in steps[:-1]:
        node = node.setdefault(step, {})  # type: ignore[assignment]
    node[steps[-1]] = value


def faults(manifest: JsonObject) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        Policy.read(manifest)
    return [(fault.field, fault.code) for fault in caught.value.faults]


def test_the_hybrid_policy_reads_as_written() -> None:
    read = Policy.read(policy())
    placement = read.spec.placement
    assert [tier.cluster_names for tier in placement.tiers] == [("idc",), ("cloud",)]
    assert (placement.scheduling, placement.division) == ("Divided", "Weighted")
    assert read.spec.auto_scaling.ecs_provision
    assert read.warnings() == []


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_all_three_groups_are_accepted(group: str) -> None:
    manifest = policy() | {"apiVersion": f"{group}/v1alpha1"}
    assert Policy.read(manifest).api_version == f"{group}/v1alpha1"


def test_without_replica_scheduling_every_member_gets_all() -> None:
    manifest = policy()
    del manifest["spec"]["placement"]  # type: ignore[union-attr, call-overload, index, arg-type]
    placement = Policy.read(manifest).spec.placement
    assert placement.scheduling == "Duplicated"
    assert len(placement.tiers) == 1
    assert placement.tiers[0].cluster_names == ()


def test_replica_scheduling_that_says_nothing_divides_by_weight() -> None:
    placement = Policy.read(policy(placement__replicaScheduling={})).spec.placement
    assert (placement.scheduling, placement.division) == ("Divided", "Weighted")


ACCEPTED: dict[str, dict[str, object]] = {
    "propagateDeps false": {"propagateDeps": False},
    "failover null": {"failover": None},
    "failover empty": {"failover": {}},
    "empty overflow affinities": {
        "placement__clusterAffinities": [{"affinityName": "a", "clusterNames": ["x"], "overflowAffinities": []}]
    },
    "preemption Never": {"preemption": "Never"},
    "the default scheduling type": {"customSchedulingType": ""},
    "our own scheduler": {"schedulerName": "brim-scheduler"},
    "priority": {"priority": -5},
    "overwrite": {"conflictResolution": "Overwrite"},
    "suspension": {"suspension": {"scheduling": True, "dispatchingOnClusters": {"clusterNames": ["a"]}}},
    "tolerations": {
        "placement__clusterTolerations": [
            {"key": "a", "operator": "Equal", "value": "b", "effect": "NoSchedule"},
            {"operator": "Exists"},
        ]
    },
    "spread by region and cluster": {
        "placement__spreadConstraints": [
            {"spreadByField": "region", "minGroups": 2, "maxGroups": 3},
            {"spreadByField": "cluster", "minGroups": 2},
            {"spreadByLabel": "rack"},
        ]
    },
    "static weights": {
        "placement__replicaScheduling": {
            "replicaSchedulingType": "Divided",
            "weightPreference": {"staticWeightList": [{"targetCluster": {"clusterNames": ["a"]}, "weight": 2}]},
        }
    },
    "a name of 32 characters": {"placement__clusterAffinities": [{"affinityName": "a" * 32}]},
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    Policy.read(policy(**ACCEPTED[name]))


NOT_YET: dict[str, tuple[dict[str, object], str]] = {
    "dependencies": ({"propagateDeps": True}, "spec.propagateDeps"),
    "failover": ({"failover": {"cluster": {"purgeMode": "Directly"}}}, "spec.failover"),
    "gangs": ({"customSchedulingType": "Gang"}, "spec.customSchedulingType"),
    "lazy activation": ({"activationPreference": "Lazy"}, "spec.activationPreference"),
    "association": ({"association": True}, "spec.association"),
    "dependent overrides": ({"dependentOverrides": ["a"]}, "spec.dependentOverrides"),
    "preemption": ({"preemption": "Always"}, "spec.preemption"),
    "priority classes": ({"schedulePriority": {"priorityClassName": "a"}}, "spec.schedulePriority"),
    "gangs by the division": (
        {"placement__replicaScheduling": {"customSchedulingType": "Gang"}},
        "spec.placement.replicaScheduling.customSchedulingType",
    ),
    "a taint tolerated for a while": (
        {"placement__clusterTolerations": [{"operator": "Exists"}, {"operator": "Exists", "tolerationSeconds": 300}]},
        "spec.placement.clusterTolerations[1].tolerationSeconds",
    ),
    "a taint tolerated for no time": (
        {"placement__clusterTolerations": [{"operator": "Exists", "tolerationSeconds": 0}]},
        "spec.placement.clusterTolerations[0].tolerationSeconds",
    ),
    "affinity between workloads": (
        {"placement__workloadAffinity": {"affinityGroup": "a"}},
        "spec.placement.workloadAffinity",
    ),
    "overflow affinities": (
        {"placement__clusterAffinities": [{"affinityName": "a", "overflowAffinities": [{"clusterNames": ["b"]}]}]},
        "spec.placement.clusterAffinities[0].overflowAffinities",
    ),
}


@pytest.mark.parametrize("name", NOT_YET)
def test_what_brim_does_not_do_yet_is_refused_by_name(name: str) -> None:
    spec, path = NOT_YET[name]
    assert faults(policy(**spec)) == [(path, "FieldNotSupported")]


WRONG: dict[str, tuple[dict[str, object], str]] = {
    "both affinity forms": ({"placement__clusterAffinity": {"clusterNames": ["a"]}}, "spec.placement"),
    "an unknown field": ({"placment": {}}, "spec.placment"),
    "an unknown field deep down": (
        {"placement__replicaScheduling": {"replicaSchedulinType": "Divided"}},
        "spec.placement.replicaScheduling.replicaSchedulinType",
    ),
    "an affinity without a name": (
        {"placement__clusterAffinities": [{"clusterNames": ["a"]}]},
        "spec.placement.clusterAffinities[0].affinityName",
    ),
    "an affinity's name that is too long": (
        {"placement__clusterAffinities": [{"affinityName": "a" * 33}]},
        "spec.placement.clusterAffinities[0].affinityName",
    ),
    "two affinities of one name": (
        {"placement__clusterAffinities": [{"affinityName": "a"}, {"affinityName": "a"}]},
        "spec.placement.clusterAffinities",
    ),
    "another scheduler": ({"schedulerName": "volcano"}, "spec.schedulerName"),
    "a priority that is no number": ({"priority": "5"}, "spec.priority"),
    "a priority beyond 32 bits": ({"priority": 2**31}, "spec.priority"),
    "a weight of zero": (
        {
            "placement__replicaScheduling": {
                "weightPreference": {"staticWeightList": [{"targetCluster": {}, "weight": 0}]}
            }
        },
        "spec.placement.replicaScheduling.weightPreference.staticWeightList[0].weight",
    ),
    "more groups at least than at most": (
        {"placement__spreadConstraints": [{"spreadByField": "region", "minGroups": 3, "maxGroups": 2}]},
        "spec.placement.spreadConstraints[0]",
    ),
    "spread by both": (
        {"placement__spreadConstraints": [{"spreadByField": "region", "spreadByLabel": "a"}]},
        "spec.placement.spreadConstraints[0]",
    ),
    "nothing selected": ({"resourceSelectors": []}, "spec.resourceSelectors"),
    "suspended in both ways": (
        {"suspension": {"dispatching": True, "dispatchingOnClusters": {"clusterNames": ["a"]}}},
        "spec.suspension",
    ),
    "an expression without values": (
        {
            "placement": {
                "clusterAffinity": {"labelSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
            }
        },
        "spec.placement.clusterAffinity.labelSelector.matchExpressions[0]",
    ),
    "a toleration of nothing": ({"placement__clusterTolerations": [{}]}, "spec.placement.clusterTolerations[0]"),
    "a field selector by colour": (
        {
            "placement": {
                "clusterAffinity": {
                    "fieldSelector": {"matchExpressions": [{"key": "colour", "operator": "In", "values": ["red"]}]}
                }
            }
        },
        "spec.placement.clusterAffinity.fieldSelector.matchExpressions[0].key",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_fields_are_named_by_their_paths(name: str) -> None:
    spec, path = WRONG[name]
    assert faults(policy(**spec)) == [(path, "Invalid")]


def test_all_faults_are_told_at_once() -> None:
    assert faults(policy(propagateDeps=True, priority="high", colour="red")) == [
        ("spec.propagateDeps", "FieldNotSupported"),
        ("spec.priority", "Invalid"),
        ("spec.colour", "Invalid"),
    ]


def test_a_namespaced_policy_selects_in_its_own_namespace_only() -> None:
    manifest = policy(resourceSelectors=[{"apiVersion": "v1", "kind": "Service", "namespace": "other"}])
    with pytest.raises(Invalid, match=r"selects in its own namespace 'test'; use a ClusterPropagationPolicy"):
        Policy.read(manifest)
    cluster_wide = manifest | {"kind": "ClusterPropagationPolicy", "metadata": {"name": "p"}}
    assert not Policy.read(cluster_wide).namespaced


def test_an_unknown_version_is_refused() -> None:
    assert faults(policy() | {"apiVersion": "policy.karmada.io/v1"}) == [("apiVersion", "Invalid")]


@pytest.mark.parametrize(("text", "rate"), [("12", 12), ("0", 0)])
def test_failback_is_a_rate_per_hour(text: str, rate: int) -> None:
    metadata: JsonObject = {"name": "p", "namespace": "test", "annotations": {"brim.dev/failback": text}}
    assert Policy.read(policy() | {"metadata": metadata}).failback_per_hour == rate


@pytest.mark.parametrize("text", ["yes", "-1", "1.5", ""])
def test_a_failback_that_is_no_rate_is_refused(text: str) -> None:
    metadata: JsonObject = {"name": "p", "namespace": "test", "annotations": {"brim.dev/failback": text}}
    assert faults(policy() | {"metadata": metadata}) == [("metadata.annotations", "Invalid")]


WARNINGS: dict[str, tuple[dict[str, object], str]] = {
    "a member in two tiers": (
        {
            "placement__clusterAffinities": [
                {"affinityName": "a", "clusterNames": ["x"]},
                {"affinityName": "b", "clusterNames": ["x", "y"]},
            ]
        },
        "cluster x is named again in affinity b",
    ),
    "weights without a division": (
        {
            "placement__replicaScheduling": {
                "replicaSchedulingType": "Duplicated",
                "weightPreference": {"dynamicWeight": "AvailableReplicas"},
            },
            "autoScaling": {},
        },
        "have no effect",
    ),
    "nodes to be added where the numbers are fixed": (
        {
            "placement__replicaScheduling": {"replicaSchedulingType": "Duplicated"},
            "autoScaling": {"ecsProvision": True},
        },
        "ecsProvision has no effect",
    ),
    "both sorts of weights": (
        {
            "placement__replicaScheduling": {
                "weightPreference": {
                    "dynamicWeight": "AvailableReplicas",
                    "staticWeightList": [{"targetCluster": {}, "weight": 1}],
                }
            }
        },
        "staticWeightList has no effect",
    ),
}


@pytest.mark.parametrize("name", WARNINGS)
def test_warnings(name: str) -> None:
    spec, sentence = WARNINGS[name]
    (warning,) = Policy.read(policy(**spec)).warnings()
    assert sentence in warning


KINDS = {
    "FederatedHPA": ("autoscaling.karmada.io", True),
    "OverridePolicy": ("policy.one.alibabacloud.com", True),
    "ClusterOverridePolicy": ("policy.karmada.io", True),
    "ResourcePolicy": ("scheduling.alibabacloud.com", False),
    "ClusterTaintPolicy": ("policy.karmada.io", True),
    "Rollout": ("rollouts.kruise.io", False),
    "PropagationPolicy": ("policy.karmada.io", False),
}


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_that_come_later_are_refused_by_name(kind: str) -> None:
    group, refused = KINDS[kind]
    fault = kind_fault(ObjectRef(group=group, version="v1alpha1", kind=kind, namespace="a", name="b"))
    assert (fault is not None) == refused
    if fault is not None:
        assert fault.code == "KindNotSupported"
        assert kind in fault.message
