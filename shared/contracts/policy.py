"""PropagationPolicy and ClusterPropagationPolicy, as people write them.

The form is that of Karmada's `policy.karmada.io/v1alpha1` with the extensions of ACK One Fleet. Every field is
either here, and does what its docstring says, or in `NOT_YET`, and then refused by name: nothing is ignored in
silence. A field of `NOT_YET` that is false or empty asks for nothing and is accepted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self, TypeAlias

from pydantic import ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator

from shared.contracts.annotations import FAILBACK_ANNOTATION
from shared.contracts.base import JsonObject, Part, faults_of
from shared.contracts.refs import ObjectRef
from shared.contracts.selectors import LabelSelector
from shared.errors import Fault, Invalid

GROUPS: Final = frozenset({"policy.one.alibabacloud.com", "policy.karmada.io", "one.alibabacloud.com"})
VERSION: Final = "v1alpha1"
NAMESPACED: Final = "PropagationPolicy"
CLUSTER_WIDE: Final = "ClusterPropagationPolicy"
KINDS: Final = frozenset({NAMESPACED, CLUSTER_WIDE})

NOT_SUPPORTED: Final = "FieldNotSupported"
KIND_NOT_SUPPORTED: Final = "KindNotSupported"

# Kinds that the API knows and brim does not act on yet; the value says what that would have done.
REFUSED_KINDS: Final[dict[str, str]] = {
    "FederatedHPA": "scaling by metrics of several members",
    "CronFederatedHPA": "scaling by the clock",
    "OverridePolicy": "changing manifests per member",
    "ClusterOverridePolicy": "changing manifests per member",
}
_REFUSED_GROUPS: Final = GROUPS | {
    "autoscaling.karmada.io",
    "autoscaling.one.alibabacloud.com",
    "autoscaling.alibabacloud.com",
}

# Fields that the API knows and brim does not act on yet; "[]" is every item of a list. The value says what for.
NOT_YET: Final[dict[str, str]] = {
    "spec.propagateDeps": "propagating what a workload refers to; select those objects by resourceSelectors instead",
    "spec.failover": "failover settings; brim moves replicas of a lost member and stuck ones by its own rules",
    "spec.association": "associated resources",
    "spec.dependentOverrides": "overrides that must exist first",
    "spec.activationPreference": "lazy activation of policies",
    "spec.customSchedulingType": "gang scheduling",
    "spec.preemption": "taking over objects from another policy",
    "spec.schedulePriority": "priority classes of workloads",
    "spec.placement.clusterAffinities[].overflowAffinities": (
        "overflow affinities; clusterAffinities are filled in order already: list the overflow as the next one"
    ),
    "spec.placement.workloadAffinity": "affinity between workloads",
    "spec.placement.replicaScheduling.customSchedulingType": "gang scheduling",
    "spec.placement.clusterTolerations[].tolerationSeconds": (
        "tolerating a taint for a while only; without the field it is tolerated as long as it is there"
    ),
}
_HARMLESS: Final = frozenset({("spec.preemption", "Never")})  # asks for nothing beyond what brim does anyway

SchedulingType: TypeAlias = Literal["Duplicated", "Divided"]
Division: TypeAlias = Literal["Weighted", "Aggregated"]


class FieldRequirement(Part):
    """A member's own field, by provider, region or zone."""

    key: Literal["provider", "region", "zone"]
    operator: Literal["In", "NotIn"]
    values: tuple[str, ...] = Field(min_length=1)


class FieldSelector(Part):
    match_expressions: tuple[FieldRequirement, ...] = ()


class ResourceSelector(Part):
    """What a policy is for. With a name, labelSelector does not count (Karmada's rule); without both: the kind."""

    api_version: str = Field(min_length=1)
    kind: str = Field(min_length=1)
    namespace: str = ""
    name: str = ""
    label_selector: LabelSelector | None = None


class ClusterAffinity(Part):
    """Members. All that is given must match, `exclude` wins; empty selects all members."""

    label_selector: LabelSelector | None = None
    field_selector: FieldSelector | None = None
    cluster_names: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


class NamedAffinity(ClusterAffinity):
    """One tier: filled before the next one, emptied after it."""

    affinity_name: str = Field(min_length=1, max_length=32)


class Toleration(Part):
    """Of a member's taint. Exists without a key tolerates all."""

    key: str = ""
    operator: Literal["Equal", "Exists", ""] = "Equal"
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] = ""

    @model_validator(mode="after")
    def _operator_fits(self) -> Self:
        if self.operator == "Exists" and self.value:
            raise ValueError("operator Exists takes no value")
        if not self.key and self.operator != "Exists":
            raise ValueError("without a key the operator must be Exists")
        return self


class SpreadConstraint(Part):
    """Spread over at least min and at most max groups; maxGroups 0 or absent is no limit."""

    spread_by_field: Literal["cluster", "region", "zone", "provider", ""] = ""
    spread_by_label: str = ""
    min_groups: int = Field(1, ge=0)
    max_groups: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.spread_by_field and self.spread_by_label:
            raise ValueError("give either spreadByField or spreadByLabel, not both")
        if self.max_groups and self.min_groups > self.max_groups:
            raise ValueError(f"minGroups {self.min_groups} is above maxGroups {self.max_groups}")
        return self


