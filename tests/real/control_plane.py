"""A real control plane on this machine: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and KWOK, which
gives nodes and pods their life. Everything listens on 127.0.0.1 alone and keeps its files in one folder.

    with ControlPlane(binaries.find(), "idc", folder) as plane:
        kubeconfig({"idc": plane}, path)
        plane.crash_api_server()
        plane.ready()
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from shared.nats_server import dying_with_us
from tests.real.binaries import Binaries
from tests.real.waiting import until

HOST = "127.0.0.1"
TOKEN = "administrator"  # whoever can reach the loopback may know it
START = 120.0  # seconds; a starved machine takes its time
STOP = 20.0  # seconds until a program is killed
LOG_LINES = 15  # of a log that an error shows

CERTIFICATES = Path(__file__).parents[1] / "shared" / "kube" / "certificates"  # valid for 127.0.0.1, until 2120
CA = CERTIFICATES / "ca.pem"
SERVER = CERTIFICATES / "server.pem"  # certificate and key; the key also signs service accounts' tokens
STAGES = Path(__file__).with_name("kwok.yaml")


class Program:
    """One process, whose output goes to a file."""

    def __init__(self, name: str, command: list[str], folder: Path) -> None:
        self.name = name
        self._command = command
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                dying_with_us(self._command),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", ""), "HOME": str(self._folder)},
            )

    def check(self) -> None:
        """Raises RuntimeError with the end of its log where it has ended."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise RuntimeError(f"{self.name} ended with status {status}: {self.said()}")

    def said(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])

    def stop(self, *, kill: bool = False) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class ControlPlane:
    """`with` it, or `start` and `stop` it. url, token: of its API; CA signs its certificate.

    lives: whether controllers, a scheduler and KWOK run; without them it keeps what it is given, and no more.
    """

    token = TOKEN

    def __init__(self, binaries: Binaries, name: str, folder: Path, *, lives: bool = True) -> None:
        self.name = name
        self._lives = lives
        self._binaries = binaries
        self._folder = folder
        self._kubeconfig = folder / "kubeconfig"
        self._port = 0
        self._programs: dict[str, Program] = {}

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self._port}"

    def __enter__(self) -> ControlPlane:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns once the API is ready and the controllers, if any, work. Raises RuntimeError with a log's end."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / "tokens.csv").write_text(f"{TOKEN},administrator,administrator,system:masters\n")
        etcd = free_port()
        self._run("etcd", self._etcd(etcd))
        self._wait("etcd", lambda: _answer(f"http://{HOST}:{etcd}/readyz"))
        self._port = free_port()
        kubeconfig({self.name: self}, self._kubeconfig)
        self._run("kube-apiserver", self._api_server(etcd))
        self.ready()
        if not self._lives:
            return
        self._run("kube-controller-manager", self._controller_manager())
        self._run("kube-scheduler", self._scheduler())
        self._run("kwok", self._kwok())
        self._wait("kube-controller-manager", self._works)

    def stop(self) -> None:
        for program in reversed(self._programs.values()):
            program.stop()
        self._programs.clear()

    def crash_api_server(self) -> None:
        """End it at once, and start it again on the same port; `ready` waits for it."""
        program = self._programs["kube-apiserver"]
        program.stop(kill=True)
        program.start()

    def ready(self) -> None:
        """Wait until the API says that it is."""
        self._wait("kube-apiserver", lambda: self._get("/readyz"))

    def _works(self) -> bool:
        """Without its namespace's service account no pod is admitted."""
        return self._get("/api/v1/namespaces/default/serviceaccounts/default")

    def _get(self, path: str) -> bool:
        return _answer(self.url + path, token=TOKEN)

    def _run(self, name: str, arguments: Mapping[str, object]) -> None:
        command = [self._binaries[name], *(f"--{key}={value}" for key, value in arguments.items())]
        self._programs[name] = Program(name, command, self._folder)
        self._programs[name].start()

    def _wait(self, what: str, condition: Callable[[], bool]) -> None:
        def ready() -> bool:
            for program in self._programs.values():
                program.check()
            return condition()

        until(ready, START, lambda: f"{what} is not ready after {START:g} s: {self._programs[what].said()}")

    # -- what each program is told -------------------------------------------------------------------------------

    def _etcd(self, port: int) -> dict[str, object]:
        return {
            "data-dir": self._folder / "etcd",
            "listen-client-urls": f"http://{HOST}:{port}",
            "advertise-client-urls": f"http://{HOST}:{port}",
            "listen-peer-urls": f"http://{HOST}:0",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        }

    def _api_server(self, etcd: int) -> dict[str, object]:
        return {
            "etcd-servers": f"http://{HOST}:{etcd}",
            "bind-address": HOST,
            "advertise-address": HOST,
            "secure-port": self._port,
            "cert-dir": self._folder,
            "tls-cert-file": SERVER,
            "tls-private-key-file": SERVER,
            "client-ca-file": CA,
            "token-auth-file": self._folder / "tokens.csv",
            "authorization-mode": "RBAC",
            "endpoint-reconciler-type": "none",
            "service-cluster-ip-range": "10.96.0.0/16",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": SERVER,
            "service-account-signing-key-file": SERVER,
            "shutdown-send-retry-after": "true",
        }

    def _controller_manager(self) -> dict[str, object]:
        return {
            **self._client(),
            "root-ca-file": CA,
            "service-account-private-key-file": SERVER,
            "kube-api-qps": 500,
            "kube-api-burst": 1000,
        }

    def _scheduler(self) -> dict[str, object]:
        return {**self._client(), "kube-api-qps": 500, "kube-api-burst": 1000}

    def _client(self) -> dict[str, object]:
        return {
            "kubeconfig": self._kubeconfig,
            "authentication-kubeconfig": self._kubeconfig,
            "authorization-kubeconfig": self._kubeconfig,
            "leader-elect": "false",
            "bind-address": HOST,
            "secure-port": 0,
        }

    def _kwok(self) -> dict[str, object]:
        port = free_port()
        return {
            "kubeconfig": self._kubeconfig,
            "config": STAGES,
            "manage-all-nodes": "true",
            "node-lease-duration-seconds": 40,
            "node-ip": HOST,
            "node-port": port,
            "server-address": f"{HOST}:{port}",
            "tls-cert-file": SERVER,
            "tls-private-key-file": SERVER,
        }


def kubeconfig(planes: Mapping[str, ControlPlane], path: Path) -> None:
    """A context per control plane, named by its key; the first is the current one."""
    clusters = {name: {"server": plane.url, "certificate-authority": str(CA)} for name, plane in planes.items()}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": next(iter(planes)),
        "clusters": [{"name": name, "cluster": cluster} for name, cluster in clusters.items()],
        "users": [{"name": name, "user": {"token": plane.token}} for name, plane in planes.items()],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in planes],
    }
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def trusting() -> ssl.SSLContext:
    """For clients of the test's own."""
    return ssl.create_default_context(cafile=str(CA))


def call(plane: ControlPlane, method: str, path: str, body: object = None) -> Any:
    """One request by hand, for what the test itself does in a member. Raises urllib.error.HTTPError."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {plane.token}", "Content-Type": "application/json"}
    request = urllib.request.Request(plane.url + path, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=30.0, context=trusting()) as response:
        return json.load(response)


def _answer(url: str, *, token: str = "") -> bool:
    """Whether it answers, and with success."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    secure = trusting() if url.startswith("https") else None
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, headers=headers), timeout=5.0, context=secure
        ) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
