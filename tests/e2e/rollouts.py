"""New versions over a whole fleet, for tests: members, manifests, what runs where, and a Prometheus server."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import pytest
from aiohttp import web

from cli import manifests
from cli.demo import versions
from cli.demo.observer import DEPLOYMENTS, ROLLOUTS, names
from cli.json_values import object_of, table_of, text
from cli.up import example
from shared import fleet as fleet_file
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.cluster import cluster_of, cluster_ref
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Answer, Delete
from shared.fleet import Fleet
from tests.e2e.command_line import CommandLine, Result
from tests.e2e.harness import WAIT, Play

QWEN, QWEN_ROLLOUT, REGIONS = "qwen-inference", "qwen-inference-rollout", ("beijing", "shanghai")
CHAT, MEMBERS = "chat", ("canary", "north", "south")
V1, V2, V3 = "v1", "v2", "v3"
FILES = {QWEN: "qwen-rollout.yaml", CHAT: "chat-waves.yaml"}
IMAGES = {QWEN: "qwen", CHAT: "chat"}


def fleet(*members: str, cpu: int = 8, nodes: int = 2) -> Fleet:
    """Members of so many nodes; all but a canary have the label stage: production."""
    text_of = """
  - id: {id}
    labels: {{stage: {stage}}}
    simulated:
      nodes: [{{name: {id}-node, count: {nodes}, allocatable: {{cpu: "{cpu}", memory: 64Gi, pods: "64"}}}}]
"""
    stages = {name: "canary" if name == "canary" else "production" for name in members}
    listed = "".join(text_of.format(id=name, stage=stage, cpu=cpu, nodes=nodes) for name, stage in stages.items())
    return fleet_file.parse(f"apiVersion: brim.dev/v1alpha1\nkind: Fleet\nmembers:{listed}", source="a test's fleet")


def shipped(file: str, kind: str) -> dict[str, Any]:
    """The one manifest of a kind in a packaged example, to be changed."""
    (one,) = (manifest for manifest in shipped_all(file) if manifest["kind"] == kind)
    return one


def shipped_all(file: str) -> list[dict[str, Any]]:
    """The manifests of a packaged example, to be changed."""
    return [copy.deepcopy(document.manifest) for document in manifests.parse(example(file).encode(), source=file)]


def changed(manifest: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A copy with fields of its spec set; a__b for one below another, None takes it away."""
    copied = copy.deepcopy(manifest)
    for name, value in fields.items():
        *above, last = name.split("__")
        at = copied["spec"]
        for step in above:
            at = at[step]
        if value is None:
            at.pop(last, None)
        else:
            at[last] = value
    return copied


