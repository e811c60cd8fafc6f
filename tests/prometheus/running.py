"""A real Prometheus and its promtool: built once from their Go module, or found in the folder PROMETHEUS_BINARIES.

python -m tests.prometheus.running       builds what is missing, which takes minutes; prints the paths
"""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.real import golang
from tests.real.program import HOST, Program, free_port
from tests.real.waiting import until

MODULE = Path(__file__).with_name("module")
VERSION_OF = "github.com/prometheus/prometheus"
PACKAGES = {name: f"{VERSION_OF}/cmd/{name}" for name in ("prometheus", "promtool")}
TAGS = "remove_all_sd"  # targets are named, never looked up at clouds: that leaves most of what would be compiled out
START = 120.0  # seconds; a starved machine takes its time
CHECK = 120.0


def find(name: str = "prometheus") -> Path:
    """Raises golang.Missing where it is neither named nor built."""
    folder = os.environ.get("PROMETHEUS_BINARIES")
    path = Path(folder) / name if folder else _cached(name)
    if not os.access(path, os.X_OK):
        raise golang.Missing(f"no {path}: `make test-prometheus` builds it where Go is, once, in some minutes")
    return path


def version() -> str:
    """Of Prometheus ("3.16.0"): its module calls that v0.316.0."""
    _, minor, patch = golang.version(MODULE, VERSION_OF).split(".")
    return f"{minor[0]}.{int(minor[1:])}.{patch}"


def _cached(name: str) -> Path:
    return golang.cache(MODULE, f"prometheus-{version()}") / name


def promtool(*arguments: str) -> str:
    """What it says. Raises golang.Missing, and AssertionError with its words where it finds a fault."""
    done = subprocess.run(
        [str(find("promtool")), *arguments], capture_output=True, text=True, timeout=CHECK, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def prometheus(program: Path, config: Mapping[str, object], folder: Path) -> Iterator[str]:
    """Runs while the block does; yields its address. Raises RuntimeError with the end of its log where it does not
    start."""
    address = f"{HOST}:{free_port()}"
    file = folder / "prometheus.yaml"
    file.write_text(yaml.safe_dump(dict(config)), encoding="utf-8")
    command = [
        str(program),
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
        "--log.level=warn",
    ]
    running = Program("prometheus", command, folder)
    running.start()
    try:
        until(lambda: _is_ready(running, address), START, lambda: f"Prometheus did not start: {running.said()}")
        yield f"http://{address}"
    finally:
        running.stop()


def _is_ready(program: Program, address: str) -> bool:
    program.check()
    try:
        with urllib.request.urlopen(f"http://{address}/-/ready", timeout=5.0) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def main() -> int:
    stamps = f"-X github.com/prometheus/common/version.Version={version()}"
    return golang.main(MODULE, PACKAGES, find, _cached, stamps=stamps, tags=TAGS, jobs=2)


if __name__ == "__main__":
    sys.exit(main())
