"""A control plane of K3s in a container of testcontainers': its API server, controllers and scheduler without its
agent, so that KWOK has nodes and pods to itself, as it has with programs on this machine.

It is a plain container, not testcontainers' K3SContainer: that is privileged, which only an agent has to be, and waits
for what only an agent says.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from testcontainers.core.config import ConnectionMode, testcontainers_config
from testcontainers.core.container import DockerContainer

from tests.docker.engine import Engine
from tests.real.control_plane import CERTIFICATES, CLIENTS, ControlPlane, call, exists, kubeconfig
from tests.real.program import HOST, end_of, free_port

PORT = 6443  # in the container
WRITTEN = "/etc/rancher/k3s/k3s.yaml"  # the administrator's kubeconfig, there
COMMAND = [
    "server",
    "--disable-agent",
    "--disable=coredns,traefik,servicelb,metrics-server,local-storage",  # their pods would be on KWOK's nodes
    "--disable-cloud-controller",
    "--disable-helm-controller",
    "--egress-selector-mode=disabled",
]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
ACCOUNTS = "/api/v1/namespaces/kube-system/serviceaccounts"  # where no test looks
ADMINISTRATOR = "brim-test-administrator"
LASTS = 24 * 3600  # seconds, of the administrator's token


@contextmanager
def reaching(engine: Engine) -> Iterator[None]:
    """testcontainers uses this engine while the block runs."""
    with pytest.MonkeyPatch.context() as patch:
        if engine.own:
            patch.setenv("DOCKER_HOST", engine.environment["DOCKER_HOST"])
            patch.setattr(testcontainers_config, "connection_mode_override", ConnectionMode.docker_host)
        # Its reaper tidies up where a test run is killed; an engine of our own is thrown away whole.
        if engine.own or not engine.obtains(testcontainers_config.ryuk_image):
            patch.setattr(testcontainers_config, "ryuk_disabled", True)
        yield


class K3sControlPlane(ControlPlane):
    """image: K3s's, for an engine on this machine. kwok: the program, which runs here too."""

    def __init__(self, image: str, kwok: str, name: str, folder: Path) -> None:
        super().__init__(name, folder)
        self.authority = folder / "authority.pem"
        self._certificate, self._key = folder / "administrator.crt", folder / "administrator.key"
        self._kwok = kwok
        self._container = DockerContainer(image).with_command(COMMAND)
        self._address = ""

    @property
    def url(self) -> str:
        return f"https://{self._address}"

    @property
    def administrator(self) -> dict[str, str]:
        return {"client-certificate": str(self._certificate), "client-key": str(self._key)}

    def start(self) -> None:
        # A port that the engine chose would be another one after a crash.
        self._container.ports[f"{PORT}/tcp"] = (HOST, free_port())
        self._container.with_kwargs(hostname=self.name).with_tmpfs_mount("/run").with_tmpfs_mount("/var/run")
        self._container.start()
        host = self._container.get_container_host_ip().replace("localhost", HOST)
        self._address = f"{host}:{self._container.get_exposed_port(PORT)}"
        self.wait("K3s", self._has_written)
        self._keep(yaml.safe_load(self._read(WRITTEN)))
        for path in ("/readyz", "/api/v1/namespaces/kube-system"):  # which is made a moment later
            self.wait("K3s", lambda path=path: self.answers(path))
        self.token = self._token()
        self.wait("K3s", self.admits)
        kubeconfig({self.name: self}, self.folder / "kubeconfig")
        self.run_kwok(self._kwok, self.folder / "kubeconfig")

    def stop(self) -> None:
        super().stop()
        self._container.stop()

    def crash_api_server(self) -> None:
        """And with it all of K3s, which is one process."""
        container = self._container.get_wrapped_container()
        container.kill()
        container.wait()
        container.start()

    def certificate(self, user: str) -> str:
        """Signed on request, as in any cluster."""
        request = (CERTIFICATES / f"{CLIENTS[user]}.csr").read_bytes()
        key = (CERTIFICATES / f"{CLIENTS[user]}.pem").read_text(encoding="utf-8")
        spec = {
            "request": base64.b64encode(request).decode(),
            "signerName": "kubernetes.io/kube-apiserver-client",
            "usages": ["client auth"],
        }
        if not exists(self, f"{REQUESTS}/{user}"):
            made = call(self, "POST", REQUESTS, {"metadata": {"name": user}, "spec": spec})
            made["status"] = {"conditions": [{"type": "Approved", "status": "True", "reason": "Tests"}]}
            call(self, "PUT", f"{REQUESTS}/{user}/approval", made)

        def signed() -> str:
            return str(call(self, "GET", f"{REQUESTS}/{user}")["status"].get("certificate", ""))

        self.wait("K3s", lambda: bool(signed()))
        return base64.b64decode(signed()).decode() + key[key.rindex("-----BEGIN ") :]

    def said(self, part: str) -> str:
        if part in self.programs:
            return self.programs[part].said()
        return end_of(b"".join(self._container.get_logs()).decode(errors="replace"))

    def check(self) -> None:
        super().check()
        self._container.reload()
        if self._container.status not in ("created", "running"):
            raise RuntimeError(f"K3s of {self.name} is {self._container.status}: {self.said('K3s')}")

    def _has_written(self) -> bool:
        """The key comes last."""
        return "client-key-data" in self._read(WRITTEN)

    def _read(self, path: str) -> str:
        """Empty where the file is not there."""
        done = self._container.exec(["cat", path])
        return "" if done.exit_code else done.output.decode()

    def _keep(self, written: dict[str, Any]) -> None:
        """What K3s's kubeconfig holds, in files."""
        cluster, user = written["clusters"][0]["cluster"], written["users"][0]["user"]
        self.authority.write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        self._certificate.write_bytes(base64.b64decode(user["client-certificate-data"]))
        self._key.write_bytes(base64.b64decode(user["client-key-data"]))

    def _token(self) -> str:
        """Of an account that may do everything."""
        subject = {"kind": "ServiceAccount", "name": ADMINISTRATOR, "namespace": "kube-system"}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
        metadata = {"name": ADMINISTRATOR}
        call(self, "POST", ACCOUNTS, {"metadata": metadata})
        binding = {"metadata": metadata, "roleRef": role, "subjects": [subject]}
        call(self, "POST", f"{RBAC}/clusterrolebindings", binding)
        asked = {"spec": {"expirationSeconds": LASTS}}
        return str(call(self, "POST", f"{ACCOUNTS}/{ADMINISTRATOR}/token", asked)["status"]["token"])
