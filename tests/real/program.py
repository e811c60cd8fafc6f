"""Programs of other people's that tests run on this machine, and where they listen."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from shared.child_process import dying_with_us

HOST = "127.0.0.1"
STOP = 20.0  # seconds until a program is killed
LOG_LINES = 15  # of a log that an error shows


class Started(ABC):
    """`with` it, or `start` and `stop` it. What starts only half is stopped as well."""

    @abstractmethod
    def start(self) -> None: ...

    @abstractmethod
    def stop(self) -> None: ...

    def __enter__(self) -> Self:
        with ExitStack() as half:
            half.callback(self.stop)
            self.start()
            half.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Program:
    """One process, whose output goes to a file. environment: beside the PATH, and a home in the folder."""

    def __init__(
        self, name: str, command: list[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._command = command
        self._environment = environment or {}
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                dying_with_us(self._command),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder), **self._environment},
            )

    def check(self) -> None:
        """Raises RuntimeError with the end of its log where it has ended."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise RuntimeError(f"{self.name} ended with status {status}: {self.said()}")

    def said(self) -> str:
        return end_of(self._log.read_text(encoding="utf-8", errors="replace"))

    def stop(self, *, kill: bool = False) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_of(log: str) -> str:
    """What an error shows of it."""
    return "\n".join(log.splitlines()[-LOG_LINES:])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
