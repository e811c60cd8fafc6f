"""One engine for all tests here, with the images of compose.yaml, and members of K3s in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker import engine as engines
from tests.docker import programs
from tests.docker.engine import Engine
from tests.real import members as providers
from tests.real.conftest import members, plane, planes  # noqa: F401 - fixtures, of what `make` makes
from tests.real.golang import Missing
from tests.real.members import Make


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Skips what needs it where there is none."""
    try:
        programs.compose()
        with engines.folder() as folder, engines.engine(folder) as running:
            yield running
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="session")
def make(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """In the place of that of tests/real."""
    try:
        with providers.in_containers(engine, tmp_path_factory.mktemp("k3s")) as found:
            yield found
    except Missing as missing:
        pytest.skip(str(missing))
