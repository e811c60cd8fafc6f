"""Rollouts at the intake: one per workload, and nothing that Kruise would refuse in every member."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from services.scheduler.intake.changes import Stamp, Verdict
from tests.intake.test_changes import Desk, web


class RolloutDesk(Desk):
    rolling = False

    @property
    def stamp(self) -> Stamp:
        return replace(super().stamp, is_rolling=lambda _key: self.rolling)


def rollout(name: str = "one", workload: str = "web", steps: int = 2, style: str = "canary", **spec: Any) -> str:
    listed = [{"replicas": f"{100 * (n + 1) // steps}%"} for n in range(steps)]
    manifest = {
        "apiVersion": "rollouts.kruise.io/v1beta1",
        "kind": "Rollout",
        "metadata": {"name": name},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": workload},
            "strategy": {style: {"steps": listed}},
            **spec,
        },
    }
    return json.dumps(manifest)


def faults(verdict: Verdict) -> list[tuple[str, str]]:
    return [(fault.field, fault.code) for fault in verdict.faults]


def test_the_namespace_defaults_as_kubectls_would() -> None:
    desk = RolloutDesk()
    (write,) = desk.apply(rollout()).writes
    assert str(write.desired.ref) == "Rollout default/one"


def test_one_rollout_per_workload() -> None:
    desk = RolloutDesk()
    assert desk.apply(rollout()).faults == []
    assert faults(desk.apply(rollout("two"))) == [("spec.workloadRef", "Duplicate")]
    assert desk.apply(rollout("two", "other")).faults == []
    assert desk.apply(rollout(steps=3)).faults == []


def test_two_rollouts_of_one_workload_in_one_submission() -> None:
    desk = RolloutDesk()
    assert faults(desk.apply(rollout() + "\n---\n" + rollout("two"))) == [("spec.workloadRef", "Duplicate")]


def fleet_rollout(name: str) -> str:
    reference = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return json.dumps(
        {
            "apiVersion": "brim.dev/v1alpha1",
            "kind": "FleetRollout",
            "metadata": {"name": name},
            "spec": {"workloadRef": reference, "waves": [{"name": "all"}]},
        }
    )


def test_one_fleet_rollout_per_workload_beside_its_rollout() -> None:
    desk = RolloutDesk()
    assert desk.apply(rollout() + "\n---\n" + fleet_rollout("one")).faults == []
    (fault,) = desk.apply(fleet_rollout("two")).faults
    assert (fault.field, fault.code) == ("spec.workloadRef", "Duplicate")
    assert "a workload has one FleetRollout" in fault.message
    both = desk.apply(fleet_rollout("three") + "\n---\n" + fleet_rollout("four"))
    assert {code for _, code in faults(both)} == {"Duplicate"}


def test_what_is_frozen_while_a_member_is_in_the_middle_of_it() -> None:
    desk = RolloutDesk()
    desk.apply(web() + "\n---\n" + rollout())
    desk.rolling = True
    assert faults(desk.apply(rollout(steps=3))) == [("spec.strategy.canary.steps", "Progressing")]
    assert faults(desk.apply(rollout(style="blueGreen"))) == [("spec.strategy", "Progressing")]
    assert faults(desk.apply(rollout(workload="other"))) == [("spec.workloadRef", "Progressing")]
    extra = {"canary": {"enableExtraWorkloadForCanary": True, "steps": [{"replicas": "50%"}, {"replicas": "100%"}]}}
    field = "spec.strategy.canary.enableExtraWorkloadForCanary"
    assert faults(desk.apply(rollout(strategy=extra))) == [(field, "Progressing")]
    routed = {"canary": {"trafficRoutings": [{"service": "web"}], **extra["canary"]}}
    routed["canary"]["enableExtraWorkloadForCanary"] = False
    assert faults(desk.apply(rollout(strategy=routed))) == [("spec.strategy.canary.trafficRoutings", "Progressing")]
    assert desk.apply(rollout(disabled=True)).faults == []
    desk.rolling = False
    assert desk.apply(rollout(steps=3)).faults == []
