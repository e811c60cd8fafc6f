"""The manifest by which a member joins the fleet: `kind: Cluster`, group brim.dev, cluster scope, in DESIRED.

It is submitted like any object; inventory, scheduler and executor watch DESIRED for it, so that members come,
change and go without a restart. Cordon and drain are the lasting wish in `spec.wish`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Final, Literal, TypeAlias

from pydantic import field_validator

from shared import fleet, names
from shared.contracts.base import JsonObject, Manifest, Part
from shared.contracts.refs import ObjectRef
from shared.documents import Document
from shared.errors import Fault, Invalid
from shared.fleet import API_VERSION, Kubeconfig, Member, Stock, Taint

GROUP: Final = "brim.dev"
VERSION: Final = "v1alpha1"
KIND: Final = "Cluster"

Wish: TypeAlias = Literal["open", "cordoned", "drained"]


class ClusterMetadata(Part):
    """name: the member's id, a DNS label. labels: what cluster affinities and spread constraints select by."""

    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @field_validator("name")
    @classmethod
    def _is_an_id(cls, name: str) -> str:
        names.require_dns_label(name)
        return name


class ClusterSpec(Part):
    """kubeconfig.path None: the file of the settings. wish: cordoned gets no new replicas; drained loses its own.
    eci_label: the executor keeps a policy there by which pods that ask for ECI by label go to brim's scheduler."""

    alias: str = ""
    provider: str = ""
    region: str = ""
    zone: str = ""
    taints: tuple[Taint, ...] = ()
    kubeconfig: Kubeconfig
    stock: Stock = Stock()
    wish: Wish = "open"
    eci_label: bool = False


class ClusterManifest(Manifest):
    """One member of the fleet."""

    api_version: Literal["brim.dev/v1alpha1"] = "brim.dev/v1alpha1"
    kind: Literal["Cluster"] = "Cluster"
    metadata: ClusterMetadata
    spec: ClusterSpec

    @property
    def id(self) -> str:
        return self.metadata.name

    @property
    def ref(self) -> ObjectRef:
        return cluster_ref(self.id)

    def to_manifest(self) -> JsonObject:
        """The manifest as JSON values, without what is unset."""
        dumped: JsonObject = self.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        return {"apiVersion": API_VERSION, "kind": KIND, **dumped}


def cluster_ref(member: str) -> ObjectRef:
    return ObjectRef(group=GROUP, version=VERSION, kind=KIND, name=member)


def cluster_of(member: Member, kubeconfig: Kubeconfig | None = None) -> ClusterManifest:
    """The manifest of a member of the fleet file. kubeconfig: of the simulator, for a simulated member.

    Raises ValueError for a simulated member without one.
    """
    reached_by = member.kubeconfig or kubeconfig
    if reached_by is None:
        raise ValueError(f"member {member.id} is simulated: the simulator's kubeconfig must be given")
    return ClusterManifest(
        metadata=ClusterMetadata(name=member.id, labels=member.labels),
        spec=ClusterSpec(
            alias=member.alias,
            provider=member.provider,
            region=member.region,
            zone=member.zone,
            taints=member.taints,
            kubeconfig=reached_by,
            stock=member.stock_or_default,
            eci_label=member.eci_label,
        ),
    )


class FleetMember(Document):
    """A member that a fleet file names: whom the file does not name is not in it."""


def members_in(document: Document) -> list[Document]:
    """What a document asks for: a fleet file's members as objects of their own, anything else as it is.

    Simulated members live only where the simulator runs. Raises Invalid, with every fault of a fleet file.
    """
    kind, api_version = document.manifest.get("kind"), document.manifest.get("apiVersion", API_VERSION)
    if kind != "Fleet" or not str(api_version).startswith(f"{GROUP}/"):
        return [document]  # others have a kind of that name too, such as Agones
    where = document.place
    members = fleet.parse(json.dumps(document.manifest), source=where).members
    simulated = [
        Fault(where, f"members[{number}]", f"{member.id} is simulated: `brim up --fleet FILE` runs it")
        for number, member in enumerate(members)
        if member.simulated is not None
    ]
    if simulated:
        raise Invalid(simulated)
    return [FleetMember(f"{where}, member {member.id}", cluster_of(member).to_manifest()) for member in members]


def strangers(known: Iterable[ClusterManifest], listed: Collection[str]) -> str | None:
    """What to say of members that a fleet file does not list: they are not forgotten by themselves, absence never
    deletes."""
    left = [cluster.id for cluster in known if cluster.id not in listed]
    if not left:
        return None
    return (
        f"Not in this fleet file, but known from before: {', '.join(left)}. "
        f"Where one is gone for good: brim delete cluster {left[0]}"
    )
