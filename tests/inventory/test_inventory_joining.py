"""Members come and go while CAPACITY is told."""

from __future__ import annotations

import anyio
import pytest

from shared.bus import Message
from shared.contracts import subjects
from shared.contracts.capacity import Capacity, decode_capacity
from shared.errors import BrimError, BusUnavailable
from shared.fleet import Stock
from tests.inventory.truth import FLEET, agrees, pod


async def test_members_join_and_leave_while_inventory_runs(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory():
        await side.join("cloud")
        await eventually(lambda: agrees(side, "cloud"))
        await side.leave("cloud")

        async def gone() -> bool:
            last = await side.bus.last("CAPACITY", subjects.capacity("cloud"))
            return last is None or last.removed

        await eventually(gone)
        with pytest.raises(BusUnavailable):
            await side.read("cloud", verb="list", resource="pods")
        assert await agrees(side, "idc")


async def test_what_a_member_left_behind_is_cleared_at_the_next_start(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc", "cloud"]) as side:
        async with side.inventory():
            await eventually(lambda: agrees(side, "cloud"))
        await side.leave("cloud")
        async with side.inventory():

            async def gone() -> bool:
                last = await side.bus.last("CAPACITY", subjects.capacity("cloud"))
                return last is None or last.removed

            await eventually(gone)


async def test_numbers_go_on_where_a_member_is_begun_anew(fleetside, eventually) -> None:
    """Under the same epoch a lower number would be taken for old news, and every delta after it too."""
    async with fleetside(FLEET, join=["idc"]) as side, side.inventory(), side.client("idc") as client:
        await client.create(pod("p", 500))
        await eventually(lambda: agrees(side, "idc"))
        before = (await side.replayed("idc")).number
        assert before > 0
        await side.join("idc", stock=Stock())
        await client.create(pod("q", 500))
        await eventually(lambda: agrees(side, "idc"))
        assert (await side.replayed("idc")).number >= before


async def test_a_successor_begins_with_a_snapshot(fleetside, eventually) -> None:
    """A scheduler that starts meanwhile must not find a member that it knew to be unknown for a moment."""
    heard: list[Capacity] = []

    async def hear(message: Message) -> None:
        heard.append(decode_capacity(message.data))

    async with fleetside(FLEET, join=["idc"]) as side, anyio.create_task_group() as group:
        group.start_soon(side.bus.follow("CAPACITY", [subjects.capacity("idc")], hear).run)
        for _ in range(2):
            async with side.inventory():
                await eventually(lambda: agrees(side, "idc"))
        await eventually(lambda: len({one.epoch for one in heard}) == 2)
        group.cancel_scope.cancel()
    first = {one.epoch: one.form for one in reversed(heard)}
    assert set(first.values()) == {"snapshot"}


async def test_a_wrong_kubeconfig_is_said_and_mended_by_a_new_manifest(fleetside, eventually) -> None:
    async with fleetside(FLEET, join=["idc"]) as side:
        right = side.kubeconfig
        side.kubeconfig = right.with_name("absent")
        await side.join("cloud")
        async with side.inventory():

            async def says_why() -> bool:
                try:
                    await side.read("cloud", verb="list", resource="nodes")
                except BrimError as error:
                    return "there is no kubeconfig" in str(error)
                return False

            await eventually(says_why)
            side.kubeconfig = right
            await side.join("cloud")
            await eventually(lambda: agrees(side, "cloud"))
