"""The watch: the whole state first, then each change, whatever the member does."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import anyio
import pytest
from aiohttp import web

from shared.backoff import Backoff
from shared.contracts.refs import ObjectRef
from shared.errors import MemberUnavailable, NotFound
from shared.kube import (
    CONFIG_MAPS,
    Changed,
    Connected,
    Disconnected,
    Event,
    Gone,
    KubeObject,
    Resource,
    Synced,
    Timeouts,
    WatchOptions,
    watch,
)
from simulator.registry import Write

QUICK = Backoff(base=0.01, maximum=0.05)

SETTINGS = ObjectRef(version="v1", kind="ConfigMap", namespace="default", name="settings")


class Data(KubeObject):
    data: dict[str, str] = {}


def watching(client, **selection: str) -> aclosing[AsyncGenerator[Event[Data]]]:
    return aclosing(client.watch(CONFIG_MAPS, Data, namespace="default", **selection))


async def until(events: AsyncGenerator[Event[Data]], kind: type) -> Event[Data]:
    with anyio.fail_after(10):
        async for event in events:
            if isinstance(event, kind):
                return event
    raise AssertionError("the watch ended")


async def test_it_lists_in_pages_then_tells_changes(one_member, config_map) -> None:
    async with one_member() as one, one.client() as client:
        for number in range(5):  # pages hold two
            await client.create(config_map(f"m-{number}"))
        async with watching(client) as events:
            listed = await until(events, Synced)
            assert len(listed.items) == 5
            await until(events, Connected)
            await client.create(config_map(a="1"))
            assert (await until(events, Changed)).object.data == {"a": "1"}
            await client.merge_patch(SETTINGS, {"data": {"a": "2"}})
            assert (await until(events, Changed)).object.data == {"a": "2"}
            await client.delete(SETTINGS)
            assert (await until(events, Gone)).object.key == ("default", "settings")


async def test_what_leaves_the_selection_is_gone(one_member, config_map) -> None:
    async with one_member() as one, one.client() as client:
        await client.create(config_map(labels={"app": "web"}))
        async with watching(client, selector="app=web") as events:
            await until(events, Connected)
            await client.merge_patch(SETTINGS, {"metadata": {"labels": {"app": "db"}}})
            assert (await until(events, Gone)).object.key == ("default", "settings")


async def test_after_a_cut_it_goes_on_without_a_new_list(one_member, config_map) -> None:
    async with one_member() as one, one.client() as client, watching(client) as events:
        await until(events, Connected)
        await one.member.pause()
        assert isinstance((await until(events, Disconnected)).error, MemberUnavailable)
        one.member.registry.create(
            one.member.catalogue.find("", "v1", "configmaps"),
            "default",
            config_map(a="1"),
            Write("test", "", False, False),
        )
        await one.member.resume()
        with anyio.fail_after(10):
            async for event in events:
                assert not isinstance(event, Synced)
                if isinstance(event, Changed):
                    break
        assert event.object.data == {"a": "1"}


async def test_a_forgotten_version_is_listed_again(one_member, config_map) -> None:
    async with one_member() as one, one.client() as client:
        gone = one.member.faults.answer(410, path="watch=true", times=3)
        async with watching(client) as events:
            for _ in range(3):
                await until(events, Synced)
            await until(events, Connected)
        assert gone.hits == 3


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
async def test_a_refused_watch_is_tried_again(one_member, config_map, status: int) -> None:
    async with one_member() as one, one.client() as client:
        one.member.faults.answer(status, path="configmaps", times=2)
        async with watching(client) as events:
            await until(events, Disconnected)
            await until(events, Disconnected)
            await until(events, Synced)


@pytest.mark.parametrize("fault", ["reset", "rubbish"])
async def test_a_broken_watch_is_tried_again(one_member, config_map, fault: str) -> None:
    async with one_member() as one, one.client() as client:
        getattr(one.member.faults, fault)(path="watch=true", times=3)
        async with watching(client) as events:
            await until(events, Disconnected)
            await until(events, Connected)
            await client.create(config_map(a="1"))
            await until(events, Changed)


async def test_a_silent_watch_is_given_up(one_member, config_map) -> None:
    async with one_member() as one:
        options = WatchOptions(page=2, backoff=QUICK, silence=0.2)
        async with one.client(options=options) as client, watching(client) as events:
            await until(events, Connected)
            assert "no answer in time" in str((await until(events, Disconnected)).error)
            await client.create(config_map(a="1"))
            await until(events, Changed)


async def test_a_watch_that_brings_nothing_again_and_again_is_listed_anew(one_member, config_map) -> None:
    """Of a server restored from a backup: a watch from a version that it has not reached yet is silent."""
    async with one_member() as one:
        options = WatchOptions(page=2, backoff=QUICK, silence=0.2)
        async with one.client(options=options) as client, watching(client) as events:
            await until(events, Synced)
            await client.create(config_map(a="1"))
            await until(events, Changed)
            listed = await until(events, Synced)
            assert [item.data for item in listed.items if item.key[1] == "settings"] == [{"a": "1"}]


async def test_a_watch_that_the_server_ends_is_renewed(one_member, config_map) -> None:
    async with one_member() as one:
        options = WatchOptions(page=2, backoff=QUICK, lasts=1.0)
        async with one.client(options=options) as client, watching(client) as events:
            await until(events, Connected)
            await until(events, Connected)
            await client.create(config_map(a="1"))
            await until(events, Changed)


# -- any bytes -------------------------------------------------------------------------------------------------

LIST = {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": []}


def line(kind: str, name: str, **metadata: str) -> bytes:
    told = {"name": name, "namespace": "default", "resourceVersion": "7", **metadata}
    return json.dumps({"type": kind, "object": {"metadata": told}}, ensure_ascii=False).encode() + b"\n"


class Stream:
    """A member whose first watches bring these pieces, and whose others bring nothing."""

    def __init__(self, *pieces: bytes, times: int = 1) -> None:
        self.pieces = pieces
        self.times = times
        self.versions: list[str] = []
        self.lists = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            self.lists += 1
            return web.json_response(LIST)
        self.versions.append(request.query["resourceVersion"])
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in self.pieces if len(self.versions) <= self.times else ():
            await response.write(piece)
            await asyncio.sleep(0)
        return response


@asynccontextmanager
async def streaming(one_member, serving, stream: Stream) -> AsyncIterator[AsyncGenerator[Event[Data]]]:
    async with one_member() as one, serving(stream.answer) as url, one.client() as client:
        client._transport._connections.host = url
        async with watching(client) as events:
            yield events


async def test_events_may_be_cut_anywhere(one_member, serving) -> None:
    """In the middle of a line, of a name, of one letter's bytes; many may come in one piece."""
    whole = b"".join(line("ADDED", f"größe-{n}") for n in range(4)) + b"\n" + line("DELETED", "größe-0")
    dice = random.Random(7)
    for _ in range(12):
        cuts = sorted(dice.sample(range(1, len(whole)), dice.randrange(1, 40)))
        pieces = [whole[a:b] for a, b in itertools.pairwise([0, *cuts, len(whole)])]
        async with streaming(one_member, serving, Stream(*pieces)) as events:
            names = [(await until(events, Changed)).object.key[1] for _ in range(4)]
            assert names == [f"größe-{n}" for n in range(4)]
            assert (await until(events, Gone)).object.key[1] == "größe-0"


