"""What the demo says while it waits."""

from __future__ import annotations

import io
from collections.abc import Callable

import anyio
import anyio.lowlevel
import pytest

from cli.demo import patience
from shared.clock import Clock


class Screen(io.StringIO):
    """Calls back at every write. terminal: whether it says that it is one."""

    def __init__(self, terminal: bool, written: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._terminal = terminal
        self._written = written

    def isatty(self) -> bool:
        return self._terminal

    def write(self, text: str) -> int:
        self._written()
        return super().write(text)


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AFTER", "EVERY", "TICK"):
        monkeypatch.setattr(patience, name, 0.001)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)


async def waited(terminal: bool) -> tuple[str, list[str]]:
    """What was written, and which lines were said, until something was."""
    told = anyio.Event()
    screen, said = Screen(terminal, told.set), list[str]()

    def say(line: str) -> None:
        said.append(line)
        told.set()

    async with anyio.create_task_group() as group:
        group.start_soon(patience.tell, "nodes are Ready", Clock(speed=30), screen, say)
        with anyio.fail_after(10):
            await told.wait()
        group.cancel_scope.cancel()
    return screen.getvalue(), said


async def test_on_a_terminal_one_line_is_written_over_and_gone_at_the_end() -> None:
    written, said = await waited(terminal=True)
    assert said == []
    assert "\n" not in written
    assert "… waiting until nodes are Ready  (" in written
    assert written.endswith("\r\x1b[2K")


async def test_elsewhere_there_is_a_line_now_and_then() -> None:
    written, said = await waited(terminal=False)
    assert written == ""
    assert all(line.startswith("  … waiting until nodes are Ready  (") for line in said)


async def test_what_is_seen_at_once_needs_no_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "AFTER", 60.0)
    screen = Screen(terminal=True)
    async with anyio.create_task_group() as group:
        group.start_soon(patience.tell, "nothing", Clock(), screen, lambda _: None)
        await anyio.lowlevel.checkpoint()
        group.cancel_scope.cancel()
    assert screen.getvalue() == ""
