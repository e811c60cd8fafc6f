"""FleetRollout: in which order members go over to a new revision of a workload.

brim's own kind, in DESIRED like any policy. Inside each member Kruise's Rollout, where there is one, or the
workload's own strategy does the steps; between members brim waits for health.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from shared.contracts.base import Manifest, Part
from shared.contracts.refs import ObjectRef
from shared.contracts.resource_policy import seconds_of
from shared.contracts.rollout import WorkloadRef
from shared.contracts.selectors import LabelSelector

GROUP: Final = "brim.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "FleetRollout"
MAX_WAVES: Final = 50


def is_fleet_rollout(kind: str, group: str) -> bool:
    return (kind, group) == (KIND, GROUP)


def _duration(text: str) -> str:
    seconds_of(text)
    return text


Duration = Annotated[str, AfterValidator(_duration)]


def _address(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s]+\S*", text):
        raise ValueError(f"{text!r} is no address of a Prometheus server such as http://prometheus.monitoring:9090")
    return text


class PrometheusGate(Part):
    """The query's one value must lie within the bounds. It is asked of members that run the new revision; {member} in
    it stands for the member's id. url: of the Prometheus server, as the scheduler reaches it."""

    url: Annotated[str, AfterValidator(_address)]
    query: str = Field(min_length=1)
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both: without a bound every value passes")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self


class Gate(Part):
    """What makes a member healthy after its update.

    ready_percent: of its share that must be ready. max_restarts: of the new revision's containers in all. timeout:
    a member that is not healthy by then has failed.
    """

    ready_percent: int = Field(100, ge=1, le=100)
    max_restarts: int | None = Field(None, ge=0)
    prometheus: PrometheusGate | None = None
    timeout: Duration = "30m"


class Wave(Part):
    """Members that go together, by id or by label; a member belongs to the first wave that selects it.

    bake: how long the wave must stay healthy before the next one starts.
    """

    name: str = Field(min_length=1, max_length=63)
    members: tuple[str, ...] = ()
    label_selector: LabelSelector | None = None
    bake: Duration | None = None
    gate: Gate = Gate()


def _named_once(waves: tuple[Wave, ...]) -> tuple[Wave, ...]:
    if not 1 <= len(waves) <= MAX_WAVES:
        raise ValueError(f"give 1 to {MAX_WAVES} waves")
    names = [wave.name for wave in waves]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"wave {twice[0]!r} is given twice; names must differ")
    return waves


class FleetRolloutSpec(Part):
    """max_unavailable_clusters: how many members may be in the middle of an update at once, within a wave.

    on_failure: Pause keeps what is and waits for a person; Undo takes every member back to the revision before.
    Members that no wave selects form one last wave.
    """

    workload_ref: WorkloadRef
    waves: Annotated[tuple[Wave, ...], AfterValidator(_named_once)]
    max_unavailable_clusters: int = Field(1, ge=1)
    on_failure: Literal["Pause", "Undo"] = "Pause"
    paused: bool = False


class FleetRolloutMetadata(Part):
    model_config = ConfigDict(extra="ignore")

    name: str
    namespace: str = ""


class FleetRollout(Manifest):
    api_version: Literal["brim.dev/v1alpha1"]
    kind: Literal["FleetRollout"]
    metadata: FleetRolloutMetadata
    spec: FleetRolloutSpec

    @property
    def workload(self) -> ObjectRef:
        return self.spec.workload_ref.ref(self.metadata.namespace)
