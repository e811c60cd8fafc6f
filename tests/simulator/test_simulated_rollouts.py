"""Kruise Rollout in simulated members: batches, pauses, approval, going back, and being switched off or taken away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulator import kruise, objects
from simulator.objects import Object
from tests.simulator.harness import Driver, HandClock, cluster, deployment, nodes, template

ROLLOUTS = kruise.SHELF
SEED: tuple[dict[str, Any], ...] = ({"replicas": "10%"}, {"replicas": "50%"}, {"replicas": "100%"})

SIZES = {
    "10% of 10": ("10%", 10, 1),
    "rounded up": ("15%", 10, 2),
    "all but one where a percentage is below 100": ("99%", 10, 9),
    "of a single one": ("50%", 1, 1),
    "all": ("100%", 10, 10),
    "a count": (3, 10, 3),
    "a count beyond": (30, 10, 10),
    "none": ("0%", 10, 0),
}


@pytest.mark.parametrize("name", SIZES)
def test_batch_sizes(name: str) -> None:
    replicas, total, expected = SIZES[name]
    assert kruise.batch_size(replicas, total) == expected


def rollout(*steps: dict[str, Any], kind: str = "Deployment", **strategy: Any) -> Object:
    return {
        "metadata": {"name": "rollout"},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": kind, "name": "web"},
            "strategy": {"canary": {"steps": list(steps)}, **strategy},
        },
    }


def statefulset(replicas: int, cpu: str) -> Object:
    body = deployment(replicas=replicas, cpu=cpu)
    return {**body, "spec": {**body["spec"], "serviceName": "web", "podManagementPolicy": "Parallel"}}


class Story:
    """A workload with a Rollout, and its two templates."""

    def __init__(self, driver: Driver, shelf: str = "deployments.apps") -> None:
        self.driver = driver
        self.shelf = shelf

    async def start(self, *steps: dict[str, Any], replicas: int = 10, **strategy: Any) -> None:
        make, kind = (deployment, "Deployment") if self.shelf == "deployments.apps" else (statefulset, "StatefulSet")
        self.driver.create(self.shelf, make(replicas=replicas, cpu="100m"))
        self.driver.create(ROLLOUTS, rollout(*(steps or SEED), kind=kind, **strategy))
        await self.driver.until(lambda: len(self.driver.ready_pods(app="web")) == replicas)
        await self.driver.until(lambda: self.status.get("phase") == "Healthy", "healthy")
        await self.driver.settled()

    def image(self, image: str) -> None:
        new = template({"app": "web"}, image=image, cpu="100m", annotations={"simulator.brim.dev/ready": None})
        self.driver.patch(self.shelf, "web", {"spec": {"template": new}})

    @property
    def status(self) -> Any:
        found = self.driver.get(ROLLOUTS, "rollout")
        return objects.status(found) if found is not None else {}

    @property
    def at(self) -> tuple[int, str]:
        canary = self.status.get("canaryStatus") or {}
        return canary.get("currentStepIndex", 0), canary.get("currentStepState", "")

    def ready_of(self, image: str) -> int:
        return sum(pod["spec"]["containers"][0]["image"] == image for pod in self.driver.ready_pods(app="web"))

    async def paused_at(self, step: int, new: int) -> None:
        await self.driver.until(lambda: self.at == (step, "StepPaused"), f"paused at {step}: {self.status}")
        await self.driver.settled()
        assert (self.ready_of("new"), self.ready_of("image:1")) == (new, 10 - new)

    def approve(self) -> None:
        live = self.driver.get(ROLLOUTS, "rollout")
        assert live is not None
        status = {"canaryStatus": {**live["status"]["canaryStatus"], "currentStepState": "StepReady"}}
        self.driver.store.update(ROLLOUTS, {**live, "status": {**live["status"], **status}})

    async def completed(self, image: str = "new", replicas: int = 10) -> None:
        await self.driver.until(
            lambda: self.status.get("phase") == "Healthy" and self.ready_of(image) == replicas, f"{self.status}"
        )
        live = self.driver.get(self.shelf, "web")
        assert live is not None
        assert not kruise.in_progress(live)
        assert "paused" not in live["spec"]

    def condition(self, kind: str) -> tuple[str, str]:
        found = next(one for one in self.status["conditions"] if one["type"] == kind)
        return found["status"], found["reason"]


@pytest.mark.parametrize("shelf", ["deployments.apps", "statefulsets.apps"])
async def test_the_seeds_three_steps(shelf: str) -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver, shelf)
        await story.start()
        story.image("new")
        await story.paused_at(1, 1)
        assert story.status["message"] == (
            "Rollout is in step(1/3), and you need manually confirm to enter the next step"
        )
        story.approve()
        await story.paused_at(2, 5)
        assert story.condition("Progressing") == ("True", "InRolling")
        story.approve()
        await story.completed()
        assert (story.condition("Progressing"), story.condition("Succeeded")) == (
            ("True", "Completed"),
            ("True", "Completed"),
        )


async def test_the_last_step_passes_by_itself_only_where_it_says_100_percent() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start({"replicas": 10})
        story.image("new")
        await story.paused_at(1, 10)
        story.approve()
        await story.completed()


async def test_a_timed_pause_ends_by_itself() -> None:
    clock = HandClock()
    async with cluster(nodes(2), clock=clock) as driver:
        story = Story(driver)
        await story.start({"replicas": "20%", "pause": {"duration": 60}}, {"replicas": "100%"})
        story.image("new")
        await story.paused_at(1, 2)
        assert "wait duration(60 seconds)" in story.status["message"]
        clock.move(61)
        driver.patch(ROLLOUTS, "rollout", {"metadata": {"labels": {"any": "news"}}})  # the clock was moved by hand
        await story.completed()


async def test_going_back_to_the_stable_template_cancels_it() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start()
        story.image("new")
        await story.paused_at(1, 1)
        story.image("image:1")
        await story.completed("image:1")
        assert story.condition("Succeeded")[0] == "False"


async def test_a_newer_template_begins_anew() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start()
        story.image("other")
        await driver.until(lambda: story.at == (1, "StepPaused"))
        story.approve()
        await driver.until(lambda: story.at == (2, "StepPaused"))
        story.image("new")
        await story.paused_at(1, 1)
        assert story.ready_of("other") == 0


async def test_scaling_in_the_middle_keeps_the_share() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start({"replicas": "50%"}, {"replicas": "100%"})
        story.image("new")
        await story.paused_at(1, 5)
        driver.patch("deployments.apps", "web", {"spec": {"replicas": 4}})
        await driver.until(lambda: len(driver.pods(app="web")) == 4 == len(driver.ready_pods(app="web")))
        await driver.settled()
        story.approve()
        await story.completed(replicas=4)


async def test_a_bad_version_stops_at_its_first_batch() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start()
        bad = template({"app": "web"}, image="bad", cpu="100m", annotations={"simulator.brim.dev/ready": "false"})
        driver.patch("deployments.apps", "web", {"spec": {"template": bad}})
        await driver.until(lambda: story.at == (1, "StepUpgrade"))
        await driver.settled()
        assert story.at == (1, "StepUpgrade")
        assert story.ready_of("image:1") >= 8, "no more than the deployment may lack"
        story.image("image:1")
        await story.completed("image:1")


async def test_paused_by_its_spec() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start(paused=True)
        story.image("new")
        await driver.until(lambda: story.status.get("phase") == "Progressing")
        await driver.settled()
        assert (story.ready_of("new"), story.condition("Progressing")[1]) == (0, "Paused")
        driver.patch(ROLLOUTS, "rollout", {"spec": {"strategy": {"paused": False}}})
        await story.paused_at(1, 1)


@pytest.mark.parametrize("how", ["disabled", "deleted"])
async def test_without_its_rollout_a_workload_rolls_on_by_itself(how: str) -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start()
        story.image("new")
        await story.paused_at(1, 1)
        if how == "deleted":
            driver.delete(ROLLOUTS, "rollout")
        else:
            driver.patch(ROLLOUTS, "rollout", {"spec": {"disabled": True}})
        await driver.until(lambda: story.ready_of("new") == 10)
        if how == "disabled":
            assert story.status["phase"] == "Disabled"


async def test_a_jump_to_another_step() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start()
        story.image("new")
        await story.paused_at(1, 1)
        live = driver.get(ROLLOUTS, "rollout")
        assert live is not None
        canary = {**live["status"]["canaryStatus"], "nextStepIndex": 3}
        driver.store.update(ROLLOUTS, {**live, "status": {**live["status"], "canaryStatus": canary}})
        await story.completed()


@pytest.mark.parametrize("spec", [{"strategy": {"blueGreen": {"steps": []}}}, {"workloadRef": {"kind": "CloneSet"}}])
async def test_what_is_not_simulated_says_so(spec: dict[str, Any]) -> None:
    async with cluster(nodes(1)) as driver:
        body = rollout(*SEED)
        driver.create(ROLLOUTS, {**body, "spec": json.loads(json.dumps({**body["spec"], **spec}))})
        story = Story(driver)
        await driver.until(lambda: "simulated" in story.status.get("message", ""))
