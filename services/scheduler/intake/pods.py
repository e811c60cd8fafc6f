"""What scheduling reads of pod templates, and whether it is sound. All else in them is the member's business."""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from shared import quantities, workloads
from shared.contracts.base import JsonObject, faults_of
from shared.contracts.refs import ObjectRef
from shared.contracts.selectors import LabelSelector
from shared.errors import Fault
from shared.pod_requests import is_pod_level
from shared.workloads import WorkloadKind

# Kinds whose selector must match their template, else their controller would never know its own pods.
_SELECTING: Final = frozenset(
    {
        ("Deployment", "apps"),
        ("ReplicaSet", "apps"),
        ("StatefulSet", "apps"),
        ("CloneSet", "apps.kruise.io"),
    }
)
_TEMPLATED: Final = _SELECTING | {("Job", "batch")}

_WHOLE: Final = re.compile(r"[+-]?\d{1,18}")

Quantity = str | int | float


class _Projected(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", strict=True, frozen=True)


def _sound_amounts(given: dict[str, Quantity]) -> dict[str, Quantity]:
    for resource, value in given.items():
        quantities.amount(resource, value)
        if _is_device(resource) and quantities.parse(value) % 1 != 0:
            raise ValueError(f"{resource} is {value!r}; it comes in whole numbers only")
    return given


def _is_device(resource: str) -> bool:
    """Extended resources (nvidia.com/gpu) cannot be divided; Kubernetes' own have no domain."""
    return "/" in resource and not resource.partition("/")[0].endswith("kubernetes.io")


class _Resources(_Projected):
    requests: dict[str, Quantity] = Field(default_factory=dict)
    limits: dict[str, Quantity] = Field(default_factory=dict)

    @field_validator("requests", "limits")
    @classmethod
    def _are_quantities(cls, given: dict[str, Quantity]) -> dict[str, Quantity]:
        return _sound_amounts(given)

    @model_validator(mode="after")
    def _within_limits(self) -> _Resources:
        for resource, value in self.requests.items():
            limit = self.limits.get(resource)
            if limit is not None and quantities.amount(resource, value) > quantities.amount(resource, limit):
                raise ValueError(f"{resource}: the request {value} is above the limit {limit}")
        return self


class _PodResources(_Resources):
    """Of the pod as a whole."""

    @field_validator("requests", "limits")
    @classmethod
    def _are_pod_level(cls, given: dict[str, Quantity]) -> dict[str, Quantity]:
        for resource in given:
            if not is_pod_level(resource):
                raise ValueError(f"a pod as a whole cannot ask for {resource}; put it into a container")
        return given


class _Container(_Projected):
    name: str = ""
    resources: _Resources = Field(default_factory=_Resources)
    restart_policy: str | None = None


class _Toleration(_Projected):
    key: str = ""
    operator: Literal["Equal", "Exists", ""] = "Equal"
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute", ""] = ""


class _NodeRequirement(_Projected):
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]
    values: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _values_fit(self) -> _NodeRequirement:
        if self.operator in ("In", "NotIn") and not self.values:
            raise ValueError(f"operator {self.operator} needs values")
        if self.operator in ("Exists", "DoesNotExist") and self.values:
            raise ValueError(f"operator {self.operator} takes no values")
        if self.operator in ("Gt", "Lt") and not (len(self.values) == 1 and _WHOLE.fullmatch(self.values[0])):
            raise ValueError(f"operator {self.operator} needs one value, a whole number")
        return self


class _FieldRequirement(_Projected):
    key: Literal["metadata.name"]
    operator: Literal["In", "NotIn"]
    values: Annotated[list[str], Field(min_length=1, max_length=1)]


class _NodeTerm(_Projected):
    match_expressions: list[_NodeRequirement] = Field(default_factory=list)
    match_fields: list[_FieldRequirement] = Field(default_factory=list)


class _NodeSelector(_Projected):
    node_selector_terms: Annotated[list[_NodeTerm], Field(min_length=1)]


class _NodeAffinity(_Projected):
    required: _NodeSelector | None = Field(None, alias="requiredDuringSchedulingIgnoredDuringExecution")


class _Affinity(_Projected):
    node_affinity: _NodeAffinity | None = None


class _PodSpec(_Projected):
    containers: list[_Container] = Field(default_factory=list)
    init_containers: list[_Container] = Field(default_factory=list)
    node_selector: dict[str, str] = Field(default_factory=dict)
    affinity: _Affinity | None = None
    tolerations: list[_Toleration] = Field(default_factory=list)
    overhead: dict[str, Quantity] = Field(default_factory=dict)
    resources: _PodResources = Field(default_factory=_PodResources)

    @field_validator("overhead")
    @classmethod
    def _are_quantities(cls, given: dict[str, Quantity]) -> dict[str, Quantity]:
        return _sound_amounts(given)


class _PodMetadata(_Projected):
    labels: dict[str, str] = Field(default_factory=dict)


class _Template(_Projected):
    metadata: _PodMetadata = Field(default_factory=_PodMetadata)
    spec: _PodSpec = Field(default_factory=_PodSpec)


def template_faults(ref: ObjectRef, kind: WorkloadKind, manifest: JsonObject) -> list[Fault]:
    """Faults of all pod templates of a workload, and of the selector that must find their pods."""
    try:
        templates = workloads.pods_of(kind, manifest)
    except ValueError as error:  # of a quantity outside a pod template
        return [Fault(str(ref), "spec", str(error))]
    if not templates and (ref.kind, ref.group) in _TEMPLATED:
        return [Fault(str(ref), "spec.template", f"a {ref.kind} needs a pod template")]
    faults: list[Fault] = []
    for pods in templates:
        path = "" if pods.path == "." else pods.path
        try:
            template = _Template.model_validate(pods.template)
        except ValidationError as error:
            faults += faults_of(error, str(ref), path)
            continue
        if (ref.kind, ref.group) in _TEMPLATED and not template.spec.containers:
            faults.append(Fault(str(ref), f"{path}.spec.containers", "a pod needs at least one container"))
        if (ref.kind, ref.group) in _SELECTING:
            faults += _selector_faults(ref, manifest, template.metadata.labels)
    return faults


def _selector_faults(ref: ObjectRef, manifest: JsonObject, labels: dict[str, str]) -> list[Fault]:
    spec = manifest["spec"]
    given: JsonValue = spec.get("selector") if isinstance(spec, dict) else None
    if not given:
        return [Fault(str(ref), "spec.selector", f"a {ref.kind} needs a selector that matches its template's labels")]
    try:
        selector = LabelSelector.model_validate(given)
    except ValidationError as error:
        return faults_of(error, str(ref), "spec.selector")
    for key, value in selector.match_labels.items():
        if labels.get(key) != value:
            why = f"the template's labels do not have {key}={value}; its pods would never be found"
            return [Fault(str(ref), "spec.selector", why)]
    for wanted in selector.match_expressions:
        found = labels.get(wanted.key)
        holds = {
            "In": found in wanted.values,
            "NotIn": found not in wanted.values,
            "Exists": found is not None,
            "DoesNotExist": found is None,
        }[wanted.operator]
        if not holds:
            why = f"the template's labels do not fit {wanted.key} {wanted.operator} {list(wanted.values)}"
            return [Fault(str(ref), "spec.selector", why)]
    return []
