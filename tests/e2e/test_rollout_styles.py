"""Kruise's other rollouts over two regions, through all of brim: CloneSets and DaemonSets in steps, blue-green, and the
canary with an extra workload. What is true is asked of the members."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.demo.observer import DEPLOYMENTS, ROLLOUTS, is_ready
from cli.json_values import object_of, objects_of, table_of, text
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.settings import ExecutorSettings, Settings
from tests.cli.test_commands import until
from tests.e2e.command_line import CommandLine
from tests.e2e.harness import Play, playing

REGIONS = ("beijing", "shanghai")
ROLLOUT = ObjectRef(group="rollouts.kruise.io", version="v1beta1", kind="Rollout", namespace="demo", name="model")
REPLICAS = 4
STRATEGY = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
HALF_THEN_ALL: tuple[JsonObject, ...] = ({"replicas": "50%"}, {"replicas": "100%"})
CLONESET = ("apps.kruise.io/v1alpha1", "CloneSet")
DEPLOYMENT = ("apps/v1", "Deployment")
DAEMONSET = ("apps/v1", "DaemonSet")
CANARY_OF = "rollouts.kruise.io/canary-deployment"


def workload(kind: tuple[str, str], image: str, *, ready: bool = True, **spec: Any) -> JsonObject:
    """spec: beside what every such workload has."""
    marks: JsonObject = {} if ready else {"simulator.brim.dev/ready": "false"}
    container: JsonObject = {"name": "model", "image": image, "resources": {"requests": {"cpu": "1"}}}
    template: JsonObject = {
        "metadata": {"labels": {"app": "model"}, "annotations": marks},
        "spec": {"containers": [container]},
    }
    counted = {} if kind == DAEMONSET else {"replicas": REPLICAS}
    return {
        "apiVersion": kind[0],
        "kind": kind[1],
        "metadata": {"name": "model", "namespace": "demo"},
        "spec": {**counted, "selector": {"matchLabels": {"app": "model"}}, "template": template, **spec},
    }


def around(kind: tuple[str, str], strategy: JsonObject) -> tuple[JsonObject, JsonObject]:
    """The Rollout of a workload, and the policy that copies both to every region."""
    selectors: list[Any] = [
        {"apiVersion": kind[0], "kind": kind[1], "name": "model"},
        {"apiVersion": "rollouts.kruise.io/v1beta1", "kind": "Rollout", "name": "model"},
    ]
    return (
        {
            "apiVersion": "rollouts.kruise.io/v1beta1",
            "kind": "Rollout",
            "metadata": {"name": "model", "namespace": "demo"},
            "spec": {"workloadRef": {"apiVersion": kind[0], "kind": kind[1], "name": "model"}, "strategy": strategy},
        },
        {
            "apiVersion": "policy.one.alibabacloud.com/v1alpha1",
            "kind": "PropagationPolicy",
            "metadata": {"name": "model", "namespace": "demo"},
            "spec": {
                "resourceSelectors": selectors,
                "placement": {"replicaScheduling": {"replicaSchedulingType": "Duplicated"}},
            },
        },
    )


@dataclass
class Tale:
    """A model that runs as v1 in both regions, with its Rollout."""

    play: Play
    kind: tuple[str, str]
    size: int = REPLICAS

    @property
    def ref(self) -> ObjectRef:
        return ObjectRef.of(workload(self.kind, ""))

    async def apply(self, image: str, **more: Any) -> None:
        await self.play.stage.submit(workload(self.kind, image, **more))

    async def undo(self) -> None:
        await self.play.stage.undo(ROLLOUT)

    def serving(self, member: str, image: str) -> int:
        pods = self.play.observer.pods("demo", "model", member)
        return sum(
            is_ready(entry.manifest) and text(objects_of(entry.manifest, "spec", "containers")[0], "image") == image
            for entry in pods
        )

    def both(self, old: str = "v1", new: str = "v2") -> list[tuple[int, int]]:
        """Ready pods of the old and of the new version in each region."""
        return [(self.serving(member, old), self.serving(member, new)) for member in REGIONS]

    def at(self) -> list[tuple[str, str]]:
        found = [object_of(one.manifest, "status") for one in self.play.observer.objects(ROLLOUTS, "demo")]
        return [(text(one, "currentStepIndex"), text(one, "currentStepState")) for one in found]

    def phases(self) -> list[str]:
        return [text(one.manifest, "status", "phase") for one in self.play.observer.objects(ROLLOUTS, "demo")]

    async def shows(self, *conditions: Callable[[], bool], what: str) -> None:
        await self.play.eventually(lambda: all(condition() for condition in conditions), what)

    async def paused(self, step: int, old: int, new: int) -> None:
        await self.shows(
            lambda: self.at() == [(str(step), "StepPaused")] * 2,
            lambda: self.both() == [(old, new)] * 2,
            what=f"step {step} with {old} old and {new} new pods in each region",
        )

    async def ends(self, image: str, other: str) -> None:
        await self.shows(
            lambda: self.phases() == ["Healthy"] * 2,
            lambda: self.both(image, other) == [(self.size, 0)] * 2,
            lambda: all(len(self.play.observer.pods("demo", "model", member)) == self.size for member in REGIONS),
            what=f"{image} alone in each region, and Healthy",
        )

    async def placed(self) -> Placement:
        message = await self.play.bus.last("PLACEMENT", subjects.placement(self.ref))
        assert message is not None
        return Placement.decode(message.data)


@asynccontextmanager
async def running(
    folder: Path, kind: tuple[str, str], how: JsonObject, size: int = REPLICAS, **spec: Any
) -> AsyncIterator[Tale]:
    """how: the Rollout's strategy. Each object is looked at again every second, whatever is under way."""
    settings = Settings(executor=ExecutorSettings(resync=1.0))
    async with playing(folder, "rollout-fleet.yaml", settings=settings) as play:
        tale = Tale(play, kind, size)
        await play.stage.submit(workload(kind, "v1", **spec), *around(kind, how))
        await tale.ends("v1", "v2")
        yield tale


