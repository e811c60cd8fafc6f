"""The connection mends itself for ever; the streams are what the table says."""

import asyncio
import gc
import json
import logging
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from shared.bus import STREAMS, Bus, BusSettings, Message, jetstream, upkeep
from shared.bus.streams import template_of
from shared.errors import BusUnavailable
from shared.nats_server import NatsServer, binary


class Withholding:
    """A way to a server that keeps back what the server says, until `flowing` is set again."""

    def __init__(self, server: NatsServer) -> None:
        self._host, self._port = server.url.removeprefix("nats://").split(":")
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.connections = 0

    @asynccontextmanager
    async def open(self) -> AsyncIterator[str]:
        async with await asyncio.start_server(self._relay, "127.0.0.1", 0) as listener:
            yield f"nats://127.0.0.1:{listener.sockets[0].getsockname()[1]}"

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        back, forth = await asyncio.open_connection(self._host, int(self._port))

        async def answers() -> None:
            while data := await back.read(65536):
                await self.flowing.wait()
                writer.write(data)
            writer.close()

        answering = asyncio.create_task(answers())
        while data := await reader.read(65536):
            forth.write(data)
        forth.close()
        await answering


class TestConnection:
    async def test_the_first_server_is_waited_for(self, tmp_path: Path) -> None:
        server = NatsServer(tmp_path)
        async with server:
            pass  # it has a port now, and is down
        connected = anyio.Event()

        async def connect() -> None:
            async with Bus.connect(BusSettings(url=server.url), name="test") as bus:
                assert bus.connected
                connected.set()

        with anyio.fail_after(15):
            async with anyio.create_task_group() as group, server:
                group.start_soon(connect)
                await connected.wait()

    async def test_waiting_for_it_can_be_cancelled(self, tmp_path: Path) -> None:
        with anyio.fail_after(5):
            with anyio.move_on_after(0.3) as scope:
                async with Bus.connect(BusSettings(url="nats://127.0.0.1:1"), name="test"):
                    raise AssertionError("nobody listens there")
        assert scope.cancelled_caught

    async def test_any_number_of_restarts_is_survived(
        self, own_server: Callable[[], NatsServer], eventually: Callable
    ) -> None:
        async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
            await bus.ensure_streams()
            for round_ in range(1, 4):
                await server.stop(kill=bool(round_ % 2))
                await eventually(lambda: not bus.connected)
                await server.start()
                assert await bus.publish("brim.status.a", b"", timeout=10) == round_

    async def test_a_confirmation_that_comes_late_does_no_harm(self, own_server: Callable[[], NatsServer]) -> None:
        """nats-py stops reading for good when a PONG comes for a flush that has timed out."""
        async with own_server() as server:
            way = Withholding(server)
            async with way.open() as url, Bus.connect(BusSettings(url=url), name="test") as bus:
                await bus.ensure_streams()
                way.flowing.clear()
                with anyio.move_on_after(1.3) as waiting:  # longer than one try takes
                    await bus._connection.flushed()
                assert waiting.cancelled_caught
                way.flowing.set()
                await bus._connection.flushed()
                assert await bus.publish("brim.status.a", b"") == 1
                assert way.connections == 1, "it had to connect again"

    async def test_it_never_gives_up(self, own_server: Callable[[], NatsServer], eventually: Callable) -> None:
        """nats-py closes for good after 60 attempts, unless told otherwise."""
        async with own_server() as server:
            settings = BusSettings(url=server.url, reconnect_max=0.01)
            async with Bus.connect(settings, name="test") as bus:
                await bus.ensure_streams()
                client = bus._connection._client
                await server.stop()
                await eventually(lambda: client._server_pool[0].reconnects > 70)
                await server.start()
                assert await bus.publish("brim.status.a", b"", timeout=10) == 1
                assert bus._connection._client is client

    async def test_a_password_in_the_address_is_told_to_nobody(
        self, caplog: pytest.LogCaptureFixture, eventually: Callable
    ) -> None:
        caplog.set_level(logging.DEBUG)
        settings = BusSettings(url="nats://me:hunter2@127.0.0.1:1,hunter2@127.0.0.1:2")
        with anyio.move_on_after(0.3):
            async with Bus.connect(settings, name="test"):
                raise AssertionError("nobody listens there")
        assert "127.0.0.1:1" in caplog.text
        assert "127.0.0.1:2" in caplog.text
        assert "hunter2" not in caplog.text

    async def test_a_connection_closed_for_good_is_replaced_with_its_subscriptions(
        self, bus: Bus, eventually: Callable
    ) -> None:
        """The server cuts a client that sends more than the limit, and nats-py then gives up for good."""
        seen: list[bytes] = []

        async def handler(message: Message) -> bytes:
            seen.append(message.data)
            return b"served"

        view = bus.view("STATUS", resync=3600)
        async with anyio.create_task_group() as group:
            group.start_soon(bus.serve, "test.ask", handler)
            group.start_soon(view.run)
            await view.ready()
            old = bus._connection._client
            await old.publish("x", b"x" * bus.max_payload, headers={"too": "much"})
            await eventually(lambda: old.is_closed)
            await eventually(lambda: bus.connected)
            assert await bus.request("test.ask", b"again", timeout=5) == b"served"
            await bus.publish("brim.status.idc.a", b"1")
            await eventually(lambda: "brim.status.idc.a" in view.items())
            group.cancel_scope.cancel()

    async def test_without_jetstream_it_says_what_is_missing(self, tmp_path: Path, eventually: Callable) -> None:
        ports = ["--ports_file_dir", str(tmp_path), "-a", "127.0.0.1", "-p", "-1"]
        with subprocess.Popen([binary(), *ports], stderr=subprocess.DEVNULL) as process:
            try:
                await eventually(lambda: [path for path in tmp_path.glob("*.ports") if path.read_text()])
                (ports_file,) = tmp_path.glob("*.ports")
                url = json.loads(ports_file.read_text())["nats"][0]
                async with Bus.connect(BusSettings(url=url), name="test") as bus:
                    with pytest.raises(BusUnavailable, match="start nats-server with JetStream"):
                        await bus.ensure_streams()
            finally:
                process.terminate()


