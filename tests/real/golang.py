"""Programs that tests need, built once from their published Go modules into a cache."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path


class Missing(Exception):
    """Some of the programs are not there; the message says which, and what helps."""


def version(module: Path, path: str) -> str:
    """Of the module with that path, as the go.mod in a folder has it ("1.36.3")."""
    found = re.search(rf"^\s*(?:require )?{re.escape(path)} v([\d.]+)", _text(module), re.MULTILINE)
    assert found is not None, f"go.mod requires no {path}"
    return found[1]


def cache(module: Path, name: str) -> Path:
    """The folder for just these versions: another go.mod has another."""
    root = os.environ.get("TEST_PROGRAMS_CACHE")
    if root is None:
        root = str(Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "brim")
    digest = hashlib.sha256(_text(module).encode()).hexdigest()[:8]
    return Path(root) / f"{name}-{digest}"


def build(module: Path, package: str, target: Path, *, stamps: str = "", jobs: int = 1) -> None:
    """At a low priority: a machine that people work at stays usable. jobs: compilers at once. Raises Missing."""
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


def _text(module: Path) -> str:
    return (module / "go.mod").read_text(encoding="utf-8")
