"""What Kruise Rollouts start beside a workload's pods, as the scheduler learns it from DESIRED."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import Amount, Beside, Workload
from services.scheduler.intake import changes
from services.scheduler.intake.changes import Stamp
from services.scheduler.intake.intake import read_manifests
from services.scheduler.intake.known import Known
from services.scheduler.normalise import workload_of
from services.scheduler.rollouts import KruiseRollouts
from tests.scheduler.intake_world import IntakeWorld

HALF_THEN_ALL = [{"replicas": "50%"}, {"replicas": "100%"}]


def workload(kind: str = "Deployment", group: str = "apps/v1", **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    selector = {"matchLabels": {"app": "web"}}
    return {
        "apiVersion": group,
        "kind": kind,
        "metadata": {"name": "web", "namespace": "test"},
        "spec": {"replicas": 10, "selector": selector, "template": template, **spec},
    }


def rollout(strategy: dict[str, Any], *, name: str = "web", of: str = "web", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "rollouts.kruise.io/v1beta1",
        "kind": "Rollout",
        "metadata": {"name": name, "namespace": "test"},
        "spec": {
            "workloadRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": of},
            "strategy": strategy,
            **spec,
        },
    }


class Fleet:
    def __init__(self) -> None:
        self.known = Known()
        self.rollouts = KruiseRollouts(self.known)
        self._intake = IntakeWorld(self.known, "Rollout", self.rollouts.take)

    def apply(self, *manifests: dict[str, Any]) -> list[str]:
        """Names of the workloads to be looked at again."""
        return [desired.ref.name for desired in self._intake.apply(*manifests)]

    @property
    def workload(self) -> Workload:
        desired = self.known.live(("Deployment", "apps", "test", "web"))
        assert desired is not None
        return self.rollouts.apply(workload_of(desired))


STYLES: dict[str, tuple[dict[str, Any], Beside | None, int]] = {
    "partitions: as its own update does": ({"canary": {"steps": HALF_THEN_ALL}}, None, 3),
    "blue and green": (
        {"blueGreen": {"steps": HALF_THEN_ALL}},
        Beside((Amount(50, percent=True), Amount(100, percent=True))),
        10,
    ),
    "an extra workload": (
        {"canary": {"steps": [{"replicas": 2}], "enableExtraWorkloadForCanary": True}},
        Beside((Amount(2),), promoted=True),
        5,
    ),
}


@pytest.mark.parametrize("name", STYLES)
def test_styles(name: str) -> None:
    strategy, beside, surge = STYLES[name]
    fleet = Fleet()
    fleet.apply(workload(), rollout(strategy))
    assert (fleet.workload.stepwise, fleet.workload.beside, fleet.workload.surge(10)) == (True, beside, surge)


def test_a_rollout_that_comes_changes_or_goes_touches_its_workload_alone() -> None:
    fleet = Fleet()
    blue_green = {"blueGreen": {"steps": HALF_THEN_ALL}}
    assert fleet.apply(rollout(blue_green), workload()) == []
    assert fleet.workload.surge(10) == 10
    assert fleet.apply(rollout({"blueGreen": {"steps": [{"replicas": "20%"}]}})) == ["web"]
    assert fleet.workload.surge(10) == 2
    assert fleet.apply(rollout({"blueGreen": {"steps": [{"replicas": "20%"}]}, "paused": True})) == []
    assert fleet.apply(rollout(blue_green, disabled=True)) == ["web"]
    assert (fleet.workload.stepwise, fleet.workload.beside) == (False, None)
    fleet.apply(rollout(blue_green))
    (desired,) = (entry.desired for entry in fleet.known.of_kind("Rollout", "rollouts.kruise.io").values())
    assert [one.ref.name for one in fleet.rollouts.remove(desired.ref)] == ["web"]
    assert fleet.workload.beside is None


OWN: dict[str, tuple[dict[str, Any], int]] = {
    "a Deployment": (workload(), 3),
    "a Deployment that says": (workload(strategy={"rollingUpdate": {"maxSurge": 1}}), 1),
    "one that is recreated": (workload(strategy={"type": "Recreate"}), 0),
    "a CloneSet": (workload("CloneSet", "apps.kruise.io/v1alpha1"), 0),
    "a CloneSet that says": (
        workload("CloneSet", "apps.kruise.io/v1alpha1", updateStrategy={"maxSurge": "15%"}),
        2,
    ),
    "a StatefulSet": (workload("StatefulSet"), 0),
}


@pytest.mark.parametrize("name", OWN)
def test_what_kinds_start_by_themselves(name: str) -> None:
    manifest, expected = OWN[name]
    known = Known()
    (write,) = changes.apply(read_manifests(json.dumps(manifest).encode()), known, Stamp(1.0, 1, lambda: "u")).writes
    assert workload_of(write.desired).surge(10) == expected


def test_a_pod_on_each_node_goes_everywhere_and_has_revisions() -> None:
    daemons = workload("DaemonSet")
    del daemons["spec"]["replicas"]
    known = Known()
    (write,) = changes.apply(read_manifests(json.dumps(daemons).encode()), known, Stamp(1.0, 1, lambda: "u")).writes
    value = workload_of(write.desired)
    assert (value.components, value.replicas, value.divisible, value.revision) == ((), 0, False, 1)
    assert SchedulerState().on_desired(value) == {value.key}