class TestStreams:
    async def test_ensuring_twice_changes_nothing(self, bus: Bus) -> None:
        await bus.publish("brim.desired.a", b"1")
        await bus.ensure_streams()
        assert (await bus.stream_info("DESIRED")).messages == 1

    async def test_a_server_that_comes_back_without_its_data_is_set_up_again(
        self, own_server: Callable[[], NatsServer], tmp_path: Path, eventually: Callable
    ) -> None:
        """Who works goes on: publishers, views, consumers, leases."""
        seen: list[bytes] = []

        async def handler(message: Message) -> None:
            seen.append(message.data)

        async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
            await bus.ensure_streams()
            await bus.publish("brim.status.a", b"old")
            view = bus.view("STATUS", resync=3600)
            async with anyio.create_task_group() as group:
                group.start_soon(view.run)
                group.start_soon(bus.consume, "SUBMIT", "intake", handler)
                await view.ready()
                await server.stop(kill=True)
                shutil.rmtree(tmp_path / "nats" / "jetstream")
                await server.start()
                await eventually(lambda: not view.items())
                assert await bus.publish("brim.status.b", b"new") == 1
                await bus.publish("brim.submit.x", b"work")
                await eventually(lambda: seen == [b"work"])
                await eventually(lambda: set(view.items()) == {"brim.status.b"})
                async with bus.lease("scheduler").held() as epoch:
                    assert epoch == 1
                group.cancel_scope.cancel()

    async def test_a_deleted_stream_is_made_again_and_others_stay_as_they_are(
        self, bus: Bus, nats_server: str, monkeypatch: pytest.MonkeyPatch, eventually: Callable
    ) -> None:
        monkeypatch.setattr(upkeep, "LOOK_EVERY", 0.05)
        newer = STREAMS["STATUS"].config(1, 120) | {"max_msgs_per_subject": 9}
        async with Bus.connect(BusSettings(url=nats_server), name="other") as other:
            await other.ensure_streams()
            await jetstream.api(bus._connection, "STREAM.UPDATE.STATUS", newer, what="STATUS")
            await jetstream.api(bus._connection, "STREAM.DELETE.OUTCOME", what="OUTCOME")

            async def there() -> bool:
                return "OUTCOME" in await jetstream._stream_names(bus._connection)

            await eventually(there)
            answer = await jetstream.api(bus._connection, "STREAM.INFO.STATUS", what="STATUS")
            config = answer["config"]
            assert isinstance(config, dict)
            assert config["max_msgs_per_subject"] == 9

    async def test_an_older_configuration_is_brought_up_to_date(self, bus: Bus) -> None:
        config = STREAMS["STATUS"].config(1, 120) | {"max_msgs_per_subject": 9, "allow_rollup_hdrs": False}
        await jetstream.api(bus._connection, "STREAM.UPDATE.STATUS", config, what="STATUS")
        await bus.ensure_streams()
        answer = await jetstream.api(bus._connection, "STREAM.INFO.STATUS", what="STATUS")
        now = answer["config"]
        assert isinstance(now, dict)
        assert (now["max_msgs_per_subject"], now["allow_rollup_hdrs"]) == (1, True)

    @pytest.mark.parametrize(
        ("stream", "history"), [("DESIRED", 5), ("PLACEMENT", 10), ("STATUS", 1), ("PODS", 1), ("OUTCOME", 1)]
    )
    async def test_keeps_so_many_per_subject(self, bus: Bus, stream: str, history: int) -> None:
        subject = STREAMS[stream].subjects[0].replace(">", "x")
        for number in range(12):
            await bus.publish(subject, b"%d" % number)
        held = [message.data for message in await bus.history(stream, subject)]
        assert held == [b"%d" % number for number in range(12 - history, 12)]

    async def test_a_rebalance_request_replaces_the_one_before(self, bus: Bus) -> None:
        for number in range(3):
            await bus.publish("brim.rebalance.Deployment~apps.default.web", b"%d" % number)
        assert (await bus.stream_info("REBALANCE")).messages == 1

    def test_every_stream_has_a_template_for_spans(self) -> None:
        for spec in STREAMS.values():
            assert template_of(spec.subjects[0].replace(">", "a.b.c").replace("*", "a")) == spec.template

    def test_what_has_no_stream_is_named_by_its_first_two_tokens(self) -> None:
        assert template_of("brim.read.idc") == "brim.read"
        assert template_of("x") == "x"


async def test_whoever_is_cancelled_while_connecting_leaves_nothing_open(nats_server: str) -> None:
    """At every moment of it: a warning about what was not closed would fail this test."""
    finished = 0
    for turns in range(0, 400, 4):

        async def connect() -> None:
            nonlocal finished
            async with Bus.connect(BusSettings(url=nats_server), name="hasty"):
                finished += 1
                await anyio.sleep_forever()

        async with anyio.create_task_group() as group:
            group.start_soon(connect)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        gc.collect()
        if finished > 3:
            break
    assert finished, "no connection was ever made"


async def test_a_server_that_hangs_up_again_and_again_leaves_nothing_open(
    own_server: Callable[[], NatsServer], eventually: Callable[[Callable[[], object]], Awaitable[None]]
) -> None:
    """As one that starts does for a moment. A warning about what was not closed would fail this test."""
    calls = 0

    def hang_up(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.close()

    async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="patient") as bus:
        await server.stop()
        port = int(server.url.rpartition(":")[2])
        async with await asyncio.start_server(hang_up, "127.0.0.1", port):
            await eventually(lambda: calls >= 4)
        await server.start()
        await eventually(lambda: bus.connected)
        gc.collect()
