"""A member that an administrator has prepared as docs/fleet.md says, and kubeconfigs of brim's accounts there."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from tests.deploy.rights import documents
from tests.real.control_plane import ControlPlane, call, exists
from tests.real.waiting import until

RBAC = "rbac.authorization.k8s.io"
IN_FORCE = 60.0  # seconds
EXECUTOR = "system:serviceaccount:brim:brim-executor"
CERTIFIED = "one"  # who has a certificate
HALVES = (
    ("ClusterRoleBinding", "ClusterRole", "brim-inventory", ""),
    ("RoleBinding", "Role", "brim-inventory", "kube-system"),
    ("ClusterRoleBinding", "ClusterRole", "brim-executor", ""),
)
PLUGIN = """
import json, pathlib, time
folder = pathlib.Path({folder!r})
with (folder / "runs").open("a") as runs:
    runs.write("run\\n")
ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + {lasts}))
status = {{"token": (folder / "token").read_text(), "expirationTimestamp": ends}}
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}}))
"""
PLURALS = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{}/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Role": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "RoleBinding": "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
}


def grant(plane: ControlPlane, *files: str) -> None:
    """Apply files of deploy/rbac; what is there already stays."""
    for document in documents(*files):
        path = PLURALS[document["kind"]].format(document["metadata"].get("namespace", ""))
        if not exists(plane, f"{path}/{document['metadata']['name']}"):
            call(plane, "POST", path, document)


def account(plane: ControlPlane, service: str, folder: Path) -> Path:
    """A kubeconfig whose context `ctx` is a service's account, by a token of its own in a file."""
    (folder / "token").write_text(token(plane, service))
    return kubeconfig(plane, folder, {"tokenFile": "token"})


def token(plane: ControlPlane, service: str) -> str:
    path = f"/api/v1/namespaces/brim/serviceaccounts/brim-{service}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    return str(call(plane, "POST", path, asked)["status"]["token"])


def certified(plane: ControlPlane, folder: Path) -> Path:
    """By the client certificate of CERTIFIED, in the file own.pem."""
    (folder / "own.pem").write_text(plane.certificate(CERTIFIED))
    return kubeconfig(plane, folder, {"client-certificate": "own.pem", "client-key": "own.pem"})


def plugged(plane: ControlPlane, service: str, folder: Path, *, lasts: float = 30.0) -> Path:
    """By a credential plugin that hands out the token that lies in `token`, to be asked again before so many seconds
    have passed. It notes each of its runs in `runs`."""
    (folder / "token").write_text(token(plane, service))
    script = folder / "plugin.py"
    script.write_text(PLUGIN.format(folder=str(folder), lasts=lasts))
    run = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": [str(script)],
        "interactiveMode": "Never",
    }
    return kubeconfig(plane, folder, {"exec": run})


def kubeconfig(plane: ControlPlane, folder: Path, user: dict[str, object], *, authority: Path | None = None) -> Path:
    """With the one context `ctx`. user: as kubeconfigs have it; authority: another than the member's own."""
    cluster = {"server": plane.url, "certificate-authority": str(authority or plane.authority)}
    document = {
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
        "contexts": [{"name": "ctx", "context": {"cluster": "c", "user": "u"}}],
    }
    path = folder / "kubeconfig"
    path.write_text(yaml.safe_dump(document))
    return path


def both(plane: ControlPlane, folder: Path, way: int = 0) -> Path:
    """As `account`, for inventory and executor in one process: one account with the rights of both, which are in
    force by then. way: the kinds of credentials that there are, by turns."""
    grant(plane, "inventory.yaml", "executor.yaml")
    for kind, role, name, space in HALVES:
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": kind,
            "metadata": {"name": f"both-{name}"},
            "roleRef": {"apiGroup": RBAC, "kind": role, "name": name},
            "subjects": [
                {"kind": "ServiceAccount", "name": "brim-executor", "namespace": "brim"},
                {"kind": "User", "apiGroup": RBAC, "name": CERTIFIED},
            ],
        }
        path = PLURALS[kind].format(space)
        if not exists(plane, f"{path}/both-{name}"):
            call(plane, "POST", path, binding)
    for user in (EXECUTOR, CERTIFIED):
        until(
            lambda user=user: (
                may(plane, user, "watch", "", "nodes") and may(plane, user, "patch", "apps", "deployments")
            ),
            IN_FORCE,
            lambda: f"the rights of deploy/rbac are not in force in {plane.name} after {IN_FORCE:g} s",
        )
    ways = (
        lambda: account(plane, "executor", folder),
        lambda: certified(plane, folder),
        lambda: plugged(plane, "executor", folder),
    )
    return ways[way % len(ways)]()


def may(plane: ControlPlane, user: str, verb: str, group: str, resource: str) -> bool:
    """Whether a user may do so everywhere: roles are gathered by label a moment after they are made."""
    asked = {"verb": verb, "group": group, "resource": resource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "resourceAttributes": asked},
    }
    answer = call(plane, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])
