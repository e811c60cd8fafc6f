"""Views and followers: the newest per subject, or every message in order; after restarts, losses and purges too."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from shared.bus import Bus, BusSettings, Change, Follower, Message, View, jetstream
from shared.bus.ordered import OrderedRead
from shared.errors import BusUnavailable, Permanent
from shared.nats_server import NatsServer

NO_RESYNC = 3600.0
OFTEN = 0.05


@asynccontextmanager
async def running(part: View | Follower) -> AsyncIterator[None]:
    """Run a view or follower while the block does, once it is ready."""
    async with anyio.create_task_group() as group:
        group.start_soon(part.run)
        with anyio.fail_after(10):
            await part.ready()
        yield
        group.cancel_scope.cancel()


def data(view: View) -> dict[str, bytes]:
    return {subject: message.data for subject, message in view.items().items()}


async def delete_readers(bus: Bus, stream: str) -> None:
    """Delete all consumers of a stream, as an operator or a server without memory would."""
    names = await readers(bus, stream)
    assert names
    for name in names:
        await jetstream.delete_consumer(bus._connection, stream, name)


async def readers(bus: Bus, stream: str) -> list[str]:
    answer = await jetstream.api(bus._connection, f"CONSUMER.NAMES.{stream}", what=stream)
    names = answer["consumers"] or []
    assert isinstance(names, list)
    return [str(name) for name in names]


class TestView:
    async def test_replays_the_newest_of_each_subject_before_it_is_ready(self, bus: Bus) -> None:
        for number in range(3):
            for name in ("a", "b"):
                await bus.publish(f"brim.status.idc.{name}", b"%d" % number)
        view = bus.view("STATUS")
        assert not view.is_ready
        async with running(view):
            assert data(view) == {"brim.status.idc.a": b"2", "brim.status.idc.b": b"2"}
            newest = view.get("brim.status.idc.a")
            assert newest is not None
            assert newest.sequence == 5
            assert view.get("brim.status.idc.c") is None

    async def test_of_an_empty_stream_is_ready_and_empty(self, bus: Bus) -> None:
        view = bus.view("STATUS")
        async with running(view):
            assert data(view) == {}

    async def test_follows(self, bus: Bus, eventually: Callable) -> None:
        view = bus.view("STATUS")
        async with running(view):
            await bus.publish("brim.status.idc.a", b"1")
            await eventually(lambda: data(view) == {"brim.status.idc.a": b"1"})
            await bus.publish("brim.status.idc.a", b"2")
            await eventually(lambda: data(view) == {"brim.status.idc.a": b"2"})

    async def test_holds_the_subjects_asked_for(self, bus: Bus, eventually: Callable) -> None:
        view = bus.view("STATUS", ["brim.status.idc.>", "brim.status.ack.x"])
        async with running(view):
            for subject in ("idc.a.b", "ack.x", "ack.y"):
                await bus.publish(f"brim.status.{subject}", b"")
            await eventually(lambda: data(view).keys() == {"brim.status.idc.a.b", "brim.status.ack.x"})

    async def test_a_lean_one_hands_out_all_and_keeps_no_words(self, bus: Bus, eventually: Callable) -> None:
        await bus.publish("brim.status.idc.a", b"1")
        view, seen = bus.view("STATUS", lean=True), []

        async def read() -> None:
            async for change in view.changes():
                seen.append((change.subject[-1], change.message and change.message.data))

        async with running(view), anyio.create_task_group() as group:
            await bus.publish("brim.status.idc.b", b"2")
            await eventually(lambda: data(view) == {"brim.status.idc.a": b"1", "brim.status.idc.b": b"2"})
            group.start_soon(read)
            await bus.publish("brim.status.idc.a", b"3")
            await bus.remove("brim.status.idc.b")
            await eventually(lambda: {("a", b"3"), ("b", None)} <= set(seen))
            assert data(view) == {"brim.status.idc.a": b""}
            group.cancel_scope.cancel()

    async def test_looks_anew_at_a_server_that_went_back_in_time(
        self,
        own_server: Callable[[], NatsServer],
        tmp_path: Path,
        eventually: Callable,
    ) -> None:
        """It counts on from less, and is soon as far as it was: sequences alone do not show what was lost."""
        async with own_server() as server:
            settings = BusSettings(url=server.url)
            async with (
                Bus.connect(settings, name="test") as bus,
                Bus.connect(settings, name="other") as other,
            ):
                await bus.ensure_streams()
                await other.publish("brim.status.idc.a", b"1")
                await server.stop()
                shutil.copytree(tmp_path / "nats", tmp_path / "copy")
                await server.start()
                view, seen = bus.view("STATUS", resync=NO_RESYNC), []

                async def read() -> None:
                    async for change in view.changes():
                        seen.append(change.message and change.message.data)

                async with running(view), anyio.create_task_group() as group:
                    group.start_soon(read)
                    await other.publish("brim.status.idc.a", b"2", timeout=15)
                    await eventually(lambda: b"2" in seen)
                    await server.stop(kill=True)
                    shutil.rmtree(tmp_path / "nats")
                    shutil.copytree(tmp_path / "copy", tmp_path / "nats")
                    await server.start()
                    await bus.publish("brim.status.idc.b", b"own", timeout=15)
                    await bus.publish("brim.status.idc.b", b"own", timeout=15)
                    await eventually(lambda: seen.count(b"1") == 2)
                    group.cancel_scope.cancel()

    async def test_drops_what_is_removed_at_once(self, bus: Bus, eventually: Callable) -> None:
        await bus.publish("brim.pod.idc.n.a", b"1")
        view = bus.view("PODS", resync=NO_RESYNC)
        async with running(view):
            await bus.remove("brim.pod.idc.n.a")
            await eventually(lambda: data(view) == {})
            await bus.publish("brim.pod.idc.n.a", b"again")
            await eventually(lambda: data(view) == {"brim.pod.idc.n.a": b"again"})

    async def test_finds_a_purge_when_it_compares(self, bus: Bus, eventually: Callable) -> None:
        for name in ("a", "b"):
            await bus.publish(f"brim.pod.idc.n.{name}", b"1")
        view = bus.view("PODS", resync=OFTEN)
        async with running(view):
            await bus.purge_subject("PODS", "brim.pod.idc.n.a")
            await eventually(lambda: data(view) == {"brim.pod.idc.n.b": b"1"})

    async def test_a_tombstone_is_no_loss_when_it_compares(self, bus: Bus, eventually: Callable) -> None:
        await bus.publish("brim.pod.idc.n.a", b"1")
        await bus.remove("brim.pod.idc.n.a")
        view = bus.view("PODS", resync=OFTEN)
        async with running(view):
            before = await readers(bus, "PODS")
            await bus.publish("brim.pod.idc.n.b", b"1")
            await eventually(lambda: data(view) == {"brim.pod.idc.n.b": b"1"})
            await _wait_for_api_calls(bus, eventually, more=10)
            assert await readers(bus, "PODS") == before

    async def test_a_deleted_consumer_costs_nothing_but_time(self, bus: Bus, eventually: Callable) -> None:
        view = bus.view("STATUS", resync=NO_RESYNC)
        async with running(view):
            await delete_readers(bus, "STATUS")
            await bus.publish("brim.status.idc.a", b"1")
            await eventually(lambda: data(view) == {"brim.status.idc.a": b"1"})

    async def test_a_renewed_connection_reads_anew_what_may_have_been_lost(
        self, bus: Bus, eventually: Callable
    ) -> None:
        """A message that was on its way leaves no gap if no other follows it."""
        view = bus.view("STATUS", resync=NO_RESYNC)
        async with running(view):
            before = await readers(bus, "STATUS")
            await bus._connection._client.force_reconnect()

            async def anew() -> bool:
                try:
                    now = await readers(bus, "STATUS")
                except BusUnavailable:
                    return False
                return len(now) == 1 and now != before

            await eventually(anew)

    async def test_a_purge_while_it_was_blind_is_seen(self, bus: Bus, eventually: Callable) -> None:
        await bus.publish("brim.status.idc.a", b"1")
        view = bus.view("STATUS", resync=NO_RESYNC)
        async with running(view):
            await bus.purge_subject("STATUS", "brim.status.idc.a")
            await delete_readers(bus, "STATUS")
            await eventually(lambda: data(view) == {})

    async def test_what_goes_before_it_was_read_is_not_waited_for(
        self, bus: Bus, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A purge, or a message's own expiry, between the reader's creation and its first message."""
        await bus.publish("brim.status.idc.a", b"1")
        view = bus.view("STATUS")
        enter = OrderedRead.__aenter__

        async def purged(read: OrderedRead) -> OrderedRead:
            found = await enter(read)
            await bus.purge_subject("STATUS", "brim.status.idc.a")
            return found

        monkeypatch.setattr(OrderedRead, "__aenter__", purged)
        async with running(view):
            assert data(view) == {}
        await bus.publish("brim.status.idc.a", b"1")
        with anyio.fail_after(5):
            assert await bus.history("STATUS", "brim.status.idc.a") == []

    async def test_a_stream_made_anew_replaces_all(self, bus: Bus, eventually: Callable) -> None:
        for _ in range(5):
            await bus.publish("brim.status.idc.a", b"old")
        await bus.publish("brim.status.idc.b", b"old")
        view = bus.view("STATUS", resync=NO_RESYNC)
        async with running(view):
            await jetstream.api(bus._connection, "STREAM.DELETE.STATUS", what="")
            await bus.ensure_streams()
            await bus.publish("brim.status.idc.a", b"new")
            await eventually(lambda: data(view) == {"brim.status.idc.a": b"new"})

    async def test_it_can_be_cancelled_though_the_connection_was_closed(self, bus: Bus) -> None:
        """A KeyWatcher of nats-py hangs for ever then."""
        view = bus.view("STATUS")
        with anyio.fail_after(5):
            async with running(view), anyio.create_task_group() as group:
                changes = view.changes()
                group.start_soon(changes.__anext__)
                await bus._connection.close()
                group.cancel_scope.cancel()
            await changes.aclose()

    async def test_a_filter_that_nats_refuses_ends_it(self, bus: Bus) -> None:
        with pytest.raises(Permanent), anyio.fail_after(5):
            await bus.view("STATUS", ["brim.status.>", "brim.status.idc.*"]).run()

    @pytest.mark.parametrize("kill", [False, True])
    async def test_survives_a_restart_of_the_server_within_seconds(
        self, own_server: Callable[[], NatsServer], eventually: Callable, kill: bool
    ) -> None:
        """nats-py's watchers took 17 s."""
        async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
            await bus.ensure_streams()
            await bus.publish("brim.status.idc.a", b"1")
            view = bus.view("STATUS", resync=NO_RESYNC)
            async with running(view):
                await server.restart(kill=kill)
                await bus.publish("brim.status.idc.b", b"2", timeout=15)
                with anyio.fail_after(4):
                    await eventually(lambda: data(view) == {"brim.status.idc.a": b"1", "brim.status.idc.b": b"2"})

    async def test_a_slow_reader_of_many_messages_loses_none(self, bus: Bus, eventually: Callable) -> None:
        view = bus.view("PODS", resync=NO_RESYNC)
        async with running(view):
            for burst in range(5):
                await asyncio.gather(
                    *(bus.publish(f"brim.pod.m.n.{burst * 1000 + i}", b"x" * 2000) for i in range(1000))
                )
            await eventually(lambda: len(view.items()) == 5000)


