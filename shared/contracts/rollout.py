"""Kruise's Rollout, as people write it: in which steps a member goes over to a new revision.

The form is that of Kruise Rollout's `rollouts.kruise.io/v1beta1`. brim propagates it like any object and checks what
Kruise's own admission would refuse in every member. Traffic is Kruise's business: those fields travel unchanged.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, field_validator, model_validator

from shared.contracts.base import JsonObject, Manifest, Part
from shared.contracts.refs import ObjectRef

GROUP: Final = "rollouts.kruise.io"
VERSION: Final = "v1beta1"
KIND: Final = "Rollout"
MAX_STEPS: Final = 50
WORKLOADS: Final = frozenset(
    {
        ("Deployment", "apps"),
        ("StatefulSet", "apps"),
        ("DaemonSet", "apps"),
        ("CloneSet", "apps.kruise.io"),
        ("StatefulSet", "apps.kruise.io"),
        ("DaemonSet", "apps.kruise.io"),
    }
)
BLUE_GREEN: Final = frozenset({("Deployment", "apps"), ("CloneSet", "apps.kruise.io")})

IN_PROGRESS_ANNOTATION: Final = "rollouts.kruise.io/in-progressing"
ORIGINAL_ANNOTATION: Final = "rollouts.kruise.io/original-deployment-strategy"  # of a blue-green rollout under way
STABLE_REVISION_LABEL: Final = "rollouts.kruise.io/stable-revision"

_COUNT = re.compile(r"(\d+)(%?)")


def is_rollout(kind: str, group: str) -> bool:
    return (kind, group) == (KIND, GROUP)


class _Loose(Part):
    """Kruise is the reader: what brim does not know travels along unchanged."""

    model_config = ConfigDict(extra="allow")


def _count(value: int | str) -> int | str:
    match = _COUNT.fullmatch(str(value))
    if match is None:
        raise ValueError(f"{value!r} is neither a count such as 2 nor a percentage such as 10%")
    if isinstance(value, str) and not match[2]:
        raise ValueError(f"{value!r} is a count in quotes, which Kruise does not take: give {value} or a percentage")
    if match[2] and not 0 <= int(match[1]) <= 100:
        raise ValueError(f"{value!r} is no percentage from 0% to 100%")
    return value


IntOrPercent = Annotated[int | str, AfterValidator(_count)]


class Pause(_Loose):
    """duration: seconds; absent waits for an approval."""

    duration: int | None = Field(None, ge=0)


class Step(_Loose):
    """replicas: pods of the new revision after the step, of this member's share. traffic: propagated unchanged."""

    replicas: IntOrPercent
    traffic: str | None = None
    pause: Pause = Pause()

    @field_validator("replicas")
    @classmethod
    def _some(cls, replicas: int | str) -> int | str:
        if str(replicas).removesuffix("%").lstrip("0") == "":
            raise ValueError("a step without pods of the new version is none: give 1 or more, or a percentage above 0%")
        return replicas


class Strategy(_Loose):
    """Either style. enable_extra_workload_for_canary: of a canary of a Deployment; other kinds have none."""

    steps: tuple[Step, ...] = ()
    failure_threshold: IntOrPercent | None = None
    enable_extra_workload_for_canary: bool = False
    traffic_routings: tuple[JsonObject, ...] = ()

    @field_validator("steps")
    @classmethod
    def _grow(cls, steps: tuple[Step, ...]) -> tuple[Step, ...]:
        if not 1 <= len(steps) <= MAX_STEPS:
            raise ValueError(f"{len(steps)} steps are given: give 1 to {MAX_STEPS}, such as replicas: 10%")
        for number, (before, after) in enumerate(pairwise(steps)):
            if _shrinks(before.replicas, after.replicas):
                raise ValueError(
                    f"step {number + 2} has replicas {after.replicas} after {before.replicas}: steps may not decrease"
                )
        return steps


def is_share(replicas: int | str) -> bool:
    """Whether a size is a percentage."""
    return str(replicas).endswith("%")


def _shrinks(before: int | str, after: int | str) -> bool:
    """Only counts with counts, and percentages with percentages, can be compared without knowing the replicas."""
    one, other = _COUNT.fullmatch(str(before)), _COUNT.fullmatch(str(after))
    return one is not None and other is not None and one[2] == other[2] and int(other[1]) < int(one[1])


class RolloutStrategy(_Loose):
    """Either canary or blueGreen. paused: the whole rollout stands still."""

    paused: bool = False
    canary: Strategy | None = None
    blue_green: Strategy | None = None

    @model_validator(mode="after")
    def _one_style(self) -> Self:
        if (self.canary is None) == (self.blue_green is None):
            raise ValueError("give either canary or blueGreen, not both and not neither")
        return self

    @property
    def written(self) -> Strategy:
        """Of the style."""
        style = self.canary or self.blue_green
        assert style is not None
        return style

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.written.steps

    @property
    def style(self) -> Literal["canary", "blueGreen"]:
        return "canary" if self.canary is not None else "blueGreen"


class WorkloadRef(Part):
    """The one workload, in the Rollout's own namespace."""

    api_version: str = Field(min_length=1)
    kind: str = Field(min_length=1)
    name: str = Field(min_length=1)

    @model_validator(mode="after")
    def _can_be_rolled_out(self) -> Self:
        group = self.api_version.rpartition("/")[0]
        if (self.kind, group) not in WORKLOADS:
            kinds = ", ".join(sorted({kind for kind, _ in WORKLOADS}))
            raise ValueError(f"{self.kind} of {group or 'the core group'} cannot be rolled out in steps; {kinds} can")
        return self

    def ref(self, namespace: str) -> ObjectRef:
        group, _, version = self.api_version.rpartition("/")
        return ObjectRef(group=group, version=version, kind=self.kind, namespace=namespace, name=self.name)


class RolloutSpec(_Loose):
    disabled: bool = False
    workload_ref: WorkloadRef
    strategy: RolloutStrategy

    @model_validator(mode="after")
    def _style_fits(self) -> Self:
        kind = (self.workload_ref.kind, self.workload_ref.api_version.rpartition("/")[0])
        if self.strategy.blue_green is not None and kind not in BLUE_GREEN:
            raise ValueError(f"a {kind[0]} cannot be rolled out in blue-green style: use canary, or a Deployment")
        return self

    @property
    def has_extra_workload(self) -> bool:
        """Whether the new version's pods are under a Deployment of their own until the end."""
        canary = self.strategy.canary
        return canary is not None and canary.enable_extra_workload_for_canary and self.workload_ref.kind == "Deployment"


class RolloutMetadata(_Loose):
    name: str
    namespace: str = ""


class Rollout(Manifest):
    model_config = ConfigDict(extra="ignore")

    api_version: Literal["rollouts.kruise.io/v1beta1"]
    kind: Literal["Rollout"]
    metadata: RolloutMetadata
    spec: RolloutSpec

    @property
    def workload(self) -> ObjectRef:
        return self.spec.workload_ref.ref(self.metadata.namespace)
