"""One engine for all tests here, with the images of compose.yaml."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.docker import engine as engines
from tests.docker import programs
from tests.docker.engine import Engine
from tests.real.golang import Missing


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Skips what needs it where there is none."""
    try:
        programs.compose()
        with engines.folder() as folder, engines.engine(folder) as running:
            yield running
    except Missing as missing:
        pytest.skip(str(missing))
