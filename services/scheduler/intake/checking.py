"""One document → a ref and a manifest that DESIRED may hold, or every fault in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from services.scheduler.intake.pods import template_faults
from shared import names, workloads
from shared.contracts import annotations as marks
from shared.contracts import cluster, fleet_rollout, policy, resource_policy, rollout
from shared.contracts.base import JsonObject
from shared.contracts.cluster import ClusterManifest
from shared.contracts.fleet_rollout import FleetRollout
from shared.contracts.policy import Policy
from shared.contracts.refs import ObjectRef
from shared.contracts.resource_policy import ResourcePolicy
from shared.contracts.rollout import Rollout
from shared.documents import Document
from shared.errors import Fault, Invalid
from shared.workloads import WorkloadKind

MAX_REPLICAS: Final = 1_000_000
MAX_COMPLETIONS: Final = 2**31 - 1
DEFAULT_NAMESPACE: Final = "default"  # as kubectl has it, where neither a manifest nor its user names one

# What a server wrote, not what a person wants.
_SERVER_METADATA: Final = frozenset(
    {
        "managedFields",
        "resourceVersion",
        "uid",
        "creationTimestamp",
        "generation",
        "selfLink",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    }
)
_OWN_LABELS: Final = frozenset({marks.MANAGED_LABEL, marks.WORKLOAD_LABEL})
_OWN_ANNOTATIONS: Final = frozenset(
    {
        marks.ORDER_ANNOTATION,
        marks.REVISION_ANNOTATION,
        marks.TRACEPARENT_ANNOTATION,
        "kubectl.kubernetes.io/last-applied-configuration",
    }
)
# Kubernetes' own kinds without a namespace, and brim's; any other kind is taken to have one.
_RBAC: Final = "rbac.authorization.k8s.io"
CLUSTER_SCOPED: Final = frozenset(
    {
        ("Namespace", ""),
        ("Node", ""),
        ("PersistentVolume", ""),
        ("ClusterRole", _RBAC),
        ("ClusterRoleBinding", _RBAC),
        ("CustomResourceDefinition", "apiextensions.k8s.io"),
        ("APIService", "apiregistration.k8s.io"),
        ("StorageClass", "storage.k8s.io"),
        ("CSIDriver", "storage.k8s.io"),
        ("CSINode", "storage.k8s.io"),
        ("VolumeAttachment", "storage.k8s.io"),
        ("PriorityClass", "scheduling.k8s.io"),
        ("IngressClass", "networking.k8s.io"),
        ("RuntimeClass", "node.k8s.io"),
        ("MutatingWebhookConfiguration", "admissionregistration.k8s.io"),
        ("ValidatingWebhookConfiguration", "admissionregistration.k8s.io"),
        ("ValidatingAdmissionPolicy", "admissionregistration.k8s.io"),
        ("ValidatingAdmissionPolicyBinding", "admissionregistration.k8s.io"),
        ("MutatingAdmissionPolicy", "admissionregistration.k8s.io"),
        ("MutatingAdmissionPolicyBinding", "admissionregistration.k8s.io"),
        ("FlowSchema", "flowcontrol.apiserver.k8s.io"),
        ("PriorityLevelConfiguration", "flowcontrol.apiserver.k8s.io"),
        ("CertificateSigningRequest", "certificates.k8s.io"),
        (cluster.KIND, cluster.GROUP),
        *((policy.CLUSTER_WIDE, group) for group in policy.GROUPS),
    }
)
_LABEL_NAMED: Final = frozenset({("Namespace", ""), ("Service", ""), (cluster.KIND, cluster.GROUP)})
_KIND = re.compile(r"[A-Za-z][A-Za-z0-9]{0,62}")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")

Model: TypeAlias = Policy | ResourcePolicy | Rollout | FleetRollout | ClusterManifest


@dataclass(frozen=True, slots=True)
class Checked:
    """A sound manifest. workload: None for kinds without replicas. model: of a kind that brim reads as a whole.
    fleet: of a member that a fleet file names, all members that it names."""

    ref: ObjectRef
    manifest: JsonObject
    workload: WorkloadKind | None = None
    model: Model | None = None
    warnings: tuple[str, ...] = ()
    fleet: tuple[str, ...] = ()

    @property
    def policy(self) -> Policy | None:
        """A propagation policy, where it is one."""
        return self.model if isinstance(self.model, Policy) else None


def check(document: Document) -> Checked | list[Fault]:
    """Everything that can be said of a document without knowing what is there already."""
    identity = _identity(document)
    if isinstance(identity, list):
        return identity
    ref, manifest = identity
    refused = policy.kind_fault(ref)
    if refused is not None:
        return [refused]
    workload = workloads.kind_of(ref.kind, ref.group)
    faults = [*_metadata_faults(ref, manifest), *(_workload_faults(ref, workload, manifest) if workload else ())]
    model: Model | None = None
    try:
        model = _model(ref, manifest)
    except Invalid as error:
        faults += error.faults
    if faults:
        return faults
    warnings = tuple(model.warnings()) if isinstance(model, Policy | ResourcePolicy) else ()
    return Checked(ref, manifest, workload, model, warnings)


def _model(ref: ObjectRef, manifest: JsonObject) -> Model | None:
    """Raises Invalid."""
    if policy.is_policy(ref.kind, ref.group):
        return Policy.read(manifest)
    if resource_policy.is_resource_policy(ref.kind, ref.group):
        return ResourcePolicy.read(manifest)
    if rollout.is_rollout(ref.kind, ref.group):
        return Rollout.read(manifest)
    if fleet_rollout.is_fleet_rollout(ref.kind, ref.group):
        return FleetRollout.read(manifest)
    if (ref.kind, ref.group) == (cluster.KIND, cluster.GROUP):
        return ClusterManifest.read(manifest)
    return None


def named(ref: ObjectRef) -> ObjectRef:
    """A ref that people gave, with the namespace that was meant. Raises Invalid where it cannot be."""
    faults = _name_faults(ref)
    if faults:
        raise Invalid(faults)
    if ref.namespace or (ref.kind, ref.group) in CLUSTER_SCOPED:
        return ref
    return ref.model_copy(update={"namespace": DEFAULT_NAMESPACE})


# -- identity ------------------------------------------------------------------------------------------------


def _identity(document: Document) -> tuple[ObjectRef, JsonObject] | list[Fault]:
    """The ref, and the manifest without what a server wrote and with its namespace filled in."""
    manifest, place = document.manifest, document.place
    api_version, kind, metadata = (manifest.get(name) for name in ("apiVersion", "kind", "metadata"))
    faults: list[Fault] = []
    if not isinstance(api_version, str) or not _is_api_version(api_version):
        faults.append(Fault(place, "apiVersion", 'give the API\'s group and version, such as "apps/v1" or "v1"'))
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        faults.append(Fault(place, "kind", 'give the kind, such as "Deployment"'))
    if not isinstance(metadata, dict):
        return [*faults, Fault(place, "metadata", "give at least metadata.name")]
    name, namespace = metadata.get("name"), metadata.get("namespace", "")
    if not isinstance(name, str) or not name:
        hint = "; generateName is not enough: brim must know it again" if "generateName" in metadata else ""
        faults.append(Fault(place, "metadata.name", f"give the object a name{hint}"))
    if not isinstance(namespace, str):
        faults.append(Fault(place, "metadata.namespace", "it must be a text"))
    if faults:
        return faults
    try:
        ref = named(ObjectRef.of(manifest))
    except Invalid as error:
        return list(error.faults)
    cleaned = _cleaned_metadata(metadata) | ({"namespace": ref.namespace} if ref.namespace else {})
    return ref, {key: value for key, value in manifest.items() if key != "status"} | {"metadata": cleaned}


def _is_api_version(text: str) -> bool:
    group, separator, version = text.rpartition("/")
    try:
        names.require_dns_label(version)
        if separator:
            names.require_dns_subdomain(group)
    except ValueError:
        return False
    return True


def _cleaned_metadata(metadata: JsonObject) -> JsonObject:
    cleaned = {key: value for key, value in metadata.items() if key not in _SERVER_METADATA}
    for name, own in (("labels", _OWN_LABELS), ("annotations", _OWN_ANNOTATIONS)):
        given = cleaned.get(name)
        if isinstance(given, dict) and (not given or not own.isdisjoint(given)):
            cleaned[name] = {key: value for key, value in given.items() if key not in own}
            if not cleaned[name]:
                del cleaned[name]
    return cleaned


def _name_faults(ref: ObjectRef) -> list[Fault]:
    faults: list[Fault] = []
    try:
        if ref.group == _RBAC:
            if ref.name in (".", "..") or "/" in ref.name or "%" in ref.name or len(ref.name) > 253:
                raise ValueError(f"{ref.name!r} is no path segment: it may not hold '/' or '%'")
        elif (ref.kind, ref.group) in _LABEL_NAMED:
            names.require_dns_label(ref.name)
        else:
            names.require_dns_subdomain(ref.name)
    except ValueError as error:
        faults.append(Fault(str(ref), "metadata.name", str(error)))
    if ref.namespace and (ref.kind, ref.group) in CLUSTER_SCOPED:
        faults.append(Fault(str(ref), "metadata.namespace", f"a {ref.kind} has no namespace; remove the field"))
    elif ref.namespace:
        try:
            names.require_dns_label(ref.namespace)
        except ValueError as error:
            faults.append(Fault(str(ref), "metadata.namespace", str(error)))
    return faults


def _metadata_faults(ref: ObjectRef, manifest: JsonObject) -> list[Fault]:
    metadata = manifest["metadata"]
    assert isinstance(metadata, dict)
    faults: list[Fault] = []
    for name in ("labels", "annotations"):
        given = metadata.get(name, {})
        if not isinstance(given, dict):
            faults.append(Fault(str(ref), f"metadata.{name}", "it must map names to texts"))
            continue
        if name == "annotations":
            faults += _ceiling_faults(ref, given)
        for key, value in given.items():
            if not isinstance(value, str):
                faults.append(Fault(str(ref), f"metadata.{name}.{key}", f"{value!r} is no text; put it in quotes"))
            elif name == "labels" and not _LABEL_VALUE.fullmatch(value):
                why = f"{value!r} is no label value: at most 63 letters, digits, '-', '_' and '.'"
                faults.append(Fault(str(ref), f"metadata.{name}.{key}", why))
    return faults


def _ceiling_faults(ref: ObjectRef, given: JsonObject) -> list[Fault]:
    try:
        marks.ceiling_of(given)
    except ValueError as error:
        return [Fault(str(ref), f"metadata.annotations.{marks.CEILING_ANNOTATION}", str(error))]
    return []


# -- workloads -----------------------------------------------------------------------------------------------


def _workload_faults(ref: ObjectRef, kind: WorkloadKind, manifest: JsonObject) -> list[Fault]:
    if not isinstance(manifest.get("spec"), dict):
        return [Fault(str(ref), "spec", f"a {ref.kind} needs a spec")]
    faults = [*_count_faults(ref, kind, manifest), *template_faults(ref, kind, manifest)]
    if not faults and workloads.replicas_of(kind, manifest) > MAX_REPLICAS:
        faults.append(Fault(str(ref), "spec", f"its pods are more than {MAX_REPLICAS:,}, the most that brim places"))
    return faults


def _count_faults(ref: ObjectRef, kind: WorkloadKind, manifest: JsonObject) -> list[Fault]:
    faults: list[Fault] = []
    for path, value in workloads.raw_counts(kind, manifest):
        most = MAX_COMPLETIONS if path == kind.completions_path else MAX_REPLICAS
        if not isinstance(value, int) or isinstance(value, bool):
            faults.append(Fault(str(ref), path, f"{value!r} is no whole number"))
        elif not 0 <= value <= most:
            faults.append(Fault(str(ref), path, f"it is {value}; give a number from 0 to {most:,}"))
    return faults
