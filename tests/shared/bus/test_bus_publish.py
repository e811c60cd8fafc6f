"""Publishing: acknowledged, fenced, deduplicated, all or nothing, and never over the server's limit."""

import asyncio
from collections.abc import Callable

import anyio
import pytest

from shared import telemetry
from shared.bus import Bus, BusSettings
from shared.errors import BusUnavailable, NotFound, Permanent, TooLarge, WriteConflict
from shared.nats_server import NatsServer

SUBJECT = "brim.desired.Deployment~apps.default.web"
CAPACITY = "brim.capacity.idc"


async def stored(bus: Bus, stream: str, subject: str) -> list[bytes]:
    return [message.data for message in await bus.history(stream, subject)]


class TestPublish:
    async def test_returns_the_stream_sequence(self, bus: Bus) -> None:
        assert [await bus.publish(SUBJECT, b"1"), await bus.publish(SUBJECT, b"2")] == [1, 2]
        last = await bus.last("DESIRED", SUBJECT)
        assert last is not None
        assert (last.data, last.sequence, last.subject) == (b"2", 2, SUBJECT)

    async def test_keeps_many_in_flight(self, bus: Bus) -> None:
        sequences = await asyncio.gather(*(bus.publish(f"brim.pod.m.n.{i}", b"") for i in range(2000)))
        assert sorted(sequences) == list(range(1, 2001))

    async def test_does_not_write_into_the_callers_headers(self, bus: Bus) -> None:
        headers = {"a": "b"}
        await bus.publish(SUBJECT, b"", headers=headers, expected_last_sequence=0, message_id="m", event="e")
        assert headers == {"a": "b"}

    async def test_a_message_id_is_stored_once(self, bus: Bus) -> None:
        assert await bus.publish(SUBJECT, b"1", message_id="x") == await bus.publish(SUBJECT, b"1", message_id="x")
        assert await stored(bus, "DESIRED", SUBJECT) == [b"1"]

    async def test_events_carry_cloud_events_metadata(self, bus: Bus) -> None:
        await bus.publish(SUBJECT, b"", event="dev.brim.desired.v1", message_id="id-1")
        last = await bus.last("DESIRED", SUBJECT)
        assert last is not None
        assert last.headers["ce-type"] == "dev.brim.desired.v1"
        assert last.headers["ce-id"] == "id-1"
        assert last.headers["ce-source"] == "/brim/test"
        assert last.headers["ce-specversion"] == "1.0"
        assert last.headers["ce-time"]

    async def test_the_trace_goes_along_in_lower_case(self, bus: Bus) -> None:
        with telemetry.recorded() as spans, telemetry.span("decide"):
            await bus.publish(SUBJECT, b"")
            trace_id = telemetry.trace_id()
        last = await bus.last("DESIRED", SUBJECT)
        assert last is not None
        assert trace_id in last.headers["traceparent"]
        assert ("send brim.desired.<kind>.<namespace>.<name>", "producer") in [
            (span.name, span.kind) for span in spans.finished()
        ]

    async def test_a_message_without_a_story_begins_none(self, bus: Bus) -> None:
        with telemetry.recorded() as spans:
            await bus.publish(SUBJECT, b"")
        last = await bus.last("DESIRED", SUBJECT)
        assert last is not None
        assert (spans.finished(), last.headers.get("traceparent")) == ([], None)

    async def test_without_a_stream_it_says_so(self, bus: Bus) -> None:
        with pytest.raises(BusUnavailable, match=r"no stream stores brim\.nowhere"):
            await bus.publish("brim.nowhere", b"")

    async def test_a_subject_that_is_none_is_refused(self, bus: Bus) -> None:
        with pytest.raises(Permanent, match="no NATS subject"):
            await bus.publish("brim.desired.a b", b"")

    @pytest.mark.parametrize("subject", ["", "a\r\nPUB b 0"])
    async def test_a_subject_cannot_inject_protocol(self, bus: Bus, subject: str) -> None:
        with pytest.raises(Permanent):
            await bus.send(subject, b"")
        assert bus.connected


