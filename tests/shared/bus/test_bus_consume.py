"""Durable work: at least once, in order, retried with a delay, ended by poison, kept alive, handed back."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest

from shared import telemetry
from shared.backoff import Backoff
from shared.bus import Bus, BusSettings, Message, consumer, jetstream
from shared.errors import BusUnavailable, Invalid, MemberUnavailable, NotFound, Refused
from shared.nats_server import NatsServer

SOON = Backoff(base=0.02, maximum=0.05)


@asynccontextmanager
async def consuming(bus: Bus, handler: Callable, **options: object) -> AsyncIterator[None]:
    options = {"retry": SOON, **options}
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: bus.consume("SUBMIT", "intake", handler, **options))
        yield
        group.cancel_scope.cancel()


async def submit(bus: Bus, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        await bus.publish(f"brim.submit.{number}", b"%d" % number)


def settled(bus: Bus, remaining: int = 0) -> Callable:
    """A condition: so many messages are left in the work queue."""

    async def check() -> bool:
        return (await bus.stream_info("SUBMIT")).messages == remaining

    return check


class Recorder:
    """A handler that notes what it is given, and fails as often as told."""

    def __init__(self, errors: Sequence[Exception] = ()) -> None:
        self.seen: list[Message] = []
        self.poisoned: list[tuple[bytes, Exception]] = []
        self._errors = list(errors)

    async def __call__(self, message: Message) -> None:
        self.seen.append(message)
        if self._errors:
            raise self._errors.pop(0)

    async def on_poison(self, message: Message, error: Exception) -> None:
        self.poisoned.append((message.data, error))

    @property
    def data(self) -> list[bytes]:
        return [message.data for message in self.seen]


class TestDelivery:
    async def test_in_order_and_acknowledged_once_handled(self, bus: Bus, eventually: Callable) -> None:
        await submit(bus, 300)
        handler = Recorder()
        async with consuming(bus, handler, max_in_flight=16):
            await eventually(settled(bus))
        assert handler.data == [b"%d" % number for number in range(300)]
        assert [message.sequence for message in handler.seen] == list(range(1, 301))
        assert handler.seen[0].published_at > 1_700_000_000
        assert handler.seen[0].delivered == 1

    async def test_what_comes_later_is_handled_too(self, bus: Bus, eventually: Callable) -> None:
        handler = Recorder()
        async with consuming(bus, handler):
            for number in range(3):
                await submit(bus, 1, first=number)
                await eventually(lambda wanted=number + 1: len(handler.seen) == wanted)

    async def test_only_the_subjects_asked_for(self, bus: Bus, eventually: Callable) -> None:
        await submit(bus, 3)
        handler = Recorder()
        async with consuming(bus, handler, subjects=["brim.submit.1", "brim.submit.2"]):
            await eventually(settled(bus, remaining=1))
        assert handler.data == [b"1", b"2"]

    async def test_as_many_at_once_as_told(self, bus: Bus, eventually: Callable) -> None:
        await submit(bus, 10)
        running, most = 0, 0
        release = anyio.Event()

        async def handler(_message: Message) -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            if running == 4:
                release.set()
            await release.wait()
            running -= 1

        async with consuming(bus, handler, concurrency=4):
            await eventually(settled(bus))
        assert most == 4

    async def test_never_more_in_flight_than_told(self, bus: Bus, eventually: Callable) -> None:
        await submit(bus, 20)
        release = anyio.Event()

        async def handler(_message: Message) -> None:
            await release.wait()

        async with consuming(bus, handler, max_in_flight=5):

            async def full() -> bool:
                try:
                    return (await bus.consumer_info("SUBMIT", "intake")).unacknowledged == 5
                except NotFound:
                    return False

            await eventually(full)
            assert (await bus.consumer_info("SUBMIT", "intake")).pending == 15
            release.set()
            await eventually(settled(bus))

    async def test_one_request_is_open_at_a_time(self, bus: Bus, eventually: Callable) -> None:
        """Of two that the server serves in turns nobody could tell what is left: the reader would wait for nothing."""
        handler = Recorder()
        async with consuming(bus, handler, max_in_flight=8):
            for number in range(20):
                await submit(bus, 1, first=number)
                await eventually(settled(bus))
                info = await jetstream.api(bus._connection, "CONSUMER.INFO.SUBMIT.intake", what="the consumer")
                assert info["num_waiting"] in (0, 1)

    async def test_the_trace_of_the_publisher_goes_on(self, bus: Bus, eventually: Callable) -> None:
        seen: list[str] = []

        async def handler(_message: Message) -> None:
            seen.append(telemetry.trace_id())

        with telemetry.recorded() as spans:
            async with consuming(bus, handler):
                with telemetry.span("apply"):
                    trace_id = telemetry.trace_id()
                    await submit(bus, 1)
                await eventually(lambda: seen)
                await eventually(settled(bus))
        assert seen == [trace_id]
        process = next(span for span in spans.finished() if span.name == "process brim.submit.<kind>")
        assert (process.kind, process.links) == ("consumer", (trace_id,))

    async def test_without_recording_the_trace_of_others_goes_on_too(self, bus: Bus, eventually: Callable) -> None:
        theirs = f"00-{'a' * 32}-{'b' * 16}-01"

        async def handler(_message: Message) -> None:
            await bus.publish("brim.status.x", b"")

        await bus.publish("brim.submit.x", b"", headers={"traceparent": theirs})
        async with consuming(bus, handler):
            await eventually(settled(bus))
        last = await bus.last("STATUS", "brim.status.x")
        assert last is not None
        assert last.headers["traceparent"] == theirs


class TestFailure:
    async def test_retryable_comes_again_for_ever(self, bus: Bus, eventually: Callable) -> None:
        handler = Recorder([MemberUnavailable("idc does not answer")] * 8)
        await submit(bus, 1)
        async with consuming(bus, handler, max_deliver=3, on_poison=handler.on_poison):
            await eventually(settled(bus))
        assert [message.delivered for message in handler.seen] == list(range(1, 10))
        assert handler.poisoned == []

    async def test_retry_after_is_respected(self, bus: Bus, eventually: Callable) -> None:
        times: list[float] = []

        async def handler(_message: Message) -> None:
            times.append(anyio.current_time())
            if len(times) == 1:
                raise MemberUnavailable("429", retry_after=0.5)

        await submit(bus, 1)
        async with consuming(bus, handler):
            await eventually(settled(bus))
        assert times[1] - times[0] >= 0.5

    @pytest.mark.parametrize("error", [Refused("idc says no"), Invalid([])])
    async def test_permanent_is_told_and_dropped_at_once(
        self, bus: Bus, eventually: Callable, error: Exception
    ) -> None:
        handler = Recorder([error])
        await submit(bus, 2)
        async with consuming(bus, handler, on_poison=handler.on_poison):
            await eventually(settled(bus))
        assert handler.poisoned == [(b"0", error)]
        assert handler.data == [b"0", b"1"]

    async def test_a_bug_is_retried_then_told_and_dropped(self, bus: Bus, eventually: Callable) -> None:
        error = ZeroDivisionError("a bug")
        handler = Recorder([error] * 9)
        await submit(bus, 1)
        async with consuming(bus, handler, max_deliver=3, on_poison=handler.on_poison):
            await eventually(settled(bus))
        assert handler.poisoned == [(b"0", error)]
        assert [message.delivered for message in handler.seen] == [1, 2, 3]

    async def test_poison_stays_until_it_could_be_told(self, bus: Bus, eventually: Callable) -> None:
        told: list[bytes] = []
        failures = [BusUnavailable("REJECTED cannot be written")] * 2

        async def on_poison(message: Message, _error: Exception) -> None:
            if failures:
                raise failures.pop()
            told.append(message.data)

        await submit(bus, 1)
        async with consuming(bus, Recorder([Refused("no")] * 9), on_poison=on_poison):
            await eventually(settled(bus))
        assert told == [b"0"]

    async def test_a_handler_that_cancels_itself_kills_nothing(self, bus: Bus, eventually: Callable) -> None:
        seen: list[bytes] = []

        async def handler(message: Message) -> None:
            seen.append(message.data)
            if len(seen) == 1:
                raise asyncio.CancelledError

        await submit(bus, 2)
        async with consuming(bus, handler):
            await eventually(settled(bus))
        assert sorted(seen) == [b"0", b"0", b"1"]


class TestLongWork:
    async def test_work_longer_than_ack_wait_is_not_given_out_again(self, bus: Bus, eventually: Callable) -> None:
        """Two messages: the second waits for the first's worker, and is kept alive as well."""
        handler = Recorder()

        async def slow(message: Message) -> None:
            await handler(message)
            await anyio.sleep(1.5)  # the work itself: three times ack_wait

        await submit(bus, 2)
        async with consuming(bus, slow, ack_wait=0.5):
            await eventually(settled(bus))
        assert [(message.data, message.delivered) for message in handler.seen] == [(b"0", 1), (b"1", 1)]


