"""What containers need on this machine: `docker compose`, built once from its Go module where the plugin is not there,
and a root file system with Python, made once by debootstrap for an engine that cannot pull one.

    python -m tests.docker.programs      makes what is missing; ends with 1 and says so where that cannot be done
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.real import golang
from tests.real.golang import Missing

MODULE = Path(__file__).with_name("module")
VERSION_OF = "github.com/docker/compose/v2"
PACKAGE = f"{VERSION_OF}/cmd"
DEBIAN = "bookworm"
SYSTEM = "python3,python3-venv,ca-certificates"  # beside debootstrap's smallest variant
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
AUTHORITIES = Path("etc/ssl/certs/ca-certificates.crt")
NEEDLESS = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
MAKING = 600.0  # seconds; it takes one minute where nothing else runs


def compose() -> list[str]:
    """The command. Raises Missing."""
    if shutil.which("docker") and not _run("docker", "compose", "version").returncode:
        return ["docker", "compose"]
    path = _compose()
    if not os.access(path, os.X_OK):
        raise Missing(f"neither `docker compose` nor {path} is there: `make test-docker` builds it where Go is")
    return [str(path)]


def root_file_system() -> Path:
    """A tar file of a small Debian with Python. Raises Missing."""
    path = _root_file_system()
    if not path.is_file():
        raise Missing(f"no {path}: `make test-docker` makes it where debootstrap is, as root")
    return path


def _compose() -> Path:
    return golang.cache(MODULE, f"compose-{golang.version(MODULE, VERSION_OF)}") / "docker-compose"


def _root_file_system() -> Path:
    return golang.cache(MODULE, "debian") / f"{DEBIAN}.tar"


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=MAKING, check=False)


def make_root_file_system(target: Path) -> None:
    """Raises Missing."""
    if shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise Missing(f"{target} is not there, and cannot be made: that needs debootstrap, and root")
    folder = target.with_name(f".{target.stem}.{os.getpid()}")
    folder.mkdir(parents=True)
    try:
        done = _run("debootstrap", "--variant=minbase", f"--include={SYSTEM}", DEBIAN, str(folder))
        if done.returncode:
            raise Missing(f"debootstrap failed: {(done.stdout + done.stderr).strip()[-500:]}")
        shutil.copyfile(CERTIFICATES, folder / AUTHORITIES)  # it trusts whom this machine trusts
        for needless in NEEDLESS:
            shutil.rmtree(folder / needless, ignore_errors=True)
        draft = folder.with_suffix(".tar")
        subprocess.run(["tar", "-C", str(folder), "-cf", str(draft), "."], check=True, timeout=MAKING)
        draft.replace(target)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> int:
    try:
        try:
            compose()
        except Missing:
            print(f"building docker-compose from {PACKAGE} …", file=sys.stderr, flush=True)
            golang.build(MODULE, PACKAGE, _compose())
        if not _root_file_system().is_file():
            print("making a root file system with debootstrap …", file=sys.stderr, flush=True)
            make_root_file_system(_root_file_system())
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
