"""A real control plane, whoever runs it: programs on this machine (local.py), or K3s in a container (k3s.py).

with LocalControlPlane(binaries.find(), "idc", folder) as plane:
    kubeconfig({"idc": plane}, path)
    plane.crash_api_server()
    plane.ready()
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.real.program import HOST, Program, Started, free_port
from tests.real.waiting import until

START = 120.0  # seconds; a starved machine takes its time
CERTIFICATES = Path(__file__).parents[1] / "shared" / "kube" / "certificates"  # valid for 127.0.0.1, until 2120
SERVER = CERTIFICATES / "server.pem"  # certificate and key
STAGES = Path(__file__).with_name("kwok.yaml")
CLIENTS = {"one": "client-1", "two": "client-2"}  # users who have a key and a certificate, or can ask for one


class ControlPlane(Started):
    """url: of its API; authority: of that one's certificate. token: of somebody who may do everything there."""

    token: str
    authority: Path

    def __init__(self, name: str, folder: Path) -> None:
        """folder: for files, its own."""
        self.name = name
        self.folder = folder
        self.programs: dict[str, Program] = {}  # in the order of their starts

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    def administrator(self) -> dict[str, str]:
        """As kubeconfigs have users: somebody whom it takes at his word, even before it has read any roles."""
        return {"token": self.token}

    @abstractmethod
    def start(self) -> None:
        """Returns once the API is ready and the controllers, if any, work. Raises RuntimeError with a log's end."""

    @abstractmethod
    def crash_api_server(self) -> None:
        """End it at once, and start it again at the same address; `ready` waits for it."""

    @abstractmethod
    def certificate(self, user: str) -> str:
        """A client's certificate, and its key, for one of CLIENTS."""

    @abstractmethod
    def said(self, part: str) -> str:
        """The end of the part's log."""

    def check(self) -> None:
        """Raises RuntimeError with the end of its log where a part has ended."""
        for program in self.programs.values():
            program.check()

    def stop(self) -> None:
        for program in reversed(self.programs.values()):
            program.stop()
        self.programs.clear()

    def ready(self) -> None:
        """Wait until the API says that it is."""
        self.wait("kube-apiserver", lambda: self.answers("/readyz"))

    def admits(self) -> bool:
        """Whether controllers work: without its namespace's service account no pod is admitted."""
        return self.answers("/api/v1/namespaces/default/serviceaccounts/default")

    def answers(self, path: str) -> bool:
        return answer(self.url + path, self.trusting(), token=self.administrator.get("token", ""))

    def trusting(self) -> ssl.SSLContext:
        """For the administrator's requests."""
        secure = ssl.create_default_context(cafile=str(self.authority))
        if "client-certificate" in self.administrator:
            secure.load_cert_chain(self.administrator["client-certificate"], self.administrator["client-key"])
        return secure

    def wait(self, part: str, condition: Callable[[], bool]) -> None:
        def holds() -> bool:
            self.check()
            return condition()

        until(holds, START, lambda: f"{part} of {self.name} is not ready after {START:g} s: {self.said(part)}")

    def run(self, name: str, program: str, arguments: Mapping[str, object]) -> None:
        command = [program, *(f"--{key}={value}" for key, value in arguments.items())]
        self.programs[name] = Program(name, command, self.folder)
        self.programs[name].start()

    def run_kwok(self, program: str, reached: Path) -> None:
        """KWOK gives nodes and pods their life. reached: the kubeconfig."""
        port = free_port()
        arguments = {
            "kubeconfig": reached,
            "config": STAGES,
            "manage-all-nodes": "true",
            "node-lease-duration-seconds": 40,
            "node-ip": HOST,
            "node-port": port,
            "server-address": f"{HOST}:{port}",
            "tls-cert-file": SERVER,
            "tls-private-key-file": SERVER,
        }
        self.run("kwok", program, arguments)


def kubeconfig(planes: Mapping[str, ControlPlane], path: Path) -> None:
    """A context per control plane, named by its key; the first is the current one. In JSON, which is YAML as well."""
    clusters = {
        name: {"server": plane.url, "certificate-authority": str(plane.authority)} for name, plane in planes.items()
    }
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": next(iter(planes)),
        "clusters": [{"name": name, "cluster": cluster} for name, cluster in clusters.items()],
        "users": [{"name": name, "user": plane.administrator} for name, plane in planes.items()],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in planes],
    }
    path.write_text(json.dumps(document, indent=2), encoding="utf-8")


def call(plane: ControlPlane, method: str, path: str, body: object = None) -> Any:
    """One request by hand, for what the test itself does in a member. Raises urllib.error.HTTPError."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **_authorization(plane.administrator.get("token", ""))}
    request = urllib.request.Request(plane.url + path, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=30.0, context=plane.trusting()) as response:
        return json.load(response)


def exists(plane: ControlPlane, path: str) -> bool:
    try:
        call(plane, "GET", path)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    return True


def answer(url: str, secure: ssl.SSLContext | None, *, token: str = "") -> bool:
    """Whether it answers, and with success."""
    request = urllib.request.Request(url, headers=_authorization(token))
    try:
        with urllib.request.urlopen(request, timeout=5.0, context=secure) as response:
            return bool(response.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _authorization(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"} if token else {}
