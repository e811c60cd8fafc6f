"""`brim plan --fleet`: the scheduler's decision for a fleet file, with nothing running."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cli.main import run
from cli.up import example
from shared.contracts.base import JsonObject

POLICIES = {"hybrid.yaml": "qwen3-hybrid-policies.yaml", "multi-region.yaml": "qwen3-multi-region-policies.yaml"}


def plan(folder: Path, fleet: str, replicas: int, previous: Path | None = None) -> JsonObject:
    """The placement of qwen3, scaled to so many replicas."""
    return planned(folder, fleet, replicas, previous)[0]


def planned(folder: Path, fleet: str, replicas: int, previous: Path | None = None) -> list[JsonObject]:
    arguments = ["plan", "--fleet", write(folder, fleet, example(fleet)), "-o", "json"]
    arguments += ["-f", write(folder, "policies.yaml", example(POLICIES[fleet]))]
    text = example("qwen3.yaml").replace("replicas: 2", f"replicas: {replicas}")
    arguments += ["-f", write(folder, "qwen3.yaml", text)]
    if previous is not None:
        arguments += ["--previous", str(previous)]
    status, out, err = call(*arguments)
    assert (status, err) == (0, "")
    found: list[JsonObject] = json.loads(out)["placements"]
    return found


def call(*arguments: str) -> tuple[int, str, str]:
    runner = CliRunner()
    with runner.isolation() as (out, err, _):
        status = run(arguments)
    return status, out.getvalue().decode(), err.getvalue().decode()


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def kept(folder: Path, placements: list[JsonObject]) -> Path:
    return Path(write(folder, "previous.json", json.dumps({"placements": placements})))


@pytest.mark.parametrize(
    ("fleet", "replicas", "members", "pending"),
    [
        ("hybrid.yaml", 2, {"idc": 2}, 0),
        ("hybrid.yaml", 4, {"idc": 2, "ack": 2}, 0),
        ("hybrid.yaml", 9, {"idc": 2, "ack": 4}, 3),
        ("multi-region.yaml", 3, {"shanghai": 3}, 0),
        ("multi-region.yaml", 5, {"shanghai": 3, "beijing": 2}, 0),
        ("multi-region.yaml", 20, {"shanghai": 3, "beijing": 6}, 11),
    ],
)
def test_from_nothing(tmp_path: Path, fleet: str, replicas: int, members: dict[str, int], pending: int) -> None:
    placement = plan(tmp_path, fleet, replicas)
    assert list(placement) == ["kind", "namespace", "name", "members", "pending", "reasons"]
    assert (placement["members"], placement["pending"]) == (members, pending)
    assert bool(placement["reasons"]) is bool(pending)


@pytest.mark.parametrize(
    ("fleet", "before", "after", "members"),
    [
        ("hybrid.yaml", 2, 4, {"idc": 2, "ack": 2}),
        ("hybrid.yaml", 4, 2, {"idc": 2}),
        ("hybrid.yaml", 4, 4, {"idc": 2, "ack": 2}),
        ("multi-region.yaml", 5, 3, {"shanghai": 3}),
        ("multi-region.yaml", 5, 8, {"shanghai": 3, "beijing": 5}),
    ],
)
def test_on_top_of_what_runs(tmp_path: Path, fleet: str, before: int, after: int, members: dict[str, int]) -> None:
    previous = kept(tmp_path, planned(tmp_path, fleet, before))
    assert plan(tmp_path, fleet, after, previous)["members"] == members


def test_what_runs_stays_where_it_is(tmp_path: Path) -> None:
    """Replicas in the cloud do not move home because there is room now: scaling never moves a healthy one."""
    there: JsonObject = {"kind": "Deployment", "namespace": "test", "name": "qwen3", "members": {"ack": 2}}
    assert plan(tmp_path, "hybrid.yaml", 3, kept(tmp_path, [there]))["members"] == {"idc": 1, "ack": 2}


def test_what_others_run_takes_room(tmp_path: Path) -> None:
    other = yaml.safe_load(example("qwen3.yaml").split("---")[0])
    other["metadata"]["name"] = "other"
    there: JsonObject = {"kind": "Deployment", "namespace": "test", "name": "other", "members": {"idc": 2}}
    arguments = ["--previous", str(kept(tmp_path, [there])), "-f", write(tmp_path, "other.json", json.dumps(other))]
    fleet = write(tmp_path, "fleet.yaml", example("hybrid.yaml"))
    policies = write(tmp_path, "policies.yaml", example(POLICIES["hybrid.yaml"]))
    qwen3 = write(tmp_path, "qwen3.yaml", example("qwen3.yaml"))
    status, out, _ = call("plan", "--fleet", fleet, "-f", policies, "-f", qwen3, *arguments, "-o", "json")
    assert status == 0
    members = {entry["name"]: entry["members"] for entry in json.loads(out)["placements"] if entry["kind"] != "Service"}
    assert members == {"other": {"idc": 2}, "qwen3": {"ack": 2}}


def test_a_plan_is_the_same_every_time(tmp_path: Path) -> None:
    assert planned(tmp_path, "hybrid.yaml", 9) == planned(tmp_path, "hybrid.yaml", 9)


@pytest.mark.parametrize(
    ("previous", "words"),
    [
        ('{"placements": 3}', "placements: give a list"),
        ("{", "previous.json: this is no JSON"),
        ('{"placements": [{"kind": "Deployment", "namespace": "test", "name": "qwen3", "members": {"x": 1}}]}', "x"),
    ],
    ids=["another form", "no JSON", "an unknown member"],
)
def test_what_cannot_be_read_is_said(tmp_path: Path, previous: str, words: str) -> None:
    status, out, err = call(
        *("plan", "--fleet", write(tmp_path, "fleet.yaml", example("hybrid.yaml"))),
        *("--previous", write(tmp_path, "previous.json", previous)),
        *("-f", write(tmp_path, "qwen3.yaml", example("qwen3.yaml"))),
    )
    assert (status, out) == (1, "")
    assert err.startswith("Error: ")
    assert words in err
    assert "Traceback" not in err


def test_faults_of_the_manifests_are_said_field_by_field(tmp_path: Path) -> None:
    fleet = write(tmp_path, "fleet.yaml", example("hybrid.yaml"))
    bad = write(tmp_path, "bad.yaml", example("qwen3.yaml").replace("replicas: 2", "replicas: -2"))
    status, out, err = call("plan", "--fleet", fleet, "-f", bad)
    assert (status, out) == (1, "")
    assert err.startswith("Error: Deployment test/qwen3: spec.replicas: ")


@pytest.mark.parametrize(
    ("selector", "members"),
    [
        ({"topology.kubernetes.io/region": "cn-beijing"}, {"ack": 2}),
        ({"topology.kubernetes.io/zone": "cn-beijing-h"}, {"ack": 2}),
        ({"node.kubernetes.io/instance-type": "ecs.gn7i-c16g1.4xlarge"}, {"ack": 2}),
        ({"kubernetes.io/hostname": "idc-gpu-1"}, {"idc": 1}),
        ({"kubernetes.io/os": "windows"}, {}),
    ],
    ids=["region", "zone", "instance type of a pool", "host", "nowhere"],
)
def test_nodes_of_a_fleet_file_have_the_labels_that_simulated_ones_have(
    tmp_path: Path, selector: dict[str, str], members: dict[str, int]
) -> None:
    manifest = yaml.safe_load(example("qwen3.yaml").split("---")[0])
    manifest["spec"]["template"]["spec"]["nodeSelector"] = selector
    status, out, err = call(
        *("plan", "--fleet", write(tmp_path, "fleet.yaml", example("hybrid.yaml")), "-o", "json"),
        *("-f", write(tmp_path, "policies.yaml", example(POLICIES["hybrid.yaml"]))),
        *("-f", write(tmp_path, "qwen3.json", json.dumps(manifest))),
    )
    assert status == 0, err
    assert json.loads(out)["placements"][0]["members"] == members


def test_nodes_that_a_pool_keeps_are_there_from_the_start(tmp_path: Path) -> None:
    fleet = example("hybrid.yaml").replace("min: 0", "min: 1").replace("max: 4", "max: 1")
    policies = write(
        tmp_path, "policies.yaml", example(POLICIES["hybrid.yaml"]).replace("ecsProvision: true", "ecsProvision: false")
    )
    text = example("qwen3.yaml").replace("replicas: 2", "replicas: 4")
    status, out, err = call(
        *("plan", "--fleet", write(tmp_path, "fleet.yaml", fleet), "-o", "json"),
        *("-f", policies, "-f", write(tmp_path, "qwen3.yaml", text)),
    )
    assert status == 0, err
    placement = json.loads(out)["placements"][0]
    assert (placement["members"], placement["pending"]) == ({"idc": 2, "ack": 1}, 1)


def test_a_plan_is_shown_with_where_things_are_and_whom_a_reason_concerns(tmp_path: Path) -> None:
    previous = kept(tmp_path, planned(tmp_path, "hybrid.yaml", 2))
    text = example("qwen3.yaml").replace("replicas: 2", "replicas: 9")
    status, out, _ = call(
        *("plan", "--fleet", write(tmp_path, "fleet.yaml", example("hybrid.yaml")), "--previous", str(previous)),
        *("-f", write(tmp_path, "policies.yaml", example(POLICIES["hybrid.yaml"]))),
        *("-f", write(tmp_path, "qwen3.yaml", text)),
    )
    assert status == 0
    assert out.splitlines() == [
        "KIND         NAMESPACE   NAME    WANTED   NOW       PLANNED       PENDING",
        "Deployment   test        qwen3   9        idc:2     idc:2,ack:4   3",
        "Service      test        qwen3   -        ack,idc   ack,idc       -",
        "",
        "Deployment test/qwen3",
        "- 3 replicas fit nowhere now; tried again when room appears (Pending)",
        "- idc: 3 nodes: lacking nvidia.com/gpu (needs 1, none free) (InsufficientResources)",
    ]


def test_a_policy_that_names_nobody_or_selects_nothing_is_told(tmp_path: Path) -> None:
    policy = example(POLICIES["hybrid.yaml"]).split("---")[0].replace("[ack]", "[nowhere]")
    status, _, err = call(
        *("plan", "--fleet", write(tmp_path, "fleet.yaml", example("hybrid.yaml"))),
        *("-f", write(tmp_path, "policy.yaml", policy)),
    )
    assert status == 0
    assert err.splitlines()[:2] == [
        "warning: PropagationPolicy test/vllm-deploy-pp: no member of the fleet is called nowhere; there are ack, idc",
        "warning: PropagationPolicy test/vllm-deploy-pp: it matches no object yet; "
        "it takes effect once one that it selects is applied",
    ]


def test_a_fault_names_the_file(tmp_path: Path) -> None:
    bad = write(tmp_path, "bad.yaml", "---\n{apiVersion: v1, metadata: {name: x}}")
    status, _, err = call("plan", "--fleet", write(tmp_path, "fleet.yaml", example("hybrid.yaml")), "-f", bad)
    assert status == 1
    assert err.startswith(f"Error: {bad}, document 1: kind: give the kind")
