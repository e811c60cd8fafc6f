"""How a command finds the brim that is meant, and what it says when there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cli import connection
from cli.connection import Connection
from cli.up import clock_of, load_fleet, refuse_second
from shared.errors import BusUnavailable, Misconfigured
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


def test_a_second_brim_in_one_folder_is_refused(tmp_path: Path) -> None:
    connection.write(tmp_path, RUNNING.model_copy(update={"pid": os.getppid()}))
    with pytest.raises(Misconfigured, match="brim already runs in"):
        refuse_second(tmp_path)
