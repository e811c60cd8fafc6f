"""Real control planes: one for the contract, and three members that each test finds empty and leaves as it likes."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.real import kruise
from tests.real import members as providers
from tests.real.control_plane import ControlPlane
from tests.real.golang import Missing
from tests.real.kruise import Controller, Kruise
from tests.real.machines import clear
from tests.real.members import Make

Planes = list[ControlPlane]


@pytest.fixture(scope="session")
def make() -> Iterator[Make]:
    """Skips what needs control planes where nobody can run them."""
    try:
        with providers.provided() as found:
            yield found
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session", name="kruise")
def found_kruise() -> Kruise:
    """Skips what needs it where it is not."""
    try:
        return kruise.find()
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def plane(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """For the tests of a module, which keep apart by namespaces."""
    with make("contract", tmp_path_factory.mktemp("contract")) as running:
        yield running


@pytest.fixture(scope="session")
def members(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Planes]:
    with ExitStack() as stack:
        yield [stack.enter_context(make(name, tmp_path_factory.mktemp(name))) for name in ("one", "two", "three")]


@pytest.fixture(scope="module")
def controllers(
    kruise: Kruise, members: Planes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Controller]]:
    """Kruise Rollout in each of the three members."""
    with ExitStack() as stack:
        yield [stack.enter_context(Controller(kruise, one, tmp_path_factory.mktemp("kruise"))) for one in members]


@pytest.fixture
def planes(members: Planes) -> Iterator[Planes]:
    """For one test."""
    yield members
    with ThreadPoolExecutor() as pool:
        for _ in pool.map(clear, members):  # it is mostly waiting
            pass
