"""What a reader took and has not handled yet is told, with its age."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import anyio
import pytest

from shared.bus import Bus, Message

SUBJECTS = {"consumer": "brim.submit.x", "follower": "brim.rejected.x", "view": "brim.desired.a.b.c"}
STREAMS = {"consumer": "SUBMIT", "follower": "REJECTED", "view": "DESIRED"}


def reader(kind: str, bus: Bus, handle: Callable[[Message], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
    async def view() -> None:
        live = bus.view("DESIRED")
        async with anyio.create_task_group() as group:
            group.start_soon(live.run)
            await live.ready()
            async for change in live.changes():
                assert change.message is not None
                await handle(change.message)

    return {
        "consumer": lambda: bus.consume("SUBMIT", "intake", handle),
        "follower": lambda: bus.follow("REJECTED", ["brim.rejected.>"], handle).run(),
        "view": view,
    }[kind]


@pytest.mark.parametrize("kind", ["consumer", "follower", "view"])
async def test_a_handler_that_hangs_falls_behind(kind: str, bus: Bus, eventually: Callable) -> None:
    handled: list[bytes] = []
    go_on = anyio.Event()

    async def handle(message: Message) -> None:
        await go_on.wait()
        handled.append(message.data)

    stream = STREAMS[kind]
    async with anyio.create_task_group() as group:
        group.start_soon(reader(kind, bus, handle))
        await eventually(lambda: bus.lags(time.time()) == {stream: 0.0})
        before = time.time()
        for number in range(3):  # a view's reader has one in hand, others wait behind it
            await bus.publish(f"{SUBJECTS[kind]}{number}", b"x")
        await eventually(lambda: bus.lags(time.time())[stream] > 0.0)
        assert 3600 <= bus.lags(before + 3700)[stream] <= 3701
        go_on.set()
        await eventually(lambda: len(handled) == 3 and bus.lags(time.time()) == {stream: 0.0})
        group.cancel_scope.cancel()
    assert bus.lags(time.time()) == {}, "who reads no more is not behind"
