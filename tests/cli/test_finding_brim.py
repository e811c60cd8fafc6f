"""How a command finds the brim that is meant, and what it says when there is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from cli import connection
from cli.connection import Connection, Target
from cli.session import Session
from cli.up import claimed, clock_of, load_fleet
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts.cluster import cluster_of, strangers
from shared.errors import BusUnavailable, Misconfigured
from shared.fleet import Kubeconfig
from shared.settings import BusSettings, Settings

RUNNING = Connection(server="nats://127.0.0.1:4444", kubeconfig=Path("/data/kubeconfig"), speed=30, epoch=1000)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NATS_URL", raising=False)


def test_a_running_brim_is_found_in_the_data_folder(tmp_path: Path) -> None:
    connection.write(tmp_path, RUNNING)
    target = connection.find(Settings(data=tmp_path), server=None, data=None)
    assert target.settings.bus.urls == ["nats://127.0.0.1:4444"]
    assert target.kubeconfig == Path("/data/kubeconfig")
    assert (target.clock.speed, target.clock.epoch) == (30, 1000)


def test_without_one_the_remedy_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"no brim runs in .*: start one with `brim up`, or name a NATS server"):
        connection.find(Settings(data=tmp_path), server=None, data=None)


def test_a_server_on_the_command_line_wins(tmp_path: Path) -> None:
    connection.write(tmp_path, RUNNING)
    target = connection.find(Settings(data=tmp_path), server="nats://elsewhere:4222", data=None)
    assert target.settings.bus.urls == ["nats://elsewhere:4222"]
    assert target.kubeconfig is None
    assert target.clock.speed == 1.0


def test_a_server_in_the_environment_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URL", "nats://env:4222")
    assert connection.find(Settings(data=tmp_path), server=None, data=None).settings.bus.urls == ["nats://env:4222"]


def test_a_broken_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / connection.FILE).write_text("{", encoding="utf-8")
    with pytest.raises(Misconfigured, match="cannot be read"):
        connection.find(Settings(data=tmp_path), server=None, data=None)


async def test_a_server_that_does_not_answer_is_named(tmp_path: Path, unused_tcp_port: int) -> None:
    url = f"nats://127.0.0.1:{unused_tcp_port}"
    target = connection.find(Settings(data=tmp_path, bus=BusSettings()), server=url, data=None)
    with pytest.raises(BusUnavailable, match=f"no NATS server answers at {url} .*`brim up` starts it"):
        async with connection.connect(target, timeout=0.3):
            pass


def test_fleet_time_goes_on_after_a_restart(tmp_path: Path) -> None:
    first = clock_of(tmp_path, 30.0)
    again = clock_of(tmp_path, None)
    assert (again.speed, again.epoch) == (30.0, first.epoch)
    assert again.now() >= first.epoch


def test_the_speed_of_a_folder_cannot_change(tmp_path: Path) -> None:
    clock_of(tmp_path, 30.0)
    with pytest.raises(Misconfigured, match="runs at speed 30, and cannot be changed to 10"):
        clock_of(tmp_path, 10.0)


def test_the_default_fleet_is_packaged() -> None:
    assert [member.id for member in load_fleet(None).members] == ["idc", "ack"]


def claim(folder: Path) -> None:
    with claimed(folder):
        pass


def test_a_second_brim_in_one_folder_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    """From its first moment on: long before the first lets itself be found."""
    with claimed(tmp_path):
        with pytest.raises(Misconfigured, match=r"brim already runs in .*: stop it, or choose another folder"):
            claim(tmp_path)
        connection.write(tmp_path, RUNNING.model_copy(update={"pid": os.getpid()}))
        with pytest.raises(Misconfigured, match=rf"brim already runs in .* \(process {os.getpid()}\)"):
            claim(tmp_path)
    claim(tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="file/data cannot be used: Not a directory; choose another with --data"):
        claim(tmp_path / "file" / "data")


def test_a_brim_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    connection.write(tmp_path, RUNNING.model_copy(update={"pid": gone.pid}))
    with pytest.raises(Misconfigured, match=f"brim no longer runs in .* process {gone.pid} ended .* `brim up --data"):
        connection.find(Settings(data=tmp_path), server=None, data=None)


@pytest.mark.parametrize("address", ["http://x:4222", "nats://", "nats://x:port", "nats://x:99999", "nats://a,ftp://b"])
def test_what_is_no_address_of_a_nats_server_is_refused_at_once(tmp_path: Path, address: str) -> None:
    with pytest.raises(Misconfigured, match=r"^--server .* is no address of a NATS server: give one such as nats://"):
        connection.find(Settings(data=tmp_path), server=address, data=None)


@pytest.mark.parametrize("address", ["host", "host:4222", "nats://user:word@host:4222", "tls://[::1]:1,ws://b"])
def test_addresses_of_nats_servers(tmp_path: Path, address: str) -> None:
    assert connection.find(Settings(data=tmp_path), server=address, data=None).settings.bus.url == address


def test_members_of_an_earlier_fleet_file_are_told_of() -> None:
    known = [cluster_of(member, Kubeconfig(context=member.id)) for member in load_fleet(None).members]
    assert strangers(known, {"ack", "idc", "new"}) is None
    assert strangers(known, {"idc"}) == (
        "Not in this fleet file, but known from before: ack. Where one is gone for good: brim delete cluster ack"
    )


async def test_a_service_that_starts_just_now_is_waited_for(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(bus, Clock(), Target(Settings(), Clock(), None, "the test"))
    asked_in_vain = anyio.Event()
    monkeypatch.setattr("cli.connection.NOTICE", 0.0)
    monkeypatch.setattr("cli.session.warn", lambda _: asked_in_vain.set())

    async def answer(message: Message) -> bytes:
        return b"here: " + message.data

    async def serve_then() -> None:
        await asked_in_vain.wait()
        await bus.serve("brim.test.ask", answer)

    async with anyio.create_task_group() as group:
        group.start_soon(serve_then)
        assert await session.ask("brim.test.ask", b"x", timeout=5.0) == b"here: x"
        group.cancel_scope.cancel()


async def test_a_service_that_never_comes_is_said(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.session.UNSERVED", 0.2)
    session = Session(bus, Clock(), Target(Settings(), Clock(), None, "the test"))
    with pytest.raises(BusUnavailable, match=r"no service answers on brim\.test\.ask"):
        await session.ask("brim.test.ask", b"x", timeout=5.0)