class StaticWeight(Part):
    target_cluster: ClusterAffinity
    weight: int = Field(ge=1, le=2**31 - 1)


class WeightPreference(Part):
    static_weight_list: tuple[StaticWeight, ...] = ()
    dynamic_weight: Literal["AvailableReplicas", ""] = ""


class ReplicaScheduling(Part):
    """Present, it means Divided and Weighted unless it says otherwise (Karmada's defaults)."""

    replica_scheduling_type: SchedulingType = "Divided"
    replica_division_preference: Literal["Weighted", "Aggregated", ""] = ""
    weight_preference: WeightPreference | None = None


def _unique_names(affinities: tuple[NamedAffinity, ...]) -> tuple[NamedAffinity, ...]:
    names = [affinity.affinity_name for affinity in affinities]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"affinityName {twice[0]!r} is given twice; names must differ")
    return affinities


class PlacementSpec(Part):
    """Where to. Without any affinity: all members."""

    cluster_affinity: ClusterAffinity | None = None
    cluster_affinities: tuple[NamedAffinity, ...] = ()
    cluster_tolerations: tuple[Toleration, ...] = ()
    spread_constraints: tuple[SpreadConstraint, ...] = ()
    replica_scheduling: ReplicaScheduling | None = None

    @field_validator("cluster_affinities")
    @classmethod
    def _names_differ(cls, affinities: tuple[NamedAffinity, ...]) -> tuple[NamedAffinity, ...]:
        return _unique_names(affinities)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.cluster_affinity is not None and self.cluster_affinities:
            raise ValueError("clusterAffinity and clusterAffinities are mutually exclusive; give one of them")
        return self

    @property
    def tiers(self) -> tuple[ClusterAffinity, ...]:
        """The affinities in order; one that selects every member where none is given."""
        return self.cluster_affinities or (self.cluster_affinity or ClusterAffinity(),)

    @property
    def scheduling(self) -> SchedulingType:
        """Absent is Duplicated."""
        return "Duplicated" if self.replica_scheduling is None else self.replica_scheduling.replica_scheduling_type

    @property
    def division(self) -> Division:
        found = self.replica_scheduling
        return "Aggregated" if found and found.replica_division_preference == "Aggregated" else "Weighted"


class AutoScaling(Part):
    """ecsProvision: nodes that a member's autoscaler can add count as room."""

    ecs_provision: bool = False


class SuspendedClusters(Part):
    cluster_names: tuple[str, ...] = ()


class Suspension(Part):
    """scheduling: decide nothing new. dispatching: write nothing to any member, or to those named."""

    scheduling: bool = False
    dispatching: bool = False
    dispatching_on_clusters: SuspendedClusters | None = None

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if self.dispatching and self.dispatching_on_clusters and self.dispatching_on_clusters.cluster_names:
            raise ValueError("dispatching and dispatchingOnClusters are mutually exclusive; give one of them")
        return self


class PolicySpec(Part):
    resource_selectors: tuple[ResourceSelector, ...]
    preserve_resources_on_deletion: bool = False
    priority: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] = 0
    conflict_resolution: Literal["Abort", "Overwrite"] = "Abort"
    suspension: Suspension = Suspension()
    placement: PlacementSpec = PlacementSpec()
    auto_scaling: AutoScaling = AutoScaling()
    scheduler_name: Literal["", "default-scheduler", "brim-scheduler"] = ""

    @field_validator("resource_selectors")
    @classmethod
    def _selects(cls, selectors: tuple[ResourceSelector, ...]) -> tuple[ResourceSelector, ...]:
        if not selectors:
            raise ValueError("give at least one selector; a policy without any would never apply")
        return selectors


class PolicyMetadata(Part):
    """Kubernetes' own further metadata means nothing to brim."""

    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @field_validator("annotations")
    @classmethod
    def _failback_is_a_rate(cls, annotations: dict[str, str]) -> dict[str, str]:
        text = annotations.get(FAILBACK_ANNOTATION, "0")
        if not (text.isascii() and text.isdigit() and int(text) <= 1_000_000):
            raise ValueError(f"{FAILBACK_ANNOTATION} is {text!r}: give moves per hour, a whole number, or 0 for none")
        return annotations


