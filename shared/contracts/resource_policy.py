"""ResourcePolicy, as people write it: in which order the pods of a namespace fill the units of a member.

The form is that of ACK's `scheduling.alibabacloud.com/v1alpha1`. It is published like any policy and holds in every
member, for pods that name brim's scheduler.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from shared import quantities
from shared.contracts.base import Manifest, Part
from shared.contracts.refs import ObjectRef
from shared.units import UNITS

GROUP: Final = "scheduling.alibabacloud.com"
VERSION: Final = "v1alpha1"
KIND: Final = "ResourcePolicy"
MAX_UNITS: Final = 32


def is_resource_policy(kind: str, group: str) -> bool:
    return (kind, group) == (KIND, GROUP)


def _amounts(given: dict[str, str]) -> dict[str, str]:
    for resource, text in given.items():
        if quantities.amount(resource, text) < 0:
            raise ValueError(f"{resource} is {text}; it cannot be negative")
    return given


def _seconds(text: str) -> str:
    seconds_of(text)
    return text


def seconds_of(text: str) -> float:
    """A duration as Go writes it ("15m", "1h30m", "90s"). Raises ValueError."""
    rest, total = text.strip(), 0.0
    units = {"h": 3600.0, "m": 60.0, "s": 1.0}
    while rest:
        digits = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        unit = rest[len(digits) : len(digits) + 1]
        if not digits or unit not in units:
            raise ValueError(f"{text!r} is no duration such as 15m or 1h30m")
        total += float(digits) * units[unit]
        rest = rest[len(digits) + 1 :]
    if total <= 0:
        raise ValueError(f"{text!r} is no duration above zero, such as 15m")
    return total


ResourceList = Annotated[dict[str, Annotated[str, Field(coerce_numbers_to_str=True)]], AfterValidator(_amounts)]


class PolicyUnit(Part):
    """One unit. nodeSelector counts for ecs only. podLabels and podAnnotations are written to the pod at binding, and
    only pods that carry them count towards max and maxResources."""

    resource: Literal["idc", "ecs", "eci"]
    node_selector: dict[str, str] = {}
    max: int | None = Field(None, ge=0, le=1_000_000)
    max_resources: ResourceList = {}
    pod_labels: dict[str, str] = {}
    pod_annotations: dict[str, str] = {}


def _some(units: tuple[PolicyUnit, ...]) -> tuple[PolicyUnit, ...]:
    if not 1 <= len(units) <= MAX_UNITS:
        raise ValueError(f"give 1 to {MAX_UNITS} units, such as resource: idc and resource: eci")
    return units


class WhenTryNextUnits(Part):
    policy: Literal["LackResourceOrExceedMax", "ExceedMax", "LackResourceAndNoTerminating", "TimeoutOrExceedMax"] = (
        "LackResourceOrExceedMax"
    )
    timeout: Annotated[str, AfterValidator(_seconds)] = "15m"


class ResourcePolicySpec(Part):
    """selector: labels that the pods have, all of them; empty selects the namespace."""

    selector: dict[str, str] = {}
    strategy: Literal["prefer"] = "prefer"
    units: Annotated[tuple[PolicyUnit, ...], AfterValidator(_some)]
    preempt_policy: Literal["AfterAllUnits", "BeforeNextUnit"] = "AfterAllUnits"
    ignore_previous_pod: bool = False
    ignore_terminating_pod: bool = True
    match_label_keys: tuple[str, ...] = ()
    when_try_next_units: WhenTryNextUnits = WhenTryNextUnits()

    @model_validator(mode="after")
    def _timeout_where_it_counts(self) -> Self:
        waiting = self.when_try_next_units
        if "timeout" in waiting.model_fields_set and waiting.policy != "TimeoutOrExceedMax":
            raise ValueError("whenTryNextUnits.timeout counts with policy TimeoutOrExceedMax only; remove it")
        return self


class PolicyMetadata(Part):
    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str = ""
    annotations: dict[str, str] = {}


class ResourcePolicy(Manifest):
    api_version: Literal["scheduling.alibabacloud.com/v1alpha1"]
    kind: Literal["ResourcePolicy"]
    metadata: PolicyMetadata
    spec: ResourcePolicySpec

    @property
    def ref(self) -> ObjectRef:
        metadata = self.metadata
        return ObjectRef(group=GROUP, version=VERSION, kind=KIND, namespace=metadata.namespace, name=metadata.name)

    def warnings(self) -> Iterator[str]:
        """What is accepted, but does not do what its writer may hope."""
        for place, unit in enumerate(self.spec.units):
            if unit.node_selector and unit.resource != "ecs":
                yield (
                    f"spec.units[{place}].nodeSelector counts for {UNITS[1]} only; for {unit.resource} it has no effect"
                )
