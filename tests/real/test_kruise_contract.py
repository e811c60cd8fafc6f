"""Kruise Rollout's own controller keeps the contract that simulated ones are held to: the same tests, word for word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared.described import DescribedNode
from tests.contract.kruise.test_admission import *  # noqa: F403
from tests.contract.kruise.test_steps import *  # noqa: F403
from tests.contract.kruise.test_styles import *  # noqa: F403
from tests.real.control_plane import ControlPlane
from tests.real.kruise import Controller, Kruise
from tests.real.machines import add

pytestmark = pytest.mark.real

ROOM = {"cpu": "8", "memory": "32Gi", "pods": "110"}


@pytest.fixture(scope="module", autouse=True)
def controller(kruise: Kruise, plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    for name in ("node-0", "node-1"):
        add(plane, DescribedNode(name, {}, ROOM, ROOM))
    with Controller(kruise, plane, tmp_path_factory.mktemp("kruise")):
        yield


@pytest.fixture(autouse=True)
def a_real_one(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIM_TEST_APISERVER_URL", plane.url)
    monkeypatch.setenv("BRIM_TEST_APISERVER_TOKEN", plane.token)
    monkeypatch.setenv("BRIM_TEST_APISERVER_CA", str(plane.authority))
