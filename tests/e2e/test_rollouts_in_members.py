"""A rollout inside a member goes on as its own controllers have it, whatever brim does around it meanwhile."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.services import SERVICES
from shared.contracts import subjects
from shared.contracts.submit import Scale
from shared.settings import ExecutorSettings, Settings
from tests.e2e.harness import playing
from tests.e2e.rollouts import (
    FILES,
    QWEN,
    QWEN_ROLLOUT,
    REGIONS,
    V1,
    V2,
    V3,
    Show,
    deployment_ref,
    fleet,
    shipped,
    shipped_all,
)

NAME = f"rollout/{QWEN_ROLLOUT}"
HASTY = Settings(executor=ExecutorSettings(resync=1.0))  # each object is looked at again every second


@asynccontextmanager
async def serving(
    folder: Path,
    *members: str,
    replicas: int = 10,
    cpu: int = 16,
    nodes: int = 2,
    settings: Settings | None = None,
    policy: dict[str, Any] | None = None,
    **spec: Any,
) -> AsyncIterator[Show]:
    """Version 1 of the packaged example with its Rollout. policy: of the Deployment, Duplicated by default."""
    async with playing(folder, fleet(*(members or REGIONS), cpu=cpu, nodes=nodes), settings=settings) as play:
        show = Show.of(play, QWEN)
        _, rollout, of_rollout, of_deployment = shipped_all(FILES[QWEN])
        await show.apply(rollout, of_rollout, policy or of_deployment)
        await show.release(V1, replicas=replicas, **spec)
        await show.sees(lambda: sum(show.serving(V1).values()) >= replicas and show.at_rest())
        yield show


def divided(*members: str, weights: dict[str, int] | None = None) -> dict[str, Any]:
    """The Deployment's policy: by these weights, or by room."""
    found = shipped_all(FILES[QWEN])[3]
    scheduling: dict[str, Any] = {"replicaSchedulingType": "Divided", "replicaDivisionPreference": "Weighted"}
    listed = [{"targetCluster": {"clusterNames": [name]}, "weight": weight} for name, weight in (weights or {}).items()]
    preference = {"staticWeightList": listed} if listed else {"dynamicWeight": "AvailableReplicas"}
    found["spec"]["placement"] = {
        "clusterAffinity": {"clusterNames": list(members or weights or ())},
        "replicaScheduling": {**scheduling, "weightPreference": preference},
    }
    return dict(found)


def marks(show: Show, member: str) -> dict[str, object]:
    """What Kruise holds a Deployment with while its rollout is under way; a step's size, and how far that is, are
    Kruise's to change."""
    found = show.kruise(member)
    assert "rollouts.kruise.io/in-progressing" in found
    assert found["paused"] is True
    sizes = {"rollouts.kruise.io/deployment-strategy", "rollouts.kruise.io/deployment-extra-status"}
    return {name: value for name, value in found.items() if name not in sizes}


async def test_scaling_in_the_middle_changes_the_number_alone(tmp_path: Path) -> None:
    async with serving(tmp_path) as show:
        await show.release(V2)
        await show.sees(lambda: set(show.steps().values()) == {"1 StepPaused"})
        before = {member: marks(show, member) for member in REGIONS}
        payload = Scale(ref=deployment_ref(QWEN), replicas=20).encode()
        await show.play.bus.request(subjects.SCALE, payload, timeout=10.0)
        await show.sees(lambda: all(sum((show.serving(V1)[m], show.serving(V2)[m])) == 20 for m in REGIONS))
        await show.sees(lambda: set(show.serving(V2).values()) == {2}, "10 % of 20")
        assert {member: marks(show, member) for member in REGIONS} == before
        await show.play.bus.request(subjects.SCALE, Scale(ref=deployment_ref(QWEN), replicas=4).encode(), timeout=10.0)
        await show.sees(
            lambda: show.serving(V2) == dict.fromkeys(REGIONS, 1) and show.serving(V1) == dict.fromkeys(REGIONS, 3)
        )
        assert {member: marks(show, member) for member in REGIONS} == before
        for _ in range(2):
            await show.sees(lambda: all("StepPaused" in step for step in show.steps().values()))
            await show.rollout("approve", NAME)
        await show.sees(lambda: show.serving(V2) == dict.fromkeys(REGIONS, 4) and show.at_rest())


