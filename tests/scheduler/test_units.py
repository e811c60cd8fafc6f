"""Which units a workload may use inside members: by its ResourcePolicy, or because it asks for ECI."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.scheduler.core.values import Workload
from services.scheduler.intake.intake import read_manifests
from services.scheduler.intake.known import Known
from services.scheduler.normalise import workload_of
from services.scheduler.units import Units
from shared.contracts.desired import Desired
from shared.errors import Invalid
from tests.scheduler.intake_world import IntakeWorld

ECI = {"alibabacloud.com/eci": "true"}


def deployment(labels: dict[str, str] | None = None, scheduler: str = "brim-scheduler", **more: Any) -> dict[str, Any]:
    given = {"app": "web"} | (labels or {})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "test", **more},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": given},
                "spec": {
                    "schedulerName": scheduler,
                    "containers": [{"name": "web", "resources": {"requests": {"cpu": "1"}}}],
                },
            },
        },
    }


def rp(name: str, selector: dict[str, str], *units: str, **annotations: str) -> dict[str, Any]:
    return {
        "apiVersion": "scheduling.alibabacloud.com/v1alpha1",
        "kind": "ResourcePolicy",
        "metadata": {"name": name, "namespace": "test", "annotations": annotations},
        "spec": {"selector": selector, "units": [{"resource": unit} for unit in units]},
    }


class Fleet:
    """The intake's view of DESIRED, and the units that follow from it."""

    def __init__(self) -> None:
        self.known = Known()
        self.units = Units(self.known)
        self._intake = IntakeWorld(self.known, "ResourcePolicy", self.units.take)

    def apply(self, *manifests: dict[str, Any]) -> list[Desired]:
        """Returns the workloads to be looked at again."""
        return self._intake.apply(*manifests)

    def workload(self) -> Workload:
        desired = self.known.live(("Deployment", "apps", "test", "web"))
        assert desired is not None
        return self.units.apply(workload_of(desired), desired)

    def names(self) -> list[str]:
        return [unit.unit for unit in self.workload().units]


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


def test_a_policy_that_selects_the_pods_gives_its_units(fleet: Fleet) -> None:
    fleet.apply(deployment(), rp("cost", {"app": "web"}, "idc", "eci"))
    assert fleet.names() == ["idc", "eci"]


def test_a_policy_that_comes_goes_or_changes_touches_the_workloads_of_its_namespace(fleet: Fleet) -> None:
    fleet.apply(deployment())
    (again,) = fleet.apply(rp("cost", {"app": "web"}, "idc", "eci"))
    assert again.ref.name == "web"
    fleet.apply(rp("cost", {"app": "web"}, "ecs"))
    assert fleet.names() == ["ecs"]
    assert len(fleet.units.remove(("test", "cost"))) == 1
    assert fleet.names() == []


def test_the_policy_with_more_labels_wins_then_the_first_by_name(fleet: Fleet) -> None:
    fleet.apply(deployment({"tier": "front"}))
    fleet.apply(rp("b", {"app": "web"}, "idc"), rp("a", {"tier": "front"}, "ecs"))
    assert fleet.names() == ["ecs"]
    fleet.apply(rp("c", {"app": "web", "tier": "front"}, "eci"))
    assert fleet.names() == ["eci"]


def test_pods_that_name_another_scheduler_are_none_of_brims(fleet: Fleet) -> None:
    fleet.apply(deployment(scheduler="default-scheduler"), rp("cost", {"app": "web"}, "idc", "eci"))
    assert fleet.names() == []


@pytest.mark.parametrize("scheduler", ["default-scheduler", "brim-scheduler"])
def test_a_wish_for_eci_overrides_the_policy(fleet: Fleet, scheduler: str) -> None:
    fleet.apply(deployment(ECI, scheduler), rp("cost", {"app": "web"}, "idc"))
    assert fleet.names() == ["eci"]


def test_a_namespace_that_the_fleet_propagates_asks_for_its_pods(fleet: Fleet) -> None:
    fleet.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "test", "labels": ECI}}, deployment())
    assert fleet.names() == ["eci"]
    assert [desired.ref.name for desired in fleet.units.of_namespace("test")] == ["web"]


def test_the_lower_ceiling_counts(fleet: Fleet) -> None:
    ceiling = {"brim.dev/max-hourly-cost": "3"}
    fleet.apply(
        deployment(annotations=ceiling), rp("cost", {"app": "web"}, "idc", **{"brim.dev/max-hourly-cost": "2.5"})
    )
    assert fleet.workload().ceiling == 2.5


@pytest.mark.parametrize("text", ["-1", "lots", "nan", "inf", ""])
def test_a_ceiling_that_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_manifests(json.dumps(deployment(annotations={"brim.dev/max-hourly-cost": text})).encode())
    assert caught.value.faults[0].field == "metadata.annotations.brim.dev/max-hourly-cost"
