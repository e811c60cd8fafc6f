"""Credentials of all kinds, taken by a real API server: certificates, plugins; and a member that is not who it says."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest

from shared.errors import MemberUnavailable, Refused
from shared.kube import NODES, KubeObject, MemberClient
from shared.kube.credentials import REREAD
from tests.real.control_plane import CERTIFICATES, ControlPlane
from tests.real.rights import both, certified, grant, kubeconfig, plugged, token

pytestmark = pytest.mark.real

IN_FORCE = 60.0  # seconds


def connect(plane: ControlPlane, path: Path):
    return MemberClient.connect(member=plane.name, context="ctx", kubeconfig=path)


async def nodes(client: MemberClient) -> None:
    """Raises Refused, with who asked, where that is nobody who may."""
    async for _ in client.list_pages(NODES, KubeObject):
        pass


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.kube.credentials.AGAIN", 0.0)


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    now = time.time()
    monkeypatch.setattr("shared.kube.credentials.time.time", lambda: now + seconds)


async def test_a_client_certificate_and_the_next_one(
    plane: ControlPlane, tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(plane, tmp_path)
    async with connect(plane, certified(plane, tmp_path)) as client:
        await nodes(client)
        (tmp_path / "own.pem").write_text(plane.certificate("two"))
        later(monkeypatch, REREAD + 1)
        with pytest.raises(Refused, match='User "two" cannot list'):
            await nodes(client)


async def test_a_plugin_is_asked_again_before_its_token_ends(
    plane: ControlPlane, tmp_path: Path, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(plane, tmp_path)
    path = plugged(plane, "inventory", tmp_path, lasts=3600.0)
    runs = tmp_path / "runs"
    async with connect(plane, path) as client:
        await nodes(client)
        await nodes(client)
        assert runs.read_text().count("run") == 1
        (tmp_path / "token").write_text(token(plane, "executor"))
        later(monkeypatch, 3400.0)
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "by-the-next-token"}}
        with anyio.fail_after(IN_FORCE):
            while runs.read_text().count("run") == 1:
                await nodes(client)
        await client.create(namespace)  # what inventory may not


async def test_a_token_that_was_taken_back_is_said(plane: ControlPlane, tmp_path: Path) -> None:
    grant(plane, "inventory.yaml")
    path = plugged(plane, "inventory", tmp_path)
    (tmp_path / "token").write_text("nobodys")
    async with connect(plane, path) as client:
        with pytest.raises(Refused) as raised:
            await nodes(client)
        assert raised.value.code == "Unauthorized"


async def test_a_member_whose_authority_is_another_is_not_trusted(plane: ControlPlane, tmp_path: Path) -> None:
    path = kubeconfig(plane, tmp_path, {"token": plane.token}, authority=CERTIFICATES / "other-ca.pem")
    async with connect(plane, path) as client:
        with pytest.raises(MemberUnavailable, match="certificate verify failed"):
            await nodes(client)
