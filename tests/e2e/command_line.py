"""`brim …` as a person calls it, beside a brim under test."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner
from pydantic import JsonValue

from cli import connection
from cli.connection import Connection
from cli.main import run
from tests.e2e.harness import Play


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

    @staticmethod
    def _run(arguments: list[str], given: str) -> Result:
        runner = CliRunner()
        with runner.isolation(input=given) as (out, err, _):
            status = run(arguments)
        return Result(status, out.getvalue().decode(), err.getvalue().decode())
