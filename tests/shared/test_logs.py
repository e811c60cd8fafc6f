"""Logs: JSON for machines, text for people, both with the trace."""

import io
import json
import logging
from collections.abc import Iterator

import pytest

from shared import logs, telemetry
from shared.settings import LogSettings


@pytest.fixture(autouse=True)
def restored_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_has_the_trace_and_what_extra_brings() -> None:
    out = io.StringIO()
    logs.setup(LogSettings(format="json"), stream=out)
    with telemetry.recorded(), telemetry.span("decide"):
        logging.getLogger("brim.scheduler").info("placed %d", 3, extra={"workload": "web"})
        trace_id = telemetry.trace_id()
    line = json.loads(out.getvalue())
    assert line.pop("time")
    assert line == {
        "level": "info",
        "logger": "brim.scheduler",
        "message": "placed 3",
        "workload": "web",
        "trace_id": trace_id,
    }


def test_an_exception_stays_on_its_one_json_line() -> None:
    out = io.StringIO()
    logs.setup(LogSettings(format="auto"), stream=out)
    try:
        raise ZeroDivisionError("oh")
    except ZeroDivisionError:
        logging.getLogger("brim.x").exception("failed")
    assert out.getvalue().count("\n") == 1
    assert "ZeroDivisionError: oh" in json.loads(out.getvalue())["exception"]


def test_text_is_for_people() -> None:
    out = io.StringIO()
    logs.setup(LogSettings(format="text", level="warning"), stream=out)
    logging.getLogger("brim.x").info("not this")
    logging.getLogger("brim.x").warning("but this")
    assert out.getvalue().endswith("warning brim.x  but this\n")
    assert "not this" not in out.getvalue()
