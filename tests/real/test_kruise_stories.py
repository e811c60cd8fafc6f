"""What brim does around rollouts in simulated members it does around a real Kruise's: the same tests, word for word."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cli.up import example
from shared import fleet as fleet_file
from shared.fleet import Fleet
from shared.settings import Settings
from tests.e2e import test_rollout_styles, test_rollouts_in_members
from tests.e2e.harness import Play
from tests.e2e.test_rollout_styles import (  # noqa: F401
    test_a_daemonset_goes_out_in_steps_and_comes_back,
    test_an_extra_workload_carries_the_canary,
    test_an_extra_workload_of_a_bad_version_is_undone,
    test_blue_and_green_stand_side_by_side_until_the_switch,
    test_blue_takes_no_harm_when_green_is_undone,
    test_bounds_that_people_wrote_hold_in_partitions_too,
)
from tests.e2e.test_rollouts_in_members import (  # noqa: F401
    test_a_drain_in_the_middle_and_a_member_that_first_gets_replicas_starts_with_what_is_stable,
    test_a_member_that_is_added_to_the_policy_in_the_middle,
    test_moving_replicas_between_members_in_the_middle,
    test_one_that_recreates_its_pods_goes_on_to_version_after_version,
    test_scaling_in_the_middle_changes_the_number_alone,
)
from tests.real.control_plane import ControlPlane
from tests.real.kruise import Controller
from tests.real.play import really_playing

pytestmark = pytest.mark.real


@pytest.fixture(autouse=True)
def over_real_members(
    controllers: list[Controller],
    planes: list[ControlPlane],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    if "CloneSet" in request.node.name:
        pytest.skip("CloneSets are another controller's of Kruise's, which these tests do not have")

    @asynccontextmanager
    async def playing(folder: Path, fleet: str | Fleet, *, settings: Settings | None = None) -> AsyncIterator[Play]:
        described = fleet_file.parse(example(fleet), source=fleet) if isinstance(fleet, str) else fleet
        own = planes[: len(described.members)]
        async with really_playing(folder, described, own, settings=settings) as play:
            yield play

    for module in (test_rollout_styles, test_rollouts_in_members):
        monkeypatch.setattr(module, "playing", playing)