class TestChanges:
    async def test_begin_with_all_that_is_known(self, bus: Bus) -> None:
        await bus.publish("brim.status.idc.a", b"1")
        view = bus.view("STATUS")
        async with running(view):
            async for change in view.changes():
                assert change == Change("brim.status.idc.a", view.get("brim.status.idc.a"))
                break

    async def test_a_subject_comes_once_with_its_newest_state(self, bus: Bus, eventually: Callable) -> None:
        view = bus.view("STATUS")
        async with running(view):
            changes = view.changes()
            await bus.publish("brim.status.idc.first", b"")
            assert (await anext(changes)).subject == "brim.status.idc.first"
            for number in range(100):
                await bus.publish("brim.status.idc.a", b"%d" % number)
            await bus.publish("brim.status.idc.b", b"")
            await eventually(lambda: "brim.status.idc.b" in view.items())
            first, second = await anext(changes), await anext(changes)
            assert first.message is not None
            assert (first.subject, first.message.data) == ("brim.status.idc.a", b"99")
            assert second.subject == "brim.status.idc.b"
            await changes.aclose()

    async def test_tell_of_a_removal(self, bus: Bus) -> None:
        await bus.publish("brim.status.idc.a", b"1")
        view = bus.view("STATUS")
        async with running(view):
            changes = view.changes()
            await anext(changes)
            await bus.remove("brim.status.idc.a")
            assert await anext(changes) == Change("brim.status.idc.a", None)
            await changes.aclose()

    async def test_each_iterator_sees_all(self, bus: Bus) -> None:
        view = bus.view("STATUS")
        async with running(view):
            iterators = [view.changes() for _ in range(3)]
            for number in range(3):
                await bus.publish("brim.status.idc.a", b"%d" % number)
                changes = [await anext(iterator) for iterator in iterators]
                assert [change.message and change.message.data for change in changes] == [b"%d" % number] * 3
            for iterator in iterators:
                await iterator.aclose()

    async def test_a_replay_of_what_is_known_is_no_change(self, bus: Bus, eventually: Callable) -> None:
        await bus.publish("brim.status.idc.a", b"1")
        view = bus.view("STATUS", resync=NO_RESYNC)
        async with running(view):
            changes = view.changes()
            await anext(changes)
            await delete_readers(bus, "STATUS")
            await bus.publish("brim.status.idc.b", b"2")
            assert (await anext(changes)).subject == "brim.status.idc.b"
            await changes.aclose()


