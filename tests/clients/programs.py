"""Clients of other people's: NATS' command line, built once from its Go module, and its library for Node.js.

    python -m tests.clients.programs    gets what is missing, which takes a minute at most; says what stays missing

`nats` on the PATH comes first. The library is installed as `node/package-lock.json` has it, every file by its hash.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.real import golang
from tests.real.golang import Missing

MODULE = Path(__file__).with_name("module")
PACKAGE = "github.com/nats-io/natscli/nats"
VERSION_OF = "github.com/nats-io/natscli"

NODE_PROJECT = Path(__file__).with_name("node")
LOCK = NODE_PROJECT / "package-lock.json"
LIBRARY = "node_modules/@nats-io/transport-node"

BUILD = "make test-clients"
INSTALLING = 120.0  # seconds


def nats() -> Path:
    """The command line. Raises Missing."""
    if there := shutil.which("nats"):
        return Path(there)
    path = _cached_nats()
    if not os.access(path, os.X_OK):
        raise Missing(f"no nats on the PATH or at {path}: `{BUILD}` builds it where Go is, once")
    return path


def node() -> tuple[Path, Path]:
    """Node.js itself, and the folder with the `node_modules` that the page's script imports. Raises Missing."""
    program = shutil.which("node")
    if program is None:
        raise Missing("Node.js is not installed: no `node` on the PATH")
    folder = _cached_library()
    if not (folder / LIBRARY).is_dir():
        raise Missing(f"no {LIBRARY} in {folder}: `{BUILD}` installs it where npm is, once")
    return Path(program), folder / "node_modules"


def _cached_nats() -> Path:
    return golang.cache(MODULE, f"nats-{golang.version(MODULE, VERSION_OF)}") / "nats"


def _cached_library() -> Path:
    return golang.kept("node", LOCK.read_text(encoding="utf-8"))


def get_nats() -> None:
    """Raises Missing."""
    try:
        nats()
    except Missing:
        _say(f"building nats from {PACKAGE} …")
        golang.build(MODULE, PACKAGE, _cached_nats(), jobs=2)


def get_library() -> None:
    """Raises Missing."""
    folder = _cached_library()
    if (folder / LIBRARY).is_dir():
        return
    npm = shutil.which("npm")
    if npm is None:
        raise Missing("the library for Node.js cannot be installed: no `npm` on the PATH")
    _say(f"installing {LIBRARY} …")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent, ignore_cleanup_errors=True) as draft:
        for file in NODE_PROJECT.glob("*.json"):
            shutil.copy(file, draft)
        _install(npm, Path(draft))
        Path(draft).replace(folder)  # whole or not at all: others may look for it at this moment


def _install(npm: str, folder: Path) -> None:
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, check=False, timeout=INSTALLING)
    except subprocess.TimeoutExpired:
        raise Missing(f"the library for Node.js was not installed within {INSTALLING:g} s") from None
    if done.returncode:
        raise Missing("the library for Node.js could not be installed: see above")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> int:
    """Status 1 where there is nothing at all; the tests of what is missing are skipped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing half-made stays
    gets: tuple[Callable[[], None], ...] = (get_nats, get_library)
    missing = 0
    for get in gets:
        try:
            get()
        except Missing as error:
            _say(str(error))
            missing += 1
    return int(missing == len(gets))


if __name__ == "__main__":
    sys.exit(main())
