"""A real Jaeger: built once from its Go module, or found in JAEGER_BINARY, and run with its spans in memory.

python -m tests.jaeger.running       builds it where it is missing, which takes minutes; prints its path
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.real import golang
from tests.real.program import HOST, Program, free_port
from tests.real.waiting import until

MODULE = Path(__file__).with_name("module")
PACKAGE = "github.com/jaegertracing/jaeger/cmd/jaeger"
VERSION_OF = "github.com/jaegertracing/jaeger"
START = 120.0  # seconds; a starved machine takes its time


@dataclass(frozen=True, slots=True)
class Jaeger:
    """otlp: where spans are sent. url: of its query API and pages."""

    otlp: str
    url: str


def find() -> Path:
    """Raises golang.Missing where it is neither named nor built."""
    if named := os.environ.get("JAEGER_BINARY"):
        return Path(named)
    path = _cached()
    if not os.access(path, os.X_OK):
        raise golang.Missing(f"no Jaeger at {path}: `make test-jaeger` builds it where Go is, once, in some minutes")
    return path


def _cached() -> Path:
    return golang.cache(MODULE, f"jaeger-{golang.version(MODULE, VERSION_OF)}") / "jaeger"


@contextmanager
def jaeger(program: Path, folder: Path) -> Iterator[Jaeger]:
    """Runs while the block does. Raises RuntimeError with the end of its log where it does not start."""
    otlp, query = f"{HOST}:{free_port()}", f"{HOST}:{free_port()}"
    file = folder / "jaeger.yaml"
    file.write_text(yaml.safe_dump(_config(otlp, query)), encoding="utf-8")
    running = Program("jaeger", [str(program), "--config", str(file)], folder)
    running.start()
    try:
        _wait(running, f"http://{query}/api/services")
        yield Jaeger(f"http://{otlp}", f"http://{query}")
    finally:
        running.stop(kill=True)  # it keeps nothing, and would wait for its connections


def _config(otlp: str, query: str) -> dict[str, object]:
    """Only what the test uses: no port is fixed."""
    return {
        "service": {
            "extensions": ["jaeger_storage", "jaeger_query"],
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["jaeger_storage_exporter"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
        "extensions": {
            "jaeger_storage": {"backends": {"memory": {"memory": {"max_traces": 10_000}}}},
            "jaeger_query": {
                "storage": {"traces": "memory"},
                "http": {"endpoint": query},
                "grpc": {"endpoint": f"{HOST}:{free_port()}"},
            },
        },
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": otlp}}}},
        "exporters": {"jaeger_storage_exporter": {"trace_storage": "memory"}},
    }


def _wait(program: Program, url: str) -> None:
    def answers() -> bool:
        program.check()
        return _answers(url)

    until(answers, START, lambda: f"Jaeger did not start within {START:g} s: {program.said()}")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5.0) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def main() -> int:
    return golang.main(MODULE, {"jaeger": PACKAGE}, lambda _: find(), lambda _: _cached())


if __name__ == "__main__":
    sys.exit(main())
