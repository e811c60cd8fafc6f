"""Who runs the members of the other tests here; and what is said where nobody can."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docker import images
from tests.docker.engine import Engine
from tests.real import members
from tests.real.binaries import PACKAGES
from tests.real.golang import Missing
from tests.real.local import LocalControlPlane


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine with neither programs nor Docker."""
    for name in ("PATH", "TEST_PROGRAMS_CACHE", "KUBEBUILDER_ASSETS"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in (members.CHOICE, images.K3S):
        monkeypatch.delenv(name, raising=False)


def has(tmp_path: Path, *programs: str) -> None:
    """They fail at whatever they are asked."""
    for name in programs:
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)


def missing() -> str:
    with pytest.raises(Missing) as raised, members.provided():
        pass
    return str(raised.value)


def test_programs_come_first(tmp_path: Path) -> None:
    has(tmp_path, *PACKAGES)
    with members.provided() as make:
        assert isinstance(make("one", tmp_path), LocalControlPlane)


def test_what_each_way_lacks_is_said(tmp_path: Path) -> None:
    assert "programs: no etcd, kube-apiserver" in missing()
    assert "k3s: no kwok" in missing()
    has(tmp_path, "kwok")
    assert "k3s: the docker command is not on the PATH" in missing()


def test_the_way_that_was_asked_for_is_the_only_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has(tmp_path, *PACKAGES)
    monkeypatch.setenv(members.CHOICE, "k3s")
    assert missing() == "k3s: the docker command is not on the PATH"
    monkeypatch.setenv(members.CHOICE, "k8s")
    with pytest.raises(ValueError, match="BRIM_TEST_MEMBERS is 'k8s': it may be programs or k3s"):
        missing()


@pytest.mark.parametrize(
    ("named", "image"),
    [("", "rancher/k3s:"), ("mirror.example/k3s:v1", "mirror.example/k3s:v1")],
    ids=["usual", "named"],
)
def test_an_image_that_peoples_engine_cannot_have_is_said(
    named: str, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    has(tmp_path, "docker")
    monkeypatch.setenv(images.K3S, named)
    with pytest.raises(Missing, match=f"the engine has no {image}.* and cannot pull it"):
        images.k3s(Engine(own=False), tmp_path)
