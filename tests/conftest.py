"""What all tests share: a real nats-server.

`nats_server` is one server for the whole run; `bus` connects to it and begins with empty streams. Tests that
restart a server start their own: `async with own_server() as server`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import anyio
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings

from shared.bus import STREAMS, Bus, BusSettings, jetstream
from shared.bus.connection import Connection
from shared.errors import BusUnavailable, NotFound
from shared.nats_server import NatsServer

# looptime asks for an event loop before each test, and the policy would make one that nobody closes: "none" must
# be said aloud.
asyncio.set_event_loop(None)

# How long an example takes says something of the machine, and nothing of brim.
settings.register_profile("brim", settings(), deadline=None)
settings.load_profile("brim")

Eventually = Callable[[Callable[[], object]], Awaitable[None]]


@pytest.fixture(scope="session")
def nats_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that runs as long as the tests do. Its streams are shared: see `bus`."""
    server = NatsServer(tmp_path_factory.mktemp("nats"))
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(server):
        yield server.url


@pytest.fixture
def own_server(tmp_path: Path) -> Callable[[], NatsServer]:
    """Makes a server of the test's own, to be stopped and restarted: `async with own_server() as server:`."""
    return lambda: NatsServer(tmp_path / "nats")


@pytest.fixture
async def bus(nats_server: str) -> AsyncIterator[Bus]:
    """A bus on the shared server, with all streams in place and empty."""
    settings = BusSettings(url=nats_server)
    await _drop_streams(settings)
    async with Bus.connect(settings, name="test") as connected:
        await _make_streams(connected)
        yield connected


async def _make_streams(connected: Bus) -> None:
    """The server removes a dropped stream's files a little after it says so, and cannot make the stream till then."""
    with anyio.fail_after(10):
        while True:
            try:
                await connected.ensure_streams()
            except BusUnavailable:
                await anyio.sleep(0.05)
            else:
                return


async def _drop_streams(settings: BusSettings) -> None:
    connection = Connection(settings, "test-setup")
    await connection.open()
    try:
        for stream in STREAMS:
            try:
                await jetstream.api(connection, f"STREAM.DELETE.{stream}", what=stream)
            except NotFound:
                continue  # not made yet
    finally:
        await connection.close()


@pytest.fixture
def eventually() -> Eventually:
    """Wait until a condition holds; fail after 40 seconds, which only a machine at its limits comes near to.

    A condition may be a coroutine function.
    """

    async def wait(condition: Callable[[], object]) -> None:
        with anyio.fail_after(40):
            while True:
                result = condition()
                if hasattr(result, "__await__"):
                    result = await result
                if result:
                    return
                await anyio.sleep(0.01)

    return wait
