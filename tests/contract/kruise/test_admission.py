"""What Kruise's admission refuses of a Rollout, before and in the middle."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.kruise.story import V2, created, rollout, telling
from tests.contract.kubernetes.api import kubernetes_api


def of(ref: dict[str, str]) -> dict[str, Any]:
    body = rollout({"replicas": "100%"})
    return {**body, "spec": {**body["spec"], "workloadRef": {**body["spec"]["workloadRef"], **ref}}}


def strategy(**strategy: Any) -> dict[str, Any]:
    body = rollout()
    return {**body, "spec": {**body["spec"], "strategy": strategy}}


STEPS: list[dict[str, Any]] = [{"replicas": "100%"}]
POSITIVE = 'replicas must be positive number, or a percentage with "0%" < canaryReplicas <= "100%"'
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no steps": (rollout(), "The number of Canary.Steps cannot be empty"),
    "fewer pods at a later step": (rollout({"replicas": "50%"}, {"replicas": "10%"}), "must be a non decreasing"),
    "no pods": (rollout({"replicas": 0}), POSITIVE),
    "no share": (rollout({"replicas": "0%"}), POSITIVE),
    "more than all": (rollout({"replicas": "101%"}), POSITIVE),
    "a count in quotes": (rollout({"replicas": "3"}), POSITIVE),
    "traffic without pods": (rollout({"traffic": "10%"}), "replicas cannot be empty"),
    "a kind without steps": (of({"apiVersion": "batch/v1", "kind": "Job"}), "WorkloadRef kind is not supported"),
    "blue-green of a StatefulSet": (
        rollout({"replicas": "100%"}, kind="StatefulSet", style="blueGreen"),
        "WorkloadRef kind is not supported for bluegreen style",
    ),
    "both styles": (strategy(canary={"steps": STEPS}, blueGreen={"steps": STEPS}), "cannot both be set"),
    "no style": (strategy(), "cannot both be empty"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_refused(name: str) -> None:
    body, why = REFUSED[name]
    async with kubernetes_api() as api:
        path = f"/apis/rollouts.kruise.io/v1beta1/namespaces/{api.namespace}/rollouts"
        answer = await api.create(path, body)
        assert answer.status == 422, answer.body
        assert why in answer.body["message"]
        assert (await api.get(f"{path}/rollout")).status == 404


async def test_a_workload_has_one_rollout() -> None:
    async with telling() as story:
        answer = await story.api.create(story.rollouts, rollout({"replicas": 1}, name="second"))
        assert answer.status == 422
        why = f"conflict with Rollout({story.api.namespace}/rollout), one workload only have less than one Rollout"
        assert why in answer.body["message"]
        await created(story, {**rollout({"replicas": 1}, kind="StatefulSet"), "metadata": {"name": "of-another-kind"}})


FROZEN: dict[str, tuple[dict[str, Any], str]] = {
    "its workload": ({"workloadRef": {"name": "other"}}, "Rollout 'ObjectRef' field is immutable"),
    "the number of steps": ({"strategy": {"canary": {"steps": STEPS}}}, "Amount of Rollout steps are immutable"),
    "its style": (
        {"strategy": {"canary": None, "blueGreen": {"steps": STEPS}}},
        "Rollout style and enableExtraWorkloadForCanary are immutable",
    ),
    "whether there is an extra workload": (
        {"strategy": {"canary": {"enableExtraWorkloadForCanary": True}}},
        "Rollout style and enableExtraWorkloadForCanary are immutable",
    ),
}


async def test_what_may_not_change_in_the_middle() -> None:
    async with telling() as story:
        await story.release(V2)
        await story.at(1)
        for name, (spec, why) in FROZEN.items():
            answer = await story.api.patch(story.rollout, {"spec": spec})
            assert (answer.status, why in answer.body.get("message", "")) == (422, True), f"{name}: {answer.body}"
        sizes = {"strategy": {"canary": {"steps": [{"replicas": "10%"}, {"replicas": "60%"}, {"replicas": "100%"}]}}}
        await story.patch(story.rollout, {"spec": sizes})
        await story.at(1)
        await story.approve()
        await story.serves(v1=4, v2=6)
