"""kubeconfig contexts: tokens, token files, credential plugins, certificates, and what is wrong with them."""

from __future__ import annotations

import asyncio
import os
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
from shared.kube.credentials import REREAD


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
        await client.ping()
        assert "Bearer token-2" in seen[1:-1]  # who renewed it; the others went on with what still was good
        assert seen[-1] == "Bearer token-2"
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


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("print('hunter2')", "did not answer with an ExecCredential"),
        ("print('[]')", "did not answer with an ExecCredential"),
        ('print(\'{"apiVersion": "v9", "status": {"token": "hunter2"}}\')', "speaks v9"),
        ('print(\'{"apiVersion": "v1", "status": {}}\')', "neither a token nor a certificate"),
        ("import sys; sys.stderr.write('no' * 100_000); sys.exit(3)", "ended with status 3"),
        ("import time; time.sleep(600)", "did not answer in 0.5 s"),
    ],
    ids=["rubbish", "another form", "another version", "nothing", "many words", "a hang"],
)
async def test_a_plugin_that_does_not_do_its_work(kubeconfig, monkeypatch, caplog, script: str, said: str) -> None:
    monkeypatch.setattr("shared.kube.exec_plugin.TIMEOUT", 0.5 if "sleep" in script else 30.0)
    user = {"exec": {"apiVersion": "v1", "command": sys.executable, "args": ["-c", script]}}
    with pytest.raises(MemberUnavailable, match=said) as raised:
        async with connect(kubeconfig("http://127.0.0.1:1", user)):
            pass
    assert raised.value.code == "ExecPluginFailed"
    assert "hunter2" not in str(raised.value) + caplog.text


async def test_no_plugin_outlives_its_use(kubeconfig, monkeypatch, tmp_path, eventually) -> None:
    monkeypatch.setattr("shared.kube.exec_plugin.TIMEOUT", 1.0)
    told = tmp_path / "pid"
    script = f"import os, pathlib, time; pathlib.Path({str(told)!r}).write_text(str(os.getpid())); time.sleep(600)"
    user = {"exec": {"apiVersion": "v1", "command": sys.executable, "args": ["-c", script]}}
    with pytest.raises(MemberUnavailable):
        async with connect(kubeconfig("http://127.0.0.1:1", user)):
            pass
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


async def test_a_plugin_gets_to_know_the_cluster_where_it_asks(kubeconfig, tmp_path) -> None:
    told = tmp_path / "told"
    script = (
        "import os, pathlib\n"
        f"pathlib.Path({str(told)!r}).write_text(os.environ['KUBERNETES_EXEC_INFO'] + os.environ['A'])\n"
        'print(\'{"apiVersion": "v1", "status": {"token": "t"}}\')'
    )
    run = {"apiVersion": "v1", "command": sys.executable, "args": ["-c", script], "env": [{"name": "A", "value": "b"}]}
    user = {"exec": {**run, "provideClusterInfo": True}}
    async with connect(kubeconfig("http://127.0.0.1:1", user)):
        assert '"server": "http://127.0.0.1:1"' in told.read_text()
        assert told.read_text().endswith("b")


async def test_a_plugins_certificate_is_used_and_not_left_behind(kubeconfig, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    own = Path(__file__).with_name("certificates") / "client-1.pem"
    status = f"dict(clientCertificateData=open({str(own)!r}).read(), clientKeyData=open({str(own)!r}).read())"
    script = f"import json; print(json.dumps(dict(apiVersion='v1', status={status})))"
    user = {"exec": {"apiVersion": "v1", "command": sys.executable, "args": ["-c", script]}}
    async with connect(kubeconfig("https://127.0.0.1:1", user)) as client:
        configuration = client._transport._credentials.configuration
        assert Path(configuration.cert_file).read_bytes() == own.read_bytes()
        assert Path(configuration.cert_file).parent.stat().st_mode & 0o077 == 0
    assert not Path(configuration.cert_file).exists()


async def test_no_folder_is_made_for_credentials_that_need_none(kubeconfig, monkeypatch, tmp_path) -> None:
    """A process that is killed takes nothing away after itself."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with connect(kubeconfig("http://127.0.0.1:1", {"token": "t"})):
        assert not list(tmp_path.glob("brim-*"))


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


async def test_a_token_file_is_read_again_before_its_token_ends(kubeconfig, tmp_path, monkeypatch) -> None:
    """A kubelet writes a service account's next token long before the old one ends."""
    monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)
    token = tmp_path / "token"
    token.write_text("old\n")
    now = time.time()
    async with api(lambda header: True) as (url, seen), connect(kubeconfig(url, {"tokenFile": str(token)})) as client:
        token.write_text("new\n")
        await client.ping()
        monkeypatch.setattr("shared.kube.credentials.time.time", lambda: now + REREAD + 1)
        await client.ping()
        assert seen == ["Bearer old", "Bearer new"]