async def test_a_cloneset_goes_out_in_steps_and_history_says_how_far_it_is(tmp_path: Path) -> None:
    async with running(tmp_path, CLONESET, {"canary": {"steps": list(HALF_THEN_ALL)}}) as tale:
        brim = CommandLine.of(tale.play)
        await tale.apply("v2")
        await tale.paused(1, 2, 2)
        await until(brim, "rollout", "get", "-n", "demo", shows="StepPaused")
        history = await until(brim, "rollout", "history", "rollout/model", "-n", "demo", shows="StepPaused")
        assert history.lines[0] == "CloneSet demo/model:"
        assert [line.split()[:2] for line in history.lines[2:4]] == [["2", "now"], ["1", "until"]]
        steps = [line.split() for line in history.lines[5:]]
        assert {row[0] for row in steps} == set(REGIONS)
        await tale.play.stage.approve(ROLLOUT, "beijing")
        await tale.shows(lambda: tale.both() == [(0, 4), (2, 2)], what="beijing alone goes on")
        await tale.play.stage.approve(ROLLOUT, "shanghai")
        await tale.ends("v2", "v1")
        assert {share.revision for share in (await tale.placed()).shares} == {2}


async def test_a_daemonset_goes_out_in_steps_and_comes_back(tmp_path: Path) -> None:
    """One pod on each of a region's three nodes: half of them is two. Kruise takes it back by the same steps."""
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 2}}
    strategy: JsonObject = {"canary": {"steps": list(HALF_THEN_ALL)}}
    async with running(tmp_path, DAEMONSET, strategy, 3, updateStrategy=rolling) as tale:
        await tale.apply("v2", updateStrategy=rolling)
        await tale.paused(1, 1, 2)
        await tale.undo()
        await tale.paused(1, 2, 1)
        await tale.play.stage.approve(ROLLOUT)
        await tale.ends("v1", "v2")


async def test_bounds_that_people_wrote_hold_in_partitions_too(tmp_path: Path) -> None:
    """Kruise puts them aside for its own controller; brim sends them with each new template, and they come back."""
    own = {"strategy": STRATEGY}
    async with running(tmp_path, DEPLOYMENT, {"canary": {"steps": list(HALF_THEN_ALL)}}, **own) as tale:
        least = [4]

        def serving(member: str) -> int:
            return sum(tale.serving(member, image) for image in ("v1", "v2", "v3"))

        tale.play.observer.gauges.append(lambda: least.append(min(map(serving, REGIONS))))
        await tale.apply("v2", **own)
        await tale.paused(1, 2, 2)
        await tale.apply("v3", **own)
        await tale.shows(
            lambda: tale.at() == [("1", "StepPaused")] * 2,
            lambda: tale.both("v1", "v3") == [(2, 2)] * 2,
            what="the version after it begins anew",
        )
        await tale.play.stage.approve(ROLLOUT)
        await tale.ends("v3", "v2")
        assert min(least) == 4, "none may be unavailable"
        await tale.shows(lambda: strategies(tale) == [STRATEGY] * 2, what="they are back")


