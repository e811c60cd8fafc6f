"""docs/messages.md is true: what it shows of NATS' command line and of a shell works, word for word.

The command line's lines are carried out over a socket by hand, as they would be by any client that knows NATS' protocol
and nothing of brim. tests/clients has the command line itself, and another language.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest

from tests.e2e.harness import QWEN3, WAIT
from tests.e2e.messages_page import POLICY, blocks, lines, qwen3, refused, run

BASH = shutil.which("bash")


@dataclass
class Client:
    """NATS' text protocol and nothing else."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    _inboxes: int = 0
    _heard: dict[str, list[bytes]] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str) -> AsyncIterator[Client]:
        address = urlsplit(url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        assert (await reader.readline()).startswith(b"INFO {")
        writer.write(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        try:
            yield cls(reader, writer)
        finally:
            writer.close()
            await writer.wait_closed()

    def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        self.writer.write(b"PUB %s %d\r\n%s\r\n" % (f"{subject} {reply}".strip().encode(), len(payload), payload))

    async def subscribe(self, subject: str) -> None:
        """Heard is what is published after this returns."""
        self._inboxes += 1
        self.writer.write(f"SUB {subject} {self._inboxes}\r\nPING\r\n".encode())
        await self._until(lambda line: line.startswith(b"PONG"))

    async def heard(self) -> tuple[str, bytes]:
        """The next message: its subject and payload."""
        line = await self._until(lambda line: line.startswith((b"MSG ", b"HMSG ")))
        words = line.split()
        headers = int(words[-2]) if words[0] == b"HMSG" else 0
        body = await self.reader.readexactly(int(words[-1]) + 2)
        return words[1].decode(), body[headers:-2]

    async def request(self, subject: str, payload: bytes) -> bytes:
        inbox = f"_INBOX.{self._inboxes}"
        await self.subscribe(inbox)
        self.publish(subject, payload, inbox)
        with anyio.fail_after(WAIT):
            while True:
                on, answer = await self.heard()
                if on == inbox:
                    return answer

    async def _until(self, wanted) -> bytes:
        with anyio.fail_after(WAIT):
            while True:
                line = await self.reader.readline()
                assert line, "the server closed the connection"
                assert not line.startswith(b"-ERR"), line
                if line.startswith(b"PING"):
                    self.writer.write(b"PONG\r\n")
                if wanted(line):
                    return line


async def carried_out(client: Client, line: str, folder: Path) -> bytes:
    """What the command line of NATS does for one of the page's lines."""
    _, verb, *words = shlex.split(line.replace(f"$(cat {POLICY})", "{policy}"))
    words = [word.replace("{policy}", (folder / POLICY).read_text()) for word in words]
    match verb, words:
        case "request", [subject, payload]:
            return await client.request(subject, payload.encode())
        case "publish", [subject, payload]:
            client.publish(subject, payload.encode())
            return b""
        case "stream", ["get", stream, last]:
            query = json.dumps({"last_by_subj": last.removeprefix("--last-for=")}).encode()
            return await client.request(f"$JS.API.STREAM.MSG.GET.{stream}", query)
    raise AssertionError(f"nobody has said what this does: {line}")


async def test_a_socket_will_do(tmp_path: Path) -> None:
    request, publish, rejected, decided, follow, scale, cordon = lines("nats ")
    async with qwen3(tmp_path) as (play, url), Client.connect(url) as client, Client.connect(url) as follower:
        await follower.subscribe(shlex.split(follow)[-1])
        accepted = json.loads(await carried_out(client, request, tmp_path))
        assert [(one["ref"]["name"], one["change"]) for one in accepted["accepted"]] == [("vllm-deploy-pp", "created")]
        with anyio.fail_after(WAIT):
            subject, placement = await follower.heard()
        assert subject == decided.partition("--last-for='")[2].rstrip("'")
        assert [share["member"] for share in json.loads(placement)["shares"]] == ["idc"]
        await play.eventually(lambda: play.ready("test", "qwen3", "idc") == 2)
        stored = json.loads(await carried_out(client, decided, tmp_path))
        assert stored["message"]["subject"] == subject

        assert json.loads(await carried_out(client, scale, tmp_path))["accepted"][0]["change"] == "scaled"
        await play.eventually(lambda: play.ready("test", "qwen3", "ack") == 2)
        assert json.loads(await carried_out(client, cordon, tmp_path))["accepted"][0]["change"] == "cordoned"

        (tmp_path / POLICY).write_text("kind: PropagationPolicy\n")
        await carried_out(client, publish, tmp_path)
        await refused(play)
        answer = json.loads(await carried_out(client, rejected, tmp_path))
        assert answer["message"]["subject"] == "brim.rejected.scheduler"


@pytest.mark.skipif(BASH is None, reason="bash is not installed")
async def test_a_shell_will_do(tmp_path: Path) -> None:
    (script,) = blocks("bash")
    (tmp_path / "ask.sh").write_text(script, encoding="utf-8")
    apply, read = lines("bash ask.sh")
    async with qwen3(tmp_path) as (play, url):
        accepted = json.loads(await run(apply, tmp_path, url))
        assert [(one["ref"]["name"], one["change"]) for one in accepted["accepted"]] == [("vllm-deploy-pp", "created")]
        await play.decided(QWEN3, lambda placement: placement.wanted == 2)
        assert [share["member"] for share in json.loads(await run(read, tmp_path, url))["shares"]] == ["idc"]
        (tmp_path / POLICY).write_text("kind: Prop\u00e4gation")
        refused = json.loads(await run(apply, tmp_path, url))
        assert [fault["field"] for fault in refused["faults"]] == ["apiVersion", "kind", "metadata"]
