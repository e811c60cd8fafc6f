"""PodDisruptionBudgets in CAPACITY: what is told of one, and that a member without them is no worse off."""

from __future__ import annotations

from typing import Any

import pytest

from services.inventory.budgets import PodDisruptionBudget
from shared.contracts.capacity import DisruptionBudget, decode_capacity
from shared.contracts.refs import ObjectRef
from shared.contracts.selectors import LabelSelector
from shared.fleet import parse

FLEET = parse(
    """
members:
- id: idc
  simulated:
    nodes: [{name: node, allocatable: {cpu: "8", memory: 16Gi}}]
    delays: {schedule: 0, start: 0.01, stop: 0.01, imagePull: 0}
"""
)
WEB = LabelSelector(match_labels={"app": "web"})


def manifest(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"matchLabels": {"app": "web"}}, **spec},
    }


def pod(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "main", "image": "image:1"}]},
    }


def ref(name: str = "web") -> ObjectRef:
    return ObjectRef(group="policy", version="v1", kind="PodDisruptionBudget", namespace="default", name=name)


def tells(side, budgets: dict[str, DisruptionBudget]):
    async def so() -> bool:
        return (await side.replayed("idc")).budgets == budgets

    return so


# -- what is told ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "status", "told"),
    [
        pytest.param({}, {}, DisruptionBudget(), id="no selector selects none"),
        pytest.param({"selector": {}}, {}, DisruptionBudget(selector=LabelSelector()), id="an empty one selects all"),
        pytest.param({}, {"disruptionsAllowed": 2, "observedGeneration": 3}, DisruptionBudget(allowed=2), id="counted"),
        pytest.param({}, {"disruptionsAllowed": 2, "observedGeneration": 2}, DisruptionBudget(), id="not counted anew"),
        pytest.param(
            {},
            {
                "disruptionsAllowed": 0,
                "observedGeneration": 3,
                "disruptedPods": {"b": "2026-01-01T00:00:00Z", "a": None},
            },
            DisruptionBudget(evicted=("a", "b")),
            id="evictions that are counted already",
        ),
    ],
)
def test_what_is_told_of_a_budget(spec: Any, status: Any, told: DisruptionBudget) -> None:
    body = {"metadata": {"name": "web", "namespace": "default", "generation": 3}, "spec": spec, "status": status}
    assert PodDisruptionBudget.model_validate(body).told == told


@pytest.mark.parametrize("form", ["snapshot", "delta"])
def test_a_message_of_an_older_brim_has_no_budgets(form: str) -> None:
    old = f'{{"form":"{form}","member":"idc","epoch":1,"number":1,"observedAt":1.0}}'.encode()
    found = decode_capacity(old)
    assert found.form != "heartbeat"
    assert found.budgets == {}


# -- followed ----------------------------------------------------------------------------------------------------


async def test_budgets_are_told_and_kept_up(fleetside, eventually) -> None:
    async with fleetside(FLEET) as side, side.inventory(), side.client("idc") as client:
        await client.create(manifest(minAvailable=1))
        for name in ("one", "two"):
            await client.create(pod(name))
        await eventually(tells(side, {"default/web": DisruptionBudget(selector=WEB, allowed=1)}))
        await client.merge_patch(ref(), {"spec": {"minAvailable": 2}})
        await eventually(tells(side, {"default/web": DisruptionBudget(selector=WEB, allowed=0)}))
        await client.create(manifest("all", selector=None, maxUnavailable=0))
        both = {"default/web": DisruptionBudget(selector=WEB), "default/all": DisruptionBudget()}
        await eventually(tells(side, both))
        await side.bus.request("brim.snapshot.idc", b"")
        assert (await side.replayed("idc")).budgets == both
        await client.delete(ref())
        await eventually(tells(side, {"default/all": DisruptionBudget()}))


@pytest.mark.parametrize(("status", "said"), [(403, True), (404, False)])
async def test_a_member_that_shows_no_budgets_is_decided_in_without_them(
    fleetside, eventually, caplog: pytest.LogCaptureFixture, status: int, said: bool
) -> None:
    async with fleetside(FLEET) as side:
        fault = side.members["idc"].faults.answer(status, method="GET", path="/poddisruptionbudgets[?]")
        async with side.inventory(), side.client("idc") as client:

            async def is_known() -> bool:
                known = await side.replayed("idc")
                return known.surroundings is not None and known.free_cpu == {"node": 8000}

            await eventually(is_known)
            asked = fault.hits
            await eventually(lambda: fault.hits > asked + 1)
            warned = [record.message for record in caplog.records if "heeds no PodDisruptionBudget" in record.message]
            assert len(warned) == said
            side.members["idc"].faults.clear(fault)
            await client.create(manifest(maxUnavailable=0))
            await eventually(tells(side, {"default/web": DisruptionBudget(selector=WEB)}))


async def test_nothing_is_decided_inside_a_member_before_its_budgets_are_known(fleetside, eventually) -> None:
    async with fleetside(FLEET) as side:
        fault = side.members["idc"].faults.hang(method="GET", path="/poddisruptionbudgets[?]")
        async with side.inventory():
            await eventually(lambda: fault.hits)
            known = await side.replayed("idc")
            assert (known.free_cpu, known.surroundings) == ({"node": 8000}, None)
