"""The part of docs/messages.md that is for people with other clients, and the fleet that it speaks of."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import anyio

from cli.up import example
from tests.e2e.harness import WAIT, Play, playing

PAGE = (Path(__file__).parents[2] / "docs" / "messages.md").read_text(encoding="utf-8")
POLICY = "policy.yaml"


def blocks(language: str) -> list[str]:
    """Fenced examples of the part that is for people with other clients."""
    part = PAGE.partition("## Subjects")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", part, re.DOTALL | re.MULTILINE)


def lines(program: str) -> list[str]:
    return [line for block in blocks("sh") for line in block.splitlines() if line.startswith(program)]


@asynccontextmanager
async def qwen3(folder: Path) -> AsyncIterator[tuple[Play, str]]:
    """The fleet and the workload that the page speaks of, without a policy yet."""
    (policy,) = blocks("yaml")
    (folder / POLICY).write_text(policy, encoding="utf-8")
    async with playing(folder / "play", "hybrid.yaml") as play:
        (folder / "qwen3.yaml").write_text(example("qwen3.yaml"), encoding="utf-8")
        await play.apply("qwen3.yaml")
        yield play, play.stage.brim.settings.bus.urls[0]


async def refused(play: Play) -> None:
    """Wait until something that was published was refused."""
    with anyio.fail_after(WAIT):
        while True:
            if await play.bus.history("REJECTED", "brim.rejected.scheduler"):
                return
            await anyio.sleep(0.05)


def environment(folder: Path, url: str, programs: Sequence[Path] = ()) -> dict[str, str]:
    """With which the page's lines find a server, and no settings of whoever runs this. programs: first on the
    PATH."""
    address = urlsplit(url)
    path = os.pathsep.join([*(str(program.parent) for program in programs), os.environ["PATH"]])
    found = {"NATS_URL": url, "NATS_HOST": str(address.hostname), "NATS_PORT": str(address.port)}
    own = {name: value for name, value in os.environ.items() if not name.startswith("NATS_")}
    return {**own, **found, "PATH": path, "XDG_CONFIG_HOME": str(folder / "config")}


async def run(command: str, folder: Path, url: str, *programs: Path) -> str:
    """Standard output of one of the page's lines, in a shell, which has to succeed."""
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        cwd=folder,
        env=environment(folder, url, programs),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    with anyio.fail_after(WAIT):
        out, err = await process.communicate()
    assert process.returncode == 0, (command, out, err)
    return out.decode()