@pytest.mark.parametrize(
    ("piece", "said"),
    [
        (line("ADDED", "b")[:-9], "ends in the middle of an event"),
        (b"{\n", "not what Kubernetes answers"),
        (b'{"type":"ADDED"}\n', "not what Kubernetes answers (object: Field required)"),
        (b'{"type":"ADDED","object":{"metadata":{}}}\n', "metadata.name"),
        (b"<html>502</html>\n", "not what Kubernetes answers"),
        (b"\xff\xfe\n", "not what Kubernetes answers"),
        (line("EXPLODED", "b"), "an event of type 'EXPLODED'"),
        (b'{"type":"ERROR","object":{"code":500,"message":"etcd is away"}}\n', "etcd is away"),
        (b'{"type":"ERROR","object":{}}\n', "HTTP 500"),
    ],
)
async def test_what_is_no_event_is_said_and_what_came_before_is_kept(one_member, serving, piece, said: str) -> None:
    stream = Stream(line("ADDED", "a"), piece)
    async with streaming(one_member, serving, stream) as events:
        assert (await until(events, Changed)).object.key[1] == "a"
        assert said in str((await until(events, Disconnected)).error)
        await until(events, Connected)
    assert stream.versions == ["1", "7"]


async def test_an_event_without_an_end_is_given_up(one_member, serving, monkeypatch) -> None:
    monkeypatch.setattr(watch, "MAX_LINE", 100_000)
    async with streaming(one_member, serving, Stream(b'{"type":"ADDED' + b"x" * 300_000)) as events:
        assert "longer than 100000 bytes" in str((await until(events, Disconnected)).error)