async def test_moving_replicas_between_members_in_the_middle(tmp_path: Path) -> None:
    """The policy changes the weights: what one member loses the other gets, each at its own step."""
    async with serving(tmp_path, policy=divided(weights={"beijing": 1, "shanghai": 1}), replicas=20) as show:
        await show.release(V2, replicas=20)
        await show.sees(lambda: set(show.steps().values()) == {"1 StepPaused"})
        before = {member: marks(show, member) for member in REGIONS}
        await show.apply(divided(weights={"beijing": 3, "shanghai": 1}))
        await show.sees(lambda: show.play.asked(deployment_ref(QWEN)) == {"beijing": 15, "shanghai": 5})
        await show.sees(lambda: show.serving(V2) == {"beijing": 2, "shanghai": 1})
        assert {member: marks(show, member) for member in REGIONS} == before
        assert set(show.steps().values()) == {"1 StepPaused"}


async def test_a_drain_in_the_middle_and_a_member_that_first_gets_replicas_starts_with_what_is_stable(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, *REGIONS, "shenzhen", policy=divided(*REGIONS), cpu=32) as show:
        await show.release(V2)
        await show.sees(lambda: {m: show.steps()[m] for m in REGIONS} == dict.fromkeys(REGIONS, "1 StepPaused"))
        first = First(show, "shenzhen")
        await show.apply(divided(*REGIONS, "shenzhen"))
        assert (await show.brim("drain", "shanghai")).status == 0
        await show.sees(lambda: "shanghai" not in show.serving(V1) | show.serving(V2))
        await show.sees(lambda: show.steps()["shenzhen"] == "1 StepPaused")
        assert first.versions == {V1}, "it began with what is stable"
        assert show.serving(V2) == {"beijing": 1, "shenzhen": 1}


class First:
    """The versions of the first pods that were seen in a member, and how many of version 1 served at once."""

    def __init__(self, show: Show, member: str) -> None:
        self.versions: set[str] = set()
        self.most = 0

        def look() -> None:
            self.most = max(self.most, show.serving(V1).get(member, 0))
            if not self.versions:
                self.versions = {version for version in (V1, V2) if show.started_in(version, member)}

        show.play.observer.gauges.append(look)


async def test_a_member_that_is_added_to_the_policy_in_the_middle(tmp_path: Path) -> None:
    """It starts wholly on version 1; then its own rollout takes it over, step by step."""
    async with serving(tmp_path, *REGIONS, "shenzhen", policy=only(*REGIONS)) as show:
        await show.release(V2)
        await show.sees(lambda: {m: show.steps()[m] for m in REGIONS} == dict.fromkeys(REGIONS, "1 StepPaused"))
        first = First(show, "shenzhen")
        await show.apply(only(*REGIONS, "shenzhen"))
        await show.sees(lambda: show.steps()["shenzhen"] == "1 StepPaused")
        assert (first.versions, first.most) == ({V1}, 10)
        assert show.serving(V2) == dict.fromkeys((*REGIONS, "shenzhen"), 1)


def only(*members: str) -> dict[str, Any]:
    """The Deployment's policy: a copy in each of these."""
    found = shipped_all(FILES[QWEN])[3]
    found["spec"]["placement"]["clusterAffinity"] = {"clusterNames": list(members)}
    return dict(found)


@pytest.mark.parametrize("service", SERVICES)
async def test_any_part_restarts_and_looks_again_in_the_middle(tmp_path: Path, service: str) -> None:
    """Nobody takes anything forward: not the steps, not a member that was taken back."""
    async with serving(tmp_path, *REGIONS, "shenzhen", settings=HASTY) as show:
        await show.release(V2)
        await show.sees(lambda: set(show.steps().values()) == {"1 StepPaused"})
        await show.rollout("undo", NAME, "-m", "shenzhen")
        await show.sees(lambda: show.steps()["shenzhen"] == "Healthy" and show.serving(V1)["shenzhen"] == 10)
        before = {member: show.kruise(member) for member in (*REGIONS, "shenzhen")}
        await show.play.restart(service)
        await show.play.stage.brim.ready()
        await show.play.settles(
            lambda: show.serving(V2) == dict.fromkeys(REGIONS, 1),
            lambda: show.serving(V1) == {**dict.fromkeys(REGIONS, 9), "shenzhen": 10},
            lambda: {member: show.kruise(member) for member in (*REGIONS, "shenzhen")} == before,
            fleet_seconds=90.0,
        )
        await show.rollout("approve", NAME, "-m", "beijing")
        await show.sees(lambda: show.steps()["beijing"] == "2 StepPaused")
        assert not show.started_in(V2, "shenzhen")