class TestFence:
    async def test_the_right_sequence_is_accepted(self, bus: Bus) -> None:
        first = await bus.publish(SUBJECT, b"1", expected_last_sequence=0)
        await bus.publish("brim.desired.Deployment~apps.default.other", b"")
        assert await bus.publish(SUBJECT, b"2", expected_last_sequence=first) == 3

    @pytest.mark.parametrize("expected", [0, 2, 99])
    async def test_any_other_is_a_conflict_and_stores_nothing(self, bus: Bus, expected: int) -> None:
        await bus.publish(SUBJECT, b"1")
        with pytest.raises(WriteConflict, match=r"brim\.desired.*somebody else wrote first"):
            await bus.publish(SUBJECT, b"2", expected_last_sequence=expected)
        assert await stored(bus, "DESIRED", SUBJECT) == [b"1"]

    async def test_of_many_writers_one_wins(self, bus: Bus) -> None:
        results = await asyncio.gather(
            *(bus.publish(SUBJECT, b"", expected_last_sequence=0) for _ in range(20)), return_exceptions=True
        )
        assert sum(isinstance(result, int) for result in results) == 1
        assert sum(isinstance(result, WriteConflict) for result in results) == 19


class TestSize:
    async def test_a_payload_over_the_limit_is_too_large(self, bus: Bus) -> None:
        with pytest.raises(TooLarge, match="raise max_payload"):
            await bus.publish(SUBJECT, b"x" * (bus.max_payload + 1))

    async def test_headers_count_too_and_the_connection_survives(self, bus: Bus) -> None:
        """nats-py lets these pass, and the server cuts the connection."""
        with pytest.raises(TooLarge):
            await bus.publish(SUBJECT, b"x" * (bus.max_payload - 10), headers={"a": "b"})
        assert await bus.publish(SUBJECT, b"y") == 1

    async def test_the_largest_that_fits_is_stored(self, bus: Bus) -> None:
        await bus.publish(SUBJECT, b"x" * bus.max_payload)
        assert await stored(bus, "DESIRED", SUBJECT) == [b"x" * bus.max_payload]


class TestBatch:
    async def test_more_than_the_payload_limit_arrives_whole(self, bus: Bus) -> None:
        chunks = [bytes([number]) * 512 * 1024 for number in range(6)]
        assert sum(map(len, chunks)) > bus.max_payload
        assert await bus.publish_batch(CAPACITY, chunks) == 6
        assert await stored(bus, "CAPACITY", CAPACITY) == chunks

    async def test_a_rollup_replaces_what_was_there_for_that_subject_only(self, bus: Bus) -> None:
        for number in range(5):
            await bus.publish(CAPACITY, b"delta %d" % number)
        await bus.publish("brim.capacity.ack", b"other")
        await bus.publish_batch(CAPACITY, [b"a", b"b", b"c"], rollup=True)
        assert await stored(bus, "CAPACITY", CAPACITY) == [b"a", b"b", b"c"]
        assert await stored(bus, "CAPACITY", "brim.capacity.ack") == [b"other"]

    async def test_a_batch_of_one_rolls_up_too(self, bus: Bus) -> None:
        await bus.publish(CAPACITY, b"old")
        await bus.publish_batch(CAPACITY, [b"new"], rollup=True)
        assert await stored(bus, "CAPACITY", CAPACITY) == [b"new"]

    async def test_a_stale_fence_stores_nothing_of_it(self, bus: Bus) -> None:
        await bus.publish(CAPACITY, b"old")
        with pytest.raises(WriteConflict):
            await bus.publish_batch(CAPACITY, [b"a", b"b"], rollup=True, expected_last_sequence=0)
        assert await stored(bus, "CAPACITY", CAPACITY) == [b"old"]

    async def test_one_part_too_large_stores_nothing_of_it(self, bus: Bus) -> None:
        await bus.publish(CAPACITY, b"old")
        with pytest.raises(TooLarge):
            await bus.publish_batch(CAPACITY, [b"a", b"x" * 2 * bus.max_payload, b"c"], rollup=True)
        assert await stored(bus, "CAPACITY", CAPACITY) == [b"old"]

    @pytest.mark.parametrize("restart", [False, True], ids=["a part is lost", "the server is killed"])
    async def test_one_that_is_cut_off_stores_nothing_and_may_be_sent_again(
        self, own_server: Callable[[], NatsServer], monkeypatch: pytest.MonkeyPatch, restart: bool
    ) -> None:
        async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
            await bus.ensure_streams()
            await bus.publish(CAPACITY, b"old")
            connection, sent = bus._connection, 0
            send = connection.send

            async def interrupted(*message: object, **more: object) -> None:
                nonlocal sent
                sent += 1
                if sent == 2 and restart:
                    await connection.flushed()
                    await server.restart(kill=True)
                    await connection.usable(10)
                if sent != 2 or restart:
                    await send(*message, **more)  # type: ignore[arg-type]

            monkeypatch.setattr(connection, "send", interrupted)
            with pytest.raises(BusUnavailable, match="cut off"):
                await bus.publish_batch(CAPACITY, [b"a", b"b", b"c", b"d"], rollup=True)
            assert await stored(bus, "CAPACITY", CAPACITY) == [b"old"]
            monkeypatch.undo()
            await bus.publish_batch(CAPACITY, [b"a", b"b", b"c", b"d"], rollup=True)
            assert await stored(bus, "CAPACITY", CAPACITY) == [b"a", b"b", b"c", b"d"]

    async def test_a_hundred_members_at_once_are_more_than_the_server_takes_in_flight(self, bus: Bus) -> None:
        """It takes 50 unfinished batches of a stream, and silently forgets the parts of any beyond."""
        chunks = [b"x" * 200_000] * 4
        sent = (bus.publish_batch(f"brim.capacity.m{number}", chunks, rollup=True) for number in range(100))
        assert len(set(await asyncio.gather(*sent))) == 100

    @pytest.mark.parametrize("count", [0, 1001])
    async def test_the_server_takes_1_to_1000(self, bus: Bus, count: int) -> None:
        with pytest.raises(Permanent, match="1 to 1000"):
            await bus.publish_batch(CAPACITY, [b""] * count)


