"""Real kubectl drives a simulated member. Skipped where kubectl is not installed."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from simulator import objects, write_kubeconfig
from tests.simulator.harness import Driver, NodePool, cluster, nodes

KUBECTL = shutil.which("kubectl")
pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")

MANIFEST = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: "nginx:1.27", resources: {requests: {cpu: 100m}}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""


@dataclass
class Kubectl:
    driver: Driver
    kubeconfig: Path

    async def __call__(self, *arguments: str, stdin: str = "", fails: bool = False) -> str:
        """Run one command; returns what it said, errors included."""
        assert KUBECTL is not None
        home = str(self.kubeconfig.parent)
        process = await asyncio.create_subprocess_exec(
            KUBECTL,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"KUBECONFIG": str(self.kubeconfig), "HOME": home, "PATH": "/usr/bin:/bin"},
        )
        async with asyncio.timeout(20):
            output, _ = await process.communicate(stdin.encode())
        text = output.decode()
        assert (process.returncode != 0) is fails, text
        return text


@asynccontextmanager
async def kubectl(folder: Path) -> AsyncIterator[Kubectl]:
    pool = NodePool(id="np1", instance_type="t", allocatable={"cpu": "4"}, max=3)
    async with cluster(nodes(3), pools=(pool,)) as driver:
        write_kubeconfig({"idc": driver.member}, folder / "config")
        yield Kubectl(driver, folder / "config")


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


async def test_apply_get_and_delete(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        assert "deployment.apps/web created" in await run("apply", "-f", "-", stdin=MANIFEST)
        await run.driver.until(lambda: len(run.driver.ready_pods()) == 2)
        assert "deployment.apps/web unchanged" in await run("apply", "-f", "-", stdin=MANIFEST)
        header, row = table(await run("get", "deploy"))
        assert header == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
        assert row[:4] == ["web", "2/2", "2", "2"]
        header, *rows = table(await run("get", "pods", "-o", "wide"))
        assert header[:6] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP"]
        assert [row[1:3] for row in rows] == [["1/1", "Running"]] * 2
        header, *rows = table(await run("get", "nodes"))
        assert header == ["NAME", "STATUS", "ROLES", "AGE", "VERSION"]
        assert [row[1] for row in rows] == ["Ready"] * 3
        listed = await run("get", "all,configmaps,namespaces,events")
        assert "replicaset.apps/web-" in listed
        assert "namespace/default" in listed
        await run("delete", "-f", "-", stdin=MANIFEST)
        await run.driver.until(lambda: not run.driver.pods())


async def test_server_side_apply_and_its_conflicts(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        applied = await run("apply", "--server-side", "-f", "-", stdin=MANIFEST)
        assert "deployment.apps/web serverside-applied" in applied
        await run("scale", "deploy/web", "--replicas=3")
        said = await run("apply", "--server-side", "-f", "-", stdin=MANIFEST, fails=True)
        assert 'conflict with "kubectl" with subresource "scale" using apps/v1' in said
        assert ".spec.replicas" in said
        await run("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=MANIFEST)
        found = json.loads(await run("get", "deploy", "web", "-o", "json"))
        assert found["spec"]["replicas"] == 2


async def test_rollouts(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        await run("apply", "-f", "-", stdin=MANIFEST)
        await run("set", "image", "deploy/web", "web=nginx:1.28")
        assert "successfully rolled out" in await run("rollout", "status", "deploy/web", "--timeout=10s")
        assert table(await run("rollout", "history", "deploy/web"))[2][0] == "1"
        await run("rollout", "undo", "deploy/web")
        await run("rollout", "status", "deploy/web", "--timeout=10s")
        images = await run("get", "deploy", "web", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
        assert images == "nginx:1.27"
        await run("rollout", "restart", "deploy/web")
        await run("rollout", "status", "deploy/web", "--timeout=10s")
        await run.driver.until(lambda: len(run.driver.pods()) == 2)


KRUISE = """
apiVersion: apps.kruise.io/v1alpha1
kind: CloneSet
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: "nginx:1.27"}]}
---
apiVersion: apps.kruise.io/v1alpha1
kind: DaemonSet
metadata: {name: agent}
spec:
  selector: {matchLabels: {app: agent}}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: agent, image: "agent:1"}]}