class TestEnd:
    async def test_unfinished_work_goes_back_at_once(self, bus: Bus, eventually: Callable) -> None:
        started = anyio.Event()

        async def stuck(_message: Message) -> None:
            started.set()
            await anyio.sleep_forever()

        await submit(bus, 3)
        async with consuming(bus, stuck, grace=0.1, ack_wait=60):
            await started.wait()
        handler = Recorder()
        async with consuming(bus, handler, ack_wait=60):
            await eventually(settled(bus))
        assert sorted(handler.data) == [b"0", b"1", b"2"]

    async def test_nothing_waits_for_ack_wait_when_a_consumer_ends_in_full_flow(
        self, bus: Bus, eventually: Callable
    ) -> None:
        """Also what was on its way, or arrived and was not taken yet, goes back."""
        await asyncio.gather(*(bus.publish(f"brim.submit.{number}", b"") for number in range(3000)))
        for _ in range(5):
            flowing = anyio.Event()
            handler = Recorder()

            async def handle(message: Message, handler: Recorder = handler, flowing: anyio.Event = flowing) -> None:
                await handler(message)
                if len(handler.seen) > 50:
                    flowing.set()

            async with consuming(bus, handle, ack_wait=60):
                with anyio.fail_after(40):
                    await flowing.wait()
        async with consuming(bus, Recorder(), ack_wait=60):
            await eventually(settled(bus))

    async def test_running_work_is_finished_within_its_grace(self, bus: Bus, eventually: Callable) -> None:
        started, finish, finished = anyio.Event(), anyio.Event(), anyio.Event()

        async def handler(_message: Message) -> None:
            started.set()
            await finish.wait()
            finished.set()

        await submit(bus, 1)
        task = asyncio.create_task(bus.consume("SUBMIT", "intake", handler, grace=10))
        await started.wait()
        task.cancel()
        finish.set()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert finished.is_set()
        await eventually(settled(bus))


