"""What members do wrong: errors, rubbish, silence, and what CAPACITY says meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import pytest

from shared.contracts import subjects
from shared.contracts.capacity import Heartbeat, decode_capacity
from shared.errors import MemberUnavailable
from simulator.faults import RUBBISH, Fault, Faults
from tests.inventory.truth import FLEET, agrees, pod, ref_of

LISTS = "/(pods|nodes)[?](?!.*watch=)"
WATCHES = "/(pods|nodes)[?].*watch="
Trouble = Callable[[Faults, str], Fault]  # what the next two requests for such a path get


def answers(status: int) -> Trouble:
    return lambda faults, path: faults.answer(status, method="GET", path=path, times=2)


def says(body: bytes) -> Trouble:
    return lambda faults, path: faults.rubbish(method="GET", path=path, times=2, body=body)


EITHER: dict[str, Trouble] = {
    **{str(status): answers(status) for status in (401, 403, 404, 409, 410, 429, 500, 503)},
    "cut off": lambda faults, path: faults.reset(method="GET", path=path, times=2),
    "no JSON": says(RUBBISH),
    "an empty object": says(b"{}"),
    "a page": says(b"<html>It works!</html>\n"),
}
WATCHED: dict[str, Trouble] = EITHER | {
    "an event of nothing": says(b'{"type":"ADDED","object":{}}\n'),
    "an event of no kind": says(b'{"type":"","object":{"metadata":{"name":"a"}}}\n'),
    "half an event": says(b'{"type":"DELETED","object":{"metadata":{"na'),
    "an error": says(b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}}\n'),
    "an expiry": says(b'{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}}\n'),
    "nothing": says(b""),
}
LISTED: dict[str, Trouble] = EITHER | {
    "no answer": lambda faults, path: faults.hang(method="GET", path=path, times=2),
    "a list of nothing": says(b'{"metadata":{"resourceVersion":"7"},"items":[{}]}'),
    "an answer without items": says(b'{"kind":"Status","status":"Success"}'),
}
CASES = [("watch", name) for name in WATCHED] + [("list", name) for name in LISTED]


@pytest.mark.parametrize(("what", "trouble"), CASES)
async def test_whatever_a_member_answers_the_truth_returns(fleetside, eventually, what: str, trouble: str) -> None:
    """Its watches break, and what they get when they come again is wrong, twice. Nothing is taken for gone."""
    async with (
        fleetside(FLEET, join=["idc"], request_timeout=0.5) as side,
        side.inventory(),
        side.client("idc") as client,
    ):
        member = side.members["idc"]
        await client.create(pod("before", 500, "w"))
        await eventually(lambda: agrees(side, "idc"))
        seen = len(await side.bus.history("CAPACITY", subjects.capacity("idc")))
        if what == "list":
            member.faults.answer(410, method="GET", path=WATCHES, times=2)  # both have to list
        fault = (WATCHED if what == "watch" else LISTED)[trouble](member.faults, LISTS if what == "list" else WATCHES)
        await member.pause()
        await member.resume()
        await eventually(lambda: fault.hits == 2)
        await client.create(pod("after", 700, "w"))
        await client.delete(ref_of("Pod", "before", "default"))
        await eventually(lambda: agrees(side, "idc"))
        told = [decode_capacity(m.data) for m in (await side.bus.history("CAPACITY", subjects.capacity("idc")))[seen:]]
        assert not any(one.removed for one in told if one.form == "delta"), "nodes that are there were said to be gone"


@pytest.mark.parametrize("trouble", ["404", "500", "an empty object", "no answer", "cut off"])
async def test_what_cannot_be_read_of_a_member_is_no_emptiness(fleetside, eventually, trouble: str) -> None:
    """A member that is new, and whose lists fail at first, has no room rather than a wrong one."""
    async with fleetside(FLEET, join=[], request_timeout=0.5) as side, side.inventory():
        fault = LISTED[trouble](side.members["idc"].faults, "/nodes[?](?!.*watch=)")
        await side.join("idc")
        await eventually(lambda: fault.hits == 2)
        await eventually(lambda: agrees(side, "idc"))
        for message in await side.bus.history("CAPACITY", subjects.capacity("idc")):
            found = decode_capacity(message.data)
            assert found.form != "snapshot" or len(found.nodes.names) == 4


async def test_a_member_that_hangs_from_the_start_holds_up_no_other(fleetside, eventually) -> None:
    async with fleetside(FLEET, request_timeout=0.2) as side:
        hung = side.members["idc"].faults.hang()
        async with side.inventory():
            await eventually(lambda: agrees(side, "cloud"))
            with pytest.raises(MemberUnavailable, match="has not answered since inventory runs"):
                await side.read("idc", verb="list", resource="pods")
            side.members["idc"].faults.clear(hung)
            await eventually(lambda: agrees(side, "idc"))


async def test_what_happens_while_a_member_is_away_is_seen_when_it_returns(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p", 500))
        await eventually(lambda: agrees(side, "idc"))
        await side.members["idc"].pause()
        side.members["idc"].store.remove("pods", "default", "p")
        side.members["idc"].store.remove("nodes", "", "node-3")
        await side.members["idc"].resume()
        await eventually(lambda: agrees(side, "idc"))
        assert "node-3" not in (await side.replayed("idc")).nodes


async def test_a_member_that_does_not_answer_is_said_to_be_silent_until_it_does(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"], heartbeat=0.1, silent_after=0.5) as side, side.inventory():

        async def silent(expected: bool) -> bool:
            beat = (await side.replayed("idc")).heartbeat
            return beat is not None and beat.silent is expected

        await eventually(lambda: silent(False))
        await side.members["idc"].pause()
        await eventually(lambda: silent(True))
        await side.members["idc"].resume()
        await eventually(lambda: silent(False))


async def test_a_lost_member_is_said_to_be_lost_until_it_is_back(fleetside, eventually) -> None:
    async with fleetside(FLEET, heartbeat=0.2, lost_after=1.0) as side, side.inventory():

        async def lost() -> set[str]:
            found = set()
            for member in ("idc", "cloud", "third"):
                beat = (await side.replayed(member)).heartbeat
                found |= {member} if beat is not None and beat.lost else set()
            return found

        async def only_cloud() -> bool:
            return await lost() == {"cloud"}

        async def nobody() -> bool:
            return not await lost()

        await side.members["cloud"].pause()
        await eventually(only_cloud)
        await side.members["idc"].pause()  # two of three: this side's fault, as far as anybody can tell
        await eventually(lambda: _beats_without_answer(side, "idc", 1.5))
        assert await only_cloud()
        await side.members["idc"].resume()
        await side.members["cloud"].resume()
        await eventually(nobody)


async def test_the_lost_stay_lost_when_another_instance_takes_over(fleetside, eventually) -> None:
    """It has not heard of them itself yet; nobody must believe that they are back."""
    async with fleetside(FLEET, heartbeat=0.2, lost_after=1.0) as side:
        told: list[tuple[int, bool]] = []

        async def note(message) -> None:
            beat = decode_capacity(message.data)
            if isinstance(beat, Heartbeat):
                told.append((beat.epoch, beat.lost))

        async with anyio.create_task_group() as group:
            group.start_soon(side.bus.follow("CAPACITY", [subjects.capacity("cloud")], note).run)
            async with side.inventory():
                await eventually(lambda: agrees(side, "cloud"))
                await side.members["cloud"].pause()
                await eventually(lambda: told and told[-1][1])
                epoch = told[-1][0]
            async with side.inventory():
                await eventually(lambda: sum(one > epoch for one, _ in told) > 3)
                assert {lost for one, lost in told if one > epoch} == {True}
                await side.members["cloud"].resume()
                await eventually(lambda: not told[-1][1])
                await eventually(lambda: agrees(side, "cloud"))
            group.cancel_scope.cancel()


async def _beats_without_answer(side, member: str, seconds: float) -> bool:
    beat = (await side.replayed(member)).heartbeat
    return beat is not None and beat.observed_at - beat.reachable_at > seconds
