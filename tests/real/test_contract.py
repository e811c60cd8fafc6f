"""A real API server keeps the contract that simulated members are held to: the same tests, word for word."""

from __future__ import annotations

import pytest

from shared.described import DescribedNode
from tests.contract.kubernetes.test_binding_pods import *  # noqa: F403
from tests.contract.kubernetes.test_disruption_budgets import *  # noqa: F403
from tests.contract.kubernetes.test_patching_objects import *  # noqa: F403
from tests.contract.kubernetes.test_reading_objects import *  # noqa: F403
from tests.contract.kubernetes.test_writing_objects import *  # noqa: F403
from tests.real.control_plane import ControlPlane
from tests.real.machines import add

pytestmark = pytest.mark.real

ROOM = {"cpu": "8", "memory": "32Gi", "pods": "110"}


@pytest.fixture(scope="module", autouse=True)
def nodes(plane: ControlPlane) -> None:
    for name in ("node-0", "node-1"):
        add(plane, DescribedNode(name, {}, ROOM, ROOM))


@pytest.fixture(autouse=True)
def a_real_one(plane: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIM_TEST_APISERVER_URL", plane.url)
    monkeypatch.setenv("BRIM_TEST_APISERVER_TOKEN", plane.token)
    monkeypatch.setenv("BRIM_TEST_APISERVER_CA", str(plane.authority))
