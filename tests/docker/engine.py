"""A Docker engine: the one that this user reaches, else one of the test's own, which root can run where dockerd is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.docker import programs
from tests.real.golang import Missing
from tests.real.program import Program
from tests.real.waiting import until

BRIDGE = "docker0"
START = 120.0  # seconds; a starved machine takes its time
COMMAND = 900.0  # seconds for one command; building the image takes a minute where nothing else runs


@dataclass(frozen=True, slots=True)
class Engine:
    """environment: what docker's commands are run in. own: nobody else uses it, so any image may be put there."""

    own: bool
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def docker(self, *arguments: str, **options: object) -> str:
        """Standard output. Raises RuntimeError with what was said."""
        return self.run("docker", *arguments, **options)

    def compose(self, *arguments: str, **options: object) -> str:
        return self.run(*programs.compose(), *arguments, **options)

    def run(self, *command: str, seconds: float = COMMAND, **options: object) -> str:
        done = self._done(command, seconds, options)
        if done.returncode:
            said = (done.stdout + done.stderr).strip()[-4000:]
            raise RuntimeError(f"{' '.join(command)} ended with status {done.returncode}: {said}")
        return done.stdout

    def has(self, image: str) -> bool:
        return not self._done(("docker", "image", "inspect", image), COMMAND, {}).returncode

    def obtains(self, image: str) -> bool:
        """Whether it has it, maybe from its registry by now."""
        return self.has(image) or not self._done(("docker", "pull", "--quiet", image), COMMAND, {}).returncode

    def forget(self, image: str) -> None:
        """An engine of our own is thrown away whole."""
        if not self.own and self.has(image):
            self.docker("image", "rm", "--force", image)

    def layers(self, image: str) -> list[str]:
        found = json.loads(self.docker("inspect", "--format", "{{json .RootFS.Layers}}", image))
        return [str(layer) for layer in found]

    def _done(
        self, command: tuple[str, ...], seconds: float, options: dict[str, object]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            stdin=subprocess.DEVNULL,
            env=self.environment,
            **options,  # type: ignore[call-overload]
        )


@contextmanager
def folder() -> Iterator[Path]:
    """For one of our own: its path is short, as it holds a socket."""
    made = Path(tempfile.mkdtemp(prefix="brim-docker-"))
    try:
        (made / "images").mkdir()
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextmanager
def engine(folder: Path) -> Iterator[Engine]:
    """Raises Missing where there is none and none can be run. folder: for one of our own; its path must be short, as it
    holds a socket."""
    if shutil.which("docker") is None:
        raise Missing("the docker command is not on the PATH")
    if not subprocess.run(["docker", "info"], capture_output=True, timeout=START, check=False).returncode:
        yield Engine(own=False)
        return
    daemon = shutil.which("dockerd")
    if daemon is None or os.geteuid() != 0:
        raise Missing("no Docker engine answers, and none can be run here: that needs dockerd, and root")
    with _running(daemon, folder) as address:
        # Its builder is part of it: BuildKit would need another plugin.
        yield Engine(own=True, environment={**os.environ, "DOCKER_HOST": address, "DOCKER_BUILDKIT": "0"})


@contextmanager
def _running(program: str, folder: Path) -> Iterator[str]:
    address = f"unix://{folder / 'docker.sock'}"
    bridged = _has_bridge()
    daemon = Program(
        "dockerd",
        [
            program,
            f"--data-root={folder / 'data'}",
            f"--exec-root={folder / 'exec'}",
            f"--pidfile={folder / 'pid'}",
            f"--host={address}",
        ],
        folder,
    )
    daemon.start()
    try:

        def answers() -> bool:
            daemon.check()
            return not subprocess.run(["docker", "-H", address, "info"], capture_output=True, check=False).returncode

        until(answers, START, lambda: f"dockerd did not start within {START:g} s: {daemon.said()}")
        yield address
    finally:
        daemon.stop()
        _tidy(folder, bridged=bridged)


def _tidy(folder: Path, *, bridged: bool) -> None:
    """What a daemon that ends leaves behind. bridged: the bridge was there before."""
    for namespace in (folder / "exec" / "netns").glob("*"):
        subprocess.run(["umount", "--lazy", str(namespace)], check=False, capture_output=True)
    if not bridged and _has_bridge():
        subprocess.run(["ip", "link", "delete", BRIDGE], check=False, capture_output=True)


def _has_bridge() -> bool:
    return Path("/sys/class/net", BRIDGE).exists()
