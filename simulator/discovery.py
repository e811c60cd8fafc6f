"""What clients ask before they do anything: groups, resources, version."""

from __future__ import annotations

from simulator import reviews
from simulator.objects import Object
from simulator.resources import VERBS, Catalogue, Resource


def core_versions(host: str) -> Object:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": host}],
    }


def groups(catalogue: Catalogue) -> Object:
    found = [_group(name, versions) for name, versions in catalogue.group_versions().items() if name]
    found += [_group(name, [reviews.VERSION]) for name in reviews.REVIEWS]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": found}


def group(catalogue: Catalogue, name: str) -> Object | None:
    versions = [reviews.VERSION] if name in reviews.REVIEWS else catalogue.group_versions().get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if name and versions else None


def _group(name: str, versions: list[str]) -> Object:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def resources(catalogue: Catalogue, group_name: str, version: str) -> Object | None:
    """The APIResourceList of one group and version; None when it is not served."""
    served = [r for r in catalogue.all() if (r.group, r.version) == (group_name, version)]
    if not served:
        return reviews.resources(group_name, version)
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
