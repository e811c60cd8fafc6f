"""DESIRED → what decisions are made from."""

from __future__ import annotations

import pytest
import yaml

from services.scheduler.core.values import Gone, MemberFacts, Policy, Workload
from services.scheduler.normalise import wanted_of
from shared.contracts.desired import Desired, Tombstone
from shared.contracts.refs import ObjectRef, Order


def desired(text: str, deleted: bool = False) -> Desired:
    manifest = yaml.safe_load(text)
    return Desired(
        ref=ObjectRef.of(manifest),
        uid="u",
        generation=2,
        revision=1,
        order=Order(epoch=1, counter=2),
        manifest=manifest,
        created_at=5.0,
        changed_at=6.0,
        deleted=Tombstone(at=7.0) if deleted else None,
    )


def workload(text: str) -> Workload:
    value = wanted_of(desired(text))
    assert isinstance(value, Workload)
    return value


def read_policy(text: str) -> Policy:
    value = wanted_of(
        desired(
            "{apiVersion: policy.karmada.io/v1alpha1, kind: PropagationPolicy, metadata: {name: p, namespace: test},"
            f" spec: {{resourceSelectors: [{{apiVersion: apps/v1, kind: Deployment}}], {text}}}}}"
        )
    )
    assert isinstance(value, Policy)
    return value


def test_a_deployment() -> None:
    found = workload(
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web, namespace: test, labels: {a: b}},"
        " spec: {replicas: 4, template: {spec: {nodeSelector: {disk: ssd}, tolerations: [{operator: Exists}],"
        " containers: [{resources: {requests: {cpu: 1}}}],"
        " affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution:"
        " {nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a]}]}]}}}}}}}"
    )
    assert (found.replicas, found.divisible, found.is_job, found.labels) == (4, True, False, {"a": "b"})
    (component,) = found.components
    assert component.count == 4
    assert component.shape.requests == (("cpu", 1000), ("pods", 1))
    assert component.shape.node_selector == (("disk", "ssd"),)
    assert [e.key for e in component.shape.affinity[0].expressions] == ["zone"]
    assert [t.operator for t in component.shape.tolerations] == ["Exists"]


def test_a_pod_that_names_its_node_fits_only_there() -> None:
    (component,) = workload(
        "{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: a}, spec: {nodeName: n1, containers: []}}"
    ).components
    (term,) = component.shape.affinity
    assert [(e.key, e.values) for e in term.fields] == [("metadata.name", ("n1",))]


def test_a_job_knows_its_completions() -> None:
    found = workload(
        "{apiVersion: batch/v1, kind: Job, metadata: {name: j, namespace: a}, spec:"
        " {parallelism: 8, completions: 5, completionMode: Indexed, template: {spec: {containers: []}}}}"
    )
    assert (found.is_job, found.replicas, found.completions, found.indexed) == (True, 5, 5, True)


@pytest.mark.parametrize(("management", "ordered"), [("", True), ("podManagementPolicy: Parallel,", False)])
def test_stateful_sets_are_ordered_unless_they_say_otherwise(management: str, ordered: bool) -> None:
    found = workload(
        "{apiVersion: apps/v1, kind: StatefulSet, metadata: {name: s, namespace: a}, spec:"
        f" {{{management} template: {{spec: {{containers: []}}}}}}}}"
    )
    assert found.ordered is ordered


def test_components_that_go_together_are_not_divided() -> None:
    found = workload(
        "{apiVersion: kubeflow.org/v1, kind: PyTorchJob, metadata: {name: j, namespace: a}, spec:"
        " {pytorchReplicaSpecs: {Master: {template: {spec: {containers: []}}},"
        " Worker: {replicas: 3, template: {spec: {containers: []}}}}}}"
    )
    assert not found.divisible
    assert [component.count for component in found.components] == [1, 3]


def test_other_kinds_have_no_components() -> None:
    found = workload("{apiVersion: v1, kind: Service, metadata: {name: s, namespace: a}}")
    assert (found.components, found.divisible, found.replicas) == ((), False, 0)


DIVISIONS = {
    "nothing said": ("placement: {}", "duplicated"),
    "duplicated": ("placement: {replicaScheduling: {replicaSchedulingType: Duplicated}}", "duplicated"),
    "divided": ("placement: {replicaScheduling: {replicaSchedulingType: Divided}}", "static"),
    "aggregated": ("placement: {replicaScheduling: {replicaDivisionPreference: Aggregated}}", "aggregated"),
    "by room": (
        "placement: {replicaScheduling: {weightPreference: {dynamicWeight: AvailableReplicas}}}",
        "dynamic",
    ),
    "by weight": (
        "placement: {replicaScheduling: {weightPreference:"
        " {staticWeightList: [{targetCluster: {clusterNames: [a]}, weight: 3}]}}}",
        "static",
    ),
}


@pytest.mark.parametrize("name", DIVISIONS)
def test_divisions(name: str) -> None:
    text, division = DIVISIONS[name]
    assert read_policy(text).division == division


def test_a_policy() -> None:
    found = read_policy(
        "priority: 3, conflictResolution: Overwrite, autoScaling: {ecsProvision: true}, placement:"
        " {clusterAffinities: [{affinityName: one, clusterNames: [a]}, {affinityName: two,"
        " labelSelector: {matchLabels: {x: y}}, exclude: [b]}],"
        " spreadConstraints: [{spreadByField: region, minGroups: 2, maxGroups: 3}, {spreadByLabel: rack}]},"
        " suspension: {dispatchingOnClusters: {clusterNames: [c]}}"
    )
    assert (found.key, found.namespace, found.priority) == ("PropagationPolicy test/p", "test", 3)
    assert [(tier.name, tier.affinity.names) for tier in found.tiers] == [("one", ("a",)), ("two", None)]
    assert found.tiers[1].affinity.exclude == ("b",)
    assert [(s.by, s.label, s.minimum, s.maximum) for s in found.spread] == [
        ("region", "", 2, 3),
        ("label", "rack", 1, 0),
    ]
    assert (found.ecs_provision, found.overwrite, found.suspend_on) == (True, True, ("c",))


def test_a_member() -> None:
    value = wanted_of(
        desired(
            "{apiVersion: brim.dev/v1alpha1, kind: Cluster, metadata: {name: idc, labels: {a: b}}, spec:"
            " {region: r, wish: drained, taints: [{key: k, effect: NoSchedule}], kubeconfig: {context: c}}}"
        )
    )
    assert isinstance(value, MemberFacts)
    assert (value.id, value.region, value.wish, dict(value.labels)) == ("idc", "r", "drained", {"a": "b"})
    assert [str(taint) for taint in value.taints] == ["k:NoSchedule"]


def test_what_is_deleted() -> None:
    cluster = "{apiVersion: brim.dev/v1alpha1, kind: Cluster, metadata: {name: idc}, spec: {kubeconfig: {context: c}}}"
    assert wanted_of(desired(cluster, deleted=True)) == Gone("member", "idc")
    service = wanted_of(desired("{apiVersion: v1, kind: Service, metadata: {name: s, namespace: a}}", deleted=True))
    assert isinstance(service, Workload), "its members still have it"
    assert service.deleted is not None