async def test_a_member_that_moved_is_found_once_the_kubeconfig_says_where(kubeconfig, plugin, monkeypatch) -> None:
    """Without a word of anybody: there it does not answer any more. While the file is the same nothing is read."""
    monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)
    user, runs = plugin(None)
    now = time.time()
    async with api(lambda header: True) as (url, _):
        path = kubeconfig("http://127.0.0.1:1", user)
        async with connect(path) as client:
            monkeypatch.setattr("shared.kube.credentials.time.time", lambda: now + REREAD + 1)
            with pytest.raises(MemberUnavailable):
                await client.ping()
            assert runs() == 1
            kubeconfig(url, user)
            with pytest.raises(MemberUnavailable):
                await client.ping()
            monkeypatch.setattr("shared.kube.credentials.time.time", lambda: now + 2 * REREAD + 2)
            assert await client.ping() == "v1.36.0"
            assert runs() == 2


async def test_a_token_file_wins_over_a_token_beside_it(kubeconfig, tmp_path) -> None:
    (tmp_path / "token").write_text("read")
    user = {"token": "written", "tokenFile": "token"}  # beside the kubeconfig
    async with api(lambda header: True) as (url, seen), connect(kubeconfig(url, user)) as client:
        await client.ping()
        assert seen == ["Bearer read"]


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


@pytest.mark.parametrize(
    "change",
    [
        {"users": [{"name": "u", "token": "hunter2"}]},
        {"users": [{"name": "u", "user": None}]},
        {"users": [{"name": "u", "user": {"exec": {"env": [{"nme": "hunter2"}]}}}]},
        {"users": [{"name": "u", "user": {"exec": "hunter2"}}]},
        {"users": []},
        {"users": "hunter2"},
        {"clusters": [{"name": "c", "cluster": {}}]},
        {"clusters": [{"name": "c", "cluster": {"server": 5}}]},
        {"clusters": [{"name": "c"}]},
        {"contexts": [{"name": "ctx", "context": {"user": "u"}}]},
        {"contexts": [{"name": "ctx", "context": None}]},
        {"contexts": None},
    ],
    ids=str,
)
async def test_a_broken_kubeconfig_is_said_and_not_quoted(kubeconfig, caplog, change: dict[str, Any]) -> None:
    path = kubeconfig("http://127.0.0.1:1", {"token": "hunter2"})
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | change))
    with pytest.raises(Misconfigured, match="member idc: context 'ctx'") as raised:
        async with connect(path):
            pass
    assert "hunter2" not in str(raised.value) + caplog.text


@pytest.mark.parametrize("text", ["", "5", "[]", "a: [", "\xff"])
async def test_what_is_no_kubeconfig_is_said(tmp_path, text: str) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(Misconfigured, match="member idc: context 'ctx'"):
        async with connect(path):
            pass


async def test_a_context_without_a_user(kubeconfig) -> None:
    """As for `kubectl proxy`, which has credentials of its own."""
    async with api(lambda header: header == "") as (url, _):
        path = kubeconfig(url, {})
        document = yaml.safe_load(path.read_text())
        del document["contexts"][0]["context"]["user"]
        path.write_text(yaml.safe_dump(document))
        async with connect(path) as client:
            assert await client.ping() == "v1.36.0"


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
