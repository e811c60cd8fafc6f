"""What `docker compose up` brings up, beside whatever else runs on this machine: with a name and ports of its own."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.docker import images
from tests.docker.engine import Engine
from tests.real.golang import Missing

ROOT = Path(__file__).parents[2]
BESIDE = ("jaeger", "prometheus")  # brim runs without them
PORTS = {"nats": 4222, "jaeger": 16686, "prometheus": 9090}  # in their containers
FIRST_PORT = 6441  # of the simulator's, in its container
UP = 300.0  # seconds until everything is healthy


@dataclass(frozen=True, slots=True)
class Stack:
    """epoch, speed: of its clock. without: services whose image is not to be had, with the reason."""

    engine: Engine
    environment: dict[str, str]
    epoch: float
    speed: float
    without: dict[str, str] = field(default_factory=dict)

    def compose(self, *arguments: str) -> str:
        found = {**self.engine.environment, **self.environment}
        return Engine(self.engine.own, found).compose("--project-directory", str(ROOT), *arguments, cwd=ROOT)

    @property
    def url(self) -> str:
        """NATS' address, with the user that people have."""
        return f"nats://people:people@{self._address('nats', PORTS['nats'])}"

    def published(self, service: str) -> str:
        return f"http://{self._address(service, PORTS[service])}"

    def _address(self, service: str, port: int) -> str:
        """On this machine. The engine chooses it anew whenever the container starts."""
        return self.compose("port", service, str(port)).strip()

    def services(self) -> dict[str, dict[str, Any]]:
        """As compose reads its file."""
        found: dict[str, dict[str, Any]] = json.loads(self.compose("config", "--format=json"))["services"]
        return found

    def base(self) -> tuple[str, ...]:
        """Arguments for docker's build, so that it is on the same base as compose's."""
        arguments = self.services()["scheduler"]["build"]["args"]
        return tuple(word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}"))

    def provide(self, folder: Path) -> None:
        """All images that it does not build. folder: for making them. Raises Missing where brim itself needs one."""
        services = self.services()
        base = services["scheduler"]["build"]["args"]["PYTHON_IMAGE"]
        images.provide(self.engine, base, Path(tempfile.mkdtemp(dir=folder)))
        for name, service in services.items():
            if service["image"] == self.environment["IMAGE"]:
                continue
            try:
                images.provide(self.engine, service["image"], Path(tempfile.mkdtemp(dir=folder)))
            except Missing as missing:
                if name not in BESIDE:
                    raise
                self.without[name] = str(missing)

    def up(self) -> None:
        """Returns when all is healthy."""
        named = [name for name in self.services() if name not in self.without] if self.without else []
        self.compose("up", "--detach", "--wait", f"--wait-timeout={UP:g}", *named)

    def containers(self) -> dict[str, dict[str, Any]]:
        """What the engine says of each container, by service."""
        identifiers = self.compose("ps", "--all", "--quiet").split()
        found = json.loads(self.engine.docker("inspect", *identifiers))
        return {one["Config"]["Labels"]["com.docker.compose.service"]: one for one in found}

    def kubeconfig(self, folder: Path) -> Path:
        """Of the members, as this machine reaches them."""
        document = yaml.safe_load(self.compose("exec", "-T", "executor", "cat", "/fleet/kubeconfig"))
        for number, entry in enumerate(document["clusters"]):
            inside = f"simulator:{FIRST_PORT + number}"
            server = entry["cluster"]["server"]
            assert inside in server
            entry["cluster"]["server"] = server.replace(inside, self._address("simulator", FIRST_PORT + number))
        path = folder / "kubeconfig"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path


@contextmanager
def stack(engine: Engine, folder: Path, *, speed: float) -> Iterator[Stack]:
    """Up and healthy while the block runs, and gone after it, volumes and all. Raises golang.Missing where an image is
    not to be had.

    speed: fleet seconds per real second.
    """
    epoch = time.time()
    environment = {
        "COMPOSE_PROJECT_NAME": f"brim-test-{os.getpid()}",
        "IMAGE": f"brim-test:{os.getpid()}",
        "BRIM_CLOCK__SPEED": f"{speed:g}",
        "BRIM_CLOCK__EPOCH": f"{epoch:.3f}",
        **dict.fromkeys(("NATS_PORT", "JAEGER_PORT", "PROMETHEUS_PORT", "IDC_PORT", "ACK_PORT"), "0"),
    }
    running = Stack(engine, environment, epoch, speed)
    running.provide(folder)
    try:
        running.compose("build")
        running.up()
        yield running
    finally:
        running.compose("down", "--volumes", "--timeout=10")
        engine.forget(environment["IMAGE"])