@dataclass(frozen=True, slots=True)
class Show:
    """One workload in its members, as their own APIs show it, and brim as people steer it."""

    play: Play
    brim: CommandLine
    app: str

    @classmethod
    def of(cls, play: Play, app: str) -> Show:
        return cls(play, CommandLine.of(play), app)

    # -- acting

    async def apply(self, *wanted: JsonObject, expect: int = 0) -> Result:
        result = await self.brim("apply", "-f", "-", given=json.dumps(list(wanted)))
        assert result.status == expect, result.out + result.err
        return result

    async def release(self, version: str, *, ready: bool = True, **spec: Any) -> None:
        """Apply another version of the example's Deployment."""
        manifest = versions.version(FILES[self.app], f"{IMAGES[self.app]}:{version}", ready=ready)
        await self.apply(changed(manifest, **spec))

    async def rollout(self, verb: str, what: str, *more: str, expect: int = 0) -> Result:
        result = await self.brim("rollout", verb, what, "-n", "demo", *more)
        assert result.status == expect, result.out + result.err
        return result

    async def leaves(self, member: str) -> None:
        """The member leaves the fleet; its cluster lives on."""
        request = Delete(refs=(cluster_ref(member),))
        answer = Answer.decode(await self.play.bus.request(subjects.DELETE, request.encode(), timeout=10.0))
        assert not answer.faults

    async def joins(self, member: str) -> None:
        brim = self.play.stage.brim
        (one,) = (entry for entry in brim.fleet.members if entry.id == member)
        answer = await self.play.submit(cluster_of(one, brim.simulator_context(one)).to_manifest())
        assert not answer.faults

    # -- asking

    def serving(self, version: str) -> dict[str, int]:
        """Ready pods of a version by member; members without any are left out."""
        image = f"{IMAGES[self.app]}:{version}"
        found = {name: versions.serving(self.play.stage, self.app, name, image) for name in self.play.observer.clients}
        return {name: count for name, count in found.items() if count}

    def started(self, version: str) -> set[str]:
        """Members in which a pod of a version is, ready or not."""
        image = f"{IMAGES[self.app]}:{version}"
        return {name for name in self.play.observer.clients if versions.started(self.play.stage, self.app, name, image)}

    def started_in(self, version: str, member: str) -> list[JsonObject]:
        return versions.started(self.play.stage, self.app, member, f"{IMAGES[self.app]}:{version}")

    def deployment(self, member: str) -> JsonObject:
        found = self.play.observer.objects(DEPLOYMENTS, "demo", member)
        return next(entry.manifest for entry in found if text(entry.manifest, "metadata", "name") == self.app)

    def steps(self) -> dict[str, str]:
        """Where each member's Rollout stands: `1 StepPaused`, or its phase where it is at rest."""
        found = {}
        for entry in self.play.observer.objects(ROLLOUTS, "demo"):
            status = object_of(entry.manifest, "status")
            canary, phase = object_of(status, "canaryStatus"), text(status, "phase")
            step = f"{text(canary, 'currentStepIndex')} {text(canary, 'currentStepState')}"
            found[entry.member] = step if phase == "Progressing" else phase
        return found

    def at_rest(self) -> bool:
        """No member is in the middle of anything; Initial is one without the workload."""
        found = set(self.steps().values())
        return bool(found) and found <= {"Healthy", "Initial"}

    def pods(self, member: str) -> frozenset[str]:
        return names(self.play.observer.pods("demo", self.app, member))

    def kruise(self, member: str) -> dict[str, object]:
        """The parts of the Deployment that Kruise owns."""
        deployment = self.deployment(member)
        metadata = object_of(deployment, "metadata")
        marks = {**table_of(metadata, "annotations"), **table_of(metadata, "labels")}
        spec = object_of(deployment, "spec")
        return {name: value for name, value in marks.items() if "kruise.io" in name} | {
            "paused": spec.get("paused"),
            "strategy": spec.get("strategy"),
            "template": spec["template"],
        }

    async def sees(self, condition: Any, what: str = "") -> None:
        await self.play.eventually(condition, what or f"so of {self.app}")

    async def says(self, *arguments: str, shows: str, status: int | None = None) -> Result:
        """Call a command until its output shows something: what brim is told lags behind by moments."""
        result = Result(0, "", "")
        with anyio.move_on_after(WAIT):
            while shows not in result.out + result.err:
                result = await self.brim(*arguments)
                await anyio.sleep(0.05)
        if shows not in result.out + result.err:
            pytest.fail(f"{' '.join(arguments)} never showed {shows!r}:\n{result.out}{result.err}")
        assert status in (None, result.status), result.out + result.err
        return result


def waves(*listed: JsonObject, **spec: Any) -> dict[str, Any]:
    """The packaged FleetRollout of CHAT with other waves."""
    return changed(shipped(FILES[CHAT], "FleetRollout"), waves=list(listed), **spec)


# -- Prometheus ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Metrics:
    """A server that answers instant queries as Prometheus does. say: what it answers with, bytes as they are.

    queries: those that were asked.
    """

    url: str = ""
    value: str = "0"
    say: bytes | None = None
    queries: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.queries.append(str((await request.post())["query"]))
        result = [{"metric": {}, "value": [1.0, self.value]}]
        told = {"status": "success", "data": {"resultType": "vector", "result": result}}
        body = json.dumps(told).encode() if self.say is None else self.say
        return web.Response(body=body, content_type="application/json")


@asynccontextmanager
async def prometheus(port: int = 0, metrics: Metrics | None = None) -> AsyncIterator[Metrics]:
    """While the block runs. port: to come back at an address that was known before."""
    metrics = metrics or Metrics()
    app = web.Application()
    app.router.add_post("/api/v1/query", metrics.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        metrics.url = "http://{}:{}".format(*runner.addresses[0][:2])
        yield metrics
    finally:
        await runner.cleanup()


def deployment_ref(app: str) -> ObjectRef:
    return ObjectRef(group="apps", version="v1", kind="Deployment", namespace="demo", name=app)
