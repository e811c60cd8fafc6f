"""The scenarios that people play with simulated members, over three real ones: each step is seen in their own APIs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cli.demo import burst, descheduling, hybrid, multi_region
from cli.demo.observer import DEPLOYMENTS
from cli.demo.stage import Stage
from shared.kube import PODS
from tests.real.control_plane import ControlPlane
from tests.real.play import EDGE, really_playing, three

pytestmark = pytest.mark.real


@pytest.mark.parametrize(
    ("fleet", "scenario"),
    [
        pytest.param("hybrid.yaml", hybrid.play, id="hybrid"),
        pytest.param("multi-region.yaml", multi_region.play, id="multi-region"),
        pytest.param("hybrid.yaml", descheduling.play, id="descheduling"),
        pytest.param("burst.yaml", burst.overflow_and_back, id="burst"),
    ],
)
async def test_every_step_is_seen(
    tmp_path: Path, planes: list[ControlPlane], fleet: str, scenario: Callable[[Stage], Awaitable[None]]
) -> None:
    async with really_playing(tmp_path, three(fleet), planes) as play:
        await scenario(play.stage)
        for resource in (DEPLOYMENTS, PODS):
            assert not play.observer.objects(resource, member=EDGE.id), "a member that no policy names got something"
