"""What clients ask before they do anything: groups, resources, version, and enough OpenAPI for kubectl.

The OpenAPI documents name every kind's PATCH with its parameters and content types. That is what kubectl
looks up to leave validation and merging to the server; schemas of fields are not published.
"""

from __future__ import annotations

from simulator.objects import Object
from simulator.registry import APPLY_PATCH, JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH
from simulator.resources import VERBS, Catalogue, Resource


def core_versions(host: str) -> Object:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    }


def groups(catalogue: Catalogue) -> Object:
    found = [_group(name, versions) for name, versions in catalogue.group_versions().items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(catalogue: Catalogue, name: str) -> Object | None:
    versions = catalogue.group_versions().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if name and versions else None


def _group(name: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def resources(catalogue: Catalogue, group_name: str, version: str) -> Object | None:
    """The APIResourceList of one group and version; None when it is not served."""
    served = [r for r in catalogue.all() if (r.group, r.version) == (group_name, version)]
    if not served:
        return None
    entries = [entry for resource in served for entry in _entries(resource)]
    if not group_name:
        entries += [
            _subresource("pods", "binding", "", "v1", "Binding", ["create"]),
            _subresource("pods", "eviction", "policy", "v1", "Eviction", ["create"]),
            _subresource("pods", "log", "", "", "Pod", ["get"]),
        ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": served[0].group_version,
        "resources": entries,
    }


def _entries(resource: Resource) -> list[Object]:
    entry: Object = {
        "name": resource.plural,
        "singularName": resource.singular or resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(VERBS),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    found = [entry]
    verbs = ["get", "patch", "update"]
    if resource.status:
        found.append(
            {
                "name": f"{resource.plural}/status",
                "singularName": "",
                "namespaced": resource.namespaced,
                "kind": resource.kind,
                "verbs": verbs,
            }
        )
    if resource.scale:
        found.append(_subresource(resource.plural, "scale", "autoscaling", "v1", "Scale", verbs))
    return found


def _subresource(plural: str, name: str, group_name: str, version: str, kind: str, verbs: list[str]) -> Object:
    entry: Object = {
        "name": f"{plural}/{name}",
        "singularName": "",
        "namespaced": True,
        "kind": kind,
        "verbs": verbs,
    }
    if version:
        entry |= {"group": group_name, "version": version}
    return entry


def server_version(version: str) -> Object:
    major, minor = version.lstrip("v").split(".")[:2]
    return {
        "major": major,
        "minor": minor,
        "gitVersion": version,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": "",
        "platform": "linux/amd64",
    }


def openapi_v2(version: str) -> Object:
    return {
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": version},
        "paths": {},
        "definitions": {},
    }


def openapi_v3_root(catalogue: Catalogue, prefix: str) -> Object:
    """Where each group version's document lies; `prefix` is the path that the client reached us by."""
    paths = {}
    for name, versions in catalogue.group_versions().items():
        for version in versions:
            path = f"apis/{name}/{version}" if name else f"api/{version}"
            paths[path] = {"serverRelativeURL": f"{prefix}/openapi/v3/{path}"}
    return {"paths": paths}


def openapi_v3(catalogue: Catalogue, group_name: str, version: str) -> Object | None:
    """One group version's document; None when it is not served."""
    served = [r for r in catalogue.all() if (r.group, r.version) == (group_name, version)]
    if not served:
        return None
    paths = {}
    for resource in served:
        prefix = f"/apis/{group_name}/{version}" if group_name else f"/api/{version}"
        middle = "/namespaces/{namespace}" if resource.namespaced else ""
        paths[f"{prefix}{middle}/{resource.plural}/{{name}}"] = {"patch": _patch_operation(resource)}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1"},
        "paths": paths,
        "components": {"schemas": {}},
    }


def _patch_operation(resource: Resource) -> Object:
    kinds = [APPLY_PATCH, JSON_PATCH, MERGE_PATCH]
    if not resource.custom:
        kinds.append(STRATEGIC_PATCH)
    parameters = ("dryRun", "fieldManager", "fieldValidation", "force")
    return {
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in parameters],
        "requestBody": {"content": {kind: {"schema": {"type": "object"}} for kind in kinds}},
        "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": "patch",
        "x-kubernetes-group-version-kind": {
            "group": resource.group,
            "version": resource.version,
            "kind": resource.kind,
        },
    }
