"""Members of K3s in containers: the contract of tests/real, word for word, and a scenario over three of them. `make
test-k3s` has the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.demo import hybrid
from tests.real.control_plane import ControlPlane
from tests.real.play import really_playing, three
from tests.real.test_contract import *  # noqa: F403

pytestmark = pytest.mark.docker


async def test_the_hybrid_scenario_plays(tmp_path: Path, planes: list[ControlPlane]) -> None:
    async with really_playing(tmp_path, three("hybrid.yaml"), planes) as play:
        await hybrid.play(play.stage)