async def test_blue_and_green_stand_side_by_side_until_the_switch(tmp_path: Path) -> None:
    async with running(tmp_path, DEPLOYMENT, {"blueGreen": {"steps": list(HALF_THEN_ALL)}}) as tale:
        await tale.apply("v2")
        await tale.paused(1, 4, 2)
        assert [share.surge for share in (await tale.placed()).shares] == [4, 4], "room for all of the new ones"
        await tale.play.stage.approve(ROLLOUT)
        await tale.paused(2, 4, 4)
        least = [4]
        tale.play.observer.gauges.append(lambda: least.append(min(new for _, new in tale.both())))
        await tale.play.stage.approve(ROLLOUT)
        await tale.ends("v2", "v1")
        assert min(least) == 4, "the switch takes nothing from the new version"
        await tale.play.decided(tale.ref, lambda one: one.revision == 2 and not any(s.surge for s in one.shares))


@pytest.mark.parametrize("kind", [DEPLOYMENT, CLONESET], ids=["Deployment", "CloneSet"])
async def test_blue_takes_no_harm_when_green_is_undone(tmp_path: Path, kind: tuple[str, str]) -> None:
    """The workload says how it is to be updated, which is Kruise's to say until the end."""
    own = {"strategy": STRATEGY} if kind == DEPLOYMENT else {"updateStrategy": STRATEGY["rollingUpdate"]}
    async with running(tmp_path, kind, {"blueGreen": {"steps": [{"replicas": "100%"}]}}, **own) as tale:
        await tale.apply("v2", **own)
        await tale.paused(1, 4, 4)
        least = [4]
        tale.play.observer.gauges.append(lambda: least.append(min(old for old, _ in tale.both())))
        await tale.play.restart("executor")
        await tale.play.stage.brim.ready()
        await tale.play.settles(lambda: tale.both() == [(4, 4)] * 2, fleet_seconds=60.0)
        await tale.undo()
        await tale.ends("v1", "v2")
        assert min(least) == 4
        # Back at rest, with the settings that people wrote: brim and Kruise agree again.
        await tale.apply("v3", **own)
        await tale.shows(lambda: tale.both("v1", "v3") == [(4, 4)] * 2, what="the next version beside it")


async def test_an_extra_workload_carries_the_canary(tmp_path: Path) -> None:
    steps: list[Any] = [{"replicas": "25%"}, {"replicas": "50%"}]
    strategy: JsonObject = {"canary": {"steps": steps, "enableExtraWorkloadForCanary": True}}
    async with running(tmp_path, DEPLOYMENT, strategy) as tale:
        await tale.apply("v2")
        await tale.paused(1, 4, 1)
        await tale.shows(lambda: canaries(tale) == [1, 1], what="an extra workload in each region")
        await tale.play.stage.approve(ROLLOUT)
        await tale.paused(2, 4, 2)
        await tale.shows(lambda: canaries(tale) == [2, 2], what="it grows")
        shares = (await tale.placed()).shares
        assert [share.replicas for share in shares] == [4, 4], "the canary's pods are nobody's replicas"
        assert [share.surge for share in shares] == [3, 3], "and its own rolling update follows"
        await tale.play.stage.approve(ROLLOUT)
        await tale.ends("v2", "v1")
        await tale.shows(lambda: canaries(tale) == [], what="no extra workload is left")


async def test_an_extra_workload_of_a_bad_version_is_undone(tmp_path: Path) -> None:
    strategy: JsonObject = {"canary": {"steps": [{"replicas": "50%"}], "enableExtraWorkloadForCanary": True}}
    async with running(tmp_path, DEPLOYMENT, strategy) as tale:
        await tale.apply("v2", ready=False)
        await tale.shows(
            lambda: all(len(tale.play.observer.pods("demo", "model", member)) == 6 for member in REGIONS),
            lambda: tale.at() == [("1", "StepUpgrade")] * 2,
            what="two pods of the bad version in each region, and it goes no further",
        )
        assert tale.both() == [(4, 0)] * 2
        await tale.undo()
        await tale.ends("v1", "v2")
        await tale.shows(lambda: canaries(tale) == [], what="no extra workload is left")


def strategies(tale: Tale) -> list[JsonObject]:
    """Of the workload, by region."""
    return [object_of(one.manifest, "spec", "strategy") for one in tale.play.observer.objects(DEPLOYMENTS, "demo")]


def canaries(tale: Tale) -> list[int]:
    """Replicas of the extra workloads, by region."""
    found = tale.play.observer.objects(DEPLOYMENTS, "demo")
    extra = [one for one in found if CANARY_OF in table_of(one.manifest, "metadata", "labels")]
    return [int(text(one.manifest, "spec", "replicas")) for one in extra]