class Policy(Part):
    """One policy of either kind, in any of the accepted groups."""

    api_version: str
    kind: Literal["PropagationPolicy", "ClusterPropagationPolicy"]
    metadata: PolicyMetadata
    spec: PolicySpec

    @model_validator(mode="after")
    def _stays_in_its_namespace(self) -> Self:
        for place, selector in enumerate(self.spec.resource_selectors):
            if self.namespaced and selector.namespace not in ("", self.metadata.namespace):
                raise ValueError(
                    f"spec.resourceSelectors[{place}].namespace is {selector.namespace!r}, but a PropagationPolicy "
                    f"selects in its own namespace {self.metadata.namespace!r}; use a ClusterPropagationPolicy"
                )
        return self

    @property
    def namespaced(self) -> bool:
        return self.kind == NAMESPACED

    @property
    def failback_per_hour(self) -> int:
        """Replicas that may go back to an earlier tier in an hour; 0: none."""
        return int(self.metadata.annotations.get(FAILBACK_ANNOTATION, "0"))

    @classmethod
    def read(cls, manifest: JsonObject) -> Self:
        """The model of a manifest. Raises Invalid with every field that is wrong or not supported."""
        subject = str(ObjectRef.of(manifest))
        supported, faults = _without_unsupported(manifest, subject)
        group, _, version = str(manifest["apiVersion"]).rpartition("/")
        if group in GROUPS and version != VERSION:
            faults.append(Fault(subject, "apiVersion", f"{version!r} is unknown; write {group}/{VERSION}"))
        try:
            policy = cls.model_validate_json(json.dumps(supported), strict=True)
        except ValidationError as error:
            raise Invalid([*faults, *faults_of(error, subject)]) from error
        if faults:
            raise Invalid(faults)
        return policy

    def warnings(self) -> list[str]:
        """Accepted, but not what it may look like."""
        return list(_warnings(self.spec))


def is_policy(kind: str, group: str) -> bool:
    return kind in KINDS and group in GROUPS


def kind_fault(ref: ObjectRef) -> Fault | None:
    """Why brim refuses a whole kind that the policy API knows, or that stands in its groups; None otherwise."""
    if ref.kind in REFUSED_KINDS and ref.group in _REFUSED_GROUPS:
        why = f"{ref.kind} ({REFUSED_KINDS[ref.kind]}) is not supported by brim yet; leave it out"
        return Fault(str(ref), "kind", why, KIND_NOT_SUPPORTED)
    if ref.group in GROUPS and ref.kind not in KINDS:
        why = f"{ref.kind} is not a kind of {ref.group} that brim supports; it takes {' and '.join(sorted(KINDS))}"
        return Fault(str(ref), "kind", why, KIND_NOT_SUPPORTED)
    return None


def _warnings(spec: PolicySpec) -> Iterator[str]:
    placement = spec.placement
    if spec.auto_scaling.ecs_provision and placement.scheduling == "Duplicated":
        yield "replicaSchedulingType is Duplicated: autoScaling.ecsProvision has no effect"
    seen: set[str] = set()
    for affinity in placement.cluster_affinities:
        for name in affinity.cluster_names:
            if name in seen:
                yield f"cluster {name} is named again in affinity {affinity.affinity_name}: its first tier counts"
        seen.update(affinity.cluster_names)
    scheduling = placement.replica_scheduling
    weights = scheduling.weight_preference if scheduling else None
    if (
        scheduling
        and scheduling.replica_scheduling_type == "Duplicated"
        and (weights or scheduling.replica_division_preference)
    ):
        yield "replicaSchedulingType is Duplicated: division preference and weights have no effect"
    elif weights and placement.division == "Aggregated":
        yield "replicaDivisionPreference is Aggregated: weightPreference has no effect"
    elif weights and weights.dynamic_weight and weights.static_weight_list:
        yield "dynamicWeight is given: staticWeightList has no effect"


def _without_unsupported(manifest: JsonObject, subject: str) -> tuple[JsonObject, list[Fault]]:
    """The manifest without the fields of NOT_YET, and a fault for each of those that asks for something."""
    faults: list[Fault] = []
    result = _without_nulls(manifest)
    for path, what in NOT_YET.items():
        result = _cut(result, path.split("."), "", path, what, subject, faults)
    assert isinstance(result, dict)
    return result, faults


def _without_nulls(node: JsonValue) -> JsonValue:
    """To Kubernetes a field that is null is a field that is absent."""
    if isinstance(node, dict):
        return {key: _without_nulls(value) for key, value in node.items() if value is not None}
    return [_without_nulls(item) for item in node] if isinstance(node, list) else node


def _cut(
    node: JsonValue, steps: list[str], above: str, path: str, what: str, subject: str, faults: list[Fault]
) -> JsonValue:
    if not isinstance(node, dict):
        return node
    name, rest = steps[0].removesuffix("[]"), steps[1:]
    if name not in node:
        return node
    here = f"{above}.{name}".removeprefix(".")
    value = node[name]
    if not rest:
        if _asks(value) and not (isinstance(value, str) and (path, value) in _HARMLESS):
            faults.append(Fault(subject, here, f"brim does not support {what}; remove the field", NOT_SUPPORTED))
        return {key: kept for key, kept in node.items() if key != name}
    if steps[0].endswith("[]") and isinstance(value, list):
        below: JsonValue = [
            _cut(item, rest, f"{here}[{place}]", path, what, subject, faults) for place, item in enumerate(value)
        ]
    else:
        below = _cut(value, rest, here, path, what, subject, faults)
    return {**node, name: below}


def _asks(value: JsonValue) -> bool:
    """Whether a field asks for anything: a number does, be it 0; what is false or empty does not."""
    return bool(value) or (isinstance(value, int | float) and not isinstance(value, bool))
