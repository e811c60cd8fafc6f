"""Kruise Rollout with an extra workload, and in blue-green style: what stands beside what, until when, what is left."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator import objects
from simulator.kruise import blue_green, marks
from simulator.objects import Object
from tests.simulator.harness import Driver, HandClock, cluster, nodes
from tests.simulator.rollout_story import ROLLOUTS, Story

TWO: tuple[dict[str, Any], ...] = ({"replicas": "50%"}, {"replicas": "100%"})
BLUE_GREEN = (marks.DEPLOYMENTS, marks.CLONESETS)


def canaries(driver: Driver) -> list[Object]:
    return [one for one in driver.store.every(marks.DEPLOYMENTS) if marks.CANARY_OF in objects.labels(one)]


def bounds(workload: Object) -> tuple[Any, Any]:
    """(maxSurge, maxUnavailable)"""
    spec = workload["spec"]
    rolling = spec["strategy"]["rollingUpdate"] if "strategy" in spec else spec["updateStrategy"]
    return rolling.get("maxSurge"), rolling.get("maxUnavailable")


class TestExtraWorkload:
    async def start(self, driver: Driver, *steps: dict[str, Any], **more: Any) -> Story:
        story = Story(driver)
        await story.start(*steps, enableExtraWorkloadForCanary=True, **more)
        story.image("new")
        return story

    async def test_it_carries_the_canary_and_the_stable_one_stands_still(self) -> None:
        async with cluster(nodes(2)) as driver:
            story = await self.start(driver, {"replicas": "10%"}, {"replicas": "50%"}, {"replicas": "100%"})
            await story.paused_at(1, 1, old=10)
            (canary,) = canaries(driver)
            assert objects.name(canary).startswith("web-")
            assert (canary["spec"]["replicas"], story.live["spec"]["paused"]) == (1, True)
            assert (story.told["canaryReplicas"], story.told["canaryReadyReplicas"]) == (1, 1)
            story.approve()
            await story.paused_at(2, 5, old=10)
            assert objects.name(canaries(driver)[0]) == objects.name(canary)
            story.approve()
            await story.completed()
            assert canaries(driver) == []

    async def test_it_goes_only_when_all_are_promoted(self) -> None:
        lowest = [10]
        async with cluster(nodes(2)) as driver:
            story = await self.start(driver, {"replicas": 2})
            await story.paused_at(1, 2, old=10)
            driver.store.subscribe(lambda _: lowest.append(len(driver.ready_pods(app="web"))), "pods")
            story.approve()
            await driver.until(lambda: story.status["message"].startswith("Rollout has been completed"))
            await story.completed()
            assert canaries(driver) == []
            assert min(lowest) >= 8, "a Deployment's rolling update of the stable one, and nothing else"

    async def test_going_back_takes_it_away_and_touches_no_stable_pod(self) -> None:
        async with cluster(nodes(2)) as driver:
            story = await self.start(driver, {"replicas": "50%"}, {"replicas": "100%"})
            before = {objects.uid(pod) for pod in driver.pods(app="web") if "image:1" in json.dumps(pod["spec"])}
            await story.paused_at(1, 5, old=10)
            story.image("image:1")
            await story.completed("image:1")
            assert {objects.uid(pod) for pod in driver.pods(app="web")} == before
            assert (canaries(driver), story.condition("Succeeded")[0]) == ([], "False")

    async def test_a_newer_version_has_one_of_its_own(self) -> None:
        async with cluster(nodes(2)) as driver:
            story = Story(driver)
            await story.start({"replicas": 2}, {"replicas": 4}, enableExtraWorkloadForCanary=True)
            story.image("other")
            await driver.until(lambda: story.at == (1, "StepPaused"))
            (first,) = canaries(driver)
            story.image("new")
            await driver.until(lambda: story.ready_of("new") == 2 and story.ready_of("other") == 0)
            await story.paused_at(1, 2, old=10)
            (second,) = canaries(driver)
            assert objects.name(second) != objects.name(first)

    async def test_its_pods_carry_what_the_rollout_adds(self) -> None:
        async with cluster(nodes(2)) as driver:
            added = {"labels": {"lane": "canary"}, "annotations": {"note": "new"}}
            story = await self.start(driver, {"replicas": 1}, patchPodTemplateMetadata=added)
            await driver.until(lambda: len(driver.ready_pods(app="web", lane="canary")) == 1)
            await driver.until(lambda: story.at == (1, "StepPaused"))
            story.approve()
            await story.completed()
            assert driver.pods(lane="canary") == []

    @pytest.mark.parametrize("how", ["disabled", "deleted"])
    async def test_without_its_rollout(self, how: str) -> None:
        async with cluster(nodes(2)) as driver:
            story = await self.start(driver, {"replicas": 2})
            await story.paused_at(1, 2, old=10)
            if how == "deleted":
                driver.delete(ROLLOUTS, "rollout")
            else:
                driver.patch(ROLLOUTS, "rollout", {"spec": {"disabled": True}})
            await driver.until(lambda: story.ready_of("new") == len(driver.pods(app="web")) == 10)
            assert canaries(driver) == []

    async def test_of_other_kinds_there_is_none(self) -> None:
        """Kruise rolls them out in partitions whatever the Rollout says."""
        async with cluster(nodes(2)) as driver:
            story = Story(driver, marks.CLONESETS)
            await story.start({"replicas": 2}, enableExtraWorkloadForCanary=True)
            story.image("new")
            await story.paused_at(1, 2)


class TestBlueGreen:
    async def start(self, driver: Driver, shelf: str, *steps: dict[str, Any], **more: Any) -> Story:
        story = Story(driver, shelf)
        await story.start(*(steps or TWO), style="blueGreen", **more)
        story.image("new")
        return story

    @pytest.mark.parametrize("shelf", BLUE_GREEN)
    async def test_the_new_version_stands_beside_the_old_one_until_somebody_switches(self, shelf: str) -> None:
        lowest = [10]
        async with cluster(nodes(3)) as driver:
            story = await self.start(driver, shelf)
            await story.paused_at(1, 5, old=10)
            assert (story.told["updatedReplicas"], story.told["updatedReadyReplicas"]) == (5, 5)
            story.approve()
            await story.paused_at(2, 10, old=10)
            assert "manually confirm" in story.status["message"], "100 % is no switch"
            driver.store.subscribe(lambda _: lowest.append(story.ready_of("new")), "pods")
            story.approve()
            await story.completed()
            assert min(lowest) == 10, "only old pods went"
            assert story.condition("Succeeded")[0] == "True"

    @pytest.mark.parametrize("shelf", BLUE_GREEN)
    async def test_settings_are_taken_over_and_given_back(self, shelf: str) -> None:
        rolling = {"maxSurge": 2, "maxUnavailable": 1}
        strategy = (
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}}
            if shelf == marks.DEPLOYMENTS
            else {"updateStrategy": rolling}
        )
        clock = HandClock()
        async with cluster(nodes(3), clock=clock) as driver:
            story = await self.start(driver, shelf, spec={**strategy, "minReadySeconds": 5})
            await story.paused_at(1, 5, old=10)
            assert (bounds(story.live), story.live["spec"]["minReadySeconds"]) == (("50%", 0), blue_green.NEVER)
            kept = json.loads(objects.annotations(story.live)[marks.ORIGINAL])
            assert (kept["maxSurge"], kept["maxUnavailable"], kept["minReadySeconds"]) == (2, 1, 5)
            story.approve()
            await story.paused_at(2, 10, old=10)
            story.approve()
            await driver.until(lambda: marks.ORIGINAL not in objects.annotations(story.live))
            assert (bounds(story.live), story.live["spec"]["minReadySeconds"]) == ((2, 1), 5)

    @pytest.mark.parametrize("shelf", BLUE_GREEN)
    async def test_going_back_leaves_every_old_pod_as_it_is(self, shelf: str) -> None:
        async with cluster(nodes(3)) as driver:
            story = await self.start(driver, shelf)
            before = {objects.uid(pod) for pod in driver.pods(app="web") if "image:1" in json.dumps(pod["spec"])}
            await story.paused_at(1, 5, old=10)
            story.approve()
            await story.paused_at(2, 10, old=10)
            story.image("image:1")
            await story.completed("image:1")
            assert {objects.uid(pod) for pod in driver.pods(app="web")} == before
            assert story.condition("Succeeded")[0] == "False"

    @pytest.mark.parametrize("shelf", BLUE_GREEN)
    async def test_a_third_version_waits_for_the_way_back(self, shelf: str) -> None:
        async with cluster(nodes(3)) as driver:
            story = await self.start(driver, shelf)
            await story.paused_at(1, 5, old=10)
            story.image("third")
            await driver.until(lambda: "please rollback first" in story.status["message"])
            await driver.settled()
            assert (story.ready_of("third"), story.ready_of("image:1")) == (0, 10)
            story.image("image:1")
            await story.completed("image:1")
            story.image("new")
            await story.paused_at(1, 5, old=10)

    @pytest.mark.parametrize("shelf", BLUE_GREEN)
    async def test_a_third_version_that_is_taken_back_leaves_the_second_where_it_was(self, shelf: str) -> None:
        async with cluster(nodes(3)) as driver:
            story = await self.start(driver, shelf)
            await story.paused_at(1, 5, old=10)
            story.image("third")
            await driver.until(lambda: "please rollback first" in story.status["message"])
            story.image("new")
            await driver.until(lambda: "manually confirm" in story.status["message"])
            await story.paused_at(1, 5, old=10)
            story.approve()
            await story.paused_at(2, 10, old=10)
            story.approve()
            await story.completed()

    @pytest.mark.parametrize("shelf", BLUE_GREEN)
    async def test_a_bad_version_takes_nothing_from_the_old_one(self, shelf: str) -> None:
        async with cluster(nodes(3)) as driver:
            story = Story(driver, shelf)
            await story.start(*TWO, style="blueGreen")
            story.image("bad", ready=False)
            await driver.until(lambda: len(driver.pods(app="web")) == 15)
            await driver.settled()
            assert (story.at, story.ready_of("image:1")) == ((1, "StepUpgrade"), 10)
            story.image("image:1")
            await story.completed("image:1")

    @pytest.mark.parametrize("shelf", BLUE_GREEN)
    async def test_scaling_in_the_middle_scales_both_versions(self, shelf: str) -> None:
        async with cluster(nodes(3)) as driver:
            story = await self.start(driver, shelf, {"replicas": "100%"})
            await story.paused_at(1, 10, old=10)
            driver.patch(shelf, "web", {"spec": {"replicas": 12}})
            await driver.until(lambda: len(driver.ready_pods(app="web")) >= 12)
            await driver.settled()
            assert story.ready_of("image:1") >= 10
            story.total = 12
            story.approve()
            await story.completed()

    @pytest.mark.parametrize("how", ["disabled", "deleted"])
    async def test_without_its_rollout(self, how: str) -> None:
        async with cluster(nodes(3)) as driver:
            story = await self.start(driver, marks.DEPLOYMENTS)
            await story.paused_at(1, 5, old=10)
            if how == "deleted":
                driver.delete(ROLLOUTS, "rollout")
            else:
                driver.patch(ROLLOUTS, "rollout", {"spec": {"disabled": True}})
            await driver.until(lambda: story.ready_of("new") == len(driver.pods(app="web")) == 10)
            assert bounds(story.live) == ("25%", "25%")


ROUTED: dict[str, tuple[dict[str, Any], str]] = {
    "a share": ({"traffic": "20%"}, "20% of the traffic of service web goes to the new version"),
    "what matches": ({"matches": [{"headers": []}]}, "the traffic that matches of service web goes to the new version"),
}


@pytest.mark.parametrize("name", ROUTED)
@pytest.mark.parametrize("style", ["canary", "blueGreen"])
async def test_a_step_that_routes_traffic_says_so(style: str, name: str) -> None:
    step, words = ROUTED[name]
    async with cluster(nodes(3)) as driver:
        story = Story(driver)
        await story.start(
            {"replicas": "10%", **step}, {"replicas": "50%"}, style=style, trafficRoutings=[{"service": "web"}]
        )
        story.image("new")
        await driver.until(lambda: story.at == (1, "StepPaused"))
        assert f"step(1): {words}" in driver.events("Progressing")
        story.approve()
        await driver.until(lambda: story.at == (2, "StepPaused"))
        assert not any("step(2): " in message for message in driver.events("Progressing"))