@pytest.mark.parametrize("code", [410, 504])
async def test_a_version_that_is_too_old_or_too_new_leads_to_a_list(one_member, serving, code: int) -> None:
    """410 in the stream lists at once; "too large resource version" only when it is said again and again."""
    error = b'{"type":"ERROR","object":{"code":%d,"message":"the resource version"}}\n' % code
    stream = Stream(error, times=99)
    async with streaming(one_member, serving, stream) as events:
        await until(events, Synced)
        await until(events, Synced)
        assert stream.lists == 2


async def test_bookmarks_move_the_version_on(one_member, serving) -> None:
    bookmark = b'{"type":"BOOKMARK","object":{"metadata":{"resourceVersion":"99"}}}\n'
    stream = Stream(bookmark)
    async with streaming(one_member, serving, stream) as events:
        await until(events, Connected)
        await until(events, Connected)
    assert stream.versions == ["1", "99"]


async def test_a_hung_list_ends_in_time(one_member) -> None:
    async with one_member() as one:
        one.member.faults.hang(path="configmaps", times=1)
        async with one.client(timeouts=Timeouts(connect=0.1, read=0.1)) as client, watching(client) as events:
            assert isinstance((await until(events, Disconnected)).error, MemberUnavailable)
            await until(events, Synced)


async def test_a_resource_that_is_not_served_is_said_to_be_absent(one_member) -> None:
    toasters = Resource("example.com", "v1", "Toaster", "toasters")
    async with one_member() as one, one.client() as client, aclosing(client.watch(toasters, Data)) as events:
        assert isinstance((await until(events, Disconnected)).error, NotFound)


async def test_a_resource_that_is_served_again_is_listed_again(one_member, config_map) -> None:
    """404 means "none of them" to whoever watches what may not exist: afterwards it needs the whole again."""
    async with one_member() as one, one.client() as client:
        await client.create(config_map(a="1"))
        async with watching(client) as events:
            await until(events, Connected)
            one.member.faults.answer(404, path="configmaps", times=1)
            await one.member.pause()
            await one.member.resume()
            while not isinstance((await until(events, Disconnected)).error, NotFound):
                pass
            listed = await until(events, Synced)
            assert [item.data for item in listed.items if item.metadata.name == "settings"] == [{"a": "1"}]


@pytest.mark.parametrize("kind", ["", "CHANGED", "added"])
async def test_an_event_of_an_unknown_type_changes_nothing(one_member, config_map, kind: str) -> None:
    line = b'{"type":"%s","object":{"metadata":{"name":"phantom","resourceVersion":"1"}}}\n' % kind.encode()
    async with one_member() as one, one.client() as client:
        one.member.faults.rubbish(path="watch=true", times=1, body=line)
        async with watching(client) as events:
            assert isinstance((await until(events, Disconnected)).error, MemberUnavailable)
            await until(events, Connected)
            await client.create(config_map(a="1"))
            assert (await until(events, Changed)).object.data == {"a": "1"}
