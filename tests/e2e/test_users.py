"""Each service as a user of its own, people as another, of a server that lets each do what it needs and no more.

`deploy/nats/nats-server.conf` itself; tests/deploy says what it refuses.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from cli.demo import descheduling
from cli.demo.play import SCENARIOS
from shared.contracts.catalogue import EXECUTOR, PEOPLE
from shared.settings import Settings
from tests.deploy.limited import LimitedServer, limited, password
from tests.e2e.harness import Play
from tests.e2e.processes import ROOT, in_processes

COMMANDS = (
    "get clusters",
    "get deployments -A",
    "get placements -A",
    "get policies -A",
    "get pods -n test",
    "get costs -A",
    "describe deployment qwen3 -n test",
    "describe cluster ack",
    "explain deployment qwen3 -n test",
    "trace deployment qwen3 -n test",
    "events",
    "rejected",
    "rollout status deployment qwen3 -n test",
    "rollout history deployment qwen3 -n test",
    "ceiling deployment qwen3 -n test --per-hour 99",
    "plan -f examples/qwen3.yaml -f examples/qwen3-hybrid-policies.yaml",
    "scale deployment qwen3 -n test --replicas 3",
    "rebalance deployment qwen3 -n test",
    "rollout restart deployment qwen3 -n test",
    "cordon ack",
    "uncordon ack",
    "delete deployment qwen3 -n test",
)


@dataclass(frozen=True, slots=True)
class Limited:
    """A brim whose services are users of `server`, and where `play` is one of the people."""

    play: Play
    server: LimitedServer

    async def says(self, command: str) -> str:
        """What `brim …` prints, which must go well."""
        status, said = await brim(self.server, command)
        assert status == 0, f"brim {command}: {said}"
        return said

    async def all_members_are_there(self) -> None:
        async with asyncio.timeout(self.play.wait):
            while True:
                _, *members = (await self.says("get clusters")).strip().splitlines()
                if members and all("Ready" in member for member in members):
                    return
                await anyio.sleep(0.1)

    def nothing_was_refused(self) -> None:
        assert [line for line in self.server.log_file.read_text().splitlines() if "Violation" in line] == []


@asynccontextmanager
async def as_users(folder: Path, fleet_file: str) -> AsyncIterator[Limited]:
    async with (
        limited(folder / "server") as server,
        in_processes(
            folder, fleet_file=fleet_file, settings=Settings(bus=server.settings(PEOPLE)), environment=who
        ) as (play, _),
    ):
        it = Limited(play, server)
        await it.all_members_are_there()
        yield it


def who(user: str, secret: str = "") -> Mapping[str, str]:
    return {"BRIM_BUS__USER": user, "BRIM_BUS__PASSWORD": secret or password(user)}


async def brim(server: LimitedServer, command: str, user: str = PEOPLE, secret: str = "") -> tuple[int, str]:
    """`brim …` as somebody outside calls it: the exit status, and all that is printed."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("BRIM_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cli", *command.split()),
        env=own | {"BRIM_BUS__URL": server.url, "BRIM_HEALTH__PORT": "0"} | (who(user, secret) if user else {}),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_stuck_replica_is_rescued_and_people_read_and_change_what_they_may(tmp_path: Path) -> None:
    async with as_users(tmp_path, "hybrid.yaml") as it:
        await descheduling.play(it.play.stage)
        await it.says("apply -f examples/qwen3.yaml -f examples/qwen3-hybrid-policies.yaml")
        await it.play.eventually(lambda: it.play.ready("test", "qwen3", "ack") == 2)
        for command in COMMANDS:
            assert await it.says(command), command
        await it.play.eventually(lambda: not it.play.held("test", "qwen3", "ack"))
        it.nothing_was_refused()


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param("burst", id="pods are bound"),
        pytest.param("rollout", id="steps are approved, and versions undone"),
    ],
)
async def test_a_scenario_is_played(tmp_path: Path, scenario: str) -> None:
    chosen = SCENARIOS[scenario]
    async with as_users(tmp_path, chosen.fleet) as it:
        for _, act in chosen.acts:
            await act(it.play.stage)
        it.nothing_was_refused()


@pytest.mark.parametrize(
    ("user", "secret", "command", "sentence"),
    [
        pytest.param(PEOPLE, "wrong", "get clusters", "does not let user 'people' in: check", id="a wrong password"),
        pytest.param("", "", "get clusters", "lets nobody in without a name: set BRIM_BUS__USER", id="no name at all"),
        pytest.param("nobody", "x", "get clusters", "does not let user 'nobody' in: check", id="a user there is not"),
        pytest.param(
            "descheduler",
            "",
            "apply -f examples/qwen3.yaml",
            "does not let user 'descheduler' publish on brim.apply: connect as a user who may",
            id="a service's name",
        ),
    ],
)
async def test_whoever_is_refused_reads_one_sentence_at_once(
    tmp_path: Path, user: str, secret: str, command: str, sentence: str
) -> None:
    async with limited(tmp_path) as server, asyncio.timeout(120):
        status, said = await brim(server, command, user, secret)
    assert status == 1
    (line,) = said.splitlines()
    assert line.startswith(f"Error: NATS at {server.url} {sentence}")


async def test_a_service_with_a_wrong_password_says_so_and_ends(tmp_path: Path) -> None:
    async with limited(tmp_path) as server, asyncio.timeout(120):
        status, said = await brim(server, "run executor", EXECUTOR, "wrong")
    assert status == 2
    (entry,) = (entry for entry in map(json.loads, said.splitlines()) if entry["level"] == "error")
    assert entry["code"] == "NotLetIn"
    assert entry["message"].startswith(f"NATS at {server.url} does not let user 'executor' in: check BRIM_BUS__USER")
