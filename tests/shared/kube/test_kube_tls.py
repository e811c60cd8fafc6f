"""TLS: a member is who its kubeconfig says, unless a person says otherwise; certificates may change under way."""

from __future__ import annotations

import asyncio
import base64
import os
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from shared.errors import MemberUnavailable, Misconfigured
from shared.fleet import Kubeconfig
from shared.kube import MemberClient
from shared.kube.credentials import REREAD

CERTIFICATES = Path(__file__).with_name("certificates")  # valid for 127.0.0.1 and member.test, until 2120


def pem(name: str) -> bytes:
    return (CERTIFICATES / f"{name}.pem").read_bytes()


def data(name: str) -> str:
    return base64.b64encode(pem(name)).decode()


@asynccontextmanager
async def member(
    certificate: str = "server", *, clients: str | None = None, port: int = 0, shown: list[str] | None = None
) -> AsyncIterator[web.Site]:
    """An API over TLS that says as its version who asks. clients: the certificate authority of its clients. shown: gets
    the Authorization headers."""

    async def version(request: web.Request) -> web.Response:
        assert request.transport is not None
        if shown is not None:
            shown.append(request.headers.get("Authorization", ""))
        peer = request.transport.get_extra_info("peercert")
        names = [value for ((key, value),) in peer["subject"] if key == "commonName"] if peer else ["nobody"]
        return web.json_response({"gitVersion": names[0]})

    app = web.Application()
    app.router.add_get("/version", version)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / f"{certificate}.pem")
    if clients:
        context.load_verify_locations(CERTIFICATES / f"{clients}.pem")
        context.verify_mode = ssl.CERT_REQUIRED
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


@pytest.fixture
def kubeconfig(tmp_path: Path):
    def write(port: int, user: dict[str, Any] | None = None, **cluster: object) -> Path:
        document = {
            "clusters": [{"name": "c", "cluster": {"server": f"https://127.0.0.1:{port}", **cluster}}],
            "users": [{"name": "u", "user": user or {"token": "t"}}],
            "contexts": [{"name": "ctx", "context": {"cluster": "c", "user": "u"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    return write


def connect(path: Path):
    return MemberClient.connect(member="idc", context="ctx", kubeconfig=path)


CA = {"certificate-authority-data": data("ca")}


@pytest.mark.parametrize(
    ("certificate", "cluster", "trusted"),
    [
        pytest.param("server", CA, True, id="signed by the kubeconfig's authority"),
        pytest.param("server", {}, False, id="signed by nobody whom the system trusts"),
        pytest.param("other-server", CA, False, id="signed by somebody else"),
        pytest.param("server", {**CA, "tls-server-name": "member.test"}, True, id="its other name"),
        pytest.param("server", {**CA, "tls-server-name": "other.test"}, False, id="somebody else's name"),
        pytest.param("other-server", {"insecure-skip-tls-verify": True}, True, id="a person says not to look"),
    ],
)
async def test_a_members_certificate(kubeconfig, certificate: str, cluster: dict[str, object], trusted: bool) -> None:
    async with member(certificate) as port, connect(kubeconfig(port, **cluster)) as client:
        if trusted:
            assert await client.ping() == "nobody"
        else:
            with pytest.raises(MemberUnavailable, match="certificate verify failed"):
                await client.ping()


async def test_an_authority_that_is_changed_in_the_kubeconfig_is_taken_over(kubeconfig, monkeypatch) -> None:
    monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)
    async with member("other-server") as port, connect(kubeconfig(port, **CA)) as client:
        with pytest.raises(MemberUnavailable):
            await client.ping()
        kubeconfig(port, **{"certificate-authority-data": data("other-ca")})
        with pytest.raises(MemberUnavailable):  # this one finds out
            await client.ping()
        assert await client.ping() == "nobody"


async def test_looking_away_ends_with_the_line_that_said_so(kubeconfig, monkeypatch) -> None:
    monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)
    blind = {"insecure-skip-tls-verify": True}
    async with member("other-server") as port, connect(kubeconfig(port, **blind)) as client:
        assert await client.ping() == "nobody"
        kubeconfig(port, **CA)
        await client._transport._credentials.doubted()
        with pytest.raises(MemberUnavailable, match="certificate verify failed"):
            await client.ping()


async def test_a_client_certificate_of_a_file_that_is_replaced(kubeconfig, tmp_path, monkeypatch) -> None:
    """As kubelets and cert-manager do it: another content under the same name. A 401 says that it is time."""
    monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)
    own = tmp_path / "own.pem"
    shutil.copy(CERTIFICATES / "client-1.pem", own)
    user = {"client-certificate": str(own), "client-key": str(own)}
    async with member(clients="ca") as port, connect(kubeconfig(port, user, **CA)) as client:
        assert await client.ping() == "one"
        shutil.copy(CERTIFICATES / "client-2.pem", own)
        credentials = client._transport._credentials
        assert await credentials.rejected(credentials._header(), credentials.generation)
        assert await client.ping() == "two"
        assert not await credentials.rejected(credentials._header(), credentials.generation)


@pytest.mark.parametrize(
    "broken",
    [
        {"certificate-authority-data": base64.b64encode(b"rubbish").decode()},
        {"certificate-authority-data": "%%%"},
        {"certificate-authority": "/nowhere"},
    ],
    ids=["no certificate", "no base64", "no file"],
)
async def test_what_is_no_certificate_is_said(kubeconfig, broken: dict[str, object]) -> None:
    with pytest.raises(Misconfigured, match="member idc: context 'ctx'"):
        async with connect(kubeconfig(1, **broken)):
            pass


async def test_a_client_certificate_of_a_file_is_taken_over_before_the_old_one_ends(
    kubeconfig, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)
    own = tmp_path / "own.pem"
    shutil.copy(CERTIFICATES / "client-1.pem", own)
    user = {"client-certificate": str(own), "client-key": str(own)}
    async with member(clients="ca") as port, connect(kubeconfig(port, user, **CA)) as client:
        assert await client.ping() == "one"
        shutil.copy(CERTIFICATES / "client-2.pem", own)
        assert await client.ping() == "one"
        later(monkeypatch, REREAD + 1)
        assert await client.ping() == "two"


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time()
    monkeypatch.setattr("shared.kube.credentials.time.time", lambda: now + seconds)


# -- the service account of the pod that brim runs in ------------------------------------------------------------


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a service account where a kubelet puts it, and the environment that it gives."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    monkeypatch.setattr("shared.kube.credentials.SERVICE_ACCOUNT", folder)

    def place(port: int, *, token: str = "first\n", authority: str = "ca") -> Path:
        (folder / "token").write_text(token)
        shutil.copy(CERTIFICATES / f"{authority}.pem", folder / "ca.crt")
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(port))
        return folder

    return place


