"""Rollout and FleetRollout: what is accepted, and what is refused, field by field."""

from __future__ import annotations

from typing import Any

import pytest

from shared.contracts.fleet_rollout import FleetRollout
from shared.contracts.rollout import Rollout
from shared.errors import Invalid

REF = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "qwen-inference"}
CLONESET = {"apiVersion": "apps.kruise.io/v1alpha1", "kind": "CloneSet", "name": "a"}
STEPS: list[dict[str, Any]] = [{"replicas": "10%"}, {"replicas": "50%"}, {"replicas": "100%"}]


def rollout(**spec: Any) -> Rollout:
    canary = {"enableExtraWorkloadForCanary": False, "steps": STEPS}
    return Rollout.read(
        {
            "apiVersion": "rollouts.kruise.io/v1beta1",
            "kind": "Rollout",
            "metadata": {"name": "qwen-inference-rollout", "namespace": "demo"},
            "spec": {"workloadRef": REF, "strategy": {"canary": canary}, **spec},
        }
    )


def canary(*steps: Any, **more: Any) -> dict[str, Any]:
    return {"strategy": {"canary": {"steps": list(steps), **more}}}


def test_the_seeds_rollout() -> None:
    read = rollout()
    assert [step.replicas for step in read.spec.strategy.steps] == ["10%", "50%", "100%"]
    assert str(read.workload) == "Deployment demo/qwen-inference"
    assert all(step.pause.duration is None for step in read.spec.strategy.steps)


