"""The fleet file: which members there are, how to reach them, and where their stock is known from.

One format serves `brim up`, `brim plan`, the tests and real members alike. A member is either reached through
a kubeconfig context, or simulated from the description given here.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

from pydantic import JsonValue, ValidationError, field_validator, model_validator

from shared import documents
from shared.errors import Invalid, Misconfigured
from shared.faults import faults_of
from shared.fleet.forms import FleetPart, Labels, MemberId, Taint, once
from shared.fleet.simulated import Simulated
from shared.fleet.stock import Stock

API_VERSION = "brim.dev/v1alpha1"


class Kubeconfig(FleetPart):
    """How a real member is reached. Never a secret itself: it names where credentials are read.

    context: of the file `path`; None is the file of the settings, else $KUBECONFIG or ~/.kube/config. in_cluster: by
    the service account of the pods that brim's services run in, for the member in which they run.
    """

    context: str = ""
    path: str | None = None
    in_cluster: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.in_cluster and (self.context or self.path):
            raise ValueError("inCluster is the service account of brim's own pods: leave context and path out")
        if not self.in_cluster and not self.context:
            raise ValueError("give a context, or inCluster: true")
        return self

    def __str__(self) -> str:
        if self.in_cluster:
            return "the service account of brim's pods"
        return f"context {self.context} of {self.path or 'the default kubeconfig'}"


class Member(FleetPart):
    """One Kubernetes cluster of the fleet.

    eci_label: pods there that ask for ECI by label and name no scheduler of their own are sent to brim's; for clusters
    where no webhook of the cloud's does so.
    """

    id: MemberId
    alias: str = ""
    provider: str = ""
    region: str = ""
    zone: str = ""
    labels: Labels = {}
    taints: tuple[Taint, ...] = ()
    kubeconfig: Kubeconfig | None = None
    simulated: Simulated | None = None
    stock: Stock | None = None
    eci_label: bool = False

    @model_validator(mode="after")
    def _one_way_to_reach_it(self) -> Self:
        if (self.kubeconfig is None) == (self.simulated is None):
            raise ValueError("give either kubeconfig or simulated, not both and not neither")
        return self

    @property
    def stock_or_default(self) -> Stock:
        """A simulated member publishes its pools as ConfigMaps, all but prices; a real one says nothing
        unless asked. Prices that `stock` leaves out are those of the description."""
        if self.simulated is None:
            return self.stock or Stock()
        told = self.simulated.stock
        if self.stock is None:
            return told
        known = {"nodes": self.stock.nodes or told.nodes, "virtual": self.stock.virtual or told.virtual}
        return self.stock.model_copy(update=known)


class Fleet(FleetPart):
    """The file's whole content."""

    api_version: Literal["brim.dev/v1alpha1"] = "brim.dev/v1alpha1"
    kind: Literal["Fleet"] = "Fleet"
    members: tuple[Member, ...]

    @field_validator("members")
    @classmethod
    def _some_and_each_once(cls, members: tuple[Member, ...]) -> tuple[Member, ...]:
        if not members:
            raise ValueError("a fleet has at least one member")
        once("member", [member.id for member in members])
        return members


def load(path: Path) -> Fleet:
    """Read a fleet file. Raises Misconfigured (no file, not one document) or Invalid (with every fault in it)."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise Misconfigured(f"fleet file {path}: {error.strerror}; give one with --fleet FILE") from error
    return parse(text, source=str(path))


def parse(text: str, *, source: str = "fleet file") -> Fleet:
    """`load` for text already read."""
    values, malformed = documents.parse(text)
    if malformed is not None:
        raise Invalid([replace(malformed, object=source)])
    found = [value for value in values if value is not None]
    if len(found) != 1:
        what = f"holds {len(found)} documents" if found else "is empty"
        raise Misconfigured(f"{source} {what}: a fleet file is one document, of kind Fleet")
    try:
        return Fleet.model_validate(found[0])
    except ValidationError as error:
        raise Invalid(faults_of(error, source)) from None


def schema() -> dict[str, JsonValue]:
    """The JSON Schema of the file, for editors that check as one types."""
    found: dict[str, JsonValue] = Fleet.model_json_schema(by_alias=True)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "urn:brim:fleet", **found}
