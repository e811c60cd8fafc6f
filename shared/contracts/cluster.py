"""The manifest by which a member joins the fleet: `kind: Cluster`, group brim.dev, cluster scope, in DESIRED.

It is submitted like any object; inventory, scheduler and executor watch DESIRED for it, so that members come,
change and go without a restart. Cordon and drain are the lasting wish in `spec.wish`.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from pydantic import field_validator

from shared import names
from shared.contracts.base import JsonObject, Manifest, Part
from shared.contracts.refs import ObjectRef
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
