"""One document by itself: what is refused, and what is made of the rest."""

from __future__ import annotations

import copy

import pytest
import yaml

from services.scheduler.intake.checking import Checked, check
from shared.contracts.base import JsonObject
from shared.documents import Document

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: test}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, resources: {requests: {cpu: 500m}, limits: {cpu: "1"}}}]}
"""


def manifest(text: str = DEPLOYMENT, **changes: object) -> JsonObject:
    """A manifest with fields set by path (dots written as two underscores); None removes one."""
    found = copy.deepcopy(yaml.safe_load(text))
    for path, value in changes.items():
        *above, last = path.split("__")
        node = found
        for step in above:
            node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
        if value is None:
            node.pop(last, None)
        else:
            node[int(last) if isinstance(node, list) else last] = value
    assert isinstance(found, dict)
    return found


def faults(document: JsonObject) -> list[tuple[str, str]]:
    result = check(Document("document 1", document))
    assert isinstance(result, list), "it was accepted"
    return [(fault.object, fault.field) for fault in result]


def accepted(document: JsonObject) -> Checked:
    result = check(Document("document 1", document))
    assert isinstance(result, Checked), [str(fault) for fault in result]
    return result


def required(term: JsonObject) -> JsonObject:
    """With this required node affinity."""
    terms = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    return manifest(spec__template__spec__affinity={"nodeAffinity": terms})


CONTAINER = "spec__template__spec__containers"
TERMS = "spec.template.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"
WEB = "Deployment test/web"

BAD: dict[str, tuple[JsonObject, tuple[str, str]]] = {
    "no apiVersion": (manifest(apiVersion=None), ("document 1", "apiVersion")),
    "an apiVersion that is none": (manifest(apiVersion="apps/v1/x"), ("document 1", "apiVersion")),
    "no kind": (manifest(kind=None), ("document 1", "kind")),
    "a kind with a dot": (manifest(kind="a.b"), ("document 1", "kind")),
    "no metadata": (manifest(metadata=None), ("document 1", "metadata")),
    "no name": (manifest(metadata__name=None), ("document 1", "metadata.name")),
    "a generated name": (
        manifest(metadata={"generateName": "web-", "namespace": "test"}),
        ("document 1", "metadata.name"),
    ),
    "a name that is a number": (manifest(metadata__name=7), ("document 1", "metadata.name")),
    "a namespace that is a number": (manifest(metadata__namespace=7), ("document 1", "metadata.namespace")),
    "capitals in a name": (manifest(metadata__name="Web"), ("Deployment test/Web", "metadata.name")),
    "an underscore in a namespace": (
        manifest(metadata__namespace="a_b"),
        ("Deployment a_b/web", "metadata.namespace"),
    ),
    "a service with a dot": (
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a.b"}},
        ("Service a.b", "metadata.name"),
    ),
    "a role with a slash": (
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "a/b"}},
        ("ClusterRole a/b", "metadata.name"),
    ),
    "a namespace for a kind without": (
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": "b"}},
        ("Namespace b/a", "metadata.namespace"),
    ),
    "a label that is a number": (manifest(metadata__labels={"a": 1}), (WEB, "metadata.labels.a")),
    "a label that is too long": (manifest(metadata__labels={"a": "x" * 64}), (WEB, "metadata.labels.a")),
    "labels that are a list": (manifest(metadata__labels=["a"]), (WEB, "metadata.labels")),
    "negative replicas": (manifest(spec__replicas=-1), (WEB, "spec.replicas")),
    "replicas beyond a million": (manifest(spec__replicas=1_000_001), (WEB, "spec.replicas")),
    "replicas in a text": (manifest(spec__replicas="3"), (WEB, "spec.replicas")),
    "a part of a replica": (manifest(spec__replicas=1.5), (WEB, "spec.replicas")),
    "true replicas": (manifest(spec__replicas=True), (WEB, "spec.replicas")),
    "no spec": (manifest(spec=None), (WEB, "spec")),
    "a spec that is a text": (manifest(spec="x"), (WEB, "spec")),
    "no template": (manifest(spec__template=None), (WEB, "spec.template")),
    "no containers": (
        manifest(spec__template__spec={"containers": []}),
        (WEB, "spec.template.spec.containers"),
    ),
    "no selector": (manifest(spec__selector=None), (WEB, "spec.selector")),
    "a selector for other pods": (
        manifest(spec__selector={"matchLabels": {"app": "web", "key1": "a"}}),
        (WEB, "spec.selector"),
    ),
    "an expression for other pods": (
        manifest(spec__selector={"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}),
        (WEB, "spec.selector"),
    ),
    "a negative request": (
        manifest(**{f"{CONTAINER}__0__resources__requests__cpu": "-1"}),
        (WEB, "spec.template.spec.containers[0].resources.requests"),
    ),
    "no quantity": (
        manifest(**{f"{CONTAINER}__0__resources__requests__memory": "4 GB"}),
        (WEB, "spec.template.spec.containers[0].resources.requests"),
    ),
    "an absurd quantity": (
        manifest(**{f"{CONTAINER}__0__resources__requests__memory": "9999999Ei"}),
        (WEB, "spec.template.spec.containers[0].resources.requests"),
    ),
    "half a GPU": (
        manifest(**{f"{CONTAINER}__0__resources__limits": {"nvidia.com/gpu": "0.5"}}),
        (WEB, "spec.template.spec.containers[0].resources.limits"),
    ),
    "a request above its limit": (
        manifest(**{f"{CONTAINER}__0__resources__requests__cpu": "2"}),
        (WEB, "spec.template.spec.containers[0].resources"),
    ),
    "a node selector that is a list": (
        manifest(spec__template__spec__nodeSelector=["a"]),
        (WEB, "spec.template.spec.nodeSelector"),
    ),
    "no quantity for the whole pod": (
        manifest(spec__template__spec__resources={"requests": {"cpu": "much"}}),
        (WEB, "spec.template.spec.resources.requests"),
    ),
    "a device for the whole pod": (
        manifest(spec__template__spec__resources={"limits": {"nvidia.com/gpu": "1"}}),
        (WEB, "spec.template.spec.resources.limits"),
    ),
    "a comparison with a word": (
        required({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["many"]}]}),
        (WEB, f"{TERMS}[0].matchExpressions[0]"),
    ),
    "In without values": (
        required({"matchExpressions": [{"key": "zone", "operator": "In"}]}),
        (WEB, f"{TERMS}[0].matchExpressions[0]"),
    ),
    "a field that nodes cannot be selected by": (
        required({"matchFields": [{"key": "spec.unschedulable", "operator": "In", "values": ["true"]}]}),
        (WEB, f"{TERMS}[0].matchFields[0].key"),
    ),
    "an unknown operator": (
        manifest(spec__template__spec__tolerations=[{"key": "a", "operator": "Like"}]),
        (WEB, "spec.template.spec.tolerations[0].operator"),
    ),
    "a million pods by groups": (
        {
            "apiVersion": "leaderworkerset.x-k8s.io/v1",
            "kind": "LeaderWorkerSet",
            "metadata": {"name": "a"},
            "spec": {"replicas": 1000, "leaderWorkerTemplate": {"size": 2000, "workerTemplate": {"spec": {}}}},
        },
        ("LeaderWorkerSet default/a", "spec"),
    ),
    "a kind that comes later": (
        {"apiVersion": "policy.karmada.io/v1alpha1", "kind": "OverridePolicy", "metadata": {"name": "a"}},
        ("OverridePolicy default/a", "kind"),
    ),
    "a bad policy": (
        {
            "apiVersion": "policy.karmada.io/v1alpha1",
            "kind": "PropagationPolicy",
            "metadata": {"name": "a"},
            "spec": {"resourceSelectors": [{"apiVersion": "v1"}]},
        },
        ("PropagationPolicy default/a", "spec.resourceSelectors[0].kind"),
    ),
    "a bad cluster": (
        {"apiVersion": "brim.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": "a"}, "spec": {}},
        ("Cluster a", "spec.kubeconfig"),
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_refused_by_the_fields_path(name: str) -> None:
    document, expected = BAD[name]
    assert faults(document) == [expected]


def test_several_faults_are_told_at_once() -> None:
    found = faults(manifest(spec__replicas=-1, metadata__labels={"a": 1}, spec__selector=None))
    assert found == [(WEB, "metadata.labels.a"), (WEB, "spec.replicas"), (WEB, "spec.selector")]


def test_what_a_server_wrote_is_stripped() -> None:
    dressed = manifest(
        status={"replicas": 3},
        metadata__uid="u",
        metadata__resourceVersion="7",
        metadata__creationTimestamp="2026-01-01T00:00:00Z",
        metadata__managedFields=[{}],
        metadata__generation=4,
        metadata__labels={"app": "web", "brim.dev/managed": "true", "brim.dev/workload": "u"},
        metadata__annotations={"brim.dev/order": "1.2", "kubectl.kubernetes.io/last-applied-configuration": "{}"},
    )
    assert accepted(dressed).manifest == manifest(metadata__labels={"app": "web"})


def test_a_manifest_without_a_namespace_is_in_the_default_one() -> None:
    checked = accepted(manifest(metadata__namespace=None))
    assert str(checked.ref) == "Deployment default/web"
    assert checked.manifest["metadata"] == {"name": "web", "namespace": "default"}


def test_cluster_scoped_kinds_get_no_namespace() -> None:
    checked = accepted({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})
    assert str(checked.ref) == "Namespace a"


def test_rbac_names_may_hold_colons() -> None:
    name = "system:node-reader"
    accepted({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": name}})


def test_any_other_kind_is_taken_as_it_is() -> None:
    widget: JsonObject = {
        "apiVersion": "example.com/v1",
        "kind": "Widget",
        "metadata": {"name": "r", "namespace": "test"},
        "spec": {"anything": [1, {"goes": True}]},
    }
    checked = accepted(widget)
    assert checked.manifest == widget
    assert checked.workload is None
