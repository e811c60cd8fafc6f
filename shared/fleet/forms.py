"""What the parts of a fleet file have in common: names, labels, amounts, prices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from shared import names, quantities


def _resource_list(value: dict[str, str]) -> dict[str, str]:
    for resource, text in value.items():
        try:
            quantities.amount(resource, text)
        except ValueError as error:
            told = str(error)
            raise ValueError(told if told.startswith(resource) else f"{resource}: {told}") from None
    return value


def _labels(value: dict[str, str]) -> dict[str, str]:
    for key, text in value.items():
        names.require_label(key, text)
    return value


def _dns_label(value: str) -> str:
    names.require_dns_label(value)
    return value


def _dns_name(value: str) -> str:
    names.require_dns_subdomain(value)
    return value


def once(what: str, given: Sequence[str]) -> None:
    """Raises ValueError for the first that is given twice, with its places."""
    for place, one in enumerate(given):
        if one in given[:place]:
            raise ValueError(f"{what} {one!r} is given twice, at [{given.index(one)}] and [{place}]")


MemberId = Annotated[str, AfterValidator(_dns_label)]
NodeName = Annotated[str, AfterValidator(_dns_name)]
Labels = Annotated[dict[str, str], AfterValidator(_labels)]
ResourceList = Annotated[dict[str, Annotated[str, Field(coerce_numbers_to_str=True)]], AfterValidator(_resource_list)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]  # per hour, in the fleet's one currency


class FleetPart(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,
    )


class Taint(FleetPart):
    """A node's or a member's taint, as Kubernetes writes it."""

    key: str = Field(min_length=1)
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
