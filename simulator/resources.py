"""Which resources a member serves: the built-in ones, and those that CustomResourceDefinitions add."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from simulator.objects import Object

VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Resource:
    """One served kind. `storage` names the shelf its objects lie on: versions of one kind share it."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False
    scale: bool = False
    custom: bool = False
    storage: str = ""
    singular: str = ""
    scale_paths: tuple[str, str, str] = (".spec.replicas", ".status.replicas", "")
    storage_version: str = ""

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`deployments.apps`, `pods`: how Kubernetes' messages name a resource."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def shelf(self) -> str:
        return self.storage or self.qualified

    @property
    def described(self) -> bool:
        """Whether its API knows what its fields mean. Kruise's kinds have defaults and checks of their own here, but
        their API is that of any custom resource: no strategic merge, and lists are replaced whole."""
        return not self.custom and not self.group.endswith(".kruise.io")


def _core(plural: str, kind: str, *short: str, **more: object) -> Resource:
    return replace(Resource("", "v1", plural, kind, short_names=short), **more)  # type: ignore[arg-type]


def _apps(plural: str, kind: str, short: str, scale: bool = True) -> Resource:
    return Resource("apps", "v1", plural, kind, short_names=(short,), categories=("all",), status=True, scale=scale)


BUILT_IN: tuple[Resource, ...] = (
    _core("nodes", "Node", "no", namespaced=False, status=True),
    _core("namespaces", "Namespace", "ns", namespaced=False, status=True),
    _core("pods", "Pod", "po", status=True, categories=("all",)),
    _core("services", "Service", "svc", status=True, categories=("all",)),
    _core("configmaps", "ConfigMap", "cm"),
    _core("secrets", "Secret"),
    _core("events", "Event", "ev"),
    _core("serviceaccounts", "ServiceAccount", "sa"),
    _core("endpoints", "Endpoints", "ep"),
    _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", status=True),
    _core("persistentvolumes", "PersistentVolume", "pv", namespaced=False, status=True),
    _core("resourcequotas", "ResourceQuota", "quota", status=True),
    _core("limitranges", "LimitRange", "limits"),
    Resource("events.k8s.io", "v1", "events", "Event", short_names=("ev",), storage="events"),
    _apps("deployments", "Deployment", "deploy"),
    _apps("replicasets", "ReplicaSet", "rs"),
    _apps("statefulsets", "StatefulSet", "sts"),
    _apps("daemonsets", "DaemonSet", "ds", scale=False),
    Resource("apps", "v1", "controllerrevisions", "ControllerRevision"),
    Resource("batch", "v1", "jobs", "Job", categories=("all",), status=True),
    Resource("batch", "v1", "cronjobs", "CronJob", short_names=("cj",), categories=("all",), status=True),
    Resource(
        "autoscaling",
        "v2",
        "horizontalpodautoscalers",
        "HorizontalPodAutoscaler",
        short_names=("hpa",),
        categories=("all",),
        status=True,
    ),
    Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", short_names=("pdb",), status=True),
    Resource("coordination.k8s.io", "v1", "leases", "Lease"),
    Resource("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    Resource("networking.k8s.io", "v1", "ingresses", "Ingress", short_names=("ing",), status=True),
    Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", short_names=("netpol",)),
    Resource("rbac.authorization.k8s.io", "v1", "roles", "Role"),
    Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False),
    Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False, short_names=("pc",)),
    Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", namespaced=False, short_names=("sc",)),
    Resource(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        namespaced=False,
        short_names=("crd", "crds"),
        status=True,
    ),
    Resource("rollouts.kruise.io", "v1beta1", "rollouts", "Rollout", status=True),
    Resource(
        "apps.kruise.io",
        "v1alpha1",
        "clonesets",
        "CloneSet",
        short_names=("clone",),
        status=True,
        scale=True,
        scale_paths=(".spec.replicas", ".status.replicas", ".status.labelSelector"),
    ),
    Resource("apps.kruise.io", "v1alpha1", "daemonsets", "DaemonSet", short_names=("daemon", "ads"), status=True),
)

