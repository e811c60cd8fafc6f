"""A control plane of programs on this machine: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and KWOK.
Everything listens on 127.0.0.1 alone and keeps its files in one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tests.real.binaries import Binaries
from tests.real.control_plane import CERTIFICATES, CLIENTS, SERVER, ControlPlane, answer, kubeconfig
from tests.real.program import HOST, free_port


@dataclass(frozen=True, slots=True)
class Identity:
    """By what a control plane is known, and whom it knows; files in PEM.

    authority: of its own certificate. server: that and its key. clients: authority of client certificates; signing: its
    key, where it certifies clients that ask. accounts: the key that signs service accounts' tokens. token: of its
    administrator.
    """

    authority: Path
    server: Path
    clients: Path
    accounts: Path
    signing: Path | None = None
    token: str = "administrator"  # whoever can reach the loopback may know it


OF_TESTS = Identity(authority=CERTIFICATES / "ca.pem", server=SERVER, clients=CERTIFICATES / "ca.pem", accounts=SERVER)


class LocalControlPlane(ControlPlane):
    """lives: whether controllers, a scheduler and KWOK run; without them it keeps what it is given, and no more.

    nodes: whether KWOK is among them. listen, port: of the API; 0 is a free one.
    """

    def __init__(
        self,
        binaries: Binaries,
        name: str,
        folder: Path,
        *,
        lives: bool = True,
        nodes: bool = True,
        identity: Identity = OF_TESTS,
        listen: str = HOST,
        port: int = 0,
    ) -> None:
        super().__init__(name, folder)
        self.token = identity.token
        self.authority = identity.authority
        self._binaries = binaries
        self._lives = lives
        self._nodes = nodes
        self._identity = identity
        self._listen = listen
        self._port = port
        self._kubeconfig = folder / "kubeconfig"

    @property
    def url(self) -> str:
        return f"https://{HOST}:{self._port}"

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "tokens.csv").write_text(f"{self.token},administrator,administrator,system:masters\n")
        etcd = free_port()
        self._start("etcd", self._etcd(etcd))
        self.wait("etcd", lambda: answer(f"http://{HOST}:{etcd}/readyz", None))
        self._port = self._port or free_port()
        kubeconfig({self.name: self}, self._kubeconfig)
        self._start("kube-apiserver", self._api_server(etcd))
        self.ready()
        if not self._lives:
            return
        self._start("kube-controller-manager", self._controller_manager())
        self._start("kube-scheduler", self._scheduler())
        if self._nodes:
            self.run_kwok(self._binaries["kwok"], self._kubeconfig)
        self.wait("kube-controller-manager", self.admits)

    def crash_api_server(self) -> None:
        program = self.programs["kube-apiserver"]
        program.stop(kill=True)
        program.start()

    def certificate(self, user: str) -> str:
        return (CERTIFICATES / f"{CLIENTS[user]}.pem").read_text(encoding="utf-8")

    def said(self, part: str) -> str:
        return self.programs[part].said()

    def _start(self, name: str, arguments: dict[str, object]) -> None:
        self.run(name, self._binaries[name], arguments)

    # -- what each program is told -------------------------------------------------------------------------------

    def _etcd(self, port: int) -> dict[str, object]:
        return {
            "data-dir": self.folder / "etcd",
            "listen-client-urls": f"http://{HOST}:{port}",
            "advertise-client-urls": f"http://{HOST}:{port}",
            "listen-peer-urls": f"http://{HOST}:0",
            "unsafe-no-fsync": "true",
            "log-level": "warn",
        }

    def _api_server(self, etcd: int) -> dict[str, object]:
        return {
            "etcd-servers": f"http://{HOST}:{etcd}",
            "bind-address": self._listen,
            "advertise-address": HOST,
            "secure-port": self._port,
            "cert-dir": self.folder,
            "tls-cert-file": self._identity.server,
            "tls-private-key-file": self._identity.server,
            "client-ca-file": self._identity.clients,
            "token-auth-file": self.folder / "tokens.csv",
            "authorization-mode": "RBAC",
            "endpoint-reconciler-type": "none",
            "service-cluster-ip-range": "10.96.0.0/16",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self._identity.accounts,
            "service-account-signing-key-file": self._identity.accounts,
            "shutdown-send-retry-after": "true",
        }

    def _controller_manager(self) -> dict[str, object]:
        signs = {
            "cluster-signing-cert-file": self._identity.clients,
            "cluster-signing-key-file": self._identity.signing,
        }
        return {
            **self._client(),
            **(signs if self._identity.signing else {}),
            "root-ca-file": self._identity.authority,
            "service-account-private-key-file": self._identity.accounts,
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
