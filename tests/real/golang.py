"""Programs that tests need, built once from their published Go modules into a cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Missing(Exception):
    """Some of the programs are not there; the message says which, and what helps."""


def version(module: Path, path: str) -> str:
    """Of the module with that path, as the go.mod in a folder has it ("1.36.3")."""
    found = re.search(rf"^\s*(?:require )?{re.escape(path)} v([\d.]+)", _text(module), re.MULTILINE)
    assert found is not None, f"go.mod requires no {path}"
    return found[1]


def cache(module: Path, name: str) -> Path:
    """The folder for just these versions: another go.mod has another."""
    return kept(name, _text(module))


def kept(name: str, versions: str) -> Path:
    """The folder of what is kept from run to run. versions: the text that fixes them all; another has another."""
    root = os.environ.get("TEST_PROGRAMS_CACHE")
    if root is None:
        root = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brim")
    digest = hashlib.sha256(versions.encode()).hexdigest()[:8]
    return Path(root) / f"{name}-{digest}"


def build(module: Path, package: str, target: Path, *, stamps: str = "", tags: str = "", jobs: int = 1) -> None:
    """At a low priority: a machine that people work at stays usable. tags: of its build constraints. jobs: compilers at
    once. Raises Missing."""
    go = shutil.which("go")
    if go is None:
        raise Missing(f"{target.name} is not there, and cannot be built: Go is not on the PATH")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    command = [
        go,
        "build",
        "-p",
        str(jobs),
        "-trimpath",
        f"-tags={tags}",
        f"-ldflags=-s -w {stamps}".rstrip(),
        "-o",
        str(draft),
        package,
    ]
    if nice := shutil.which("nice"):
        command = [nice, "-n", "15", *command]
    environment = {**os.environ, "CGO_ENABLED": "0", "GOWORK": "off"}
    try:
        done = subprocess.run(command, cwd=module, env=environment, check=False)
        if done.returncode:
            raise Missing(f"{target.name} could not be built: see above")
        draft.replace(target)  # whole or not at all: others may look for it at this moment
    finally:
        draft.unlink(missing_ok=True)


def main(
    module: Path, packages: Mapping[str, str], find: Callable[[str], Path], cached: Callable[[str], Path], **how: Any
) -> int:
    """For a command line: build what `find` does not find where `cached` says, and print where each program is. how: as
    for `build`. Returns the exit status, 1 where something is missing and cannot be built."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # nothing half-built stays, no compiler goes on
    try:
        for name, package in packages.items():
            try:
                path = find(name)
            except Missing:
                path = cached(name)
                print(f"building {name} from {package} …", file=sys.stderr, flush=True)
                build(module, package, path, **how)
            print(path)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


def _text(module: Path) -> str:
    return (module / "go.mod").read_text(encoding="utf-8")
