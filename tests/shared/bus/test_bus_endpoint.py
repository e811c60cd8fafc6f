"""Request and reply: answers, errors that stay what they are, and an endpoint that nothing kills."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import pytest

from shared import errors, telemetry
from shared.bus import Bus, BusSettings, Message
from shared.errors import BrimError, BusUnavailable, Fault, Invalid, MemberUnavailable, TooLarge
from shared.nats_server import NatsServer

FAULTS = (
    Fault("PropagationPolicy test/p", "spec.placement", "is missing: add it"),
    Fault("document 2", "", "is no YAML", code="Malformed"),
)
PLAIN_ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, BrimError) and kind is not Invalid
]


@asynccontextmanager
async def serving(bus: Bus, handler: Callable, subject: str = "test.ask", **options: object) -> AsyncIterator[None]:
    async with anyio.create_task_group() as group:
        group.start_soon(lambda: bus.serve(subject, handler, **options))
        with anyio.fail_after(5):
            while not await _listens(bus, subject):
                await anyio.lowlevel.checkpoint()
        yield
        group.cancel_scope.cancel()


async def _listens(bus: Bus, subject: str) -> bool:
    try:
        await bus.request(subject, b"", timeout=5)
    except BusUnavailable as error:
        return error.code != "NotServed"
    except BrimError:
        return True
    return True


async def echo(message: Message) -> bytes:
    return b"you said " + message.data


class TestAnswers:
    async def test_round_trip(self, bus: Bus) -> None:
        async with serving(bus, echo):
            assert await bus.request("test.ask", b"hello") == b"you said hello"

    async def test_many_at_once_are_not_mixed_up(self, bus: Bus) -> None:
        async with serving(bus, echo):
            answers = await asyncio.gather(*(bus.request("test.ask", b"%d" % i) for i in range(500)))
        assert answers == [b"you said %d" % i for i in range(500)]

    async def test_one_slow_request_holds_up_no_other(self, bus: Bus) -> None:
        release = anyio.Event()

        async def handler(message: Message) -> bytes:
            if message.data == b"slow":
                await release.wait()
            return message.data

        async with serving(bus, handler), anyio.create_task_group() as group:
            group.start_soon(bus.request, "test.ask", b"slow")
            assert await bus.request("test.ask", b"fast") == b"fast"
            release.set()

    async def test_a_queue_group_shares_the_requests(self, bus: Bus) -> None:
        counts = {"a": 0, "b": 0}

        def handler(name: str) -> Callable:
            async def handle(_message: Message) -> bytes:
                counts[name] += 1
                return b""

            return handle

        async with serving(bus, handler("a"), queue="q"), serving(bus, handler("b"), queue="q"):
            before = sum(counts.values())
            for _ in range(100):
                await bus.request("test.ask", b"")
        assert sum(counts.values()) == before + 100
        assert min(counts.values()) > 0

    async def test_the_trace_goes_through(self, bus: Bus) -> None:
        async def handler(_message: Message) -> bytes:
            return telemetry.trace_id().encode()

        async with serving(bus, handler):
            with telemetry.recorded() as spans, telemetry.span("cli apply"):
                assert await bus.request("test.ask", b"") == telemetry.trace_id().encode()
        assert {"server", "client"} <= {span.kind for span in spans.finished()}


class TestErrors:
    @pytest.mark.parametrize("kind", PLAIN_ERRORS, ids=lambda kind: kind.__name__)
    async def test_arrive_as_what_they_are(self, bus: Bus, kind: type[BrimError]) -> None:
        async def handler(_message: Message) -> bytes:
            raise kind("idc does not want this", code="MyCode")

        async with serving(bus, handler):
            with pytest.raises(BrimError) as caught:
                await bus.request("test.ask", b"")
        assert (type(caught.value), str(caught.value), caught.value.code) == (
            kind,
            "idc does not want this",
            "MyCode",
        )

    async def test_invalid_keeps_its_faults(self, bus: Bus) -> None:
        async def handler(_message: Message) -> bytes:
            raise Invalid(FAULTS)

        async with serving(bus, handler):
            with pytest.raises(Invalid) as caught:
                await bus.request("test.ask", b"")
        assert caught.value.faults == FAULTS

    async def test_retry_after_arrives(self, bus: Bus) -> None:
        async def handler(_message: Message) -> bytes:
            raise MemberUnavailable("busy", retry_after=2.5)

        async with serving(bus, handler):
            with pytest.raises(MemberUnavailable) as caught:
                await bus.request("test.ask", b"")
        assert caught.value.retry_after == 2.5

    async def test_nobody_serves(self, bus: Bus) -> None:
        with pytest.raises(BusUnavailable, match=r"no service answers on test\.nobody"):
            await bus.request("test.nobody", b"")

    async def test_no_answer_in_time(self, bus: Bus) -> None:
        async def handler(message: Message) -> bytes:
            if message.data:
                await anyio.sleep_forever()
            return b""

        async with serving(bus, handler):
            with pytest.raises(BusUnavailable, match=r"no answer within 0\.05 s"):
                await bus.request("test.ask", b"x", timeout=0.05)

    async def test_an_answer_too_large_is_said_so(self, bus: Bus) -> None:
        async def handler(message: Message) -> bytes:
            return b"x" * (bus.max_payload + 1) if message.data else b""

        async with serving(bus, handler):
            with pytest.raises(TooLarge):
                await bus.request("test.ask", b"x")


class TestSurvival:
    @pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), asyncio.CancelledError()])
    async def test_a_bug_is_answered_and_kills_nothing(self, bus: Bus, error: BaseException) -> None:
        """A CancelledError that leaks from a callback kills a subscription of nats-py in silence."""

        async def handler(message: Message) -> bytes:
            if message.data == b"bad":
                raise error
            return b"fine"

        async with serving(bus, handler):
            for _ in range(3):
                with pytest.raises(BrimError, match="its log says why") as caught:
                    await bus.request("test.ask", b"bad", timeout=2)
                assert caught.value.code == "Internal"
                assert await bus.request("test.ask", b"good") == b"fine"

    async def test_it_serves_again_after_a_restart_of_the_server(self, own_server: Callable[[], NatsServer]) -> None:
        async with (
            own_server() as server,
            Bus.connect(BusSettings(url=server.url), name="test") as bus,
            serving(bus, echo),
        ):
            await server.restart()
            assert await bus.request("test.ask", b"x", timeout=10) == b"you said x"

    async def test_a_request_in_progress_is_answered_at_the_end(self, bus: Bus) -> None:
        started, finish = anyio.Event(), anyio.Event()

        async def handler(message: Message) -> bytes:
            if message.data:
                started.set()
                await finish.wait()
            return b"done"

        answers: list[bytes] = []

        async def ask() -> None:
            answers.append(await bus.request("test.ask", b"x"))

        async with anyio.create_task_group() as group, serving(bus, handler):
            group.start_soon(ask)
            await started.wait()
            asyncio.get_running_loop().call_later(0.05, finish.set)
        assert answers == [b"done"]
