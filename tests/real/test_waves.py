"""A new version goes over real members in waves, whoever dies meanwhile; one that never gets ready is taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli import manifests
from cli.demo import versions
from cli.json_values import objects_of
from cli.up import example
from shared import fleet as fleet_file
from shared.contracts.base import JsonObject
from tests.e2e.harness import Play
from tests.real.control_plane import ControlPlane
from tests.real.play import really_playing

pytestmark = pytest.mark.real

FLEET, FILE, APP = "waves-fleet.yaml", "chat-waves.yaml", "chat"
CANARY, NORTH, SOUTH = ("canary", "north", "south")
V1, V2, V3 = "chat:v1", "chat:v2", "chat:v3"
BAKE = "3s"
GATE = "20s"  # two replicas are ready in one where nothing else runs


def in_real_time() -> list[JsonObject]:
    """The example, whose canary bakes for seconds: time in real members does not run fast."""
    found = [document.manifest for document in manifests.parse(example(FILE).encode(), source=FILE)]
    for one in found:
        for wave in objects_of(one, "spec", "waves"):
            if "bake" in wave:
                wave.update({"bake": BAKE, "gate": {"timeout": GATE}})
    return found


def serving(play: Play, image: str) -> list[int]:
    return [versions.serving(play.stage, APP, member, image) for member in (CANARY, NORTH, SOUTH)]


def has(play: Play, member: str, image: str) -> bool:
    return bool(versions.started(play.stage, APP, member, image))


async def test_a_version_goes_out_and_a_bad_one_comes_back(tmp_path: Path, planes: list[ControlPlane]) -> None:
    fleet = fleet_file.parse(example(FLEET), source=FLEET)
    async with really_playing(tmp_path, fleet, planes) as play:
        await play.submit(*in_real_time())
        await play.eventually(lambda: serving(play, V1) == [4, 4, 4], "v1 everywhere")

        order: list[str] = []
        play.observer.gauges.append(
            lambda: order.extend(one for one in (CANARY, NORTH, SOUTH) if one not in order and has(play, one, V2))
        )
        await play.submit(versions.version(FILE, V2))
        await play.eventually(lambda: has(play, CANARY, V2), "the canary gets v2")
        for service in ("scheduler", "executor"):
            await play.restart(service)
        await play.eventually(lambda: serving(play, V2) == [4, 4, 4], "v2 everywhere")
        assert order == [CANARY, NORTH, SOUTH]

        elsewhere: set[str] = set()
        play.observer.gauges.append(lambda: elsewhere.update(one for one in (NORTH, SOUTH) if has(play, one, V3)))
        await play.submit(versions.version(FILE, V3, ready=False))
        await play.eventually(lambda: has(play, CANARY, V3), "the canary gets v3")
        await play.eventually(
            lambda: serving(play, V2) == [4, 4, 4] and not has(play, CANARY, V3), "the canary goes back to v2"
        )
        assert not elsewhere