def reach_own():
    return MemberClient.reach("idc", Kubeconfig(in_cluster=True), None, agent="brim-inventory")


async def test_a_service_account_and_its_next_token(pod, monkeypatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)
    async with member(shown=shown) as port:
        folder = pod(port)
        async with reach_own() as client:
            await client.ping()
            (folder / "token").write_text("second")
            await client.ping()
            later(monkeypatch, REREAD + 1)
            await client.ping()
    assert shown == ["Bearer first", "Bearer first", "Bearer second"]


async def test_a_token_that_is_being_written_just_now_is_not_taken(pod, monkeypatch, caplog) -> None:
    shown: list[str] = []
    monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)
    async with member(shown=shown) as port:
        folder = pod(port)
        async with reach_own() as client:
            (folder / "token").write_text("")
            later(monkeypatch, REREAD + 1)
            await client.ping()
        assert shown == ["Bearer first"], "the last one read is used on"
        assert "is empty" in caplog.text
        with pytest.raises(MemberUnavailable, match="is empty"):  # nobody goes there without a name
            async with reach_own():
                pass


async def test_a_cluster_that_its_own_authority_did_not_sign_is_not_trusted(pod) -> None:
    async with member("other-server") as port:
        pod(port)
        async with reach_own() as client:
            with pytest.raises(MemberUnavailable, match="certificate verify failed"):
                await client.ping()


async def test_outside_of_a_cluster_there_is_no_service_account(monkeypatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(Misconfigured, match=r"member idc: this process runs in no cluster: name a kubeconfig"):
        async with reach_own():
            pass


STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


def mute(listening: socket.socket) -> None:
    """A member that begins an answer and then only listens, not to TLS's farewell either. Returns when it hears nothing
    more. Raises TimeoutError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(CERTIFICATES / "server.pem")
    accepted, _ = listening.accept()
    accepted.settimeout(10)
    with (
        context.wrap_socket(accepted, server_side=True) as secure,
        socket.socket(fileno=os.dup(secure.fileno())) as raw,
    ):
        raw.settimeout(10)
        secure.recv(65536)
        secure.sendall(STREAM)
        while raw.recv(65536):
            pass


async def test_a_stream_that_is_left_ends_at_once_whatever_the_member_does(kubeconfig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor() as pool:
        gone = asyncio.get_running_loop().run_in_executor(pool, mute, listening)
        async with connect(kubeconfig(listening.getsockname()[1], **CA)) as client:
            async with client._transport.stream("watch pods", "/api/v1/pods", {}, silence=10.0) as content:
                assert await content.readany() == b"{}"
            await gone
