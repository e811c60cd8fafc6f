"""Messages doubled, delayed and reordered on purpose, and a bus that is away: it may cost time, nothing else."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from cli.demo.observer import names
from shared.contracts import subjects
from shared.contracts.placement import Placement
from shared.contracts.rebalance import Rebalance, Stuck
from shared.contracts.submit import Scale
from shared.errors import WriteConflict
from tests.e2e.harness import QWEN3, Census, Play, playing, reference, web

LONGER_THAN_LEASES = 6.0  # real seconds; minutes of fleet time
LATE = {"CAPACITY": "brim.capacity.>", "STATUS": "brim.status.>", "OUTCOME": "brim.outcome.>"}
DOUBLED = {"DESIRED": "brim.desired.>", "PLACEMENT": "brim.placement.>", "REVISION": "brim.revision.>"}


async def doubles(play: Play, seed: int, doubled: set[str]) -> None:
    """Until cancelled: publish stored messages once more. What members and the executor say comes twice, late, and in
    any order; what people want and what was decided, which is fenced, comes twice.

    doubled: the streams to which that happened.
    """
    chance = random.Random(seed)
    while True:
        for stream, filter_ in (LATE | DOUBLED).items():
            stored = [message for message in await play.bus.history(stream, filter_) if not message.removed]
            if stream in DOUBLED:
                stored = list({message.subject: message for message in stored}.values())
            for message in chance.sample(stored, min(3, len(stored))):
                fence = message.sequence if stream in DOUBLED else None
                with suppress(WriteConflict):  # something newer is there: that one was not the last
                    await play.bus.publish(
                        message.subject, message.data, headers=_own(message.headers), expected_last_sequence=fence
                    )
                    doubled.add(stream)
        await anyio.sleep(0.05)


def _own(headers: object) -> dict[str, str]:
    """Headers of the message itself, without those by which the server stores it."""
    assert isinstance(headers, dict) or hasattr(headers, "items")
    return {key: value for key, value in headers.items() if not key.lower().startswith("nats-")}  # type: ignore[attr-defined]


@pytest.mark.parametrize("seed", [1, 2])
async def test_doubled_and_late_messages_change_nothing(tmp_path: Path, seed: int) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play, anyio.create_task_group() as group:
        doubled: set[str] = set()
        group.start_soon(doubles, play, seed, doubled)
        await play.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml")
        await play.eventually(lambda: play.ready("test", "qwen3", "idc") == 2)
        kept = names(play.observer.pods("test", "qwen3", "idc"))
        census = Census(play)
        census.follow("asked", lambda: sum(play.asked(QWEN3).values()))
        census.follow("at home", lambda: play.ready("test", "qwen3", "idc"))
        census.remember_pods("test", "qwen3")
        await play.scale(QWEN3, 4)
        await play.eventually(lambda: play.ready("test", "qwen3", "ack") == 2)
        await play.scale(QWEN3, 2)
        await play.eventually(lambda: not play.held("test", "qwen3", "ack"))
        group.cancel_scope.cancel()
        assert doubled >= LATE.keys() | {"DESIRED", "PLACEMENT"}
        assert census.most("asked") == 4
        assert len(census.pods) == 4
        assert census.least("at home") == 2
        assert names(play.observer.pods("test", "qwen3", "idc")) == kept


async def test_doubled_and_late_messages_do_not_move_stuck_replicas_twice(tmp_path: Path) -> None:
    """A status that comes late tells of replicas that are stuck no more."""
    async with playing(tmp_path, "hybrid.yaml") as play, anyio.create_task_group() as group:
        await play.submit(*web("web"))
        await play.eventually(lambda: play.ready("default", "web") == 4 and play.held("default", "web", "idc") > 0)
        census = Census(play)
        census.follow("ready", lambda: play.ready("default", "web"))
        doubled: set[str] = set()
        group.start_soon(doubles, play, 3, doubled)
        await play.stage.taint_nodes("idc", "foo", "bar")
        await play.stage.restart("idc", reference("web"))
        await play.eventually(lambda: not play.held("default", "web", "idc"))
        await play.settles(lambda: play.asked(reference("web")).get("ack") == 4)
        group.cancel_scope.cancel()
        assert census.least("ready") >= 4
        assert sum(play.asked(reference("web")).values()) == 4


async def test_an_old_placement_that_comes_late_is_dropped(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        await play.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml")
        await play.eventually(lambda: play.ready("test", "qwen3", "idc") == 2)
        await play.scale(QWEN3, 1)
        await play.eventually(lambda: play.asked(QWEN3).get("idc") == 1)
        subject = subjects.placement(QWEN3)
        old = [message for message in await play.bus.history("PLACEMENT", subject) if _wanted(message.data) == 2]
        for message in old:
            await play.bus.publish(subject, message.data)
        await play.settles(lambda: play.asked(QWEN3) == {"idc": 1})


def _wanted(data: bytes) -> int:
    return Placement.decode(data).wanted


async def test_a_rebalance_that_comes_twice_moves_once(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        await play.submit(*web("web"))
        await play.eventually(lambda: play.ready("default", "web") == 4)
        before = play.asked(reference("web"))
        decided = await play.bus.last("PLACEMENT", subjects.placement(reference("web")))
        assert decided is not None
        placement = Placement.decode(decided.data)
        stuck = Stuck(member="idc", count=1, ready=before["idc"], since=play.stage.clock.now() - 40)
        request = Rebalance(
            ref=placement.ref,
            uid=placement.uid,
            order=placement.order,
            cause="stuck",
            stuck=(stuck,),
            asked_at=play.stage.clock.now(),
        )
        for _ in range(3):
            await play.bus.publish(subjects.rebalance(placement.ref), request.encode(), event=Rebalance.TYPE)
        await play.settles(lambda: play.asked(reference("web")) == {"idc": before["idc"] - 1, "ack": before["ack"] + 1})


async def test_a_submission_that_comes_twice_is_done_once(tmp_path: Path) -> None:
    """By request, and durably: doubled, the second time after what people wanted next."""
    async with playing(tmp_path, "hybrid.yaml") as play:
        wanted = json.dumps(web("web")).encode()
        await play.submit(*web("web"))
        again = await play.submit(*web("web"))
        assert [entry.change for entry in again.accepted] == ["unchanged", "unchanged"]
        await play.eventually(lambda: play.ready("default", "web") == 4)
        before = names(play.observer.pods("default", "web"))
        for _ in range(3):
            await play.publish(subjects.submit("apply"), wanted)
            await play.publish(subjects.submit("scale"), Scale(ref=reference("web"), replicas=4).encode())
        await play.settles(lambda: sum(play.asked(reference("web")).values()) == 4, fleet_seconds=20)
        assert names(play.observer.pods("default", "web")) == before
        desired = await play.bus.history("DESIRED", subjects.desired(reference("web")))
        assert len(desired) == 1, "what changes nothing is not stored anew"


async def test_the_bus_is_away_for_a_minute_in_the_middle_of_a_scale_out(tmp_path: Path) -> None:
    async with playing(tmp_path, "hybrid.yaml") as play:
        await play.apply("qwen3.yaml", "qwen3-hybrid-policies.yaml")
        await play.eventually(lambda: play.ready("test", "qwen3", "idc") == 2)
        census = Census(play)
        census.remember_pods("test", "qwen3")
        census.follow("at home", lambda: play.ready("test", "qwen3", "idc"))
        await play.scale(QWEN3, 4)
        await play.decided(QWEN3, lambda placement: placement.wanted == 4)
        server = play.stage.brim.server
        assert server is not None
        await server.stop()
        await anyio.sleep(LONGER_THAN_LEASES)
        assert play.ready("test", "qwen3", "idc") == 2, "members live on without the bus"
        await server.start()
        await play.eventually(lambda: play.ready("test", "qwen3", "ack") == 2)
        assert len(census.pods) == 4
        await play.settles(lambda: play.asked(QWEN3) == {"idc": 2, "ack": 2}, fleet_seconds=30)
        await play.scale(QWEN3, 2)
        await play.eventually(lambda: not play.held("test", "qwen3", "ack"))
        assert census.least("at home") == 2
