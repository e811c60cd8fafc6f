"""The watch: the whole state first, then each change, whatever the member does."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import anyio
import pytest

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


async def test_a_watch_that_the_server_ends_is_renewed(one_member, config_map) -> None:
    async with one_member() as one:
        options = WatchOptions(page=2, backoff=QUICK, lasts=1.0)
        async with one.client(options=options) as client, watching(client) as events:
            await until(events, Connected)
            await until(events, Connected)
            await client.create(config_map(a="1"))
            await until(events, Changed)


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
