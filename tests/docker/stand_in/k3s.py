"""The command `k3s` of an image that stands in for K3s where that cannot be had: Kubernetes' own programs behind as
much of K3s's interface as compose.yaml and tests/real/k3s.py use. It is not K3s.

    k3s server [--disable-agent] [--tls-san=NAME …] …

The API is at port 6443, by a certificate for 127.0.0.1, the container's name and addresses, and each --tls-san; the
administrator's kubeconfig is written to K3S_KUBECONFIG_OUTPUT with the rights K3S_KUBECONFIG_MODE; all state is in
/var/lib/rancher/k3s. Where K3s runs an agent, there is a node by the container's name, and KWOK plays its kubelet.

It needs Python's standard library and openssl alone.
"""

from __future__ import annotations

import argparse
import base64
import os
import platform
import secrets
import signal
import socket
import sys
import threading
import urllib.error
from pathlib import Path

from tests.docker.stand_in.certificates import Authority, service_key
from tests.real.binaries import PACKAGES, Binaries
from tests.real.control_plane import call
from tests.real.local import Identity, LocalControlPlane

PROGRAMS = Path("/opt/stand-in/programs")
DATA = Path("/var/lib/rancher/k3s/server")
KUBECONFIG = "/etc/rancher/k3s/k3s.yaml"
PORT = 6443
EVERYWHERE = "0.0.0.0"  # in a network of its own
LOOK_EVERY = 1.0  # seconds, whether all programs still run
CONFLICT = 409
PODS = "110"  # a kubelet's usual bound


def arguments() -> argparse.Namespace:
    """What K3s would not know either ends with an error."""
    parser = argparse.ArgumentParser(prog="k3s", description=__doc__, allow_abbrev=False)
    server = parser.add_subparsers(required=True, metavar="server").add_parser("server", allow_abbrev=False)
    server.add_argument("--tls-san", action="append", default=[])
    server.add_argument("--disable-agent", action="store_true")
    server.add_argument("--write-kubeconfig", default=os.environ.get("K3S_KUBECONFIG_OUTPUT") or KUBECONFIG)
    server.add_argument("--write-kubeconfig-mode", default=os.environ.get("K3S_KUBECONFIG_MODE") or "0600")
    # K3s's own additions to Kubernetes, of which there are none here
    server.add_argument("--disable", action="append")
    server.add_argument("--disable-cloud-controller", action="store_true")
    server.add_argument("--disable-helm-controller", action="store_true")
    server.add_argument("--egress-selector-mode")
    return parser.parse_args()


def names(asked: list[str]) -> list[str]:
    """Whatever the API may be called by."""
    host = socket.gethostname()
    more = [name for words in asked for name in words.split(",")]
    return ["127.0.0.1", "localhost", host, *socket.gethostbyname_ex(host)[2], *more]


def identity(servers: Authority, clients: Authority, asked: list[str]) -> Identity:
    serving = servers.certify("kube-apiserver", "kube-apiserver", usage="serverAuth", names=names(asked))
    accounts = service_key(DATA / "tls" / "service.key")
    return Identity(servers.certificate, serving, clients.certificate, accounts, clients.key, secrets.token_hex(16))


def write_kubeconfig(path: Path, mode: int, servers: Authority, clients: Authority) -> None:
    """Of an administrator with a certificate, for who is in this container."""
    own = clients.certify("client-admin", "system:admin", organisation="system:masters", usage="clientAuth")
    certificate, marker, key = own.read_bytes().partition(b"-----BEGIN PRIVATE KEY")
    coded = [base64.b64encode(one).decode() for one in (servers.certificate.read_bytes(), certificate, marker + key)]
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}")
    draft.touch(mode=0o600)
    draft.write_text(TEMPLATE.format(port=PORT, authority=coded[0], certificate=coded[1], key=coded[2]))
    draft.chmod(mode)
    draft.replace(path)


TEMPLATE = """\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {authority}
    server: https://127.0.0.1:{port}
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
users:
- name: default
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"""


def register(plane: LocalControlPlane) -> None:
    """This container as a node, as its kubelet would."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    room = {"cpu": str(os.cpu_count() or 1), "memory": f"{memory}Ki", "pods": PODS}
    labels = {
        "kubernetes.io/hostname": plane.name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": platform.machine(),
    }
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": plane.name, "labels": labels},
        "status": {"capacity": room, "allocatable": room},
    }
    try:
        call(plane, "POST", "/api/v1/nodes", node)
    except urllib.error.HTTPError as error:
        if error.code != CONFLICT:  # it is there since the last start
            raise


def main() -> int:
    asked = arguments()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    print("This stands in for K3s: Kubernetes' own programs, not K3s.", flush=True)
    servers, clients = (Authority.of(DATA / "tls", name) for name in ("server-ca", "client-ca"))
    plane = LocalControlPlane(
        Binaries({name: PROGRAMS / name for name in PACKAGES}),
        socket.gethostname(),
        DATA,
        nodes=not asked.disable_agent,
        identity=identity(servers, clients, asked.tls_san),
        listen=EVERYWHERE,
        port=PORT,
    )
    with plane:
        if not asked.disable_agent:
            register(plane)
        write_kubeconfig(Path(asked.write_kubeconfig), int(asked.write_kubeconfig_mode, 8), servers, clients)
        print(f"ready; kubeconfig: {asked.write_kubeconfig}", flush=True)
        while not stop.wait(LOOK_EVERY):
            plane.check()
    return 0


if __name__ == "__main__":
    sys.exit(main())
