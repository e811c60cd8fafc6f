"""New versions step by step: what Kruise Rollout says and does on the way, which is what brim reads and waits for."""

from __future__ import annotations

import pytest

from services.executor.core import rollouts
from tests.contract.kruise.story import SEED, V1, V2, V3, telling

MANUAL = "Rollout is in step({}/{}), and you need manually confirm to enter the next step"


async def test_a_rollout_at_rest_has_taken_charge_of_its_workload() -> None:
    async with telling() as story:
        status = await story.status()
        assert status["phase"] == "Healthy"
        told = status["canaryStatus"]
        assert (told["currentStepIndex"], told["nextStepIndex"]) == (3, -1)
        assert (told["currentStepState"], status["currentStepState"]) == ("Completed", "Completed")
        assert "rollouts.kruise.io/rollout" in (await story.get(story.rollout))["metadata"]["finalizers"]
        labels = (await story.get(story.workload))["metadata"]["labels"]
        assert labels["rollouts.kruise.io/workload-type"] == "deployment"


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet"])
async def test_three_steps_each_approved_as_brim_does(kind: str) -> None:
    async with telling(kind=kind) as story:
        await story.release(V2)
        for index, (new, old) in enumerate(((1, 9), (5, 5)), start=1):
            await story.at(index)
            await story.serves(v1=old, v2=new)
            told, status = await story.told(), await story.status()
            assert (told["canaryReplicas"], told["canaryReadyReplicas"]) == (new, new)
            assert (told["nextStepIndex"], status["currentStepIndex"]) == (index + 1, index)
            assert status["message"] == MANUAL.format(index, 3)
            assert await story.condition("Progressing") == ("True", "InRolling")
            assert await story.condition("Succeeded") == ("", "")
            await story.approve()
        await story.over(v2=10)
        after = await story.told()
        assert (after["currentStepIndex"], after["currentStepState"]) == (3, "Completed")
        assert after["stableRevision"] == told["stableRevision"], "it stays what it was until the next rollout"


async def test_a_daemonset() -> None:
    async with telling({"replicas": 1}, {"replicas": "100%"}, kind="DaemonSet") as story:
        await story.release(V2)
        await story.at(1)
        await story.serves(v1=1, v2=1)
        await story.approve()
        await story.over(v2=2)


async def test_a_daemonset_goes_back_by_its_steps() -> None:
    """Kruise knows no way back for these: the version before is one more."""
    async with telling({"replicas": 1}, {"replicas": "100%"}, kind="DaemonSet") as story:
        await story.release(V2)
        await story.at(1)
        await story.serves(v1=1, v2=1)
        before = (await story.told())["canaryRevision"]
        await story.release(V1)

        async def anew() -> bool:
            return (await story.told()).get("canaryRevision") not in ("", before)

        await story.until(anew, "began anew")
        await story.at(1)
        await story.serves(v1=1, v2=1)
        await story.approve()
        await story.over(v1=2)


async def test_a_timed_pause_ends_by_itself_and_so_does_a_last_step_of_100_percent() -> None:
    async with telling({"replicas": "20%", "pause": {"duration": 3}}, {"replicas": "100%"}) as story:
        await story.release(V2)
        await story.says("Rollout is in step(1/2), and wait duration(3 seconds) to enter the next step")
        await story.over(v2=10)


async def test_a_last_step_that_is_a_count_waits_too() -> None:
    async with telling({"replicas": 10}) as story:
        await story.release(V2)
        await story.at(1)
        await story.serves(v2=10)
        await story.approve()
        await story.over(v2=10)


async def test_a_jump_to_the_last_step() -> None:
    async with telling() as story:
        await story.release(V2)
        await story.at(1)
        await story.patch(f"{story.rollout}/status", {"status": {"canaryStatus": {"nextStepIndex": 3}}})
        await story.over(v2=10)


