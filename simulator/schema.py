"""What merging must know about fields: which lists are keyed, which are sets, which values are atomic.

The rules are those of the built-in types' `x-kubernetes-list-type`, `-list-map-keys`, `-map-type` and
`x-kubernetes-patch-merge-key` (Kubernetes API reference). Field names are unambiguous among the kinds served,
but for `ports`. Custom resources have none of it: maps merge, lists are atomic.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.resources import Resource

_METADATA_KEYS = {"ownerReferences": ("uid",)}

_POD_KEYS = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "imagePullSecrets": ("name",),
    "hostAliases": ("ip",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "resourceClaims": ("name",),
    "claims": ("name",),
    "ports": ("containerPort", "protocol"),
    "conditions": ("type",),
    "podIPs": ("ip",),
    "hostIPs": ("ip",),
}
_ATOMIC = frozenset(
    {
        "selector",
        "labelSelector",
        "namespaceSelector",
        "podSelector",
        "nodeSelector",
        "secretKeyRef",
        "configMapKeyRef",
        "fieldRef",
        "resourceFieldRef",
        "involvedObject",
        "regarding",
        "claimRef",
        "matchLabels",
    }
)
_WITH_PODS = frozenset({"Pod", "Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "CronJob", "PodTemplate"})


@dataclass(frozen=True, slots=True)
class Schema:
    """keys: list field → the fields that identify its items. sets: lists of unique scalars."""

    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sets: frozenset[str] = frozenset({"finalizers"})
    atomic: frozenset[str] = frozenset()

    def merge_key(self, name: str) -> str | None:
        """The one key by which a strategic merge patch matches items of this list."""
        keys = self.keys.get(name)
        return keys[0] if keys else None


_PODS = Schema({**_METADATA_KEYS, **_POD_KEYS}, atomic=_ATOMIC)
_SERVICE = Schema({**_METADATA_KEYS, "ports": ("port", "protocol"), "conditions": ("type",)}, atomic=_ATOMIC)
_NODE = Schema(
    {**_METADATA_KEYS, "conditions": ("type",), "addresses": ("type",)},
    sets=frozenset({"finalizers", "podCIDRs"}),
)
_OTHER = Schema(
    {**_METADATA_KEYS, "conditions": ("type",), "secrets": ("name",), "imagePullSecrets": ("name",)},
    atomic=_ATOMIC,
)
_CUSTOM = Schema(_METADATA_KEYS)


def schema_of(resource: Resource) -> Schema:
    if not resource.described:
        return _CUSTOM
    if resource.kind in _WITH_PODS:
        return _PODS
    return {"Service": _SERVICE, "Node": _NODE}.get(resource.kind, _OTHER)
