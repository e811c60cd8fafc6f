"""Every command against a running brim: what it prints, in each form, and what it does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cli.json_values import objects_of, text
from cli.up import example
from shared.contracts import subjects
from shared.fleet import Delays
from tests.e2e.command_line import CommandLine, Result
from tests.e2e.harness import QWEN3, Play, example_fleet, playing, reference, web


def files(folder: Path, *names: str) -> list[str]:
    """The packaged examples as files, as arguments of -f."""
    for name in names:
        (folder / name).write_text(example(name), encoding="utf-8")
    return [argument for name in names for argument in ("-f", str(folder / name))]


async def until(brim: CommandLine, *arguments: str, shows: str) -> Result:
    """Call a command until its output shows something: brim's own view follows its members by moments."""
    for _ in range(60):
        result = await brim(*arguments)
        if shows in result.out:
            return result
    pytest.fail(f"never shown: {shows!r}\n{result.out}{result.err}")


async def test_a_day_with_the_command_line(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        brim = CommandLine.of(play)
        await _members(brim)
        await _apply(brim, tmp_path)
        await _get(brim)
        await _explain(brim)
        await _describe(brim)
        await _complete(brim)
        await _plan(brim, play)
        await _scale(brim, play)
        await _cordon(brim)
        await _stories(brim, play)
        await _trace(brim)
        await _not_found(brim)
        await _delete(brim, play)


async def _members(brim: CommandLine) -> None:
    result = await until(brim, "get", "clusters", shows="Ready")
    assert result.lines[0].split() == ["NAME", "ALIAS", "STATUS", "PROVIDER", "REGION", "REPLICAS", "AGE"]
    assert [row[:5] for row in result.rows] == [
        ["ack", "cluster-bj-demo", "Ready", "alibabacloud", "cn-beijing"],
        ["idc", "cluster-idc-demo", "Ready", "on-premises", "hangzhou"],
    ]
    nodes = await brim("get", "nodes", "-M")
    assert nodes.lines[0].split() == [
        "NAME",
        "CLUSTER",
        "CLUSTER_ALIAS",
        "STATUS",
        "ROLES",
        "AGE",
        "VERSION",
        "ADOPTION",
    ]
    assert [row[0] for row in nodes.rows if row[1] == "idc"] == ["idc-cpu", "idc-gpu-0", "idc-gpu-1"]
    only = await brim("get", "nodes", "-m", "cluster-idc-demo", "-o", "name")
    assert only.lines == ["idc: nodes/idc-cpu", "idc: nodes/idc-gpu-0", "idc: nodes/idc-gpu-1"]
    pools = await brim("get", "pools")
    assert pools.rows[0][:7] == ["gpu-a10", "ack", "cluster-bj-demo", "ecs.gn7i-c16g1.4xlarge", "0", "0", "4"]
    assert pools.rows[0][-1] == "1.71"


async def _apply(brim: CommandLine, folder: Path) -> None:
    arguments = files(folder, "qwen3.yaml", "qwen3-hybrid-policies.yaml")
    result = await brim("apply", *arguments, "--wait")
    assert result.status == 0, result.err
    assert result.lines == [
        "deployment/qwen3 created",
        "service/qwen3 created",
        "propagationpolicy/vllm-deploy-pp created",
        "propagationpolicy/demo-svc created",
    ]
    assert "Deployment test/qwen3: 2/2 ready (idc 2/2)" in result.err
    again = await brim("apply", "-f", "-", given=example("qwen3.yaml"))
    assert again.lines == ["deployment/qwen3 unchanged", "service/qwen3 unchanged"]
    bad = await brim("apply", "-f", "-", given="kind: [")
    assert (bad.status, bad.out) == (1, "")
    assert bad.err.startswith("Error: standard input, ")


async def _get(brim: CommandLine) -> None:
    deploy = await until(brim, "get", "deploy", "-n", "test", shows="idc:2")
    assert deploy.lines[0].split() == ["NAME", "DESIRED", "PLACED", "READY", "PENDING", "MEMBERS", "AGE"]
    assert deploy.rows[0][:6] == ["qwen3", "2", "2", "2", "0", "idc:2"]
    members = await brim("get", "deploy", "qwen3", "-n", "test", "-M")
    assert members.lines[0].split() == ["NAME", "CLUSTER", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "ADOPTION"]
    assert members.rows == [["qwen3", "idc", "2/2", "2", "2", members.rows[0][5], "Y"]]
    assert members.err == 'cluster(ack): deployments.apps "qwen3" not found\n'
    pods = await brim("get", "pods", "-n", "test", "-M")
    assert pods.lines[0].split() == ["NAME", "CLUSTER", "CLUSTER_ALIAS", "READY", "STATUS", "RESTARTS", "AGE"]
    assert [row[1:6] for row in pods.rows] == [["idc", "cluster-idc-demo", "1/1", "Running", "0"]] * 2
    wide = await brim("get", "pods", "-n", "test", "-M", "-o", "wide")
    assert wide.lines[0].split()[-7:] == ["IP", "NODE", "NOMINATED", "NODE", "READINESS", "GATES", "ADOPTION"]
    labelled = await brim("get", "pods", "-n", "test", "-M", "-l", "app=other")
    assert (labelled.out, labelled.err) == ("", "No resources found in test namespace\n")
    sets = await brim("get", "pods", "-n", "test", "-l", "app in (other, qwen3),!legacy", "-o", "name")
    assert len(sets.lines) == 2
    one = (await brim("get", "deploy", "qwen3", "-n", "test", "-o", "json")).json
    assert isinstance(one, dict)
    assert one["kind"] == "Deployment"
    assert isinstance(one["status"], dict)
    assert (one["status"]["desired"], one["status"]["ready"]) == (2, 2)
    several = yaml.safe_load((await brim("get", "pods", "-n", "test", "-m", "idc", "-o", "yaml")).out)
    assert several["kind"] == "List"
    assert {item["metadata"]["annotations"]["brim.dev/member"] for item in several["items"]} == {"idc"}
    policies = await brim("get", "policies", "-A")
    assert ["test", "vllm-deploy-pp", "PropagationPolicy", "0", "Deployment/*", "idc", ">", "ack"] in [
        row[:8] for row in policies.rows
    ]
    placements = await brim("get", "placements", "-A", "-o", "name")
    assert placements.lines == ["placement/deployment/qwen3", "placement/service/qwen3"]
    both = await brim("get", "deploy,svc", "-n", "test", "-o", "name")
    assert both.lines == ["deployment/qwen3", "service/qwen3"]
    pair = (await brim("get", "deploy/qwen3", "svc/qwen3", "-n", "test", "-o", "json")).json
    assert isinstance(pair, dict)
    assert [item["kind"] for item in pair["items"]] == ["Deployment", "Service"]  # type: ignore[union-attr,call-overload,index]
    services = await brim("get", "svc", "-n", "test")
    assert services.lines[0].split() == ["NAME", "MEMBERS", "APPLIED", "AGE"]
    assert services.rows[0][:3] == ["qwen3", "ack,idc", "2/2"]
    own = await brim("get", "pp", "-n", "test")
    assert own.lines[0].split() == ["NAME", "KIND", "PRIORITY", "SELECTS", "MEMBERS", "DIVISION", "AGE"]
    happened = await brim("get", "events", "-n", "test", "-m", "idc")
    assert happened.lines[0].split() == ["LAST", "SEEN", "CLUSTER", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert any("Scheduled" in line and "pod/qwen3-" in line for line in happened.lines)
    partly = await brim("get", "deploy", "qwen3", "missing", "-n", "test")
    assert (partly.status, partly.err) == (1, 'deployments.apps "missing" not found in the fleet\n')
    assert partly.rows[0][0] == "qwen3"


async def _explain(brim: CommandLine) -> None:
    page = await brim("explain", "qwen3", "-n", "test")
    assert page.lines[0] == "Deployment test/qwen3"
    assert page.lines[1] == "Policy:   PropagationPolicy test/vllm-deploy-pp"
    assert "MEMBER" in page.out
    assert "History" in page.out
    found = (await brim("explain", "deploy/qwen3", "-n", "test", "-o", "json")).json
    assert isinstance(found, dict)
    assert set(found) == {"desired", "placement", "statuses", "outcomes", "history"}
    described = await brim("describe", "deploy", "qwen3", "-n", "test")
    assert "Manifest\napiVersion: apps/v1" in described.out
    node = await brim("describe", "node", "idc-cpu")
    assert node.out.startswith("Cluster: idc (cluster-idc-demo)\napiVersion: v1\nkind: Node\n")
    whole = await brim("explain", "svc/qwen3", "-n", "test")
    assert "MEMBER   RESULT    WHY" in whole.lines


async def _describe(brim: CommandLine) -> None:
    member = await brim("describe", "cluster", "cluster-idc-demo")
    assert member.lines[0] == "Cluster idc (cluster-idc-demo)"
    assert "Nodes:      3 ready" in member.lines
    assert ["nvidia.com/gpu", "2", "2", "0", "100%"] in [line.split() for line in member.lines]
    assert ["Deployment", "test", "qwen3", "2", "2"] in [line.split() for line in member.lines]
    pools = await brim("describe", "cluster", "ack")
    assert ["gpu-a10", "ecs.gn7i-c16g1.4xlarge", "0", "0", "4", "4", "4", "1.71"] in [
        line.split() for line in pools.lines
    ]
    policy = await brim("describe", "policy", "vllm-deploy-pp", "-n", "test")
    assert policy.lines[:3] == [
        "PropagationPolicy test/vllm-deploy-pp",
        "Selects:   Deployment/*",
        "Members:   idc > ack",
    ]
    assert ["Deployment", "test", "qwen3", "2", "0", "idc:2"] in [line.split() for line in policy.lines]
    pool = await brim("describe", "pool", "gpu-a10")
    assert pool.out.startswith("Cluster: ack (cluster-bj-demo)\n")
    missing = await brim("describe", "pod", "nothing", "-n", "test", "-m", "idc")
    assert missing.err == "Error: pods \"nothing\" not found in cluster(idc) (namespace 'test')\n"


async def _complete(brim: CommandLine) -> None:
    assert await brim.completes("un") == ["uncordon"]
    assert await brim.completes("get", "stat") == ["statefulsets"]
    assert "policies" in await brim.completes("get", "p")
    assert await brim.completes("get", "deploy", "-n", "test", "") == ["qwen3"]
    assert await brim.completes("get", "nodes", "idc-") == ["idc-cpu", "idc-gpu-0", "idc-gpu-1"]
    assert await brim.completes("get", "pods", "-m", "cluster-") == ["cluster-bj-demo", "cluster-idc-demo"]
    assert await brim.completes("get", "pods", "-n", "") == ["default", "test"]
    assert await brim.completes("scale", "-n", "test", "") == ["deployment/qwen3", "qwen3"]
    assert await brim.completes("explain", "-n", "test", "deploy/") == ["deploy/qwen3"]
    assert await brim.completes("describe", "cluster", "a") == ["ack"]
    assert await brim.completes("describe", "policy", "-n", "test", "v") == ["vllm-deploy-pp"]
    assert await brim.completes("cordon", "i") == ["idc"]
    nowhere = CommandLine(brim.data / "nowhere")
    assert await nowhere.completes("cordon", "") == []


async def _plan(brim: CommandLine, play: Play) -> None:
    scaled = yaml.safe_load(example("qwen3.yaml").split("---")[0])
    scaled["spec"]["replicas"] = 4
    planned = await brim("plan", "-f", "-", "-o", "json", given=json.dumps(scaled))
    assert planned.status == 0, planned.err
    found = planned.json
    assert isinstance(found, dict)
    (placement,) = found["placements"]  # type: ignore[misc]
    assert isinstance(placement, dict)
    assert {key: placement[key] for key in ("kind", "namespace", "name", "members", "pending")} == {
        "kind": "Deployment",
        "namespace": "test",
        "name": "qwen3",
        "members": {"idc": 2, "ack": 2},
        "pending": 0,
    }
    assert play.asked(QWEN3) == {"idc": 2}, "a plan must change nothing"
    shown = await brim("plan", "-f", "-", given=json.dumps(scaled))
    assert [line.split() for line in shown.lines[:2]] == [
        ["KIND", "NAMESPACE", "NAME", "WANTED", "NOW", "PLANNED", "PENDING"],
        ["Deployment", "test", "qwen3", "4", "idc:2", "idc:2,ack:2", "0"],
    ]


async def _scale(brim: CommandLine, play: Play) -> None:
    late = await brim("scale", "deploy/qwen3", "-n", "test", "--replicas", "9", "--wait", "--timeout", "0.5")
    assert late.status == 1
    assert late.err.splitlines()[-1].startswith("Error: not all of it runs after 0.5 s (Deployment test/qwen3: ")
    assert "3 pending" in late.err
    result = await brim("scale", "deploy", "qwen3", "-n", "test", "--replicas", "4", "--wait")
    assert result.status == 0, result.err
    assert result.lines == ["deployment/qwen3 scaled"]
    assert play.ready("test", "qwen3", "ack") == 2
    assert (await brim("scale", "deploy/qwen3", "-n", "test", "--replicas", "2")).status == 0
    await play.eventually(lambda: not play.held("test", "qwen3", "ack"))


async def _cordon(brim: CommandLine) -> None:
    assert (await brim("cordon", "cluster-idc-demo")).lines == ["cluster/idc cordoned"]
    await until(brim, "get", "cluster", "idc", shows="SchedulingDisabled")
    assert (await brim("uncordon", "idc")).lines == ["cluster/idc uncordoned"]
    unknown = await brim("drain", "nowhere")
    assert (unknown.status, unknown.err) == (
        1,
        "Error: the fleet has no member 'nowhere': its members are ack, idc\n",
    )


async def _trace(brim: CommandLine) -> None:
    """Out of the streams: no Jaeger is named here."""
    result = await brim("trace", "deploy/qwen3", "-n", "test")
    assert result.status == 0, result.err
    steps = ["Deployment test/qwen3", "wish accepted", "decide: ", "applied in idc", "running"]
    assert [step for step in steps if step not in result.out] == []
    unknown = await brim("trace", "deploy/qwen3", "-n", "test", "--id", "0af7651916cd43dd8448eb211c80319c")
    assert (unknown.status, "BRIM_TELEMETRY__JAEGER" in unknown.err) == (1, True)


async def _stories(brim: CommandLine, play: Play) -> None:
    await play.bus.publish(subjects.submit("apply"), b"kind: [")
    refused = await until(brim, "rejected", shows="brim.submit.apply  by scheduler")
    assert refused.lines[1:] == [
        "  - the message: line 1: malformed YAML: did not find expected node content",
        "  began with: kind: [",
    ]
    story = await brim("events", "-o", "json")
    lines = [json.loads(line) for line in story.lines]
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert {"placed", "applied", "rejected"} <= {line["event"] for line in lines}
    own = await brim("events", "svc/qwen3", "-n", "test")
    assert own.lines
    assert all("Service test/qwen3" in line for line in own.lines)
    assert (await brim("events", "deploy/nothing")).err == "Nothing has happened yet\n"
    asked = await brim("rebalance", "qwen3", "-n", "test")
    assert asked.lines == ["deployment/qwen3 rebalance requested"]
    path = await brim("kubeconfig")
    assert Path(path.out.strip()).is_file()


async def _not_found(brim: CommandLine) -> None:
    missing = await brim("get", "deploy", "web-demo", "-M")
    assert (missing.status, missing.out) == (1, "")
    assert missing.err.splitlines() == [
        'cluster(ack): deployments.apps "web-demo" not found',
        'cluster(idc): deployments.apps "web-demo" not found',
    ]
    for arguments in (["get", "deploy", "nothing"], ["explain", "nothing"], ["delete", "deploy", "nothing"]):
        result = await brim(*arguments)
        assert result.status == 1
        assert "nothing" in result.err
    unknown = await brim("get", "gizmos")
    assert unknown.err.startswith("Error: brim knows no type 'gizmos': use one of ")
    silent = await brim("scale", "svc/qwen3", "-n", "test", "--replicas", "2")
    assert (silent.status, silent.out) == (1, "")
    undivided = await brim("rebalance", "svc/qwen3", "-n", "test")
    assert undivided.err.startswith("Error: Service test/qwen3 has no replicas to divide")
    typed = await brim("scale", "deploy", "--replicas", "2")
    assert "name the object too: deploy NAME, or deploy/NAME" in typed.err


async def _delete(brim: CommandLine, play: Play) -> None:
    result = await brim("delete", "deploy", "qwen3", "-n", "test", "--wait")
    assert (result.status, result.lines) == (0, ["deployment/qwen3 deleted"]), result.err
    assert result.err.splitlines()[-1] == "Deployment test/qwen3: gone"
    await play.eventually(lambda: play.asked(QWEN3) == {})
    assert (await brim("apply", "-f", "-", given=example("qwen3.yaml").split("---")[0])).status == 0
    gone = await brim("delete", "deploy", "nothing", "-n", "test", "--ignore-not-found")
    assert (gone.status, gone.out, gone.err) == (0, "", "Nothing to delete\n")


async def test_waiting_for_a_new_template_ends_when_no_pod_of_the_old_one_is_left(tmp_path: Path) -> None:
    """All replicas are Ready from the start: that alone does not say that the change is out."""
    async with playing(tmp_path, example_fleet("hybrid.yaml", Delays(start=10))) as play:
        brim = CommandLine.of(play)
        first = await brim("apply", "-f", "-", "--wait", given=example("web-demo.yaml"))
        assert first.status == 0, first.err
        newer = example("web-demo.yaml").replace("nginx:1.29", "nginx:1.30")
        second = await brim("apply", "-f", "-", "--wait", given=newer)
        assert second.status == 0, second.err
        assert "to update" in second.err
        assert images(play) == {"nginx:1.30"}


def images(play: Play) -> set[str]:
    """What the containers of web-demo run that are not on their way out."""
    return {
        text(container, "image")
        for entry in play.observer.pods("default", "web-demo")
        for container in objects_of(entry.manifest, "spec", "containers")
    }


async def test_a_watch_lives_through_a_restart_of_the_bus_and_shows_what_went(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        brim = CommandLine.of(play)
        await play.submit(*web("web", replicas=2))
        await play.eventually(lambda: play.ready("default", "web") == 2)
        async with brim.running("get", "deploy", "-w") as watch:
            await watch.shows("web    2         2        2")
            await play.restart_bus()
            await watch.warns("connected to NATS again")
            assert (await brim("delete", "deploy", "web", "--wait")).status == 0
            await watch.shows("(gone)")
        assert watch.status == 130
        assert "Traceback" not in watch.err


async def test_a_drain_moves_all_away_and_uncordon_lets_it_back(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        brim = CommandLine.of(play)
        await play.submit(*web("web"))
        await play.eventually(lambda: play.ready("default", "web") == 4 and play.ready("default", "web", "idc") > 0)
        assert (await brim("drain", "idc")).lines == ["cluster/idc drained"]
        await play.eventually(
            lambda: play.ready("default", "web", "ack") == 4 and not play.held("default", "web", "idc")
        )
        await brim("uncordon", "idc")
        await brim("rebalance", "deploy/web")
        await play.eventually(
            lambda: play.ready("default", "web") == 4 and play.asked(reference("web")).get("idc", 0) > 0
        )


async def test_deleting_with_preserve_leaves_the_members_objects(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        brim = CommandLine.of(play)
        await play.submit(*web("web", replicas=2))
        await play.eventually(lambda: play.ready("default", "web") == 2)
        before = play.asked(reference("web"))
        assert (await brim("delete", "deploy", "web", "--preserve")).status == 0
        await until(brim, "get", "deploy", "-M", shows=" N")
        await play.settles(lambda: play.asked(reference("web")) == before, fleet_seconds=20)
