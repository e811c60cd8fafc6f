"""A second workload beside the first, and blue-green: what stands beside what until somebody switches."""

from __future__ import annotations

from typing import Any

from tests.contract.kruise.story import V1, V2, V3, Story, telling

TWO: tuple[dict[str, Any], ...] = ({"replicas": "50%"}, {"replicas": "100%"})
FEW: tuple[dict[str, Any], ...] = ({"replicas": 2}, {"replicas": "50%"}, {"replicas": "100%"})


async def canaries(story: Story) -> list[dict[str, Any]]:
    found = (await story.get(story.api.apps("deployments")))["items"]
    return [one for one in found if (one["metadata"].get("labels") or {}).get("rollouts.kruise.io/canary-deployment")]


async def test_an_extra_workload_carries_the_new_version_until_the_end() -> None:
    async with telling(*FEW, enableExtraWorkloadForCanary=True) as story:
        await story.release(V2)
        await story.at(1)
        await story.serves(v1=10, v2=2)
        (canary,) = await canaries(story)
        assert canary["spec"]["replicas"] == 2
        assert canary["metadata"]["labels"]["rollouts.kruise.io/canary-deployment"] == "web"
        assert (await story.get(story.workload))["spec"]["paused"] is True
        assert (await story.told())["canaryReadyReplicas"] == 2
        await story.approve()
        await story.at(2)
        await story.serves(v1=10, v2=5)
        await story.approve()
        await story.over(v2=10)
        assert await canaries(story) == []


async def test_an_extra_workload_goes_when_its_version_is_taken_back() -> None:
    async with telling(*FEW, enableExtraWorkloadForCanary=True) as story:
        await story.release(V2)
        await story.at(1)
        await story.release(V1)
        await story.over(canceled=True, v1=10)
        assert await canaries(story) == []


async def test_blue_stays_whole_until_green_is_switched_to() -> None:
    async with telling(*TWO, style="blueGreen") as story:
        await story.release(V2)
        await story.at(1)
        await story.serves(v1=10, v2=5)
        told = await story.told()
        assert (told["updatedReplicas"], told["updatedReadyReplicas"]) == (5, 5)
        await story.approve()
        await story.at(2)
        await story.serves(v1=10, v2=10)
        held = (await story.get(story.workload))["spec"]
        assert held["strategy"]["rollingUpdate"] == {"maxSurge": "100%", "maxUnavailable": 0}
        await story.approve()
        await story.over(v2=10)
        freed = (await story.get(story.workload))["spec"]
        assert freed["strategy"]["rollingUpdate"] == {"maxSurge": "25%", "maxUnavailable": "25%"}
        assert (freed.get("minReadySeconds", 0), freed["progressDeadlineSeconds"]) == (0, 600)


async def test_a_newer_version_has_to_wait_until_green_is_undone() -> None:
    async with telling(*TWO, style="blueGreen") as story:
        await story.release(V2)
        await story.at(1)
        await story.release(V3)
        await story.says("new version releasing detected in the progress of blue-green release, please rollback first")
        await story.serves(v1=10, v2=5)
        await story.release(V1)
        await story.over(canceled=True, v1=10)
