"""kubeconfig contexts: tokens, token files, credential plugins, certificates, and what is wrong with them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from shared.clock import rfc3339
from shared.errors import MemberUnavailable, Misconfigured, Refused
from shared.kube import MemberClient


@asynccontextmanager
async def api(accepts: Callable[[str], bool]):
    """The least of an API server: /version for whoever shows an accepted Authorization header."""
    seen: list[str] = []

    async def version(request: web.Request) -> web.Response:
        header = request.headers.get("Authorization", "")
        seen.append(header)
        if not accepts(header):
            body = {"kind": "Status", "reason": "Unauthorized", "message": "Unauthorized", "code": 401}
            return web.json_response(body, status=401)
        return web.json_response({"gitVersion": "v1.36.0"})

    app = web.Application()
    app.router.add_get("/version", version)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", seen
    finally:
        await runner.cleanup()


@pytest.fixture
def kubeconfig(tmp_path: Path):
    def write(url: str, user: dict[str, Any]) -> Path:
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "ctx", "context": {"cluster": "c", "user": "u"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    return write


@pytest.fixture
def plugin(tmp_path: Path):
    """A credential plugin that hands out token-1, token-2, … and counts its runs in a file."""

    def make(lasts: float | None, *, fails: bool = False) -> tuple[dict[str, Any], Callable[[], int]]:
        count = tmp_path / "runs"
        expiry = rfc3339(time.time() + lasts) if lasts is not None else None
        script = tmp_path / "plugin.py"
        script.write_text(
            "import json, pathlib, sys\n"
            f"path = pathlib.Path({str(count)!r})\n"
            "run = int(path.read_text()) + 1 if path.exists() else 1\n"
            "path.write_text(str(run))\n"
            f"if {fails!r}: sys.exit('log in first')\n"
            "status = {'token': f'token-{run}'}\n"
            f"if {expiry!r}: status['expirationTimestamp'] = {expiry!r}\n"
            "api = 'client.authentication.k8s.io/v1'\n"
            "print(json.dumps({'apiVersion': api, 'kind': 'ExecCredential', 'status': status}))\n",
            encoding="utf-8",
        )
        run = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(script)],
            "interactiveMode": "Never",
        }
        return {"exec": run}, lambda: int(count.read_text()) if count.exists() else 0

    return make


def connect(path: Path, context: str = "ctx"):
    return MemberClient.connect(member="idc", context=context, kubeconfig=path)


async def test_a_token(kubeconfig) -> None:
    async with (
        api(lambda header: header == "Bearer secret") as (url, _),
        connect(kubeconfig(url, {"token": "secret"})) as client,
    ):
        assert await client.ping() == "v1.36.0"


async def test_a_wrong_token_is_refused(kubeconfig) -> None:
    async with (
        api(lambda header: False) as (url, seen),
        connect(kubeconfig(url, {"token": "secret"})) as client,
    ):
        with pytest.raises(Refused) as raised:
            await client.ping()
        assert raised.value.code == "Unauthorized"
        assert len(seen) == 1  # read again, but it is the same token


async def test_a_plugins_token_is_used_again_and_again(kubeconfig, plugin) -> None:
    user, runs = plugin(3600.0)
    async with api(lambda header: header == "Bearer token-1") as (url, _), connect(kubeconfig(url, user)) as client:
        for _ in range(5):
            await client.ping()
        assert runs() == 1


async def test_a_plugins_token_is_replaced_before_it_expires(kubeconfig, plugin, monkeypatch) -> None:
    user, runs = plugin(3600.0)
    now = time.time()
    async with api(lambda header: True) as (url, seen), connect(kubeconfig(url, user)) as client:
        await client.ping()
        monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)
        monkeypatch.setattr("shared.kube.credentials.time.time", lambda: now + 3400)
        await asyncio.gather(client.ping(), client.ping(), client.ping())
        assert set(seen[1:]) == {"Bearer token-2"}
        assert runs() == 2


async def test_a_token_that_the_member_no_longer_takes_is_replaced(kubeconfig, plugin, monkeypatch) -> None:
    monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)
    user, runs = plugin(None)
    async with api(lambda header: header == "Bearer token-2") as (url, seen), connect(kubeconfig(url, user)) as client:
        assert await client.ping() == "v1.36.0"
        assert seen == ["Bearer token-1", "Bearer token-2"]
        assert runs() == 2


async def test_a_failing_plugin_is_no_answer_yet(kubeconfig, plugin) -> None:
    user, _ = plugin(None, fails=True)
    with pytest.raises(MemberUnavailable, match="log in first") as raised:
        async with connect(kubeconfig("http://127.0.0.1:1", user)):
            pass
    assert raised.value.code == "ExecPluginFailed"


async def test_a_token_file_is_read_again(kubeconfig, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)
    token = tmp_path / "token"
    token.write_text("old")
    async with (
        api(lambda header: header == "Bearer new") as (url, _),
        connect(kubeconfig(url, {"tokenFile": str(token)})) as client,
    ):
        token.write_text("new")
        assert await client.ping() == "v1.36.0"


async def test_what_is_wrong_with_a_kubeconfig_is_said(kubeconfig, tmp_path) -> None:
    path = kubeconfig("http://127.0.0.1:1", {})
    with pytest.raises(Misconfigured, match=r"member idc: context 'other' of .*kubeconfig"):
        async with connect(path, "other"):
            pass
    with pytest.raises(Misconfigured, match="there is no kubeconfig"):
        async with connect(tmp_path / "absent"):
            pass
    path.write_text("a: [")
    with pytest.raises(Misconfigured):
        async with connect(path):
            pass


async def test_the_environment_names_the_file(kubeconfig, monkeypatch) -> None:
    async with api(lambda header: True) as (url, _):
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(url, {})))
        async with MemberClient.connect(member="idc", context="ctx") as client:
            assert await client.ping() == "v1.36.0"


async def test_a_proxy_is_not_asked_for_this_machine(kubeconfig, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with api(lambda header: True) as (url, _), connect(kubeconfig(url, {})) as client:
        assert await client.ping() == "v1.36.0"
