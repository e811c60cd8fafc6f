"""Logs: JSON lines for machines, plain lines for a terminal, both with the trace's id."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TextIO

from shared import telemetry
from shared.settings import LogSettings

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class TraceFilter(logging.Filter):
    """Puts the current trace's id on every record, where there is one."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.trace_id = telemetry.trace_id()
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line; what `extra=` brings stands beside the standard fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {key: value for key, value in vars(record).items() if key not in _PLAIN and value != ""}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """`12:00:01 warning brim.bus  what happened` for people."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{moment} {record.levelname.lower():<7} {record.name}  {record.getMessage()}"
        trace = getattr(record, "trace_id", "")
        if trace:
            line += f"  trace={trace}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def setup(settings: LogSettings, *, stream: TextIO | None = None) -> None:
    """Send all logs to `stream` (standard error) in the form set. Replaces what was set up before."""
    target = stream or sys.stderr
    text = settings.format == "text" or (settings.format == "auto" and target.isatty())
    handler = logging.StreamHandler(target)
    handler.setFormatter(TextFormatter() if text else JsonFormatter())
    handler.addFilter(TraceFilter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(settings.level.upper())
    logging.getLogger("nats").setLevel(logging.ERROR)  # brim.bus says the same, and less often
