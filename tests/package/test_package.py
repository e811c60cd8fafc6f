"""What people install: a wheel that is the same wherever it is built, and works in an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import venv
import zipfile
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Stranger:
    """Somebody who has just heard of brim: with nothing but the system and an environment that is empty.

    place: with what README's lines name. scripts: of the environment; links: as tools that install applications do,
    a folder on the PATH from which nothing leads into the environment but the command itself.
    """

    place: Path
    scripts: Path
    links: Path

    def does(self, line: str, *path: Path, seconds: float) -> str:
        own = {name: value for name, value in os.environ.items() if not name.startswith(NOT_HIS)}
        environment = {**own, "PATH": os.pathsep.join(map(str, (*path, "/usr/bin", "/bin")))}
        return run("sh", "-c", line, seconds=seconds, env=environment, cwd=self.place)

    def has(self) -> set[str]:
        """What is installed: `name==version`, of brim itself the name."""
        listed = self.does("pip list --format=freeze", self.scripts, seconds=BUILDING).split()
        return {"brim" if line.startswith("brim==") else line for line in listed}


NOT_HIS = ("BRIM_", "NATS_", "PYTHON", "VIRTUAL")


@pytest.fixture
def stranger(wheel: Path, tmp_path: Path) -> Stranger:
    it = Stranger(tmp_path / "place", tmp_path / "env" / "bin", tmp_path / "links")
    venv.create(tmp_path / "env", with_pip=True)
    (it.place / "dist").mkdir(parents=True)
    shutil.copy(wheel, it.place / "dist")
    shutil.copy(ROOT / "requirements.lock", it.place)
    it.links.mkdir()
    (it.links / "brim").symlink_to(it.scripts / "brim")
    return it


def readme(*beginnings: str) -> list[str]:
    """The lines of its commands that begin so."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.startswith(beginnings)]


@pytest.mark.package
@pytest.mark.parametrize(
    "versions",
    [
        "locked",
        pytest.param(
            "newest",
            marks=pytest.mark.skipif(
                not os.environ.get("TEST_PACKAGE_NEWEST"),
                reason="depends on what an index has today: TEST_PACKAGE_NEWEST=1 make test-package",
            ),
        ),
    ],
)
def test_in_an_empty_environment_the_demo_plays(stranger: Stranger, versions: str) -> None:
    locked, alone = readme("pip install ")
    if versions == "locked":
        stranger.does(locked, stranger.scripts, seconds=INSTALLING)
    before = stranger.has()
    stranger.does(alone, stranger.scripts, seconds=INSTALLING)
    if versions == "locked":
        assert stranger.has() - before == {"brim"}, "the lock file has all that brim needs, at versions that it allows"
    (demo,) = readme("brim demo")
    said = stranger.does(demo, stranger.links, seconds=PLAYING)
    assert "Every step was seen in the members' own APIs" in said