class TestFollow:
    async def test_every_message_in_order_from_the_beginning(self, bus: Bus, eventually: Callable) -> None:
        for number in range(50):
            await bus.publish(f"brim.capacity.m{number % 3}", b"%d" % number)
        seen: list[bytes] = []

        async def note(message: Message) -> None:
            seen.append(message.data)

        follower = bus.follow("CAPACITY", [], note)
        assert not follower.caught_up
        async with running(follower):
            assert seen == [b"%d" % number for number in range(50)]
            assert (follower.sequence, follower.caught_up) == (50, True)
            await bus.publish("brim.capacity.m1", b"50")
            await eventually(lambda: seen[-1] == b"50")

    async def test_from_a_place_on(self, bus: Bus) -> None:
        for number in range(1, 11):
            await bus.publish("brim.capacity.m", b"%d" % number)
        seen: list[int] = []

        async def note(message: Message) -> None:
            seen.append(message.sequence)

        async with running(bus.follow("CAPACITY", ["brim.capacity.m"], note, start=8)):
            assert seen == [8, 9, 10]

    async def test_a_rollup_hides_what_was_before(self, bus: Bus) -> None:
        await bus.publish("brim.capacity.m", b"delta")
        await bus.publish_batch("brim.capacity.m", [b"1/2", b"2/2"], rollup=True)
        await bus.publish("brim.capacity.m", b"delta 2")
        seen: list[bytes] = []

        async def note(message: Message) -> None:
            seen.append(message.data)

        async with running(bus.follow("CAPACITY", [], note)):
            assert seen == [b"1/2", b"2/2", b"delta 2"]

    async def test_nothing_is_lost_or_doubled_when_readers_are_deleted_again_and_again(
        self, bus: Bus, eventually: Callable
    ) -> None:
        seen: list[int] = []

        async def note(message: Message) -> None:
            seen.append(message.sequence)

        async with running(bus.follow("CAPACITY", [], note)):
            for round_ in range(5):
                await asyncio.gather(*(bus.publish("brim.capacity.m", b"") for _ in range(200)))
                await delete_readers(bus, "CAPACITY")
                await bus.publish("brim.capacity.m", b"")
                await eventually(lambda wanted=(round_ + 1) * 201: len(seen) >= wanted)
        assert seen == list(range(1, 1006))

    async def test_a_message_lost_on_the_way_is_read_again(self, bus: Bus, eventually: Callable) -> None:
        """The gap is made here: the connection swallows one delivery."""
        seen: list[int] = []

        async def note(message: Message) -> None:
            seen.append(message.sequence)

        async with running(bus.follow("CAPACITY", [], note)):
            await bus.publish("brim.capacity.m", b"1")
            await eventually(lambda: seen == [1])
            reader = bus._connection._subscriptions[-1]
            original = reader.callback
            assert reader.current is not None

            async def swallow(raw: object) -> None:
                reader.current._cb = deliver  # one only

            async def deliver(raw: object) -> None:
                await original(raw)  # type: ignore[arg-type]

            reader.current._cb = swallow
            for number in range(2, 6):
                await bus.publish("brim.capacity.m", b"%d" % number)
            await eventually(lambda: len(seen) >= 5)
        assert seen == [1, 2, 3, 4, 5]

    async def test_survives_a_restart_of_the_server(
        self, own_server: Callable[[], NatsServer], eventually: Callable
    ) -> None:
        seen: list[int] = []

        async def note(message: Message) -> None:
            seen.append(message.sequence)

        async with own_server() as server, Bus.connect(BusSettings(url=server.url), name="test") as bus:
            await bus.ensure_streams()
            await bus.publish("brim.capacity.m", b"1")
            async with running(bus.follow("CAPACITY", [], note)):
                await server.restart(kill=True)
                await bus.publish("brim.capacity.m", b"2", timeout=15)
                with anyio.fail_after(4):
                    await eventually(lambda: seen == [1, 2])

    async def test_a_stream_made_anew_is_read_from_its_beginning(self, bus: Bus, eventually: Callable) -> None:
        seen: list[bytes] = []

        async def note(message: Message) -> None:
            seen.append(message.data)

        for _ in range(3):
            await bus.publish("brim.capacity.m", b"old")
        async with running(bus.follow("CAPACITY", [], note)):
            await jetstream.api(bus._connection, "STREAM.DELETE.CAPACITY", what="")
            await bus.ensure_streams()
            await bus.publish("brim.capacity.m", b"new")
            await eventually(lambda: seen == [b"old"] * 3 + [b"new"])

    async def test_a_handler_that_fails_ends_it(self, bus: Bus) -> None:
        async def fail(_message: Message) -> None:
            raise ZeroDivisionError

        await bus.publish("brim.capacity.m", b"")
        with pytest.raises(ZeroDivisionError), anyio.fail_after(5):
            await bus.follow("CAPACITY", [], fail).run()


async def _wait_for_api_calls(bus: Bus, eventually: Callable, more: int) -> None:
    """Wait until the server has answered so many more management calls: the view has compared several times."""

    async def calls() -> int:
        answer = await jetstream.api(bus._connection, "INFO", what="account")
        api = answer["api"]
        assert isinstance(api, dict)
        return int(api["total"])

    begin, polls = await calls(), 0

    async def enough() -> bool:
        nonlocal polls
        polls += 1
        return await calls() - begin - polls >= more

    await eventually(enough)
