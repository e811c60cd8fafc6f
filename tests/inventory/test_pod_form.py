"""What is told of a pod, straight from the bytes that a member sends."""

from __future__ import annotations

import json

import pytest

from services.inventory.core.selectors import Requirement
from services.inventory.core.sight import Reach
from services.inventory.pod_form import owner_of, told
from services.inventory.pod_sight import sight_of
from services.inventory.projections import Pod
from shared.contracts.refs import ObjectRef

TOLERATION = {"key": "virtual-kubelet.io/provider", "operator": "Exists"}
ANTI = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}
AFFINITY = {
    "nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []},
    "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [ANTI]},
}
SPEC = {
    "schedulerName": "ack-co-scheduler",
    "nodeSelector": {"disk": "ssd"},
    "affinity": AFFINITY,
    "tolerations": [TOLERATION],
    "topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1}],
    "resourceClaims": [{"name": "gpu"}],
    "schedulingGates": [{"name": "quota"}],
    "priority": 7,
    "preemptionPolicy": "Never",
    "volumes": [
        {"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
        {"name": "token", "projected": {"sources": []}},
    ],
    "containers": [
        {
            "name": "c",
            "resources": {"requests": {"cpu": "2", "memory": "1Gi"}},
            "ports": [{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081, "hostIP": "10.0.0.1"}],
        }
    ],
    "initContainers": [
        {"name": "once", "ports": [{"hostPort": 1}]},
        {"name": "sidecar", "restartPolicy": "Always", "ports": [{"hostPort": 53, "protocol": "UDP"}]},
    ],
}


def pod(spec: dict[str, object] | None = None, status: dict[str, object] | None = None, **metadata: object) -> Pod:
    written = {
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "creationTimestamp": "2026-01-02T03:04:00Z"},
        "spec": {"schedulerName": "brim-scheduler", "containers": []} if spec is None else spec,
        "status": status or {},
    }
    written["metadata"].update(metadata)
    return Pod.model_validate_json(json.dumps(written))


def tell(found: Pod, annotations: frozenset[str] = frozenset()):
    return told("idc", found, owner=None, annotations=annotations, instance=None, now=1.0)


def test_what_scheduling_reads_of_the_spec_is_told_as_it_stands_there() -> None:
    found = tell(pod(SPEC))
    assert found.spec == {
        "nodeSelector": {"disk": "ssd"},
        "affinity": AFFINITY,
        "tolerations": [TOLERATION],
        "topologySpreadConstraints": [{"topologyKey": "zone", "maxSkew": 1}],
        "resourceClaims": [{"name": "gpu"}],
        "schedulingGates": [{"name": "quota"}],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}},
            {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
        ],
        "ports": [
            {"hostPort": 8081, "protocol": "TCP", "hostIP": "10.0.0.1"},
            {"hostPort": 53, "protocol": "UDP"},
        ],
    }
    assert found.requests == {"cpu": 2000, "memory": 1024**3, "pods": 1}
    assert (found.scheduler, found.priority, found.preemption) == ("ack-co-scheduler", 7, "Never")


def test_a_pod_that_asks_for_nothing_special_has_an_empty_spec() -> None:
    assert tell(pod()).spec == {}


def test_of_others_only_what_keeps_ours_away_is_kept() -> None:
    found = pod({**SPEC, "schedulerName": "default-scheduler", "nodeName": "n"})
    assert set(tell(found).spec) == {"affinity", "ports"}
    assert set(tell(found).spec["affinity"]) == {"podAntiAffinity"}
    plain = pod({"schedulerName": "default-scheduler", "tolerations": [TOLERATION], "containers": []})
    assert plain.spec.tolerations == ()
    assert "tolerations" not in plain.spec.model_dump(exclude_unset=True)


def test_annotations_are_told_where_scheduling_reads_them() -> None:
    annotations = {
        "k8s.aliyun.com/eci-use-specs": "2-4Gi",
        "controller.kubernetes.io/pod-deletion-cost": "3",
        "tier": "gold",
        "note": "long",
    }
    found = tell(pod(annotations=annotations), frozenset({"tier"}))
    assert found.annotations == {name: value for name, value in annotations.items() if name != "note"}


UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "full",
    "lastTransitionTime": "2026-01-02T03:04:05Z",
}


