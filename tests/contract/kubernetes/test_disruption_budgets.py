"""PodDisruptionBudgets: what their status says, and evictions that heed them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.kubernetes.api import Answer, Api, deployment, kubernetes_api, pod

WEB = {"matchLabels": {"app": "web"}}
SUFFICIENT, INSUFFICIENT = ("True", "SufficientPods"), ("False", "InsufficientPods")

Numbers = tuple[int, int, int, int]  # expected, healthy, desired, allowed

OF_FOUR_REPLICAS: dict[str, tuple[dict[str, Any], Numbers]] = {
    "min-available": ({"selector": WEB, "minAvailable": 3}, (4, 4, 3, 1)),
    "min-available-more-than-there-are": ({"selector": WEB, "minAvailable": 9}, (4, 4, 9, 0)),
    "min-available-percent": ({"selector": WEB, "minAvailable": "50%"}, (4, 4, 2, 2)),
    "min-available-percent-rounds-up": ({"selector": WEB, "minAvailable": "51%"}, (4, 4, 3, 1)),
    "max-unavailable": ({"selector": WEB, "maxUnavailable": 1}, (4, 4, 3, 1)),
    "max-unavailable-none": ({"selector": WEB, "maxUnavailable": 0}, (4, 4, 4, 0)),
    "max-unavailable-percent-rounds-up": ({"selector": WEB, "maxUnavailable": "30%"}, (4, 4, 2, 2)),
    "empty-selector-selects-every-pod": ({"selector": {}, "minAvailable": 3}, (4, 4, 3, 1)),
    "absent-selector-selects-none": ({"minAvailable": 0}, (0, 0, 0, 0)),
    "selects-no-pod": ({"selector": {"matchLabels": {"app": "other"}}, "minAvailable": 0}, (0, 0, 0, 0)),
    "asks-for-nothing": ({"selector": WEB}, (0, 4, 0, 0)),
}


def path(api: Api, name: str = "") -> str:
    return "/".join(filter(None, ("/apis/policy/v1/namespaces", api.namespace, "poddisruptionbudgets", name)))


async def budget(api: Api, name: str, **spec: Any) -> Answer:
    body = {"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": name}, "spec": spec}
    return await api.create(path(api), body)


def numbers(answer: Answer) -> Numbers:
    status = answer.body["status"]
    return (
        status.get("expectedPods", -1),
        status.get("currentHealthy", -1),
        status.get("desiredHealthy", -1),
        status.get("disruptionsAllowed", -1),
    )


def condition(answer: Answer) -> dict[str, Any]:
    (found,) = answer.body["status"]["conditions"]
    assert found["type"] == "DisruptionAllowed"
    return dict(found)


async def counted(api: Api, name: str, wanted: Numbers) -> None:
    await api.until(path(api, name), lambda answer: numbers(answer) == wanted)


async def running(api: Api, *names: str) -> None:
    """Pods without a controller, labelled app=web, Ready."""
    for name in names:
        body = pod(name)
        body["metadata"]["labels"] = {"app": "web"}
        assert (await api.create(api.core("pods"), body)).status == 201
    for name in names:
        await api.until(api.core("pods", name), is_ready)


def is_ready(answer: Answer) -> bool:
    conditions = answer.body.get("status", {}).get("conditions") or ()
    return any((one["type"], one["status"]) == ("Ready", "True") for one in conditions)


async def evict(api: Api, name: str, **options: Any) -> Answer:
    body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}, "deleteOptions": options}
    return await api.create(api.core("pods", name, "eviction"), body)


async def test_a_budgets_status_counts_the_pods_that_it_selects() -> None:
    async with kubernetes_api() as api:
        assert (await api.create(api.apps("deployments"), deployment("web", 4))).status == 201
        web = api.apps("deployments", "web")  # first: a real controller counts one of a pod's budgets when it changes
        await api.until(web, lambda answer: answer.body.get("status", {}).get("readyReplicas") == 4)
        for name, (spec, _) in OF_FOUR_REPLICAS.items():
            assert (await budget(api, name, **spec)).status == 201
        for name, (_, wanted) in OF_FOUR_REPLICAS.items():
            await counted(api, name, wanted)
            answer = await api.get(path(api, name))
            told = condition(answer)
            assert (told["status"], told["reason"]) == (SUFFICIENT if wanted[3] else INSUFFICIENT), name
            assert told["message"] == ""
            assert answer.body["status"]["observedGeneration"] == told["observedGeneration"] == 1


async def test_a_budgets_status_follows_its_spec() -> None:
    async with kubernetes_api() as api:
        await running(api, "one", "two")
        await budget(api, "web", selector=WEB, minAvailable=2)
        await counted(api, "web", (2, 2, 2, 0))
        await api.patch(path(api, "web"), {"spec": {"minAvailable": 1}})
        await counted(api, "web", (2, 2, 1, 1))
        answer = await api.get(path(api, "web"))
        assert answer.body["status"]["observedGeneration"] == answer.body["metadata"]["generation"] == 2


async def test_shares_are_of_what_controllers_are_asked_for_so_that_pods_without_one_count_for_none() -> None:
    async with kubernetes_api() as api:
        await running(api, "one", "two")
        await budget(api, "web", selector=WEB, maxUnavailable="50%")
        await counted(api, "web", (0, 2, 0, 0))


async def test_a_controller_that_cannot_be_scaled_has_no_share_so_that_nothing_is_allowed() -> None:
    template = {
        "metadata": {"labels": {"app": "web"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "image:1"}]},
    }
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "once"}, "spec": {"template": template}}
    async with kubernetes_api() as api:
        jobs = f"/apis/batch/v1/namespaces/{api.namespace}/jobs"
        assert (await api.create(jobs, job)).status == 201
        await api.until(api.core("pods"), lambda answer: len(answer.body["items"]) == 1)
        await budget(api, "web", selector=WEB, minAvailable="1%")
        await api.until(path(api, "web"), lambda answer: "conditions" in answer.body["status"])
        answer = await api.get(path(api, "web"))
        assert answer.body["status"]["disruptionsAllowed"] == 0
        told = condition(answer)
        assert (told["status"], told["reason"]) == ("False", "SyncFailed")
        assert told["message"] == "jobs.batch does not implement the scale subresource"


async def test_an_eviction_that_would_violate_a_budget_is_refused() -> None:
    async with kubernetes_api() as api:
        await running(api, "one", "two")
        await budget(api, "web", selector=WEB, minAvailable=2)
        await counted(api, "web", (2, 2, 2, 0))
        answer = await evict(api, "one")
        assert (answer.status, answer.body["reason"]) == (429, "TooManyRequests")
        assert answer.body["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
        says = "The disruption budget web needs 2 healthy pods and has 2 currently"
        assert answer.body["details"]["causes"] == [{"reason": "DisruptionBudget", "message": says}]
        assert "deletionTimestamp" not in (await api.get(api.core("pods", "one"))).body["metadata"]


async def test_an_eviction_takes_one_of_the_disruptions_that_are_allowed() -> None:
    async with kubernetes_api() as api:
        await running(api, "one", "two")
        await budget(api, "web", selector=WEB, minAvailable=1)
        await counted(api, "web", (2, 2, 1, 1))
        assert (await evict(api, "one")).status == 201
        assert (await evict(api, "two")).status == 429
        await counted(api, "web", (1, 1, 1, 0))


async def test_an_eviction_that_is_only_tried_takes_nothing() -> None:
    async with kubernetes_api() as api:
        await running(api, "one", "two")
        await budget(api, "web", selector=WEB, minAvailable=1)
        await counted(api, "web", (2, 2, 1, 1))
        assert (await evict(api, "one", dryRun=["All"])).status == 201
        assert numbers(await api.get(path(api, "web"))) == (2, 2, 1, 1)
        assert is_ready(await api.get(api.core("pods", "one")))


async def test_no_eviction_is_decided_for_a_pod_with_two_budgets() -> None:
    async with kubernetes_api() as api:
        await running(api, "one")
        for name in ("first", "second"):
            await budget(api, name, selector=WEB, minAvailable=0)
            await counted(api, name, (1, 1, 0, 1))
        answer = await evict(api, "one")
        assert answer.status == 500
        assert "more than one PodDisruptionBudget" in answer.body["message"]


async def test_a_pod_that_does_not_run_yet_disrupts_nothing_when_it_goes() -> None:
    async with kubernetes_api() as api:
        body = pod("one", nodeSelector={"no": "such"})
        body["metadata"]["labels"] = {"app": "web"}
        await api.create(api.core("pods"), body)
        await budget(api, "web", selector=WEB, minAvailable=1)
        await counted(api, "web", (1, 0, 1, 0))
        assert (await evict(api, "one")).status == 201


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        pytest.param({"minAvailable": 1, "maxUnavailable": 1}, "spec", "cannot be both set", id="both bounds"),
        pytest.param({"minAvailable": -1}, "spec.minAvailable", "greater than or equal to 0", id="less than none"),
        pytest.param({"maxUnavailable": "101%"}, "spec.maxUnavailable", "greater than 100%", id="more than all"),
        pytest.param({"maxUnavailable": "some"}, "spec.maxUnavailable", "a valid percent string", id="no percentage"),
    ],
)
async def test_a_budget_whose_bounds_mean_nothing_is_refused(spec: dict[str, Any], field: str, says: str) -> None:
    async with kubernetes_api() as api:
        answer = await budget(api, "web", selector=WEB, **spec)
        assert (answer.status, answer.body["reason"]) == (422, "Invalid")
        assert field in {cause["field"] for cause in answer.body["details"]["causes"]}
        assert says in answer.body["message"]