class TestSurvival:
    async def test_a_deleted_consumer_is_made_again(self, bus: Bus, eventually: Callable) -> None:
        """A fetch on a deleted consumer looks like an idle one."""
        handler = Recorder()
        async with consuming(bus, handler):
            await submit(bus, 1)
            await eventually(lambda: len(handler.seen) == 1)
            await eventually(settled(bus))
            await jetstream.delete_consumer(bus._connection, "SUBMIT", "intake")
            await submit(bus, 1, first=1)
            await eventually(lambda: len(handler.seen) == 2)
        assert handler.data == [b"0", b"1"]

    async def test_a_consumer_that_nobody_asks_for_is_dropped_and_its_work_is_not(
        self, bus: Bus, monkeypatch: pytest.MonkeyPatch, eventually: Callable
    ) -> None:
        monkeypatch.setattr(consumer, "FORGOTTEN", 0.5)
        await submit(bus, 1)
        started = anyio.Event()

        async def stuck(_message: Message) -> None:
            started.set()
            await anyio.sleep_forever()

        async with consuming(bus, stuck, grace=0.1, ack_wait=1.0):  # the server waits for that, too
            await started.wait()

        async def dropped() -> bool:
            try:
                await bus.consumer_info("SUBMIT", "intake")
            except NotFound:
                return True
            return False

        await eventually(dropped)
        handler = Recorder()
        async with consuming(bus, handler):
            await eventually(settled(bus))
        assert handler.data == [b"0"]

    async def test_a_stream_that_comes_later_is_waited_for(self, bus: Bus, eventually: Callable) -> None:
        await jetstream.api(bus._connection, "STREAM.DELETE.SUBMIT", what="SUBMIT")
        handler = Recorder()
        async with consuming(bus, handler):
            await bus.ensure_streams()
            await submit(bus, 1)
            await eventually(lambda: handler.data == [b"0"])

    @pytest.mark.parametrize("kill", [False, True])
    async def test_a_server_restart_is_survived_without_burning_a_timeout(
        self, own_server: Callable[[], NatsServer], eventually: Callable, kill: bool
    ) -> None:
        handler = Recorder()
        async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
            await bus.ensure_streams()
            async with consuming(bus, handler):
                await submit(bus, 1)
                await eventually(lambda: len(handler.seen) == 1)
                await server.restart(kill=kill)
                await bus.publish("brim.submit.x", b"after", timeout=15)
                with anyio.fail_after(4):
                    await eventually(lambda: b"after" in handler.data)


