"""Where kinds keep their replicas and pod templates."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shared import workloads
from shared.contracts.base import JsonObject
from shared.errors import Misconfigured

TEMPLATE: JsonObject = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c"}]}}
MARK = {"brim.dev/workload": "u1"}


def manifest(text: str) -> JsonObject:
    found = yaml.safe_load(text.replace("TEMPLATE", "{metadata: {labels: {app: a}}, spec: {containers: [{name: c}]}}"))
    assert isinstance(found, dict)
    return found


# kind, group, manifest, pods per component
COUNTS = {
    "a Deployment": ("Deployment", "apps", "spec: {replicas: 3, template: TEMPLATE}", [3]),
    "absent replicas are one": ("Deployment", "apps", "spec: {template: TEMPLATE}", [1]),
    "zero replicas": ("StatefulSet", "apps", "spec: {replicas: 0, template: TEMPLATE}", [0]),
    "a Pod is one of itself": ("Pod", "", "{metadata: {name: p}, spec: {containers: []}}", [1]),
    "a CloneSet": ("CloneSet", "apps.kruise.io", "spec: {replicas: 2, template: TEMPLATE}", [2]),
    "an Argo Rollout": ("Rollout", "argoproj.io", "spec: {replicas: 2, template: TEMPLATE}", [2]),
    "Volcano tasks": (
        "Job",
        "batch.volcano.sh",
        "spec: {tasks: [{replicas: 1, template: TEMPLATE}, {replicas: 4, template: TEMPLATE}]}",
        [1, 4],
    ),
    "a PyTorchJob": (
        "PyTorchJob",
        "kubeflow.org",
        "spec: {pytorchReplicaSpecs: {Master: {template: TEMPLATE}, Worker: {replicas: 5, template: TEMPLATE}}}",
        [1, 5],
    ),
    "a RayCluster with groups of hosts": (
        "RayCluster",
        "ray.io",
        "spec: {headGroupSpec: {template: TEMPLATE},"
        " workerGroupSpecs: [{replicas: 2, numOfHosts: 3, template: TEMPLATE}]}",
        [1, 6],
    ),
    "a LeaderWorkerSet without a leader's template": (
        "LeaderWorkerSet",
        "leaderworkerset.x-k8s.io",
        "spec: {replicas: 2, leaderWorkerTemplate: {size: 4, workerTemplate: TEMPLATE}}",
        [2, 6],
    ),
    "a Spark application": (
        "SparkApplication",
        "sparkoperator.k8s.io",
        "spec: {driver: {cores: 1, memory: 512m}, executor: {instances: 3, cores: 2, memory: 2g}}",
        [1, 3],
    ),
    "a Flink deployment": (
        "FlinkDeployment",
        "flink.apache.org",
        "spec: {jobManager: {resource: {cpu: 1, memory: 2048m}},"
        " taskManager: {replicas: 2, resource: {cpu: 1, memory: 1g}}}",
        [1, 2],
    ),
    "an Argo workflow": ("Workflow", "argoproj.io", "spec: {parallelism: 3, templates: []}", [3]),
}


@pytest.mark.parametrize("name", COUNTS)
def test_pods_of_each_component(name: str) -> None:
    kind, group, text, expected = COUNTS[name]
    known = workloads.kind_of(kind, group)
    assert known is not None
    assert [pods.replicas for pods in workloads.pods_of(known, manifest(text))] == expected
    assert workloads.replicas_of(known, manifest(text)) == sum(expected)


@pytest.mark.parametrize(
    ("spec", "replicas"),
    [
        ("{template: TEMPLATE}", 1),
        ("{parallelism: 4, template: TEMPLATE}", 4),
        ("{parallelism: 4, completions: 3, template: TEMPLATE}", 3),
        ("{parallelism: 2, completions: 30, template: TEMPLATE}", 2),
    ],
)
def test_a_job_runs_at_most_its_completions_at_a_time(spec: str, replicas: int) -> None:
    job = workloads.kind_of("Job", "batch")
    assert job is not None
    assert workloads.replicas_of(job, manifest(f"spec: {spec}")) == replicas


def test_a_share_of_a_job_has_its_own_parallelism_and_completions() -> None:
    job = workloads.kind_of("Job", "batch")
    assert job is not None
    whole = manifest("spec: {parallelism: 4, completions: 8, template: TEMPLATE}")
    share = workloads.with_replicas(job, whole, 1, completions=2)
    assert share["spec"] == {"parallelism": 1, "completions": 2, "template": TEMPLATE}
    assert whole["spec"] == {"parallelism": 4, "completions": 8, "template": TEMPLATE}
    assert workloads.without_replicas(job, whole)["spec"] == {"completions": 8, "template": TEMPLATE}


def test_replicas_are_written_even_where_none_stood() -> None:
    kind = workloads.kind_of("Deployment", "apps")
    assert kind is not None
    bare = manifest("spec: {template: TEMPLATE}")
    assert workloads.count_of(kind, bare) is None
    assert workloads.without_replicas(kind, bare) is bare
    assert workloads.count_of(kind, workloads.with_replicas(kind, bare, 7)) == 7


@pytest.mark.parametrize("group", ["apps", "apps.kruise.io"])
def test_a_pod_on_each_node_has_a_template_but_no_replicas(group: str) -> None:
    kind = workloads.kind_of("DaemonSet", group)
    assert kind is not None
    assert kind.per_node
    assert not workloads.has_replicas("DaemonSet", group)
    bare = manifest("spec: {template: TEMPLATE}")
    assert workloads.templates_of(kind, bare) == [TEMPLATE]
    assert workloads.mark_templates(kind, bare, MARK) is bare, "brim places none of its pods"


def test_a_kind_of_several_counts_cannot_be_given_one() -> None:
    kind = workloads.kind_of("PyTorchJob", "kubeflow.org")
    assert kind is not None
    with pytest.raises(ValueError, match="PyTorchJob has no single replica count"):
        workloads.with_replicas(kind, manifest("spec: {pytorchReplicaSpecs: {}}"), 2)


@pytest.mark.parametrize("name", COUNTS)
def test_marks_reach_the_pods_of_every_component_and_nothing_else(name: str) -> None:
    kind, group, text, _ = COUNTS[name]
    known = workloads.kind_of(kind, group)
    assert known is not None
    before = manifest(text)
    marked = workloads.mark_templates(known, before, MARK)
    assert before == manifest(text), "the input must stay as it was"
    assert marked == workloads.mark_templates(known, marked, MARK), "marking twice changes nothing more"
    for component in known.components:
        if not component.labels_path:
            assert all(
                MARK.items() <= template["metadata"]["labels"].items()  # type: ignore[index, union-attr, call-overload]
                for template in workloads.templates_of(known, marked)
            )
    assert str(marked).count("brim.dev/workload") >= 1


def test_what_spark_asks_for_is_read_in_the_jvms_units() -> None:
    kind = workloads.kind_of("SparkApplication", "sparkoperator.k8s.io")
    assert kind is not None
    driver, executor = workloads.pods_of(kind, manifest(COUNTS["a Spark application"][2]))
    assert driver.template["spec"] == {
        "containers": [{"name": "main", "resources": {"requests": {"cpu": "1", "memory": "512Mi"}}}]
    }
    assert executor.template["spec"] == {
        "containers": [{"name": "main", "resources": {"requests": {"cpu": "2", "memory": "2Gi"}}}]
    }


def test_a_workflow_step_may_be_any_of_its_containers() -> None:
    kind = workloads.kind_of("Workflow", "argoproj.io")
    assert kind is not None
    flow = manifest(
        "spec: {nodeSelector: {a: b}, templates: ["
        "{container: {resources: {requests: {cpu: 500m, memory: 4Gi}}}},"
        "{container: {resources: {requests: {cpu: '2', memory: 1Gi}}}}, {steps: []}]}"
    )
    (pods,) = workloads.pods_of(kind, flow)
    spec = pods.template["spec"]
    assert isinstance(spec, dict)
    assert spec["nodeSelector"] == {"a": "b"}
    assert spec["containers"] == [{"name": "main", "resources": {"requests": {"cpu": "2", "memory": "4Gi"}}}]


def test_kinds_without_replicas_are_unknown() -> None:
    assert workloads.kind_of("Service", "") is None
    assert workloads.kind_of("Job", "example.com") is None


def test_a_file_of_the_settings_adds_kinds_and_replaces_shipped_ones(tmp_path: Path) -> None:
    file = tmp_path / "kinds.yaml"
    file.write_text(
        "- {group: example.com, kind: Farm, plural: farms, divisible: true,"
        " components: [{replicasPath: spec.size, templatePath: spec.pod}]}\n"
    )
    workloads.install(file)
    try:
        farm = workloads.kind_of("Farm", "example.com")
        assert farm is not None
        assert workloads.replicas_of(farm, manifest("spec: {size: 6, pod: TEMPLATE}")) == 6
        assert workloads.kind_of("Deployment", "apps") is not None
    finally:
        workloads.install(None)
    assert workloads.kind_of("Farm", "example.com") is None


ENDS = {
    "a Job that is complete": ("batch", "Job", "conditions: [{type: Complete, status: 'True'}]", True),
    "a Job that failed": ("batch", "Job", "conditions: [{type: Failed, status: 'True'}]", True),
    "a Job that goes on": ("batch", "Job", "conditions: [{type: Failed, status: 'False'}, {type: Suspended}]", False),
    "a Job without a status yet": ("batch", "Job", "{}", False),
    "a Kubeflow job": ("kubeflow.org", "PyTorchJob", "conditions: [{type: Succeeded, status: 'True'}]", True),
    "a pod": ("", "Pod", "phase: Succeeded", True),
    "a pod that runs": ("", "Pod", "phase: Running", False),
    "an Argo workflow": ("argoproj.io", "Workflow", "phase: Error", True),
    "a Volcano job": ("batch.volcano.sh", "Job", "state: {phase: Completed}", True),
    "a Spark application": ("sparkoperator.k8s.io", "SparkApplication", "applicationState: {state: COMPLETED}", True),
    "a Ray job": ("ray.io", "RayJob", "jobStatus: SUCCEEDED", True),
    "a Ray job that runs": ("ray.io", "RayJob", "jobStatus: RUNNING", False),
    "a kind without replicas": ("example.com", "Task", "conditions: [{type: Succeeded, status: 'True'}]", True),
}


@pytest.mark.parametrize("name", ENDS)
def test_what_ran_to_its_end_says_so(name: str) -> None:
    group, kind, status, ended = ENDS[name]
    assert workloads.has_ended(workloads.kind_of(kind, group), {"status": yaml.safe_load(status)}) is ended


BAD_FILES = {
    "no YAML": ("{", "are no YAML"),
    "an unknown field": ("- {kind: A, plural: as, paths: [], components: [{}]}", "0.paths|paths"),
    "no components": ("- {kind: A, plural: as, components: []}", "components"),
    "divisible without one count": (
        "- {kind: A, plural: as, divisible: true, components: [{templatePath: spec.template}]}",
        "A is divisible",
    ),
    "count and template of different lists": (
        "- {kind: A, plural: as, components: [{replicasPath: 'spec.a[*].n', templatePath: 'spec.b[*].t'}]}",
        "do not go together",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    text, sentence = BAD_FILES[name]
    file = tmp_path / "kinds.yaml"
    file.write_text(text)
    with pytest.raises(Misconfigured, match=sentence):
        workloads.install(file)
    workloads.install(None)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="No such file"):
        workloads.install(tmp_path / "none.yaml")
