"""A new version over a fleet in waves: the canary first, then the regions; and one that fails the canary's gate."""

from __future__ import annotations

from cli.demo import versions
from cli.demo.observer import DEPLOYMENTS
from cli.demo.stage import Stage

FILE, APP = "chat-waves.yaml", "chat"
MEMBERS = ("canary", "north", "south")
V1, V2, V3 = "chat:v1", "chat:v2", "chat:v3"


async def play(stage: Stage) -> None:
    """Raises NotSeen at the first step that does not happen."""
    stage.step("A model in three members, and a FleetRollout: the canary, then the regions one by one")
    await stage.apply(FILE)
    await stage.see("4 replicas of v1 run in each member", lambda: _serving(stage, V1) == [4, 4, 4])
    stage.show(DEPLOYMENTS, versions.NAMESPACE)
    await _new_version(stage)
    await _bad_version(stage)


async def _new_version(stage: Stage) -> None:
    stage.step("Version v2 goes to the canary, which has to stay healthy for two minutes")
    order: list[str] = []
    stage.observer.gauges.append(lambda: _note(stage, order))
    await stage.submit(versions.version(FILE, V2))
    await stage.see("the canary runs v2, the regions v1", lambda: _serving(stage, V2) == [4, 0, 0])
    await stage.see("north runs v2 as well", lambda: _serving(stage, V2) == [4, 4, 0])
    await stage.see("all members run v2", lambda: _serving(stage, V2) == [4, 4, 4])
    stage.observer.gauges.pop()
    await stage.see(f"it came one after the other: {', '.join(order)}", lambda: order == list(MEMBERS))


async def _bad_version(stage: Stage) -> None:
    stage.step("Version v3 never gets ready: the canary fails its gate after a minute, and is taken back")
    regions: set[str] = set()
    stage.observer.gauges.append(lambda: regions.update(member for member in MEMBERS[1:] if _has(stage, member, V3)))
    await stage.submit(versions.version(FILE, V3, ready=False))
    await stage.see("v3 was started in the canary", lambda: _has(stage, "canary", V3))
    await stage.see(
        "the canary runs v2 again, and v3 is gone",
        lambda: _serving(stage, V2) == [4, 4, 4] and not _has(stage, "canary", V3),
    )
    stage.observer.gauges.pop()
    await stage.see("v3 was started in no other member", lambda: not regions)
    stage.show(DEPLOYMENTS, versions.NAMESPACE)


def _serving(stage: Stage, image: str) -> list[int]:
    return [versions.serving(stage, APP, member, image) for member in MEMBERS]


def _has(stage: Stage, member: str, image: str) -> bool:
    return bool(versions.started(stage, APP, member, image))


def _note(stage: Stage, order: list[str]) -> None:
    """The members in the order in which the first pod of v2 started there."""
    order.extend(member for member in MEMBERS if member not in order and _has(stage, member, V2))
