"""Kruise Rollout in simulated members: batches, pauses, approval, going back, and being switched off or taken away.

In partition style; the other two are in test_simulated_rollout_styles.
"""

from __future__ import annotations

import pytest

from simulator import objects
from simulator.kruise import marks, steps
from tests.simulator.harness import HandClock, cluster, nodes
from tests.simulator.rollout_story import KINDS, ROLLOUTS, Story, rollout

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
    assert steps.batch_size(replicas, total) == expected


@pytest.mark.parametrize("shelf", KINDS)
async def test_the_seeds_three_steps(shelf: str) -> None:
    async with cluster(nodes(10)) as driver:
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
        assert (story.condition("Progressing"), story.condition("Succeeded")[0]) == (("False", "Completed"), "True")
        assert story.status["message"] == "Rollout progressing has been completed"


@pytest.mark.parametrize("shelf", [shelf for shelf in KINDS if shelf != marks.DAEMONSETS])
async def test_going_back_to_the_stable_template_cancels_it(shelf: str) -> None:
    async with cluster(nodes(10)) as driver:
        story = Story(driver, shelf)
        await story.start()
        story.image("new")
        await story.paused_at(1, 1)
        story.image("image:1")
        await story.completed("image:1")
        assert story.condition("Succeeded")[0] == "False"
        assert story.status["message"] == "Rollout progressing has been canceled"


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


async def test_a_newer_template_begins_anew() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start()
        story.image("other")
        await driver.until(lambda: story.at == (1, "StepPaused"))
        story.approve()
        await driver.until(lambda: story.at == (2, "StepPaused") and story.ready_of("image:1") == 5)
        story.image("new")
        await story.paused_at(1, 1, old=5)
        assert story.ready_of("other") == 4, "old is old"


async def test_scaling_in_the_middle_keeps_the_share() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start({"replicas": "50%"}, {"replicas": "100%"})
        story.image("new")
        await story.paused_at(1, 5)
        for total in (20, 4):
            story.total = total
            driver.patch("deployments.apps", "web", {"spec": {"replicas": total}})
            half = total // 2
            await driver.until(lambda half=half: story.ready_of("new") == half == story.ready_of("image:1"))
            await story.paused_at(1, half)
        story.approve()
        story.total = 4
        await story.completed()


async def test_a_bad_version_stops_at_its_first_batch() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start()
        story.image("bad", ready=False)
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
        story.tell(nextStepIndex=3)
        await story.completed()


@pytest.mark.parametrize(("threshold", "expected"), [(None, 0), (2, 2), ("20%", 1), ("21%", 2), ("0%", 0)])
def test_pods_of_a_batch_that_need_not_be_ready(threshold: int | str | None, expected: int) -> None:
    of_five = steps.tolerated(rollout({"replicas": "50%"}, failureThreshold=threshold), 5)
    assert of_five == expected


async def test_a_batch_goes_on_with_as_many_unready_pods_as_it_may_have() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver, marks.CLONESETS)
        await story.start({"replicas": 5}, failureThreshold=1)
        story.image("new", ready=False)
        await driver.until(lambda: story.at == (1, "StepUpgrade") and story.told.get("canaryReplicas") == 2)
        await driver.settled()
        assert story.at == (1, "StepUpgrade"), "no more than the CloneSet may lack are replaced, and none is ready"


async def test_a_count_after_a_percentage_is_never_come_to() -> None:
    """Kruise compares a Deployment's batches as if of millions of pods."""
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start({"replicas": "10%"}, {"replicas": 10})
        story.image("new")
        await story.paused_at(1, 1)
        story.approve()
        await driver.until(lambda: story.at == (2, "StepUpgrade"))
        await driver.settled()
        assert (story.at, story.ready_of("new")) == ((2, "StepUpgrade"), 1)


async def test_before_its_label_no_rollout_holds_a_workload() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        await story.start()
        driver.patch("deployments.apps", "web", {"metadata": {"labels": {marks.TYPE: None}}})
        story.image("new")
        await driver.until(lambda: story.ready_of("new") == 10)
        assert marks.TYPE in objects.labels(story.live), "it is there again for the next time"


async def test_a_deployments_own_controller_is_kept_out_until_the_end() -> None:
    async with cluster(nodes(2)) as driver:
        story = Story(driver)
        rolling = {"maxSurge": 2, "maxUnavailable": 1}
        await story.start(spec={"strategy": {"type": "RollingUpdate", "rollingUpdate": rolling}})
        story.image("new")
        await story.paused_at(1, 1)
        assert (story.live["spec"]["paused"], story.live["spec"]["strategy"]) == (True, {"type": "Recreate"})
        assert marks.rolling_held(story.live) == rolling
        newer = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        driver.patch("deployments.apps", "web", {"spec": {"paused": False, "strategy": newer}})
        await driver.settled()
        assert (story.ready_of("new"), story.live["spec"]["paused"]) == (1, True)
        assert story.live["spec"]["strategy"] == {"type": "Recreate"}
        story.approve()
        await story.paused_at(2, 5)
        story.approve()
        await story.completed()
        assert story.live["spec"]["strategy"] == newer
