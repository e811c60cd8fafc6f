"""A member that an administrator has prepared as docs/fleet.md says, and kubeconfigs of brim's accounts there."""

from __future__ import annotations

import urllib.error
from pathlib import Path

import yaml

from tests.deploy.rights import documents
from tests.real.control_plane import CA, ControlPlane, call
from tests.real.waiting import until

RBAC = "rbac.authorization.k8s.io"
IN_FORCE = 60.0  # seconds
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


def exists(plane: ControlPlane, path: str) -> bool:
    try:
        call(plane, "GET", path)
    except urllib.error.HTTPError as error:
        error.close()
        return False
    return True


def account(plane: ControlPlane, service: str, folder: Path) -> Path:
    """A kubeconfig whose context `ctx` is a service's account, by a token of its own."""
    path = f"/api/v1/namespaces/brim/serviceaccounts/brim-{service}/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    (folder / "token").write_text(call(plane, "POST", path, asked)["status"]["token"])
    document = {
        "clusters": [{"name": "c", "cluster": {"server": plane.url, "certificate-authority": str(CA)}}],
        "users": [{"name": "u", "user": {"tokenFile": "token"}}],
        "contexts": [{"name": "ctx", "context": {"cluster": "c", "user": "u"}}],
    }
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(document))
    return kubeconfig


def both(plane: ControlPlane, folder: Path) -> Path:
    """As `account`, for inventory and executor in one process: one account with the rights of both, which are in
    force by then."""
    grant(plane, "inventory.yaml", "executor.yaml")
    subjects = [{"kind": "ServiceAccount", "name": "brim-executor", "namespace": "brim"}]
    for kind, role, space in (("ClusterRoleBinding", "ClusterRole", ""), ("RoleBinding", "Role", "kube-system")):
        binding = {
            "apiVersion": f"{RBAC}/v1",
            "kind": kind,
            "metadata": {"name": "brim-both"},
            "roleRef": {"apiGroup": RBAC, "kind": role, "name": "brim-inventory"},
            "subjects": subjects,
        }
        path = PLURALS[kind].format(space)
        if not exists(plane, f"{path}/brim-both"):
            call(plane, "POST", path, binding)
    until(
        lambda: may(plane, "watch", "", "nodes") and may(plane, "patch", "apps", "deployments"),
        IN_FORCE,
        lambda: f"the rights of deploy/rbac are not in force in {plane.name} after {IN_FORCE:g} s",
    )
    return account(plane, "executor", folder)


def may(plane: ControlPlane, verb: str, group: str, resource: str) -> bool:
    """Whether the executor's account may do so everywhere: roles are gathered by label a moment after they are made."""
    asked = {"verb": verb, "group": group, "resource": resource}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": "system:serviceaccount:brim:brim-executor", "resourceAttributes": asked},
    }
    answer = call(plane, "POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
    return bool(answer["status"]["allowed"])
