"""Serverless instances in a fleet file: types beside the known ones, and prices."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from shared import eci, quantities
from shared.fleet.forms import FleetPart, Price


class InstanceType(FleetPart):
    """An instance type that is sold beside those of `shared.eci.TYPES`."""

    name: str = Field(pattern=r"^ecs\.[a-z0-9.-]+$")
    vcpu: int = Field(gt=0)
    memory: Annotated[str, Field(coerce_numbers_to_str=True)]
    gpus: int = Field(0, ge=0)
    gpu_model: str = ""

    @field_validator("memory")
    @classmethod
    def _is_an_amount(cls, text: str) -> str:
        quantities.amount("memory", text)
        return text

    @property
    def spec(self) -> eci.Spec:
        memory = quantities.amount("memory", self.memory)
        return eci.Spec(self.name, self.vcpu * 1000, memory, self.gpus, self.gpu_model)


class InstancePrices(FleetPart):
    """What serverless instances cost. vcpu, gib: of one vCPU and one GiB of a size. types: by instance type.
    spot: what a spot instance costs, as a share of that."""

    vcpu: Price = 0.0
    gib: Price = 0.0
    types: dict[str, Price] = {}
    spot: float = Field(1.0, ge=0, le=1)

    @property
    def rates(self) -> eci.Prices:
        return eci.Prices(self.vcpu, self.gib, self.types, self.spot)


class VirtualPrices(InstancePrices):
    """node: the virtual node's name; empty for all that are not named. instance_types: that it sells beside the
    known ones."""

    node: str = ""
    instance_types: tuple[InstanceType, ...] = ()

    @model_validator(mode="after")
    def _are_of_specs(self) -> Self:
        canonical(self.types, self.instance_types)
        return self

    @property
    def own_types(self) -> dict[str, eci.Spec]:
        """`instance_types` by name."""
        return specs_of(self.instance_types)


def canonical(wanted: Iterable[str], types: Iterable[InstanceType]) -> list[str]:
    """Names of sizes and instance types as ECI writes them ("2-4" is "2-4Gi"). Raises ValueError with a sentence
    for what is not sold."""
    more = specs_of(types)
    return [eci.spec_named(name, more).name for name in wanted]


def specs_of(types: Iterable[InstanceType]) -> dict[str, eci.Spec]:
    return {one.name: one.spec for one in types}