async def test_scaling_in_the_middle_keeps_the_share() -> None:
    async with telling({"replicas": "50%"}, {"replicas": "100%"}) as story:
        await story.release(V2)
        await story.at(1)
        for total in (16, 4):
            await story.patch(story.workload, {"spec": {"replicas": total}})
            await story.serves(v1=total // 2, v2=total // 2)
            await story.at(1)
        await story.approve()
        await story.over(v2=4)


async def test_a_newer_version_begins_anew_and_leaves_the_older_pods_as_they_are() -> None:
    async with telling() as story:
        await story.release(V2)
        await story.at(1)
        await story.approve()
        await story.at(2)
        await story.serves(v1=5, v2=5)
        await story.release(V3)
        await story.serves(v1=5, v2=4, v3=1)
        await story.at(1)
        await story.approve()
        await story.serves(v1=5, v3=5)  # the youngest of the old ones made way
        await story.at(2)
        await story.release(V1)
        await story.over(canceled=True, v1=10)


async def test_a_bad_version_stops_at_its_first_batch_and_is_undone() -> None:
    async with telling() as story:
        await story.release(V2, ready=False)
        await story.says("Rollout is in step(1/3), and upgrade workload to new version")

        async def begun() -> bool:
            return V2 in await story.started()

        await story.until(begun, "began")
        code, why = rollouts.refusal(await story.get(story.rollout)) or ("", "")
        assert (code, why) == (
            rollouts.NOT_YET,
            "does not allow to approve, because current canary state is not 'StepPaused'",
        )
        await story.release(V1)
        await story.over(canceled=True, v1=10)


async def test_going_back_cancels_it_after_which_it_can_begin_again() -> None:
    async with telling() as story:
        await story.release(V2)
        await story.at(1)
        await story.release(V1)
        await story.over(canceled=True, v1=10)
        assert (await story.told())["currentStepState"] == "StepPaused", "where it stood is not forgotten"
        refused = rollouts.refusal(await story.get(story.rollout))
        assert refused is not None, "nothing is under way that could be approved"
        await story.release(V2)
        await story.at(1)
        await story.serves(v1=9, v2=1)


@pytest.mark.parametrize("before", [{"type": "RollingUpdate"}, {"type": "Recreate"}], ids=lambda one: one["type"])
async def test_its_strategy_is_the_rollouts_meanwhile(before: dict[str, str]) -> None:
    async with telling({"replicas": "50%"}, {"replicas": "100%"}, spec={"strategy": before}) as story:
        await story.release(V2)
        await story.at(1)
        held = (await story.get(story.workload))["spec"]
        assert (held["strategy"], held["paused"]) == ({"type": "Recreate"}, True)
        newer = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
        await story.patch(story.workload, {"spec": {"strategy": newer, "paused": False}})
        held = (await story.get(story.workload))["spec"]
        assert (held["strategy"], held["paused"]) == ({"type": "Recreate"}, True)
        bounds = {"maxSurge": 2, "maxUnavailable": 1}
        await story.patch(story.workload, {"spec": {"strategy": {"rollingUpdate": bounds}}})
        assert (await story.get(story.workload))["spec"]["strategy"] == {"type": "Recreate"}
        await story.approve()
        await story.over(v2=10)
        after = (await story.get(story.workload))["spec"]["strategy"]
        assert after == {"type": "RollingUpdate", "rollingUpdate": bounds}


async def test_recreate_is_a_rolling_update_ever_after() -> None:
    async with telling({"replicas": "50%"}, {"replicas": "100%"}, spec={"strategy": {"type": "Recreate"}}) as story:
        await story.release(V2)
        await story.at(1)
        await story.serves(v1=5, v2=5)
        await story.approve()
        await story.over(v2=10)
        assert (await story.get(story.workload))["spec"]["strategy"]["type"] == "RollingUpdate"


# -- standing still, and without it ------------------------------------------------------------------------------


async def test_paused_as_a_whole_it_does_not_even_go_back_until_it_is_resumed() -> None:
    async with telling() as story:
        await story.release(V2)
        await story.at(1)
        await story.patch(story.rollout, {"spec": {"strategy": {"paused": True}}})
        await story.reason("Paused")
        await story.says("Rollout has been paused, you can resume it by kube-cli")
        await story.release(V1)

        async def seen() -> bool:
            found = await story.get(story.workload)
            return bool(found["status"]["observedGeneration"] >= found["metadata"]["generation"])

        await story.until(seen, "seen by the workload's own controller")
        assert await story.condition("Progressing") == ("True", "Paused")
        assert (await story.serving())[V2] == 1
        await story.patch(story.rollout, {"spec": {"strategy": {"paused": False}}})
        await story.over(canceled=True, v1=10)


async def test_paused_from_the_start_nothing_of_a_new_version_begins() -> None:
    async with telling(*SEED, paused=True) as story:
        await story.release(V2)
        await story.reason("Paused")
        assert await story.started() == {V1}
        await story.patch(story.rollout, {"spec": {"strategy": {"paused": False}}})
        await story.at(1)
        await story.serves(v1=9, v2=1)


async def test_switched_off_in_the_middle_its_workload_rolls_on_by_itself() -> None:
    async with telling() as story:
        await story.release(V2)
        await story.at(1)
        await story.patch(story.rollout, {"spec": {"disabled": True}})
        await story.is_in("Disabled")
        await story.says("Rollout is disabled")
        await story.serves(v2=10)
        await story.free()
        assert rollouts.refusal(await story.get(story.rollout)) is not None
        await story.patch(story.rollout, {"spec": {"disabled": False}})
        await story.is_in("Healthy")
        await story.says("rollout is healthy")


async def test_deleted_in_the_middle_it_lets_its_workload_go_first() -> None:
    async with telling() as story:
        await story.release(V2)
        await story.at(1)
        assert (await story.api.delete(story.rollout)).status == 200

        async def gone() -> bool:
            return not await story.get(story.rollout)

        await story.until(gone, "gone")
        await story.free()
        await story.serves(v2=10)


async def test_a_workload_that_goes_and_comes_back_begins_at_rest() -> None:
    async with telling() as story:
        await story.release(V2)
        await story.at(1)
        assert (await story.api.delete(story.workload)).status == 200
        await story.says("Workload Not Found")
        assert (await story.status())["phase"] == "Initial"
        assert await story.told() == {}
