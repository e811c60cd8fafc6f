"""The words by which people name kinds: `deploy`, `deployments`, `Deployment`, `rollouts.argoproj.io`."""

from __future__ import annotations

from dataclasses import dataclass

from shared import workloads
from shared.errors import NotFound

POLICY_GROUPS = ("policy.one.alibabacloud.com", "policy.karmada.io", "one.alibabacloud.com")


@dataclass(frozen=True, slots=True)
class Kind:
    """group, version, kind, plural: as Kubernetes says them; version is empty where brim need not know it."""

    group: str
    version: str
    kind: str
    plural: str
    short: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def resource(self) -> str:
        """`deployments.apps`, as error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def words(self) -> frozenset[str]:
        """Each also with its group, and with its version and group: `deploy.apps`, `deploy.v1.apps`."""
        bare = (self.kind.lower(), self.plural, *self.short)
        endings = ("", f".{self.group}", f".{self.version}.{self.group}") if self.group else ("",)
        return frozenset(word + ending for word in bare for ending in endings)


KINDS = (
    Kind("apps", "v1", "Deployment", "deployments", ("deploy",)),
    Kind("apps", "v1", "StatefulSet", "statefulsets", ("sts",)),
    Kind("apps", "v1", "ReplicaSet", "replicasets", ("rs",)),
    Kind("apps", "v1", "DaemonSet", "daemonsets", ("ds",)),
    Kind("batch", "v1", "Job", "jobs"),
    Kind("", "v1", "Pod", "pods", ("po",)),
    Kind("", "v1", "Node", "nodes", ("no",), namespaced=False),
    Kind("", "v1", "Service", "services", ("svc",)),
    Kind("", "v1", "ConfigMap", "configmaps", ("cm",)),
    Kind("", "v1", "Secret", "secrets"),
    Kind("", "v1", "Namespace", "namespaces", ("ns",), namespaced=False),
    Kind("", "v1", "Event", "events", ("ev",)),
    Kind("brim.dev", "v1alpha1", "Cluster", "clusters", ("member", "members"), namespaced=False),
    Kind(POLICY_GROUPS[0], "v1alpha1", "PropagationPolicy", "propagationpolicies", ("pp",)),
    Kind(
        POLICY_GROUPS[0],
        "v1alpha1",
        "ClusterPropagationPolicy",
        "clusterpropagationpolicies",
        ("cpp",),
        namespaced=False,
    ),
    Kind("scheduling.alibabacloud.com", "v1alpha1", "ResourcePolicy", "resourcepolicies", ("rp",)),
    Kind("rollouts.kruise.io", "v1beta1", "Rollout", "rollouts"),
    Kind("brim.dev", "v1alpha1", "FleetRollout", "fleetrollouts", ("fr",)),
    Kind("eci.brim.dev", "v1alpha1", "ContainerGroup", "containergroups", ("eci", "cg", "instance", "instances")),
)
POOL = Kind("", "v1", "Pool", "pools", ("pool", "nodepool", "nodepools"), namespaced=False)

# These have no view of their own in the fleet: they are looked up in the members.
IN_MEMBERS = frozenset({"pods", "nodes", "replicasets", "events", "pools", "daemonsets", "containergroups"})

# Words for what the fleet itself has, beside those of the kinds above.
POLICY_WORDS = frozenset({"policy", "policies"})
PLACEMENT_WORDS = frozenset({"placement", "placements"})
COST_WORDS = frozenset({"cost", "costs"})
POLICY_KINDS = frozenset({"PropagationPolicy", "ClusterPropagationPolicy"})

CLUSTER_SCOPED = frozenset(kind.kind for kind in KINDS if not kind.namespaced) | {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "PersistentVolume",
    "PriorityClass",
    "StorageClass",
}


def find_kind(word: str) -> Kind | None:
    """The kind that a word names, from the table above or from the workload kinds of the settings."""
    lowered = word.lower()
    for kind in KINDS:
        if lowered in kind.words:
            return kind
    return next((kind for kind in _configured() if lowered in kind.words), None)


def require_kind(word: str) -> Kind:
    """As `find_kind`. Raises NotFound, saying what words there are."""
    kind = find_kind(word)
    if kind is None:
        known = ", ".join(sorted(entry.short[0] if entry.short else entry.plural for entry in KINDS))
        raise NotFound(
            f"brim knows no type {word!r}: use one of {known}, or placement, policy, pool", code="NoSuchType"
        )
    return kind


def _configured() -> list[Kind]:
    return [Kind(entry.group, "", entry.kind, entry.plural) for entry in workloads.kinds()]
