"""The scenarios as people play them, one by one, seen in the members' own APIs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.demo import burst, descheduling, gpu_burst, hybrid, max_burst, multi_region, rollout, waves
from tests.e2e.harness import playing


@pytest.mark.parametrize(
    ("fleet", "scenario"),
    [
        ("hybrid.yaml", hybrid),
        ("multi-region.yaml", multi_region),
        ("hybrid.yaml", descheduling),
        ("burst.yaml", burst),
        ("burst.yaml", max_burst),
        ("burst.yaml", gpu_burst),
        ("rollout-fleet.yaml", rollout),
        ("waves-fleet.yaml", waves),
    ],
    ids=["hybrid", "multi-region", "descheduling", "burst", "max burst", "gpu burst", "rollout", "waves"],
)
async def test_every_step_is_seen(tmp_path: Path, fleet: str, scenario: object) -> None:
    async with playing(tmp_path, fleet) as play:
        await scenario.play(play.stage)  # type: ignore[attr-defined]
