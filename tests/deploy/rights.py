"""What deploy/rbac grants, and a guard in front of simulated members that holds brim's services to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import yaml
from aiohttp import web

from simulator.faults import Faults
from simulator.statuses import ApiError

FOLDER = Path(__file__).parents[2] / "deploy" / "rbac"
SERVICES = ("inventory", "executor")
VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch"}


@dataclass(frozen=True, slots=True, order=True)
class Right:
    """resource: with its subresource ("pods/log"). namespace: where it holds, empty for everywhere."""

    group: str
    resource: str
    verb: str
    namespace: str = ""


def documents(*files: str) -> Iterator[dict]:
    for file in files:
        yield from yaml.safe_load_all((FOLDER / file).read_text(encoding="utf-8"))


def rules(role: dict) -> Iterator[Right]:
    namespace = role["metadata"].get("namespace", "")
    for rule in role.get("rules", ()):
        words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "*" not in words, "a star grants what nobody asked for"
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                yield from (Right(group, resource, verb, namespace) for verb in rule["verbs"])


def _identity(document: dict) -> tuple[str, str, str]:
    metadata = document["metadata"]
    return document["kind"], metadata.get("namespace", ""), metadata["name"]


def roles(service: str, *files: str) -> Iterator[dict]:
    """Those that are bound to a service's account, directly or by the label that its own ClusterRole gathers."""
    found = {_identity(one): one for one in documents(*files)}
    account = {"kind": "ServiceAccount", "name": f"brim-{service}", "namespace": "brim"}
    bindings = [one for one in found.values() if one["kind"].endswith("RoleBinding")]
    for binding in [one for one in bindings if account in one["subjects"]]:
        reference = binding["roleRef"]
        role = found[reference["kind"], binding["metadata"].get("namespace", ""), reference["name"]]
        yield role
        for selector in role.get("aggregationRule", {}).get("clusterRoleSelectors", ()):
            labels = selector["matchLabels"].items()
            yield from (one for one in found.values() if labels <= one["metadata"].get("labels", {}).items())


def granted(service: str, *files: str) -> set[Right]:
    return {right for role in roles(service, *files) for right in rules(role)}


def asked(request: web.Request, path: str) -> set[Right]:
    """What an API server asks its authorizer for this request; nothing for what anybody may (discovery, version)."""
    parts = [part for part in path.partition("?")[0].split("/") if part]
    if not parts or parts[0] not in ("api", "apis"):
        return set()
    group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1] if len(parts) > 1 else "", parts[3:])
    namespace = ""
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    if not rest:
        return set()
    resource, name = "/".join([rest[0], *rest[2:]]), rest[1] if len(rest) > 1 else ""
    if request.method in VERBS:
        verbs = {VERBS[request.method]}
        if "apply-patch" in request.headers.get("Content-Type", ""):
            verbs.add("create")  # it may turn out to be one
    elif request.method == "DELETE":
        verbs = {"delete"}
    else:
        verbs = {"get" if name else "watch" if "watch=" in path else "list"}
    return {Right(group, resource, verb, namespace) for verb in verbs}


class Guard(Faults):
    """Refuses what is not granted, as an API server with RBAC does, and remembers what was asked for."""

    grants: ClassVar[dict[str, set[Right]]] = {}
    used: ClassVar[dict[str, set[Right]]] = {}
    refused: ClassVar[list[str]] = []

    @classmethod
    def begin(cls, *files: str) -> None:
        cls.grants = {service: granted(service, *files) for service in SERVICES}
        cls.used = {service: set() for service in SERVICES}
        cls.refused = []

    async def strike(self, request: web.Request, path: str) -> web.Response | None:
        service = request.headers.get("User-Agent", "").removeprefix("brim-")
        for right in sorted(asked(request, path)) if service in SERVICES else ():
            here, everywhere = right, Right(right.group, right.resource, right.verb)
            found = {here, everywhere} & self.grants[service]
            self.used[service] |= found
            if not found:
                self.refused.append(f"{service}: {right}")
                raise ApiError(403, "Forbidden", f"{service} may not {right.verb} {right.resource}")
        return await super().strike(request, path)
