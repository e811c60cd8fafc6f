"""What `docker compose up` brings up, beside whatever else runs on this machine: with a name and ports of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.docker import images
from tests.docker.engine import Engine
from tests.docker.stand_in import image as stand_in
from tests.real.golang import Missing
from tests.real.waiting import until

ROOT = Path(__file__).parents[2]
BESIDE = ("jaeger", "prometheus")  # brim runs without them
PORTS = {"nats": 4222, "jaeger": 16686, "prometheus": 9090}  # in their containers
FIRST_PORT = 6441  # of the simulator's, in its container
K3S_PORT = 6443  # in each of its containers
K3S = ("idc", "ack")  # the members that it runs
UP = 300.0  # seconds until everything is healthy
WAIT = 120.0  # seconds for what takes a few


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

    def brim(self, *arguments: str) -> str:
        """What the command line says, from outside the containers."""
        environment = {
            **self.engine.environment,
            "BRIM_BUS__URL": self.url,
            "BRIM_CLOCK__SPEED": f"{self.speed:g}",
            "BRIM_CLOCK__EPOCH": f"{self.epoch:.3f}",
            "BRIM_TELEMETRY__JAEGER": self.published("jaeger"),
        }
        command = [sys.executable, "-m", "cli", *arguments]
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=WAIT, check=False
        )
        assert not done.returncode, done.stderr
        return done.stdout

    def has_joined(self, members: set[str]) -> bool:
        told = json.loads(self.brim("get", "clusters", "-o", "json"))["items"]
        return {one["metadata"]["name"] for one in told} == members

    def kubeconfig(self, folder: Path) -> Path:
        """Of the simulated members, as this machine reaches them."""
        document = self._kubeconfig("kubeconfig")
        for number, entry in enumerate(document["clusters"]):
            self._publish(entry["cluster"], "simulator", FIRST_PORT + number)
        return _written(document, folder)

    def kubeconfig_of_k3s(self, folder: Path) -> Path:
        """As `kubeconfig`, of the members that K3s runs: as brim has it, in one file and by their names."""
        document: dict[str, Any] = {"clusters": [], "users": [], "contexts": []}
        for member in K3S:
            found = self._kubeconfig(f"{member}.yaml")
            self._publish(found["clusters"][0]["cluster"], f"k3s-{member}", K3S_PORT)
            for kind in ("clusters", "users"):
                document[kind].append({**found[kind][0], "name": member})
            document["contexts"].append({"name": member, "context": {"cluster": member, "user": member}})
        return _written(document, folder)

    def _kubeconfig(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = yaml.safe_load(self.compose("exec", "-T", "executor", "cat", f"/fleet/{name}"))
        return found

    def _publish(self, cluster: dict[str, str], service: str, port: int) -> None:
        inside = f"{service}:{port}"
        assert inside in cluster["server"]
        cluster["server"] = cluster["server"].replace(inside, self._address(service, port))


def _written(document: dict[str, Any], folder: Path) -> Path:
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def seen(condition: Callable[[], bool], what: str) -> None:
    until(condition, WAIT, lambda: f"not seen within {WAIT:g} s: {what}")


@contextmanager
def stack(engine: Engine, folder: Path, *, speed: float, profile: str = "simulated") -> Iterator[Stack]:
    """Up and healthy while the block runs, and gone after it, volumes and all. Raises golang.Missing where an image is
    not to be had.

    speed: fleet seconds per real second. profile: of compose.yaml, which members it has.
    """
    epoch = time.time()
    environment = {
        "COMPOSE_PROJECT_NAME": f"brim-test-{os.getpid()}-{profile}",
        "COMPOSE_PROFILES": profile,
        "IMAGE": f"brim-test:{os.getpid()}",
        "BRIM_CLOCK__SPEED": f"{speed:g}",
        "BRIM_CLOCK__EPOCH": f"{epoch:.3f}",
        **dict.fromkeys(("NATS_PORT", "JAEGER_PORT", "PROMETHEUS_PORT", "IDC_PORT", "ACK_PORT"), "0"),
    }
    if profile == "k3s":
        environment["K3S_IMAGE"] = images.k3s(engine, folder)
        if environment["K3S_IMAGE"] == stand_in.name():
            environment["COMPOSE_FILE"] = f"compose.yaml{os.pathsep}{stand_in.COMPOSE}"
    running = Stack(engine, environment, epoch, speed)
    running.provide(folder)
    try:
        if not engine.has(environment["IMAGE"]):  # from the profile before
            running.compose("build")
        running.up()
        yield running
    finally:
        running.compose("down", "--volumes", "--timeout=10")
        engine.forget(environment["IMAGE"])