@pytest.mark.parametrize(
    ("spec", "status", "bound_at", "unschedulable"),
    [
        pytest.param({}, {}, None, None, id="new"),
        pytest.param({}, {"conditions": [UNSCHEDULABLE]}, None, "full", id="unschedulable"),
        pytest.param(
            {"nodeName": "n"},
            {"conditions": [{**UNSCHEDULABLE, "status": "True", "reason": "", "message": ""}]},
            1767323045.0,
            None,
            id="bound",
        ),
        pytest.param({"nodeName": "n"}, {"startTime": "2026-01-02T03:04:06Z"}, 1767323046.0, None, id="started"),
        pytest.param({"nodeName": "n"}, {}, 1767323040.0, None, id="created with a node"),
    ],
)
def test_when_it_got_its_node(
    spec: dict[str, object], status: dict[str, object], bound_at: float | None, unschedulable: str | None
) -> None:
    found = tell(pod({"schedulerName": "brim-scheduler", **spec}, status))
    assert (found.bound_at, found.unschedulable) == (bound_at, unschedulable)


@pytest.mark.parametrize(
    ("node", "phase", "told_as"),
    [("vk", "Pending", "NoStock: sold out"), ("vk", "Running", None), ("", "Pending", None)],
    ids=["it waits", "it runs", "it has no node"],
)
def test_what_its_virtual_node_says_of_an_instance_that_it_could_not_have(
    node: str, phase: str, told_as: str | None
) -> None:
    status = {"phase": phase, "reason": "ProviderFailed", "message": "NoStock: sold out"}
    assert tell(pod({"schedulerName": "brim-scheduler", "nodeName": node}, status)).no_instance == told_as


# -- whose it is

MANAGED = ObjectRef(group="jobset.x-k8s.io", version="v1", kind="JobSet", namespace="shop", name="train")


def controlled(kind: str, name: str, api_version: str = "apps/v1", **labels: str) -> Pod:
    owner = {"apiVersion": api_version, "kind": kind, "name": name, "controller": True}
    other = {"apiVersion": "v1", "kind": "ConfigMap", "name": "other"}
    return pod(ownerReferences=[other, owner], labels={k.replace("_", "-"): v for k, v in labels.items()})


@pytest.mark.parametrize(
    ("found", "managed", "owner"),
    [
        pytest.param(pod(), None, None, id="nobody's"),
        pytest.param(
            controlled("ReplicaSet", "web-5f7", pod_template_hash="5f7"), None, "apps Deployment web", id="Deployment"
        ),
        pytest.param(
            controlled("ReplicaSet", "web-5f7", pod_template_hash="other"), None, "apps ReplicaSet web-5f7", id="a hash"
        ),
        pytest.param(controlled("ReplicaSet", "web-5f7"), None, "apps ReplicaSet web-5f7", id="a ReplicaSet's own"),
        pytest.param(
            controlled("ReplicaSet", "web-5f7", rollouts_pod_template_hash="5f7"),
            None,
            "argoproj.io Rollout web",
            id="Argo Rollout",
        ),
        pytest.param(controlled("StatefulSet", "db"), None, "apps StatefulSet db", id="StatefulSet"),
        pytest.param(controlled("Node", "n", "v1"), None, None, id="a static pod"),
        pytest.param(
            controlled("Job", "train-0", "batch/v1"), MANAGED, "jobset.x-k8s.io JobSet train", id="what brim marked"
        ),
    ],
)
def test_whom_people_know_as_its_owner(found: Pod, managed: ObjectRef | None, owner: str | None) -> None:
    ref = owner_of(found, managed)
    assert (None if ref is None else f"{ref.group} {ref.kind} {ref.name}") == owner
    assert ref is None or ref.namespace == "shop"


# -- how far it reaches


def test_namespaces_of_all_terms_but_its_own_count() -> None:
    terms = {
        "podAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"namespaces": ["db", "shop"], "topologyKey": "zone"}}
            ]
        },
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "topologyKey": "zone",
                    "namespaceSelector": {
                        "matchLabels": {"team": "a"},
                        "matchExpressions": [
                            {"key": "stage", "operator": "NotIn", "values": ["test"]},
                            {"key": "old", "operator": "DoesNotExist"},
                            {"key": "new", "operator": "Exists"},
                        ],
                    },
                }
            ]
        },
    }
    seen = sight_of(pod({"schedulerName": "brim-scheduler", "affinity": terms}), on_virtual=False, instance=False)
    assert seen.reach == Reach(
        frozenset({"db"}),
        frozenset(
            {
                (
                    Requirement("new", None),
                    Requirement("old", None, True),
                    Requirement("stage", frozenset({"test"}), True),
                    Requirement("team", frozenset({"a"})),
                )
            }
        ),
    )


def test_host_ports_are_seen() -> None:
    assert sight_of(pod(SPEC), on_virtual=False, instance=False).ports == {8081, 53}
