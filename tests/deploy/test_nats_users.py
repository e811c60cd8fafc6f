"""What deploy/nats/nats-server.conf lets each user do, asked of a real server that runs with it.

tests/e2e/test_users.py plays whole scenarios on it: all that brim needs is allowed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import nats
import pytest
from anyio.from_thread import start_blocking_portal
from nats.aio.client import Client

from cli.services import service
from shared.bus import KEEPER, STREAMS, Bus, jetstream
from shared.bus.connection import Connection
from shared.contracts import nats_conf
from shared.contracts.catalogue import DESCHEDULER, EXECUTOR, INVENTORY, PEOPLE, SCHEDULER, SERVICES
from shared.contracts.rights import USERS
from shared.errors import BrimError, BusUnavailable, Misconfigured, NotPermitted
from shared.service import service_context
from shared.settings import BusSettings, Settings
from tests.conftest import Eventually
from tests.deploy.limited import CONF, LimitedServer, limited, password

AT_ONCE = 60.0  # seconds that a request would wait: whoever is refused hears of it long before


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LimitedServer]:
    """With the streams, as its keeper makes them."""

    async def make_streams(running: LimitedServer) -> None:
        async with Bus.connect(running.settings(KEEPER), name=KEEPER) as bus:
            await bus.ensure_streams(patience=30)

    folder = tmp_path_factory.mktemp("limited")
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(limited(folder)) as running:
        portal.call(make_streams, running)
        yield running


async def refuses(settings: BusSettings, subject: str) -> bool:
    """Whether the server refuses a publish there. What it lets pass may be answered by nobody, or by an error."""
    async with Bus.connect(settings, name="test") as bus:
        try:
            await bus.request(subject, b"{}", timeout=5.0)
        except NotPermitted:
            return True
        except BrimError:
            return False
        return False


async def may_not_hear(settings: BusSettings, subject: str) -> bool:
    connection = Connection(settings, "test")
    await connection.open()
    try:
        subscribed = await connection.subscribe(subject, ignore)
        await connection.flushed()
        return subscribed.refused.is_set()
    finally:
        await connection.close()


@asynccontextmanager
async def as_people(server: LimitedServer) -> AsyncIterator[tuple[Client, list[Exception]]]:
    """A client, and what the server has refused it so far."""
    refused: list[Exception] = []

    async def on_error(error: Exception) -> None:
        refused.append(error)

    client = await nats.connect(server.url, user=PEOPLE, password=password(PEOPLE), error_cb=on_error)
    try:
        yield client, refused
    finally:
        await client.close()


async def published(bus: Bus, subject: str) -> bool:
    try:
        await bus.publish(subject, b"")
    except BusUnavailable:
        return False
    return True


async def ignore(_: object) -> None:
    """What arrives."""


class TestWhatIsWritten:
    @pytest.mark.parametrize(
        ("user", "subject"),
        [
            pytest.param(INVENTORY, "brim.placement.Deployment~apps.test.qwen3", id="inventory decides nothing"),
            pytest.param(INVENTORY, "brim.desired.Deployment~apps.test.qwen3", id="inventory wishes nothing"),
            pytest.param(INVENTORY, "brim.outcome.idc.Deployment~apps.test.qwen3", id="inventory applies nothing"),
            pytest.param(EXECUTOR, "brim.apply", id="the executor applies no policies"),
            pytest.param(EXECUTOR, "brim.submit.apply", id="nor submits any"),
            pytest.param(EXECUTOR, "brim.placement.Deployment~apps.test.qwen3", id="nor decides"),
            pytest.param(EXECUTOR, "brim.capacity.idc", id="nor tells of room"),
            pytest.param(DESCHEDULER, "brim.placement.Deployment~apps.test.qwen3", id="the descheduler only asks"),
            pytest.param(DESCHEDULER, "brim.action.executor.approve", id="and approves nothing"),
            pytest.param(SCHEDULER, "brim.capacity.idc", id="the scheduler tells of no room"),
            pytest.param(SCHEDULER, "brim.status.idc.Deployment~apps.test.qwen3", id="nor of how things fare"),
            pytest.param(SCHEDULER, "brim.read.idc", id="nor reads what a member says to people"),
            pytest.param(PEOPLE, "brim.capacity.idc", id="people tell of no room"),
            pytest.param(PEOPLE, "brim.desired.Deployment~apps.test.qwen3", id="nor pass by the intake"),
            pytest.param(PEOPLE, "brim.placement.Deployment~apps.test.qwen3", id="nor place"),
            pytest.param(PEOPLE, "brim.binding.idc.test.qwen3-1", id="nor bind pods"),
            pytest.param(PEOPLE, "brim.rejected.scheduler", id="nor reject"),
            pytest.param(PEOPLE, "brim.lease.scheduler.holder", id="nor lead"),
            pytest.param(EXECUTOR, "brim.lease.scheduler.holder", id="nobody leads for another"),
            pytest.param(EXECUTOR, "brim.rejected.scheduler", id="nor speaks for another"),
        ],
    )
    async def test_nobody_writes_what_is_not_his(self, server: LimitedServer, user: str, subject: str) -> None:
        assert await refuses(server.settings(user), subject)

    @pytest.mark.parametrize(
        ("user", "subject"),
        [
            pytest.param(INVENTORY, "brim.capacity.idc", id="inventory tells of room"),
            pytest.param(EXECUTOR, "brim.outcome.idc.Deployment~apps.test.qwen3", id="the executor of outcomes"),
            pytest.param(SCHEDULER, "brim.placement.Deployment~apps.test.qwen3", id="the scheduler places"),
            pytest.param(DESCHEDULER, "brim.rebalance.Deployment~apps.test.qwen3", id="the descheduler asks"),
            pytest.param(PEOPLE, "brim.apply", id="people apply"),
            pytest.param(PEOPLE, "brim.submit.apply", id="and submit"),
        ],
    )
    async def test_everybody_writes_what_is(self, server: LimitedServer, user: str, subject: str) -> None:
        assert not await refuses(server.settings(user), subject)


class TestStreams:
    @pytest.mark.parametrize("user", USERS)
    @pytest.mark.parametrize("verb", ["STREAM.DELETE", "STREAM.MSG.DELETE", "STREAM.RESTORE", "STREAM.SNAPSHOT"])
    async def test_nobody_deletes_one_or_takes_it_away(self, server: LimitedServer, user: str, verb: str) -> None:
        async with Bus.connect(server.settings(user), name="test") as bus:
            for stream in STREAMS:
                with pytest.raises(NotPermitted):
                    await bus.request(f"$JS.API.{verb}.{stream}", b"", timeout=AT_ONCE)

    @pytest.mark.parametrize("user", USERS)
    async def test_the_scheduler_alone_purges_revisions_and_nobody_anything_else(
        self, server: LimitedServer, user: str
    ) -> None:
        async with Bus.connect(server.settings(user), name="test") as bus:
            purged = []
            for stream in STREAMS:
                try:
                    await bus.purge_subject(stream, "brim.nothing")
                except NotPermitted:
                    continue
                purged.append(stream)
        assert purged == (["REVISION"] if user == SCHEDULER else [])

    @pytest.mark.parametrize("user", [user for user in USERS if user != KEEPER])
    async def test_only_their_keeper_makes_and_changes_them(self, server: LimitedServer, user: str) -> None:
        async with Bus.connect(server.settings(user), name="test") as bus:
            with pytest.raises(NotPermitted, match=f"'{user}' publish on .JS.API.STREAM.CREATE"):
                await bus.ensure_streams()
            with pytest.raises(NotPermitted):
                await bus.request("$JS.API.STREAM.UPDATE.DESIRED", b"", timeout=AT_ONCE)
            with pytest.raises(NotPermitted):
                await bus.request("$JS.API.STREAM.CREATE.MINE", b"", timeout=AT_ONCE)
            await bus.await_streams()

    @pytest.mark.parametrize(
        ("user", "stream"),
        [
            pytest.param(INVENTORY, "PLACEMENT", id="inventory reads no placements"),
            pytest.param(EXECUTOR, "CAPACITY", id="the executor reads no room"),
            pytest.param(DESCHEDULER, "DESIRED", id="the descheduler reads no wishes"),
            pytest.param(PEOPLE, "LEASE", id="people read no leases"),
        ],
    )
    async def test_nobody_reads_what_he_does_not_need(self, server: LimitedServer, user: str, stream: str) -> None:
        async with Bus.connect(server.settings(user), name="test") as bus:
            for reading in (bus.stream_info(stream), bus.last(stream, "brim.x"), bus.history(stream, ">")):
                with pytest.raises(NotPermitted):
                    await reading

    @pytest.mark.parametrize(
        ("user", "stream"),
        [
            pytest.param(PEOPLE, "SUBMIT", id="people take nobody's wishes away"),
            pytest.param(PEOPLE, "BINDING", id="nor orders about pods"),
            pytest.param(DESCHEDULER, "REBALANCE", id="the descheduler takes back no request"),
            pytest.param(SCHEDULER, "BINDING", id="the scheduler looks at its orders and takes none"),
        ],
    )
    async def test_nobody_works_off_anothers_queue(self, server: LimitedServer, user: str, stream: str) -> None:
        connection = Connection(server.settings(user), "test")
        await connection.open()
        try:
            with pytest.raises(NotPermitted):
                await jetstream.create_consumer(connection, stream, "thief", {"ack_policy": "explicit"})
        finally:
            await connection.close()
        assert await refuses(server.settings(user), f"$JS.API.CONSUMER.MSG.NEXT.{stream}.any")
        assert await refuses(server.settings(user), f"$JS.ACK.{stream}.any.1.1.1.1.1")


class TestWhatIsHeard:
    @pytest.mark.parametrize("user", USERS)
    async def test_nobody_hears_anothers_answers_or_all_that_is_said(self, server: LimitedServer, user: str) -> None:
        settings = server.settings(user)
        others = [f"_INBOX_{other}.>" for other in USERS if other != user]
        for subject in (">", "brim.>", "$JS.>", "*.>", *others):
            assert await may_not_hear(settings, subject), subject
        assert await may_not_hear(settings, "_INBOX.>") == (user != PEOPLE)

    @pytest.mark.parametrize("user", [INVENTORY, EXECUTOR, DESCHEDULER])
    async def test_only_the_scheduler_answers_people(self, server: LimitedServer, user: str) -> None:
        assert await may_not_hear(server.settings(user), "brim.apply")

    async def test_people_follow_what_they_may_read_with_any_client(self, server: LimitedServer) -> None:
        assert not await may_not_hear(server.settings(PEOPLE), "brim.placement.>")
        assert await may_not_hear(server.settings(PEOPLE), "brim.lease.>")


class TestAnyClient:
    """People come with nats-py, which knows nothing of brim."""

    async def test_reads_a_stream_in_its_own_ways(self, server: LimitedServer) -> None:
        subject = "brim.placement.Deployment~apps.clients.read"
        async with Bus.connect(server.settings(SCHEDULER), name=SCHEDULER) as bus:
            await bus.publish(subject, b"decided")
        async with as_people(server) as (client, refused):
            stream = client.jetstream(timeout=AT_ONCE)
            await stream.account_info()
            assert (await stream.get_last_msg("PLACEMENT", subject)).data == b"decided"
            assert (await stream.get_last_msg("PLACEMENT", subject, direct=True)).data == b"decided"
            for ordered in (True, False):
                pushed = await stream.subscribe(subject, ordered_consumer=ordered)
                message = await pushed.next_msg(AT_ONCE)
                assert message.data == b"decided"
                if not ordered:
                    await message.ack_sync(AT_ONCE)
                await pushed.unsubscribe()
            for durable in (None, "mine"):
                pulled = await stream.pull_subscribe(subject, durable, stream="PLACEMENT")
                (message,) = await pulled.fetch(1, AT_ONCE)
                await message.ack_sync(AT_ONCE)
            await stream.delete_consumer("PLACEMENT", "mine")
            assert refused == []

    async def test_follows_what_is_published_but_answers_for_nobody(
        self, server: LimitedServer, eventually: Eventually
    ) -> None:
        subject = "brim.placement.Deployment~apps.clients.follow"
        async with (
            as_people(server) as (client, refused),
            Bus.connect(server.settings(SCHEDULER), name=SCHEDULER) as bus,
        ):
            followed = await client.subscribe("brim.placement.>")
            await client.flush()  # its PING overtakes the subscription
            await client.flush()
            await bus.publish(subject, b"decided")
            message = await followed.next_msg(AT_ONCE)
            assert (message.subject, message.data) == (subject, b"decided")
            assert message.reply.startswith("_INBOX_scheduler.")
            await message.respond(b"stored, believe me")
            await eventually(lambda: refused)
            assert [str(error) for error in refused] == [
                f'nats: permissions violation for publish to "{message.reply.lower()}"'
            ]


class TestBeingRefused:
    async def test_a_request_fails_at_once_and_says_who_what_and_the_remedy(self, server: LimitedServer) -> None:
        async with Bus.connect(server.settings(INVENTORY), name="test") as bus:
            with pytest.raises(NotPermitted) as refused, anyio.fail_after(AT_ONCE / 2):
                await bus.publish("brim.placement.Deployment~apps.test.Qwen3", b"", timeout=AT_ONCE)
        assert refused.value.code == "NotPermitted"
        assert str(refused.value) == (
            f"NATS at {server.url} does not let user 'inventory' publish on brim.placement.Deployment~apps.test.Qwen3: "
            "connect as a user who may (BRIM_BUS__USER and BRIM_BUS__PASSWORD), or give the right there (docs/nats.md)"
        )

    async def test_so_does_serving(self, server: LimitedServer) -> None:
        async def answer(_: object) -> bytes:
            return b""

        async with Bus.connect(server.settings(EXECUTOR), name="test") as bus:
            with pytest.raises(NotPermitted, match=r"'executor' subscribe to brim\.apply"), anyio.fail_after(AT_ONCE):
                await bus.serve("brim.apply", answer, on_serving=lambda: pytest.fail("it does not serve"))

    async def test_the_log_tells_it_once_in_a_while_with_a_code_for_machines(
        self, server: LimitedServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.ERROR, "brim.bus"):
            async with Bus.connect(server.settings(INVENTORY), name="test") as bus:
                for number in range(20):
                    with pytest.raises(NotPermitted):
                        await bus.publish(f"brim.placement.Deployment~apps.test.n{number}", b"")
        (record,) = caplog.records
        assert vars(record)["code"] == "NotPermitted"
        assert "does not let user 'inventory' publish on brim.placement.Deployment~apps.test.n0" in record.message

    async def test_a_wrong_password_ends_the_first_connection(self, server: LimitedServer) -> None:
        settings = server.settings(SCHEDULER).model_copy(update={"password": server.settings(PEOPLE).password})
        with pytest.raises(Misconfigured) as refused, anyio.fail_after(AT_ONCE):
            async with Bus.connect(settings, name="test"):
                pytest.fail("it was let in")
        assert refused.value.code == "NotLetIn"
        assert password(PEOPLE) not in str(refused.value)

    async def test_a_password_that_was_changed_is_tried_for_ever(
        self, tmp_path: Path, eventually: Eventually, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with (
            limited(tmp_path) as own,
            Bus.connect(own.settings(EXECUTOR), name="test") as bus,
        ):
            with pytest.MonkeyPatch.context() as changed:
                changed.setenv(nats_conf.variable(EXECUTOR), "another")
                await own.restart()
                await eventually(lambda: "does not let user 'executor' in" in caplog.text)
                assert not bus.connected
            await own.restart()
            await eventually(lambda: bus.connected)

    async def test_a_right_is_given_while_all_run(self, tmp_path: Path, eventually: Eventually) -> None:
        """And what was to be said is said: a refusal is retried like an absence."""
        subject = "brim.outcome.idc.Deployment~apps.test.qwen3"
        async with limited(tmp_path, withheld=('"brim.outcome.*.*.*.*"',)) as own:
            async with Bus.connect(own.settings(SCHEDULER), name=SCHEDULER) as keeper:
                await keeper.ensure_streams(patience=30)
            async with Bus.connect(own.settings(EXECUTOR), name="test") as bus:
                with pytest.raises(NotPermitted):
                    await bus.publish(subject, b"")
                own.withheld = ()
                own.reload()
                await eventually(lambda: published(bus, subject))

    async def test_a_service_that_came_as_another_says_so_and_is_not_ready(
        self, server: LimitedServer, eventually: Eventually, caplog: pytest.LogCaptureFixture
    ) -> None:
        settings = Settings(bus=server.settings(DESCHEDULER))
        async with service_context(EXECUTOR, settings) as context, anyio.create_task_group() as group:
            group.start_soon(service(EXECUTOR), context)
            await eventually(lambda: "'descheduler' publish on brim.lease.executor.holder" in caplog.text)
            assert not context.health.ready
            group.cancel_scope.cancel()

    async def test_an_inbox_that_is_anothers_ends_it_too(self, server: LimitedServer) -> None:
        settings = server.settings(EXECUTOR).model_copy(update={"inbox_prefix": "_INBOX_scheduler"})
        with pytest.raises(Misconfigured, match="BRIM_BUS__INBOX_PREFIX") as refused, anyio.fail_after(AT_ONCE):
            async with Bus.connect(settings, name="test"):
                pytest.fail("it hears anothers answers")
        assert refused.value.code == "NotPermitted"

    async def test_a_user_in_the_address_will_do(self, server: LimitedServer) -> None:
        url = server.url.replace("nats://", f"nats://{EXECUTOR}:{password(EXECUTOR)}@")
        async with Bus.connect(BusSettings(url=url), name="test") as bus:
            await bus.stream_info("PLACEMENT")
            with pytest.raises(NotPermitted, match="user 'executor'"):
                await bus.stream_info("CAPACITY")


async def test_services_wait_for_the_streams_and_name_who_makes_them(tmp_path: Path) -> None:
    async with limited(tmp_path) as server, Bus.connect(server.settings(EXECUTOR), name=EXECUTOR) as bus:
        with pytest.raises(BusUnavailable, match=r"the scheduler makes the streams, .* DESIRED, .*: does it run\?"):
            await bus.await_streams()
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: bus.await_streams(patience=60))
            async with Bus.connect(server.settings(SCHEDULER), name=SCHEDULER) as keeper:
                await keeper.ensure_streams(patience=60)


class TestTheFile:
    def test_it_holds_a_user_per_service_and_one_for_people_and_no_password(self) -> None:
        text = CONF.read_text(encoding="utf-8")
        assert re.findall(r"user: (\w+), password: (\S+),", text) == [
            (user, f"${nats_conf.variable(user)}") for user in (*SERVICES, PEOPLE)
        ]

    async def test_the_server_does_not_start_without_a_password(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        for user in USERS:
            monkeypatch.setenv(nats_conf.variable(user), password(user))
        monkeypatch.delenv(nats_conf.variable(INVENTORY))
        with pytest.raises(BusUnavailable, match="ended at once"):
            async with LimitedServer(tmp_path):
                pytest.fail("it started")
        assert nats_conf.variable(INVENTORY) in capfd.readouterr().err