# Served beside those by members that have virtual nodes.
CONTAINER_GROUPS = Resource(
    "eci.brim.dev", "v1alpha1", "containergroups", "ContainerGroup", short_names=("eci", "cg"), status=True
)

# Served from 1.36 on. They are kept, not carried out: simulated members have the cloud's own webhook for ECI built in.
_ADMISSION = "admissionregistration.k8s.io"
ADMISSION = (
    Resource(_ADMISSION, "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", namespaced=False),
    Resource(_ADMISSION, "v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", namespaced=False),
)


def since(version: str) -> tuple[Resource, ...]:
    """What a release ("v1.36.0") serves beside `BUILT_IN`, which all do."""
    minor = int(version.split(".")[1])
    return ADMISSION if minor >= 36 else ()


_BY_SHELF = {
    resource.shelf: resource for resource in (CONTAINER_GROUPS, *ADMISSION, *reversed(BUILT_IN)) if not resource.storage
}


def built_in(shelf: str) -> Resource:
    """The built-in resource of that qualified name, such as `deployments.apps`."""
    return _BY_SHELF[shelf]


class Catalogue:
    """What is served right now, looked up by (group, version, plural)."""

    def __init__(self, *more: Resource) -> None:
        """more: served as if they were built in."""
        self._served = {(r.group, r.version, r.plural): r for r in (*BUILT_IN, *more)}
        self._custom: dict[str, tuple[Resource, ...]] = {}

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._served.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Resource | None:
        for resource in self._served.values():
            if resource.kind == kind and resource.group_version == api_version:
                return resource
        return None

    def all(self) -> Iterator[Resource]:
        return iter(self._served.values())

    def shelves(self) -> dict[str, Resource]:
        """One resource per shelf, for those who walk over everything stored."""
        return {resource.shelf: resource for resource in self._served.values() if not resource.storage}

    def group_versions(self) -> dict[str, list[str]]:
        """Group → versions, in the order of first mention."""
        groups: dict[str, list[str]] = {}
        for resource in self._served.values():
            versions = groups.setdefault(resource.group, [])
            if resource.version not in versions:
                versions.append(resource.version)
        return groups

    def serve(self, crd: Object) -> None:
        """Serve what a CustomResourceDefinition describes, replacing what it described before."""
        self.stop_serving(crd["metadata"]["name"])
        resources = tuple(_custom_resources(crd))
        self._custom[crd["metadata"]["name"]] = resources
        for resource in resources:
            self._served[(resource.group, resource.version, resource.plural)] = resource

    def stop_serving(self, crd_name: str) -> tuple[Resource, ...]:
        """Forget a CustomResourceDefinition; returns what it had served."""
        gone = self._custom.pop(crd_name, ())
        for resource in gone:
            self._served.pop((resource.group, resource.version, resource.plural), None)
        return gone


def _custom_resources(crd: Object) -> Iterator[Resource]:
    spec = crd["spec"]
    called = spec["names"]
    storage_version = next((v["name"] for v in spec["versions"] if v.get("storage")), "")
    for version in spec["versions"]:
        if not version.get("served", True):
            continue
        subresources = version.get("subresources") or {}
        scale = subresources.get("scale")
        paths = (
            (scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", ""))
            if scale
            else ("", "", "")
        )
        resource = Resource(
            group=spec["group"],
            version=version["name"],
            plural=called["plural"],
            kind=called["kind"],
            namespaced=spec.get("scope", "Namespaced") == "Namespaced",
            short_names=tuple(called.get("shortNames") or ()),
            categories=tuple(called.get("categories") or ()),
            status="status" in subresources,
            scale=scale is not None,
            custom=True,
            singular=called.get("singular", ""),
            scale_paths=paths,
            storage_version=storage_version,
        )
        shelf = "" if version.get("storage") else resource.qualified
        yield replace(resource, storage=shelf)