ACCEPTED: dict[str, dict[str, Any]] = {
    "counts": canary({"replicas": 1}, {"replicas": 3}),
    "counts and percentages": canary({"replicas": 5}, {"replicas": "20%"}),
    "equal steps": canary({"replicas": "20%"}, {"replicas": "20%"}),
    "a timed pause": canary({"replicas": "20%", "pause": {"duration": 60}}),
    "traffic": canary(
        {"replicas": 1, "traffic": "5%", "matches": [{"headers": []}]}, trafficRoutings=[{"service": "web"}]
    ),
    "blue-green": {"strategy": {"blueGreen": {"steps": STEPS}}},
    "an extra workload": canary({"replicas": "20%"}, enableExtraWorkloadForCanary=True),
    "paused": {"strategy": {"paused": True, "canary": {"steps": STEPS}}},
    "disabled": {"disabled": True},
    "a CloneSet": {"workloadRef": CLONESET},
    "blue-green of a CloneSet": {"workloadRef": CLONESET, "strategy": {"blueGreen": {"steps": STEPS}}},
    "a DaemonSet": {"workloadRef": {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "a"}},
    "Kruise's DaemonSet": {"workloadRef": {"apiVersion": "apps.kruise.io/v1alpha1", "kind": "DaemonSet", "name": "a"}},
    "fifty steps": canary(*[{"replicas": f"{n}%"} for n in range(1, 51)]),
    "fields of Kruise's that brim does not know": canary({"replicas": "1%", "novelty": 1}, patchPodTemplateMetadata={}),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name: str) -> None:
    assert rollout(**ACCEPTED[name])


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "steps that decrease": (canary({"replicas": "50%"}, {"replicas": "10%"}), "spec.strategy.canary.steps", "step 2"),
    "counts that decrease": (canary({"replicas": 5}, {"replicas": 2}), "spec.strategy.canary.steps", "step 2"),
    "no steps": (canary(), "spec.strategy.canary.steps", "1 to 50"),
    "too many": (canary(*[{"replicas": 1}] * 51), "spec.strategy.canary.steps", "1 to 50"),
    "over 100%": (canary({"replicas": "101%"}), "spec.strategy.canary.steps[0].replicas", "percentage"),
    "a step without replicas": (canary({"traffic": "5%"}), "spec.strategy.canary.steps[0].replicas", "required"),
    "a step of none": (canary({"replicas": 0}), "spec.strategy.canary.steps[0].replicas", "1 or more"),
    "a step of 0%": (canary({"replicas": "0%"}), "spec.strategy.canary.steps[0].replicas", "above 0%"),
    "blue-green of a StatefulSet": (
        {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "a"},
            "strategy": {"blueGreen": {"steps": STEPS}},
        },
        "spec",
        "blue-green",
    ),
    "a count in quotes": (
        canary({"replicas": "3"}),
        "spec.strategy.canary.steps[0].replicas",
        "give 3 or a percentage",
    ),
    "no number": (canary({"replicas": "half"}), "spec.strategy.canary.steps[0].replicas", "count"),
    "both styles": (
        {"strategy": {"canary": {"steps": STEPS}, "blueGreen": {"steps": STEPS}}},
        "spec.strategy",
        "either",
    ),
    "no style": ({"strategy": {}}, "spec.strategy", "either"),
    "a Job": ({"workloadRef": {"apiVersion": "batch/v1", "kind": "Job", "name": "a"}}, "spec.workloadRef", "Job"),
    "a negative pause": (
        canary({"replicas": 1, "pause": {"duration": -1}}),
        "spec.strategy.canary.steps[0].pause.duration",
        "give 0 or more",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    spec, field, words = REFUSED[name]
    with pytest.raises(Invalid) as caught:
        rollout(**spec)
    (fault,) = caught.value.faults
    assert (fault.object, fault.field) == ("Rollout demo/qwen-inference-rollout", field)
    assert words in fault.message


def test_a_rollout_without_its_workload_is_refused() -> None:
    with pytest.raises(Invalid, match=r"spec\.workloadRef"):
        Rollout.read(
            {
                "apiVersion": "rollouts.kruise.io/v1beta1",
                "kind": "Rollout",
                "metadata": {"name": "a", "namespace": "demo"},
                "spec": {"strategy": {"canary": {"steps": STEPS}}},
            }
        )


def fleet_rollout(**spec: Any) -> FleetRollout:
    waves = [{"name": "canary", "members": ["edge"], "bake": "10m"}, {"name": "rest"}]
    return FleetRollout.read(
        {
            "apiVersion": "brim.dev/v1alpha1",
            "kind": "FleetRollout",
            "metadata": {"name": "qwen", "namespace": "demo"},
            "spec": {"workloadRef": REF, "waves": waves, **spec},
        }
    )


def test_waves() -> None:
    spec = fleet_rollout().spec
    assert [wave.name for wave in spec.waves] == ["canary", "rest"]
    assert (spec.max_unavailable_clusters, spec.on_failure, spec.waves[1].gate.ready_percent) == (1, "Pause", 100)


WAVES_REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no waves": ({"waves": []}, "spec.waves"),
    "two of a name": ({"waves": [{"name": "a"}, {"name": "a"}]}, "spec.waves"),
    "a bake that is no duration": ({"waves": [{"name": "a", "bake": "long"}]}, "spec.waves[0].bake"),
    "a query without bounds": (
        {"waves": [{"name": "a", "gate": {"prometheus": {"url": "http://p", "query": "up"}}}]},
        "spec.waves[0].gate.prometheus",
    ),
    "bounds that cross": (
        {"waves": [{"name": "a", "gate": {"prometheus": {"url": "http://p", "query": "up", "min": 2, "max": 1}}}]},
        "spec.waves[0].gate.prometheus",
    ),
    "a server without an address": (
        {"waves": [{"name": "a", "gate": {"prometheus": {"url": "p:9090", "query": "up", "min": 2}}}]},
        "spec.waves[0].gate.prometheus.url",
    ),
    "none at a time": ({"maxUnavailableClusters": 0}, "spec.maxUnavailableClusters"),
    "an unknown reaction": ({"onFailure": "Explode"}, "spec.onFailure"),
}


@pytest.mark.parametrize("name", WAVES_REFUSED)
def test_waves_that_are_refused(name: str) -> None:
    spec, field = WAVES_REFUSED[name]
    with pytest.raises(Invalid) as caught:
        fleet_rollout(**spec)
    assert caught.value.faults[0].field == field