class TestBatches:
    async def test_all_that_waits_comes_together_and_is_acknowledged(self, bus: Bus, eventually: Callable) -> None:
        await submit(bus, 1000)
        sizes: list[int] = []
        seen: list[bytes] = []

        async def handler(messages: list[Message]) -> None:
            sizes.append(len(messages))
            seen.extend(message.data for message in messages)

        async with anyio.create_task_group() as group:
            group.start_soon(lambda: bus.consume_batches("SUBMIT", "intake", handler, batch=100))
            await eventually(settled(bus))
            group.cancel_scope.cancel()
        assert seen == [b"%d" % number for number in range(1000)]
        assert 1 < max(sizes) <= 100

    async def test_a_poisoned_one_does_not_take_its_neighbours(self, bus: Bus, eventually: Callable) -> None:
        await submit(bus, 50)
        handled: set[bytes] = set()
        recorder = Recorder()

        async def handler(messages: list[Message]) -> None:
            if any(message.data == b"13" for message in messages):
                raise Refused("thirteen")
            handled.update(message.data for message in messages)

        async with anyio.create_task_group() as group:
            group.start_soon(lambda: bus.consume_batches("SUBMIT", "intake", handler, on_poison=recorder.on_poison))
            await eventually(settled(bus))
            group.cancel_scope.cancel()
        assert [data for data, _ in recorder.poisoned] == [b"13"]
        assert len(handled) == 49

    async def test_retryable_brings_the_whole_batch_again(self, bus: Bus, eventually: Callable) -> None:
        await submit(bus, 10)
        batches: list[list[bytes]] = []

        async def handler(messages: list[Message]) -> None:
            batches.append([message.data for message in messages])
            if any(message.delivered == 1 for message in messages):
                raise MemberUnavailable("not yet")

        async with anyio.create_task_group() as group:
            group.start_soon(lambda: bus.consume_batches("SUBMIT", "intake", handler, retry=SOON))
            await eventually(settled(bus))
            group.cancel_scope.cancel()
        assert sorted(data for batch in batches for data in batch) == sorted(
            [b"%d" % number for number in range(10)] * 2
        )


async def test_what_waits_in_a_work_queue_can_be_looked_at_beside_its_consumer(bus, eventually) -> None:
    for name in ("a", "b", "c"):
        await bus.publish(f"brim.binding.idc.test.{name}", name.encode(), headers={"mark": name})
    await bus.publish("brim.binding.ack.test.d", b"d")
    release = anyio.Event()

    async def handle(message: Message) -> None:
        if message.data != b"a":
            await release.wait()

    async def waiting(subject: str) -> list[str]:
        return [message.headers.get("mark", "") for message in await bus.waiting("BINDING", subject)]

    assert await waiting("brim.binding.idc.>") == ["a", "b", "c"]
    assert await waiting("brim.binding.nobody.>") == []
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: bus.consume("BINDING", "executor-idc", handle, subjects=["brim.binding.idc.>"]))

        async def one_is_done() -> bool:
            return await waiting("brim.binding.idc.>") == ["b", "c"]

        await eventually(one_is_done)
        release.set()
        group.cancel_scope.cancel()
