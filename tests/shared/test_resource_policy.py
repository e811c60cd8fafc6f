"""ResourcePolicy: what is accepted, what is warned of, and what is refused, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.resource_policy import ResourcePolicy, seconds_of
from shared.errors import Invalid

SEED: dict[str, Any] = {
    "selector": {"app": "nginx", "key1": "value1"},
    "strategy": "prefer",
    "units": [{"resource": "idc", "max": 3}, {"resource": "eci", "nodeSelector": {"key2": "value2"}}],
}


def read(**spec: Any) -> ResourcePolicy:
    return ResourcePolicy.read(
        {
            "apiVersion": "scheduling.alibabacloud.com/v1alpha1",
            "kind": "ResourcePolicy",
            "metadata": {"name": "cost-balance-policy", "namespace": "default"},
            "spec": {**SEED, **spec},
        }
    )


def unit(**fields: Any) -> dict[str, Any]:
    return {"units": [{"resource": "idc", **fields}]}


def test_the_seeds_policy_is_accepted_with_a_warning() -> None:
    policy = read()
    assert [unit.resource for unit in policy.spec.units] == ["idc", "eci"]
    (warning,) = policy.warnings()
    assert warning == "spec.units[1].nodeSelector counts for ecs only; for eci it has no effect"


def test_defaults_are_those_of_the_api() -> None:
    spec = read().spec
    assert (spec.preempt_policy, spec.ignore_previous_pod, spec.ignore_terminating_pod) == (
        "AfterAllUnits",
        False,
        True,
    )
    assert (spec.when_try_next_units.policy, spec.when_try_next_units.timeout) == ("LackResourceOrExceedMax", "15m")


ACCEPTED: dict[str, dict[str, Any]] = {
    "an empty selector": {"selector": {}},
    "max 0": unit(max=0),
    "maxResources as numbers and texts": unit(maxResources={"cpu": 4, "memory": "8Gi"}),
    "what is written to pods": unit(podLabels={"unit": "idc"}, podAnnotations={"a": "b"}),
    "a group per revision": {"matchLabelKeys": ["pod-template-hash"]},
    "waiting": {"whenTryNextUnits": {"policy": "TimeoutOrExceedMax", "timeout": "90s"}},
    "preempting before the next unit": {"preemptPolicy": "BeforeNextUnit"},
    "a node selector for ecs": {"units": [{"resource": "ecs", "nodeSelector": {"pool": "a"}}]},
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    assert read(**ACCEPTED[name])


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown resource": ({"units": [{"resource": "gpu"}]}, "spec.units[0].resource"),
    "an unknown strategy": ({"strategy": "spread"}, "spec.strategy"),
    "no units": ({"units": []}, "spec.units"),
    "max below zero": (unit(max=-1), "spec.units[0].max"),
    "a negative amount": (unit(maxResources={"cpu": "-1"}), "spec.units[0].maxResources"),
    "an absurd amount": (unit(maxResources={"cpu": "lots"}), "spec.units[0].maxResources"),
    "an unknown field": (unit(maximum=3), "spec.units[0].maximum"),
    "an unknown waiting policy": ({"whenTryNextUnits": {"policy": "Never"}}, "spec.whenTryNextUnits.policy"),
    "a timeout that is none": (
        {"whenTryNextUnits": {"policy": "TimeoutOrExceedMax", "timeout": "soon"}},
        "spec.whenTryNextUnits.timeout",
    ),
    "a timeout that never counts": ({"whenTryNextUnits": {"timeout": "5m"}}, "spec"),
    "a selector that is no map": ({"selector": ["app"]}, "spec.selector"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    spec, field = REFUSED[name]
    with pytest.raises(Invalid) as caught:
        read(**spec)
    assert [fault.object for fault in caught.value.faults] == ["ResourcePolicy default/cost-balance-policy"]
    assert caught.value.faults[0].field == field


DURATIONS = {"15m": 900.0, "1h30m": 5400.0, "90s": 90.0, "0.5h": 1800.0, "1m30s": 90.0}


@pytest.mark.parametrize("text", DURATIONS)
def test_durations(text: str) -> None:
    assert seconds_of(text) == DURATIONS[text]


@pytest.mark.parametrize("text", ["", "5", "m", "5x", "-5m", "0s", "1.2.3m"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|float"):
        seconds_of(text)