class TestRemove:
    async def test_leaves_a_tombstone_alone(self, bus: Bus) -> None:
        await bus.publish(SUBJECT, b"1")
        await bus.publish(SUBJECT, b"2")
        sequence = await bus.remove(SUBJECT, expected_last_sequence=2)
        held = await bus.history("DESIRED", SUBJECT)
        assert [(message.sequence, message.removed) for message in held] == [(sequence, True)]

    async def test_is_fenced(self, bus: Bus) -> None:
        await bus.publish(SUBJECT, b"1")
        with pytest.raises(WriteConflict):
            await bus.remove(SUBJECT, expected_last_sequence=7)
        assert await stored(bus, "DESIRED", SUBJECT) == [b"1"]

    async def test_the_tombstone_goes_in_time(self, bus: Bus, eventually: Callable) -> None:
        await bus.publish(SUBJECT, b"1")
        await bus.remove(SUBJECT, keep=1)

        async def gone() -> bool:
            return await bus.last("DESIRED", SUBJECT) is None

        await eventually(gone)

    async def test_purge_leaves_nothing(self, bus: Bus) -> None:
        await bus.publish(SUBJECT, b"1")
        await bus.purge_subject("DESIRED", SUBJECT)
        assert await bus.last("DESIRED", SUBJECT) is None


class TestUnavailable:
    async def test_publishing_to_a_server_that_is_away_fails_in_time(
        self, own_server: Callable[[], NatsServer]
    ) -> None:
        async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
            await bus.ensure_streams()
            await server.stop()
            with pytest.raises(BusUnavailable), anyio.fail_after(3):
                await bus.publish(SUBJECT, b"", timeout=0.2)
            await server.start()
            assert await bus.publish(SUBJECT, b"", timeout=10) == 1

    async def test_what_waits_for_an_answer_when_the_server_dies_fails_at_once(
        self, own_server: Callable[[], NatsServer]
    ) -> None:
        async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
            asked = anyio.Event()

            async def never(_message: object) -> bytes:
                asked.set()
                await anyio.sleep_forever()
                raise AssertionError

            async def ask() -> None:
                with pytest.raises(BusUnavailable, match="broke before an answer came"):
                    await bus.request("test.never", b"", timeout=60)

            async with anyio.create_task_group() as group:
                group.start_soon(bus.serve, "test.never", never)
                await _served(bus, "test.never")
                asked = anyio.Event()
                with anyio.fail_after(10):
                    async with anyio.create_task_group() as asking:
                        asking.start_soon(ask)
                        await asked.wait()
                        await server.stop(kill=True)
                group.cancel_scope.cancel()

    async def test_a_missing_stream_is_told_from_a_missing_message(self, bus: Bus) -> None:
        assert await bus.last("DESIRED", SUBJECT) is None
        with pytest.raises(NotFound, match="NOSUCH"):
            await bus.stream_info("NOSUCH")


async def _served(bus: Bus, subject: str) -> None:
    """Wait until somebody listens: without a listener a request fails at once, with one it times out."""
    with anyio.fail_after(5):
        while True:
            try:
                await bus.request(subject, b"", timeout=0.05)
            except BusUnavailable as error:
                if error.code != "NotServed":
                    return
