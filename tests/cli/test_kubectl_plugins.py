"""`kubectl brim …` and `kubectl amc …`, called by real kubectl. Skipped where kubectl is not installed."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from cli.commands import COMMANDS
from cli.demo import versions
from cli.demo.observer import ROLLOUTS
from cli.json_values import object_of, text
from tests.e2e.command_line import CommandLine, Result
from tests.e2e.harness import WAIT, Play, playing

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")

REGIONS = ("beijing", "shanghai")
APP, FILE = "qwen-inference", "qwen-rollout.yaml"
ROLLOUT = "rollouts/qwen-inference-rollout"


@dataclass(frozen=True, slots=True)
class Kubectl:
    """It finds the plugins on the PATH, where this environment has them. data: of the brim that is meant."""

    data: Path | None = None

    async def __call__(self, *arguments: str) -> Result:
        assert KUBECTL is not None
        path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
        options = ("--data", str(self.data)) if self.data else ()
        process = await asyncio.create_subprocess_exec(
            *(KUBECTL, *arguments, *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PATH": path},
        )
        async with asyncio.timeout(WAIT):
            out, err = await process.communicate()
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())


def phases(play: Play) -> set[str]:
    return {text(entry.manifest, "status", "phase") for entry in play.observer.objects(ROLLOUTS, "demo")}


def waiting_at(play: Play) -> dict[str, tuple[str, str]]:
    """Per member its Rollout's step and the step's state, as the member itself says."""
    found = {
        entry.member: object_of(entry.manifest, "status", "canaryStatus")
        for entry in play.observer.objects(ROLLOUTS, "demo")
    }
    return {member: (text(one, "currentStepIndex"), text(one, "currentStepState")) for member, one in found.items()}


async def test_what_all_members_hold_and_one_approval_for_all_of_them(tmp_path: Path) -> None:
    async with playing(tmp_path, "rollout-fleet.yaml") as play:
        kubectl = Kubectl(CommandLine.of(play).data)
        await play.apply(FILE)
        await play.eventually(lambda: all(play.ready("demo", APP, member) == 10 for member in REGIONS))
        await play.eventually(lambda: phases(play) == {"Healthy"})
        await _tables(kubectl)

        early = await kubectl("amc", "rollout", "approve", ROLLOUT, "-n", "demo", "-M")
        assert early.status == 1
        assert [f"cluster({member})" in early.err for member in REGIONS] == [True, True], "each is tried, and told of"

        await play.submit(versions.version(FILE, "qwen:v2"))
        await play.eventually(lambda: waiting_at(play) == dict.fromkeys(REGIONS, ("1", "StepPaused")))
        everywhere = await kubectl("amc", "rollout", "approve", ROLLOUT, "-n", "demo", "-M")
        assert (everywhere.status, len(everywhere.lines)) == (0, 2), everywhere
        await play.eventually(lambda: waiting_at(play) == dict.fromkeys(REGIONS, ("2", "StepPaused")))
        one = await kubectl("amc", "rollout", "approve", ROLLOUT, "-n", "demo", "-m", "beijing")
        assert (one.status, len(one.lines)) == (0, 1), one
        await play.eventually(lambda: waiting_at(play)["beijing"] != ("2", "StepPaused"))
        assert waiting_at(play)["shanghai"] == ("2", "StepPaused")


async def _tables(kubectl: Kubectl) -> None:
    """The columns are those of the documents that people know `kubectl amc` from."""
    deployments = await kubectl("amc", "get", "deploy", APP, "-ndemo", "-M")
    assert deployments.lines[0].split() == ["NAME", "CLUSTER", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "ADOPTION"]
    for row, member in zip(deployments.rows, REGIONS, strict=True):
        assert [*row[:5], row[-1]] == [APP, member, "10/10", "10", "10", "Y"]
    pods = await kubectl("amc", "get", "pod", "-ndemo", "-M")
    assert pods.lines[0].split() == ["NAME", "CLUSTER", "CLUSTER_ALIAS", "READY", "STATUS", "RESTARTS", "AGE"]
    assert len(pods.rows) == 20
    wide = await kubectl("amc", "get", "pod", "-ndemo", "-m", "beijing", "-o", "wide")
    last = ["IP", "NODE", "NOMINATED", "NODE", "READINESS", "GATES", "ADOPTION"]
    assert wide.lines[0].split() == [*pods.lines[0].split(), *last]
    assert {row[-1] for row in wide.rows} == {"N"}, "a pod is its workload's, not the fleet's"
    nodes = await kubectl("amc", "get", "node", "-M")
    heading = ["NAME", "CLUSTER", "CLUSTER_ALIAS", "STATUS", "ROLES", "AGE", "VERSION", "ADOPTION"]
    assert nodes.lines[0].split() == heading
    absent = await kubectl("amc", "get", "deploy", "web-demo", "-n", "demo", "-M")
    assert absent.status == 1
    assert absent.err.splitlines() == [
        f'cluster({member}): deployments.apps "web-demo" not found' for member in REGIONS
    ]
    fleet = await kubectl("brim", "get", "deploy", APP, "-n", "demo")
    assert fleet.rows[0][0] == APP


async def test_one_member_some_objects_and_every_form(tmp_path: Path) -> None:
    """As hands and scripts that know kubectl write it."""
    async with playing(tmp_path, "hybrid.yaml") as play:
        kubectl = Kubectl(CommandLine.of(play).data)
        await play.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml", "web-demo.yaml")
        await play.eventually(lambda: play.ready("test", "qwen3", "idc") == 2)
        await play.eventually(lambda: play.ready("default", "web-demo") == 5)

        for words in ("deploy -m idc", "deployments.apps -m cluster-idc-demo", "deploy.v1.apps -m idc"):
            table = await kubectl("amc", "get", *words.split(), "-A")
            assert table.lines[0].split()[:3] == ["NAMESPACE", "NAME", "CLUSTER"], table
            assert {tuple(row[:3]) for row in table.rows} == {("default", "web-demo", "idc"), ("test", "qwen3", "idc")}

        chosen = await kubectl("amc", "get", "po", "-A", "-M", "-l", "app in (qwen3,other)", "-L", "app")
        assert {tuple(row[0:1] + row[2:3] + row[-1:]) for row in chosen.rows} == {("test", "idc", "qwen3")}
        labelled = await kubectl("amc", "get", "po", "-n", "test", "-M", "--show-labels", "-o", "wide")
        assert labelled.lines[0].split()[-2:] == ["LABELS", "ADOPTION"]
        assert all("app=qwen3" in row[-2].split(",") for row in labelled.rows)

        as_yaml = await kubectl("amc", "get", "deploy", "qwen3", "-n", "test", "-m", "idc", "-o", "yaml")
        assert as_yaml.lines[:3] == ["apiVersion: apps/v1", "kind: Deployment", "metadata:"]
        assert object_of(yaml.safe_load(as_yaml.out), "metadata", "annotations")["brim.dev/member"] == "idc"
        as_json = await kubectl("amc", "get", "po", "-n", "test", "-M", "-o", "json")
        items = object_of(as_json.json)["items"]
        assert isinstance(items, list)
        assert [text(item, "kind") for item in items] == ["Pod", "Pod"]
        names = await kubectl("amc", "get", "po", "-n", "test", "-M", "-o", "name")
        assert {line.partition("-")[0] for line in names.lines} == {"idc: pods/qwen3"}

        nowhere = await kubectl("amc", "get", "deploy", "-m", "nowhere")
        assert (nowhere.status, nowhere.err) == (
            1,
            "Error: the fleet has no member 'nowhere': its members are ack, idc\n",
        )
        nothing = await kubectl("amc", "get", "po", "-n", "nothing", "-M")
        assert (nothing.status, nothing.out, nothing.err) == (0, "", "No resources found in nothing namespace\n")


async def test_each_offers_its_own_commands() -> None:
    kubectl = Kubectl()
    everything = await kubectl("brim", "--help")
    assert everything.lines[0].startswith("Usage: kubectl brim ")
    assert all(f"\n  {name} " in everything.out for name in COMMANDS)
    few = await kubectl("amc", "--help")
    assert [name for name in COMMANDS if f"\n  {name} " in few.out] == ["get", "rollout"]
    refused = await kubectl("amc", "delete", "deploy/web")
    assert refused.status == 2
    assert "No such command 'delete'" in refused.err


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("amc", ""), ["get", "rollout"]),
        (("amc", "rollout", "app"), ["approve"]),
        (("brim", "get", "dep"), ["deployments"]),
        (("brim", "get", "deploy", "--no-h"), ["--no-headers"]),
    ],
)
async def test_kubectl_completes_them(words: tuple[str, ...], offered: list[str]) -> None:
    told = await Kubectl()("__complete", *words)
    *found, directive = told.lines
    assert [line.partition("\t")[0] for line in found] == offered
    assert directive == ":4"
