"""One engine for all tests here, with the images of compose.yaml."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker import engine as engines
from tests.docker import programs
from tests.docker.engine import Engine
from tests.real.golang import Missing


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """Skips what needs it where there is none."""
    folder = Path(tempfile.mkdtemp(prefix="brim-docker-"))  # short: a socket's path is
    try:
        programs.compose()
        with engines.engine(folder) as running:
            yield running
    except Missing as missing:
        pytest.skip(str(missing))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
