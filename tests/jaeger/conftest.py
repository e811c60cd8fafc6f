"""One real Jaeger for all tests that read stories back from it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jaeger.running import Jaeger, find, jaeger
from tests.real.golang import Missing


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jaeger]:
    """Skips where there is none."""
    try:
        program = find()
    except Missing as missing:
        pytest.skip(str(missing))
    with jaeger(program, tmp_path_factory.mktemp("jaeger")) as started:
        yield started