---
apiVersion: rollouts.kruise.io/v1beta1
kind: Rollout
metadata: {name: web}
spec:
  workloadRef: {apiVersion: apps.kruise.io/v1alpha1, kind: CloneSet, name: web}
  strategy: {blueGreen: {steps: [{replicas: "100%"}]}}
"""


async def test_kruises_kinds(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        await run("apply", "-f", "-", stdin=KRUISE)
        await run.driver.until(lambda: len(run.driver.ready_pods()) == 5)
        await run.driver.settled()
        header, row = table(await run("get", "clone"))
        assert header == ["NAME", "DESIRED", "UPDATED", "UPDATED_READY", "UPDATED_AVAILABLE", "READY", "TOTAL", "AGE"]
        assert row[:7] == ["web", "2", "2", "2", "2", "2", "2"]
        header, row = table(await run("get", "ads"))
        assert header == ["NAME", "DESIRED", "CURRENT", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
        assert row[:6] == ["agent", "3", "3", "3", "3", "3"]
        assert "No resources found" in await run("get", "ds")
        await run("scale", "clone/web", "--replicas=1")
        await run.driver.until(lambda: len(run.driver.pods(app="web")) == 1)
        image = '{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"nginx:1.28"}]}}}}'
        await run("patch", "clone", "web", "-p", image, fails=True)  # a custom resource's API: no strategic merge
        await run("patch", "clone", "web", "--type=merge", "-p", image)
        await run.driver.until(lambda: len(run.driver.ready_pods(app="web")) == 2)
        await run.driver.settled()
        header, row = table(await run("get", "rollouts"))
        assert header == ["NAME", "STATUS", "CANARY_STEP", "CANARY_STATE", "MESSAGE", "AGE"]
        assert row[:4] == ["web", "Progressing", "1", "StepPaused"]


async def test_nodes_are_labelled_tainted_cordoned_and_drained(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        await run("apply", "-f", "-", stdin=MANIFEST)
        await run.driver.until(lambda: len(run.driver.ready_pods()) == 2)
        await run("label", "node", "node-0", "disk=ssd")
        await run("taint", "node", "node-1", "k=v:NoSchedule")
        await run("annotate", "node", "node-1", "a=b")
        node = run.driver.get("nodes", "node-1")
        assert node is not None
        assert node["spec"]["taints"] == [{"key": "k", "value": "v", "effect": "NoSchedule"}]
        await run("taint", "node", "node-1", "k-")
        await run("drain", "node-0", "--ignore-daemonsets", "--timeout=10s")
        assert "Ready,SchedulingDisabled" in await run("get", "nodes")
        await run.driver.until(
            lambda: (
                len(run.driver.ready_pods()) == 2 and all(p["spec"]["nodeName"] != "node-0" for p in run.driver.pods())
            )
        )
        await run("uncordon", "node-0")


@pytest.mark.parametrize(
    ("kind", "patch"),
    [
        pytest.param("strategic", '{"spec":{"replicas":3}}', id="strategic"),
        pytest.param("merge", '{"spec":{"replicas":3}}', id="merge"),
        pytest.param("json", '[{"op":"replace","path":"/spec/replicas","value":3}]', id="json"),
    ],
)
async def test_patches(tmp_path: Path, kind: str, patch: str) -> None:
    async with kubectl(tmp_path) as run:
        await run("apply", "-f", "-", stdin=MANIFEST)
        assert "patched" in await run("patch", "deploy", "web", f"--type={kind}", "-p", patch)
        await run.driver.until(lambda: len(run.driver.ready_pods()) == 3)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("create", "namespace", "team"), id="namespace"),
        pytest.param(("create", "configmap", "one", "--from-literal=a=b"), id="configmap"),
        pytest.param(("create", "secret", "generic", "one", "--from-literal=a=b"), id="secret"),
        pytest.param(("create", "deployment", "one", "--image=i:1", "--replicas=2"), id="deployment"),
        pytest.param(("create", "job", "one", "--image=i:1"), id="job"),
        pytest.param(("create", "cronjob", "one", "--image=i:1", "--schedule=* * * * *"), id="cronjob"),
        pytest.param(("create", "serviceaccount", "one"), id="serviceaccount"),
        pytest.param(("create", "service", "clusterip", "one", "--tcp=80:80"), id="service"),
        pytest.param(("create", "pdb", "one", "--selector=a=b", "--min-available=1"), id="pdb"),
        pytest.param(("create", "priorityclass", "one", "--value=5"), id="priorityclass"),
        pytest.param(("create", "role", "one", "--verb=get", "--resource=pods"), id="role"),
        pytest.param(("run", "one", "--image=i:1"), id="pod"),
    ],
)
async def test_create_in_kubectls_own_encoding(tmp_path: Path, command: tuple[str, ...]) -> None:
    async with kubectl(tmp_path) as run:
        assert "created" in await run(*command)


async def test_describe_logs_and_events(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        await run("run", "one", "--image=i:1")
        await run.driver.until(lambda: run.driver.ready_pods())
        assert "i:1 started on" in await run("logs", "one", "--tail=5")
        described = await run("describe", "pod", "one")
        assert "Successfully assigned default/one to" in described
        assert "Allocatable" in await run("describe", "node", "node-0")
        assert "Scheduled" in await run("events", "--for", "pod/one")


async def test_a_missing_object_reads_as_in_kubernetes(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        said = await run("get", "deploy", "none", fails=True)
        assert said.strip() == 'Error from server (NotFound): deployments.apps "none" not found'


async def test_a_watch_prints_rows_as_they_change(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        assert KUBECTL is not None
        environment = {"KUBECONFIG": str(run.kubeconfig), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        process = await asyncio.create_subprocess_exec(
            KUBECTL, "get", "pods", "-w", stdout=asyncio.subprocess.PIPE, env=environment
        )
        assert process.stdout is not None
        await run("run", "one", "--image=i:1")
        async with asyncio.timeout(10):
            while b"Running" not in (line := await process.stdout.readline()):
                assert line
        process.terminate()
        await process.communicate()


TYPO = MANIFEST.replace("replicas: 2", "replicass: 2")


async def test_what_is_misspelt_is_told(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        refused = await run("apply", "-f", "-", stdin=TYPO, fails=True)
        assert 'strict decoding error: unknown field "spec.replicass"' in refused
        warned = await run("apply", "-f", "-", "--validate=warn", stdin=TYPO)
        assert 'Warning: unknown field "spec.replicass"' in warned
        found = json.loads(await run("get", "deploy", "web", "-o", "json"))
        assert found["spec"]["replicas"] == 1
        text = MANIFEST.replace("requests: {cpu: 100m}", "requests: {cpu: true}")
        assert "cannot unmarshal bool into Go struct field" in await run("apply", "-f", "-", stdin=text, fails=True)
        unknown = await run("apply", "-f", "-", stdin=MANIFEST.replace("apps/v1", "apps/v9"), fails=True)
        assert 'no matches for kind "Deployment" in version "apps/v9"' in unknown


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("pod.spec.containers.resources", "requests\t<map[string]string>"),
        ("deployment.spec.replicas", "FIELD: replicas <integer>"),
        ("statefulset", "spec\t<StatefulSetSpec>"),
        ("job.spec", "template\t<PodTemplateSpec> -required-"),
        ("service.spec.ports", "FIELD: ports <[]ServicePort>"),
        ("node.spec.taints", "effect\t<string> -required-"),
        ("configmap", "data\t<map[string]string>"),
        ("event", "involvedObject\t<ObjectReference> -required-"),
    ],
)
async def test_kinds_are_explained(tmp_path: Path, what: str, words: str) -> None:
    async with kubectl(tmp_path) as run:
        assert words in await run("explain", what)


async def test_whoever_has_the_kubeconfig_may_do_everything(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        assert await run("auth", "can-i", "delete", "pods") == "yes\n"
        assert "simulator-admin" in await run("auth", "whoami")
        assert "selfsubjectaccessreviews" in await run("api-resources")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("top", "nodes"), "error: Metrics API not available"),
        (("exec", "one", "--", "ls"), "the containers of simulated pods run nothing that could be spoken to"),
        (("port-forward", "one", "8080:80"), "the containers of simulated pods run nothing that could be spoken to"),
        (("logs", "one", "--previous"), 'previous terminated container "one" in pod "one" not found'),
        (("logs", "one", "-c", "two"), "container two is not valid for pod one"),
        (
            ("patch", "pod", "one", "--type=json", "-p", '[{"op":"test","path":"/kind","value":"Node"}]'),
            "testing value /kind failed",
        ),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
async def test_what_a_simulated_member_cannot_do_it_says(tmp_path: Path, command: tuple[str, ...], words: str) -> None:
    async with kubectl(tmp_path) as run:
        await run("run", "one", "--image=i:1")
        await run.driver.until(lambda: run.driver.ready_pods())
        assert words in await run(*command, fails=True)


async def test_kubelets_renew_their_leases(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        assert "HolderIdentity:  node-0" in await run("describe", "node", "node-0")
        first = json.loads(await run("get", "leases", "-n", "kube-node-lease", "-o", "json"))
        assert {item["metadata"]["name"] for item in first["items"]} == {"node-0", "node-1", "node-2"}
        await run("delete", "node", "node-2")
        await run.driver.until(
            lambda: run.driver.get("leases.coordination.k8s.io", "node-2", "kube-node-lease") is None
        )


async def test_a_service_shows_the_pods_behind_it(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        text = MANIFEST.replace("selector: {app: web}, ports", "selector: {app: web, tier: front}, ports")
        await run("apply", "-f", "-", stdin=text)
        await run.driver.until(lambda: len(run.driver.ready_pods()) == 2)
        assert "Endpoints:" in (line.strip() for line in (await run("describe", "svc", "web")).splitlines())
        chosen = objects.name(run.driver.pods()[0])
        await run("label", "pod", chosen, "tier=front")

        def behind() -> list[str]:
            found = run.driver.get("endpointslices.discovery.k8s.io", "web") or {}
            return [entry["targetRef"]["name"] for entry in found.get("endpoints") or ()]

        await run.driver.until(lambda: behind() == [chosen])
        described = await run("describe", "svc", "web")
        address = objects.status(run.driver.pods()[0])["podIP"]
        assert f"{address}:80" in described
        await run("label", "pod", chosen, "tier-")
        await run.driver.until(lambda: behind() == [])
        await run("delete", "svc", "web")
        await run.driver.until(lambda: run.driver.get("endpointslices.discovery.k8s.io", "web") is None)


async def test_a_drain_waits_for_a_budget(tmp_path: Path) -> None:
    async with kubectl(tmp_path) as run:
        await run("apply", "-f", "-", stdin=MANIFEST)
        await run.driver.until(lambda: len(run.driver.ready_pods()) == 2)
        await run("create", "poddisruptionbudget", "web", "--selector=app=web", "--min-available=2")
        await run("wait", "pdb/web", "--for=jsonpath={.status.currentHealthy}=2", "--timeout=15s")
        header, row = table(await run("get", "pdb"))
        assert header == ["NAME", "MIN", "AVAILABLE", "MAX", "UNAVAILABLE", "ALLOWED", "DISRUPTIONS", "AGE"]
        assert row[:4] == ["web", "2", "N/A", "0"]
        node = run.driver.ready_pods()[0]["spec"]["nodeName"]
        said = await run("drain", node, "--timeout=3s", fails=True)
        assert "Cannot evict pod as it would violate the pod's disruption budget." in said
        assert len(run.driver.ready_pods()) == 2
        await run("patch", "pdb", "web", "--type=merge", "-p", '{"spec": {"minAvailable": 0}}')
        assert "drained" in await run("drain", node, "--timeout=15s")
