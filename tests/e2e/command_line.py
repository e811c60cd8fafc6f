"""`brim …` as a person calls it, beside a brim under test."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from click.shell_completion import BashComplete
from click.testing import CliRunner
from pydantic import JsonValue

from cli import connection
from cli.connection import Connection
from cli.main import cli, run
from tests.e2e.harness import WAIT, Play


@dataclass(frozen=True, slots=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> JsonValue:
        found: JsonValue = json.loads(self.out)
        return found

    @property
    def rows(self) -> list[list[str]]:
        """The cells of a table without its heading."""
        return [line.split() for line in self.lines[1:]]


@dataclass(slots=True)
class Running:
    """A command that is still going on, with what it has printed so far. status: once it has ended."""

    out: str = ""
    err: str = ""
    status: int | None = None
    _more: asyncio.Event = field(default_factory=asyncio.Event)

    async def shows(self, text: str) -> None:
        """Wait until standard output holds a text."""
        await self._until(lambda: text in self.out, text)

    async def warns(self, text: str) -> None:
        """Wait until standard error holds a text."""
        await self._until(lambda: text in self.err, text)

    async def _until(self, condition: Callable[[], bool], what: str) -> None:
        with anyio.move_on_after(WAIT):
            while not condition():
                self._more.clear()
                await self._more.wait()
        assert condition(), f"never printed: {what!r}\n{self.out}{self.err}"

    async def read(self, stream: asyncio.StreamReader, standard: bool) -> None:
        while line := await stream.readline():
            if standard:
                self.out += line.decode()
            else:
                self.err += line.decode()
            self._more.set()


@dataclass(frozen=True, slots=True)
class CommandLine:
    """Runs commands against one brim. They have an event loop of their own, in a thread, as a process would."""

    data: Path

    @classmethod
    def of(cls, play: Play) -> CommandLine:
        """Finds the brim as `brim up` lets itself be found."""
        brim = play.stage.brim
        data = play.folder / "connection"
        clock = brim.clock
        connection.write(
            data,
            Connection(
                server=brim.settings.bus.urls[0], kubeconfig=brim.kubeconfig, speed=clock.speed, epoch=clock.epoch
            ),
        )
        return cls(data)

    async def __call__(self, *arguments: str, given: str = "") -> Result:
        return await asyncio.to_thread(self._run, [*arguments, "--data", str(self.data)], given)

    async def completes(self, *arguments: str) -> list[str]:
        """What a shell offers for the last of the arguments, which may be empty."""
        *before, incomplete = arguments
        command, *rest = before or [""]
        words = [command, "--data", str(self.data), *rest] if command else []
        completion = BashComplete(cli, {}, "brim", "_BRIM_COMPLETE")
        found = await asyncio.to_thread(completion.get_completions, words, incomplete)
        return [item.value for item in found]

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[Running]:
        """A command that goes on, in a process of its own; Ctrl-C ends it after the block."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "cli", *arguments, "--data", str(self.data)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # A shell's background job ignores Ctrl-C, and so would all that it starts.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        running = Running()
        assert process.stdout is not None
        assert process.stderr is not None
        readers = asyncio.gather(running.read(process.stdout, True), running.read(process.stderr, False))
        try:
            yield running
        finally:
            if process.returncode is None:
                process.send_signal(signal.SIGINT)
            try:
                with anyio.fail_after(WAIT):
                    await readers
                    running.status = await process.wait()
            except TimeoutError:
                process.kill()
                raise

    @staticmethod
    def _run(arguments: list[str], given: str) -> Result:
        runner = CliRunner()
        with runner.isolation(input=given) as (out, err, _):
            status = run(arguments)
        return Result(status, out.getvalue().decode(), err.getvalue().decode())
