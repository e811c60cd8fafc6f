"""Makes the image that stands in for K3s: Debian's root file system, Kubernetes' own programs, and k3s.py."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

from tests.docker import programs
from tests.docker.engine import Engine
from tests.real import binaries

ROOT = Path(__file__).parents[3]
COMPOSE = Path(__file__).with_name("compose.yaml")
HOME = "opt/stand-in"
SOURCES = (
    "shared/child_process.py",
    "tests/docker/stand_in/certificates.py",
    "tests/docker/stand_in/k3s.py",
    "tests/docker/stand_in/kubectl.py",
    "tests/real/binaries.py",
    "tests/real/control_plane.py",
    "tests/real/golang.py",
    "tests/real/kwok.yaml",
    "tests/real/local.py",
    "tests/real/program.py",
    "tests/real/waiting.py",
    "tests/shared/kube/certificates/server.pem",
)
COMMANDS = ("k3s", "kubectl")
CHANGES = (
    'ENTRYPOINT ["/usr/bin/k3s"]',
    'CMD ["agent"]',
    "VOLUME /var/lib/rancher/k3s",
    f"ENV PYTHONPATH=/{HOME} PYTHONDONTWRITEBYTECODE=1",
)


def name() -> str:
    return f"brim-test/stands-in-for-k3s:{binaries.version()}"


def make(engine: Engine, folder: Path) -> str:
    """Its name. folder: to make it in. Raises Missing."""
    if engine.has(name()):
        return name()
    found = binaries.find()
    draft = folder / "stand-in.tar"
    shutil.copyfile(programs.root_file_system(), draft)
    with tarfile.open(draft, "a") as archive:
        for source in SOURCES:
            archive.add(ROOT / source, f"./{HOME}/{source}")
        for program, path in found.paths.items():
            archive.add(path, f"./{HOME}/programs/{program}")
        for command in COMMANDS:
            _add_script(archive, f"./usr/bin/{command}", f"tests.docker.stand_in.{command}")
    changes = [word for change in CHANGES for word in ("--change", change)]
    engine.docker("import", *changes, str(draft), name())
    draft.unlink()
    return name()


def _add_script(archive: tarfile.TarFile, path: str, module: str) -> None:
    text = f'#!/bin/sh\nexec /usr/bin/python3 -m {module} "$@"\n'.encode()
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = len(text), 0o755
    archive.addfile(entry, io.BytesIO(text))
