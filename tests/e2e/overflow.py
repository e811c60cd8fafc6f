"""Replicas that overflow into a second member and come back, while parts of brim end: told once, for simulated members
and for real ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from cli.demo.observer import names
from cli.services import SERVICES
from tests.e2e.harness import QWEN3, Census, Play

Blow = Callable[[Play], Awaitable[None]]


def ends(service: str) -> Blow:
    async def blow(play: Play) -> None:
        await play.restart(service)

    return blow


async def bus_restarts(play: Play) -> None:
    await play.restart_bus(kill=False)


async def bus_crashes(play: Play) -> None:
    await play.restart_bus(kill=True)


BLOWS: dict[str, Blow] = {
    **{service: ends(service) for service in SERVICES},
    "nats restarts": bus_restarts,
    "nats crashes": bus_crashes,
}


@dataclass(frozen=True)
class Overflow:
    """One of the set-ups. home, cloud: the members of the first and the second tier. peak: replicas of both in the
    end, and how many of them on nodes that have to be added."""

    fleet: str
    policies: str
    home: str
    cloud: str
    peak: tuple[tuple[int, int], tuple[int, int]]

    @property
    def most(self) -> int:
        return sum(replicas for replicas, _ in self.peak)

    @property
    def room(self) -> dict[str, tuple[int, int]]:
        return dict(zip((self.home, self.cloud), self.peak, strict=True))


HYBRID = Overflow("hybrid.yaml", "qwen3-hybrid-policies.yaml", "idc", "ack", ((2, 0), (2, 2)))
MULTI_REGION = Overflow(
    "multi-region.yaml", "qwen3-multi-region-policies.yaml", "shanghai", "beijing", ((3, 1), (2, 0))
)


async def out(play: Play, setup: Overflow, name: str, blow: Blow) -> frozenset[str]:
    """Scale out, and end the part twice on the way. Returns the pods at home."""
    kept = names(play.observer.pods("test", "qwen3", setup.home))
    census = Census(play)
    census.remember_pods("test", "qwen3")
    census.follow("asked", lambda: sum(play.asked(QWEN3).values()))
    census.follow("ready", lambda: play.ready("test", "qwen3"))
    await play.scale(QWEN3, setup.most)
    await blow(play)
    await play.eventually(lambda: play.held("test", "qwen3", setup.cloud) == 2, f"the cloud's replicas after {name}")
    await blow(play)
    await play.eventually(lambda: play.ready("test", "qwen3") == setup.most, f"all of them after {name}")
    assert sum(play.asked(QWEN3).values()) == setup.most
    assert census.most("asked") == setup.most, f"{name}: more replicas were asked for than people wanted"
    assert census.least("ready") == 2, f"{name}: one that ran was lost"
    assert len(census.pods) == setup.most, (
        f"{name}: pods were started twice: {sorted(census.pods)}\n{await play.decisions()}"
    )
    census.close()
    at_home = names(play.observer.pods("test", "qwen3", setup.home))
    assert at_home >= kept
    return at_home


async def back(play: Play, setup: Overflow, name: str, blow: Blow) -> None:
    census = Census(play)
    census.remember_pods("test", "qwen3")
    census.follow("ready", lambda: play.ready("test", "qwen3", setup.home))
    await play.scale(QWEN3, 2)
    await blow(play)
    await play.eventually(
        lambda: play.ready("test", "qwen3") == 2 and not play.held("test", "qwen3", setup.cloud),
        f"back at home after {name}",
    )
    assert play.asked(QWEN3)[setup.home] == 2
    assert census.least("ready") >= 2, f"{name}: one at home was taken while the cloud had some"
    assert len(census.pods) == setup.most, f"{name}: pods were started on the way back\n{await play.decisions()}"
    census.close()
