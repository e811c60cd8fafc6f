"""docs/messages.md is true for the clients that it names: NATS' own command line, and Node.js."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from shared.contracts.catalogue import PEOPLE
from tests.clients import programs
from tests.deploy.limited import password
from tests.e2e.harness import QWEN3, WAIT
from tests.e2e.messages_page import POLICY, blocks, environment, lines, qwen3, refused, run
from tests.e2e.test_users import as_users
from tests.real.golang import Missing

pytestmark = pytest.mark.clients


@pytest.fixture
def nats() -> Path:
    try:
        return programs.nats()
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """With the page's script beside the library that it imports."""
    try:
        program, modules = programs.node()
    except Missing as missing:
        pytest.skip(str(missing))
    (script,) = blocks("js")
    (tmp_path / "ask.mjs").write_text(script, encoding="utf-8")
    (tmp_path / "node_modules").symlink_to(modules, target_is_directory=True)
    return program


@asynccontextmanager
async def follows(line: str, folder: Path, url: str, program: Path) -> AsyncIterator[asyncio.StreamReader]:
    """What one of the page's lines that go on prints while the block runs. It hears all that is published in it."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"exec {line}"),
        env=environment(folder, url, [program]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        await heard(process.stdout, "Subscribing on")
        yield process.stdout
    finally:
        process.kill()
        await process.wait()


async def heard(said: asyncio.StreamReader, text: str) -> str:
    """Wait for a line with that text."""
    with anyio.fail_after(WAIT):
        while line := (await said.readline()).decode():
            if text in line:
                return line
    pytest.fail(f"it ended without a line with {text!r}")


async def test_the_nats_command_line_will_do(nats: Path, tmp_path: Path) -> None:
    request, publish, rejected, decided, follow, scale, cordon = lines("nats ")
    async with qwen3(tmp_path) as (play, url), follows(follow, tmp_path, url, nats) as said:
        assert "vllm-deploy-pp" in await run(request, tmp_path, url, nats)
        await play.eventually(lambda: play.ready("test", "qwen3", "idc") == 2)
        assert '"member":"idc"' in await run(decided, tmp_path, url, nats)
        assert '"scaled"' in await run(scale, tmp_path, url, nats)
        await play.eventually(lambda: play.ready("test", "qwen3", "ack") == 2)
        await heard(said, '"member":"idc"')
        assert '"member":"ack"' in await heard(said, '"wanted":4')
        assert '"cordoned"' in await run(cordon, tmp_path, url, nats)
        (tmp_path / POLICY).write_text("kind: PropagationPolicy")
        await run(publish, tmp_path, url, nats)
        await refused(play)
        assert "apiVersion" in await run(rejected, tmp_path, url, nats)


async def test_people_use_it_with_their_name_where_the_server_asks_for_one(nats: Path, tmp_path: Path) -> None:
    named = f"nats --user {PEOPLE} --password {password(PEOPLE)} "
    request, publish, rejected, decided, follow, scale, _ = [line.replace("nats ", named) for line in lines("nats ")]
    (policy,) = blocks("yaml")
    (tmp_path / POLICY).write_text(policy, encoding="utf-8")
    async with as_users(tmp_path, "hybrid.yaml") as it, follows(follow, tmp_path, it.server.url, nats) as said:
        await it.says("apply -f examples/qwen3.yaml")
        assert "vllm-deploy-pp" in await run(request, tmp_path, it.server.url, nats)
        await it.play.eventually(lambda: it.play.ready("test", "qwen3", "idc") == 2)
        assert '"member":"idc"' in await run(decided, tmp_path, it.server.url, nats)
        assert '"scaled"' in await run(scale, tmp_path, it.server.url, nats)
        await heard(said, '"wanted":4')
        (tmp_path / POLICY).write_text("kind: PropagationPolicy")
        await run(publish, tmp_path, it.server.url, nats)
        await refused(it.play)
        assert "apiVersion" in await run(rejected, tmp_path, it.server.url, nats)
        it.nothing_was_refused()


async def test_a_script_of_ten_lines_in_another_language_will_do(node: Path, tmp_path: Path) -> None:
    (command,) = lines("node ")
    async with qwen3(tmp_path) as (play, url):
        assert "change: 'created'" in await run(command, tmp_path, url, node)
        await play.decided(QWEN3, lambda placement: placement.wanted == 2)
        again = await run(command, tmp_path, url, node)
        assert "change: 'unchanged'" in again
        assert "member: 'idc'" in again
        (tmp_path / POLICY).write_text(json.dumps({"kind": "PropagationPolicy"}))
        assert "field: 'apiVersion'" in await run(command, tmp_path, url, node)