async def test_one_member_is_watched(tmp_path: Path) -> None:
    async with serving(tmp_path) as show:
        await show.release(V2)
        await show.sees(lambda: set(show.steps().values()) == {"1 StepPaused"})
        where = ("-n", "demo", "-m", "beijing")
        async with (
            show.brim.running("rollout", "status", NAME, *where, "-w") as status,
            show.brim.running("rollout", "get", *where, "-w") as table,
            show.brim.running("rollout", "history", NAME, *where, "-w") as history,
        ):
            await status.shows("Rollout is in step(1/3), and you need manually confirm")
            await table.shows("1/3")
            await history.shows("1/3")
            await show.rollout("approve", NAME)
            await status.shows("Rollout is in step(2/3), and you need manually confirm")
            await table.shows("2/3")
            await history.shows("2/3")
        assert "shanghai" not in status.out + table.out + history.out
        assert (status.status, status.err.strip()) == (130, "")


async def test_a_batch_that_fits_nowhere_says_so_and_is_not_torn_apart(tmp_path: Path) -> None:
    """The members are full, and the new version may only start beside the old one."""
    beside = {"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}
    async with serving(tmp_path, replicas=4, cpu=2, **beside) as show:
        await show.release(V2, replicas=4, **beside)
        told = await show.says("rollout", "status", NAME, "-n", "demo", shows="1 unschedulable: no node takes them")
        assert told.out.count("Insufficient cpu") == 2, told.out
        assert "Rollout is in step(1/3), and upgrade workload to new version" in told.out
        page = await show.says("explain", f"deploy/{QWEN}", "-n", "demo", shows="Insufficient cpu")
        assert "room for 1 more is kept while it is updated" in page.out
        await show.play.settles(
            lambda: show.serving(V1) == dict.fromkeys(REGIONS, 4),
            lambda: show.play.asked(deployment_ref(QWEN)) == dict.fromkeys(REGIONS, 4),
            fleet_seconds=180.0,
        )
        await show.rollout("undo", NAME)
        await show.sees(lambda: show.at_rest() and not show.started(V2))


async def test_one_that_recreates_its_pods_goes_on_to_version_after_version(tmp_path: Path) -> None:
    """Kruise leaves a rolling update behind, beside whose bounds no API server takes a Recreate."""
    recreates = {"strategy": {"type": "Recreate"}}
    async with serving(tmp_path, replicas=4, **recreates) as show:
        for version in (V2, V3):
            await show.release(version, replicas=4, **recreates)
            for step in ("1 StepPaused", "2 StepPaused"):
                await show.sees(lambda step=step: set(show.steps().values()) == {step})
                await show.rollout("approve", NAME)
            await show.sees(
                lambda version=version: show.serving(version) == dict.fromkeys(REGIONS, 4) and show.at_rest()
            )


async def test_room_for_the_surge_is_kept_from_others(tmp_path: Path) -> None:
    """Blue-green runs all of the new version beside the old one: what asks for the same room meanwhile waits."""
    async with serving(tmp_path, "beijing", replicas=4, cpu=4, nodes=2) as show:
        steps = [{"replicas": "50%"}, {"replicas": "100%"}]
        await show.apply(strategy(blueGreen={"steps": steps}))
        await show.release(V2, replicas=4)
        await show.sees(lambda: show.serving(V2) == {"beijing": 2})
        page = await show.says("explain", f"deploy/{QWEN}", "-n", "demo", shows="room for 4 more is kept")
        assert page.status == 0
        other, policy = competitor()
        await show.apply(other, policy)
        await show.says("explain", "deploy/other", "-n", "demo", shows="2 pending")
        await show.rollout("approve", NAME)
        await show.sees(lambda: show.serving(V2) == {"beijing": 4})


def strategy(**style: Any) -> dict[str, Any]:
    found = shipped(FILES[QWEN], "Rollout")
    found["spec"]["strategy"] = style
    return found


def competitor() -> tuple[dict[str, Any], dict[str, Any]]:
    """Another workload of two replicas, divided by room."""
    deployment, policy = shipped(FILES[QWEN], "Deployment"), divided("beijing")
    deployment["metadata"]["name"] = policy["metadata"]["name"] = "other"
    deployment["spec"]["replicas"] = 2
    labels = {"app": "other"}
    deployment["spec"]["selector"]["matchLabels"] = deployment["spec"]["template"]["metadata"]["labels"] = labels
    policy["spec"]["resourceSelectors"][0]["name"] = "other"
    return deployment, policy
