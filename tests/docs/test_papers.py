"""The papers are true: what they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cli.commands import COMMANDS
from shared.bus.streams import STREAMS

ROOT = Path(__file__).parents[2]
PAPERS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_links_lead_somewhere(paper: Path) -> None:
    for link in re.findall(r"\]\((?!https?://|#)([^)#]+)", paper.read_text(encoding="utf-8")):
        assert (paper.parent / link).exists(), link


@pytest.mark.parametrize("paper", PAPERS, ids=lambda path: path.name)
def test_papers_name_no_place_of_their_own_making(paper: Path) -> None:
    assert not re.search(r"(?<![\w.])/(work|tmp|root|home)/\w", paper.read_text(encoding="utf-8"))


def test_the_readme_lists_every_command_and_no_other() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| `brim ([a-z]+)", readme, re.MULTILINE)) == sorted(COMMANDS)


def test_the_readme_makes_only_what_can_be_made() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for paper in PAPERS:
        assert set(re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", paper.read_text(encoding="utf-8"))) <= {
            pair for target in targets for pair in ((target, ""), ("", target))
        }


def test_files_that_the_readme_applies_are_there() -> None:
    for name in re.findall(r"examples/[\w-]+\.yaml", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / name).is_file(), name


def sections(page: str) -> dict[str, str]:
    """Level-two title → its text."""
    parts = re.split(r"^## (.*)$", page, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("service", ["inventory", "scheduler", "executor", "descheduler"])
def test_architecture_names_files_that_exist(service: str) -> None:
    text = sections((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))[service.capitalize()]
    for name in re.findall(r"`([\w/]+\.py)`", text):
        assert (ROOT / "services" / service / name).is_file(), name


def test_architecture_names_every_stream() -> None:
    text = sections((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))["Streams"]
    assert [name for name in STREAMS if name not in text] == []
