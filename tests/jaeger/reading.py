"""Stories read back from Jaeger."""

from __future__ import annotations

import anyio
import pytest

from shared import jaeger as adapter
from tests.e2e.traced import Trace
from tests.jaeger.running import Jaeger

WAIT = 120.0  # seconds; spans are sent every five


async def story(running: Jaeger, trace_id: str, *path: tuple[str, dict[str, object]]) -> Trace:
    """Wait until Jaeger has all of it: the last step, and no span whose parent is still on its way."""
    trace = Trace(())
    with anyio.move_on_after(WAIT):
        while True:
            trace = Trace(tuple(await adapter.spans_of(running.url, trace_id)))
            if trace.spans and not trace.orphans and trace.has_path(*path):
                return trace
            await anyio.sleep(0.2)
    pytest.fail(f"Jaeger never had the whole trace {trace_id}:\n{trace}\norphans: {trace.orphans}")
