"""Real control planes: one for the contract, and three members that each test finds empty and leaves as it likes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.real import binaries
from tests.real.binaries import Binaries
from tests.real.control_plane import ControlPlane
from tests.real.machines import clear

Planes = list[ControlPlane]


@pytest.fixture(scope="session")
def programs() -> Binaries:
    """Skips what needs them where they are not."""
    try:
        return binaries.find()
    except binaries.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def plane(programs: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """For the tests of a module, which keep apart by namespaces."""
    with ControlPlane(programs, "contract", tmp_path_factory.mktemp("contract")) as running:
        yield running


@pytest.fixture(scope="session")
def members(programs: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planes]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(ControlPlane(programs, name, tmp_path_factory.mktemp(name)))
            for name in ("one", "two", "three")
        ]


@pytest.fixture
def planes(members: Planes) -> Iterator[Planes]:
    """For one test."""
    yield members
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(clear, members):  # it is mostly waiting
            pass
