"""What people install: a wheel that is the same wherever it is built, and works in an environment of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILDING = 120.0  # seconds; each of these takes a few where nothing else runs
INSTALLING = 600.0
PLAYING = 600.0


def committed() -> bool:
    """Whether git finds a commit here, and takes this user for its owner."""
    git = shutil.which("git")
    return (
        git is not None and not subprocess.run([git, "-C", ROOT, "rev-parse", "HEAD"], capture_output=True).returncode
    )


pytestmark = pytest.mark.skipif(not committed(), reason="the wheel is built of a commit: git has none here")


def run(*command: str | Path, seconds: float, **options: object) -> str:
    """Standard output of a command that succeeds."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=seconds, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout)


def built(folder: Path, *, umask: int) -> Path:
    run(ROOT / ".ci" / "wheel", folder, seconds=BUILDING, umask=umask)
    (wheel,) = folder.glob("brim-*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(tmp_path_factory.mktemp("dist"), umask=0o022)


def test_the_same_commit_is_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    again = built(tmp_path, umask=0o077)
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_the_wheel_holds_all_that_runs_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as content:
        names = content.namelist()
        scripts = content.read(next(name for name in names if name.endswith("entry_points.txt"))).decode()
    folders = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert folders == {"services", "shared", "cli", "simulator", "examples"}
    packaged = {path.name for path in (ROOT / "examples").glob("*.yaml")}
    assert {name.partition("/")[2] for name in names if name.startswith("examples/")} == packaged | {"__init__.py"}
    assert "shared/workload_kinds.yaml" in names
    assert {"brim", "kubectl-brim", "kubectl-amc"} <= {line.partition(" =")[0] for line in scripts.splitlines()}


@pytest.mark.skipif(not os.environ.get("TEST_PACKAGE"), reason="slow, and needs a package index: make test-package")
def test_in_an_empty_environment_the_demo_plays(wheel: Path, tmp_path: Path) -> None:
    """With nothing on the PATH but the system, as for somebody who has just heard of brim."""
    venv.create(tmp_path / "env", with_pip=True)
    scripts = tmp_path / "env" / ("Scripts" if sys.platform == "win32" else "bin")
    run(scripts / "python", "-m", "pip", "install", "--quiet", wheel, seconds=INSTALLING)
    own = {
        key: value for key, value in os.environ.items() if not key.startswith(("BRIM_", "NATS_", "PYTHON", "VIRTUAL"))
    }
    environment = {**own, "PATH": os.pathsep.join((str(scripts), "/usr/bin", "/bin"))}
    place = tmp_path / "elsewhere"
    place.mkdir()
    said = run(scripts / "brim", "demo", seconds=PLAYING, env=environment, cwd=place)
    assert "Every step was seen in the members' own APIs" in said
