"""What deciding inside a member needs beside its nodes: namespaces' labels, and what is told of ECI.

ConfigMap kube-system/eci-profile: `selectors`, a JSON list of {name, namespaceSelector, objectSelector, effect}.
ConfigMap kube-system/eci-inventory-status: `status`, a JSON document with SupplySeqs[]{InstanceType or Size, Zone,
State, Stock}, as node pools tell theirs. Prices come from the fleet file, never from the member. What cannot be read
changes nothing: the last sound state stays.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from services.inventory.cache import Cache
from services.inventory.core.facts import VIRTUAL_NAME, Key, NodeFacts
from services.inventory.core.stock import AVAILABLE, SOLD_OUT
from services.inventory.projections import ConfigMap
from shared.contracts.base import faults_of
from shared.contracts.capacity import NAMESPACE_LABEL, EciProfile, InstanceType, Surroundings, VirtualStock
from shared.contracts.selectors import LabelSelector
from shared.eci import PROFILE, STOCK, spec_named
from shared.errors import Invalid
from shared.fleet import Stock
from shared.kube import KubeObject
from shared.units import ECI_LABEL

log = logging.getLogger("brim.inventory")

ROOM: Final = 256 * 1024  # bytes that namespaces' labels may take of a message
ZONE_LABELS: Final = ("topology.kubernetes.io/zone", "failure-domain.beta.kubernetes.io/zone")

T = TypeVar("T")


class _Told(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)


class _Effect(_Told):
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Profile(_Told):
    name: str
    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    effect: _Effect = _Effect()

    @model_validator(mode="after")
    def _selects(self) -> _Profile:
        if self.namespace_selector is None and self.object_selector is None:
            raise ValueError("give namespaceSelector, objectSelector, or both")
        return self


class _Supply(BaseModel):
    """size: of an instance, or its type. zone: empty for all. stock: instances left, None where no number is told."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    size: str = Field(validation_alias=AliasChoices("InstanceType", "Size"), min_length=1)
    zone: str = Field("", validation_alias="Zone")
    state: str = Field(validation_alias="State")
    stock: int | None = Field(None, validation_alias="Stock", ge=0)

    @model_validator(mode="after")
    def _state_is_known(self) -> _Supply:
        if self.state not in AVAILABLE and self.state != SOLD_OUT:
            raise ValueError(f"State is {self.state!r}; it is one of {', '.join(sorted(AVAILABLE))}, {SOLD_OUT}")
        return self

    @property
    def left(self) -> int | None:
        """None for "some, number unknown"."""
        return 0 if self.state == SOLD_OUT else self.stock


class _Inventory(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    supply_seqs: tuple[_Supply, ...] = Field((), validation_alias="SupplySeqs")


_PROFILES: Final = TypeAdapter(tuple[_Profile, ...])
_INVENTORY: Final = TypeAdapter(_Inventory)


def profiles_of(data: Mapping[str, str]) -> tuple[EciProfile, ...]:
    """What eci-profile says. Raises Invalid."""
    found = _parsed(_PROFILES, data.get("selectors", "[]"), PROFILE, "selectors")
    return tuple(
        EciProfile(
            name=one.name,
            namespace_selector=one.namespace_selector,
            object_selector=one.object_selector,
            labels=one.effect.labels,
            annotations=one.effect.annotations,
        )
        for one in found
    )


def supplies_of(data: Mapping[str, str]) -> tuple[_Supply, ...]:
    """What eci-inventory-status says. Raises Invalid."""
    return _parsed(_INVENTORY, data.get("status", "{}"), STOCK, "status").supply_seqs


def _parsed(form: TypeAdapter[T], text: str, name: tuple[str, str], field: str) -> T:
    try:
        return form.validate_json(text)
    except ValidationError as error:
        raise Invalid(faults_of(error, f"ConfigMap {'/'.join(name)}", f"data.{field}")) from error


class SurroundingsCache:
    """What is known of one member. virtual: its virtual nodes, kept up to date by their owner, who says `touch`.

    changed: called when what is to be told may be another. relabelled: called with the name of a namespace whose
    labels are others. malformed: called with the name of a ConfigMap that cannot be read.
    """

    def __init__(
        self,
        member: str,
        stock: Stock,
        virtual: Mapping[str, NodeFacts],
        changed: Callable[[], None],
        malformed: Callable[[str], None],
        relabelled: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._member = member
        self._stock = stock
        self._virtual = virtual
        self._changed = changed
        self._malformed = malformed
        self._relabelled = relabelled
        self._labels: dict[str, dict[str, str]] = {}
        self._profiles: tuple[EciProfile, ...] = ()
        self._supplies: tuple[_Supply, ...] = ()
        self._sold: dict[str, VirtualStock] = {}
        self._value: Surroundings | None = None
        self._said_too_many = False
        self.namespaces: Cache[KubeObject] = Cache(self._namespace_changed)

    def touch(self) -> None:
        """Virtual nodes, or what is told of them, changed."""
        self._sold.clear()
        self._value = None
        self._changed()

    def _namespace_changed(self, key: Key, before: KubeObject | None, after: KubeObject | None) -> None:
        labels = _own_labels(after)
        if labels == self._labels.get(key[1], {}):
            return
        if labels:
            self._labels[key[1]] = labels
        else:
            del self._labels[key[1]]
        self._value = None
        self._changed()
        self._relabelled(key[1])

    def config_map_changed(self, key: Key, after: ConfigMap | None) -> None:
        """Of any ConfigMap; those that say nothing of ECI are left out."""
        data = after.data if after is not None else {}
        try:
            if key == PROFILE:
                self._profiles = profiles_of(data)
            elif key == STOCK:
                self._supplies = supplies_of(data)
            else:
                return
        except Invalid as error:
            log.warning("member %s: %s; what was known before still holds", self._member, error)
            self._malformed(key[1])
            return
        self.touch()

    @property
    def value(self) -> Surroundings:
        if self._value is None:
            self._value = Surroundings(
                namespaces=self._told_labels(),
                virtual=tuple(self.sold(name) for name in sorted(self._virtual)),
                profiles=self._profiles,
            )
        return self._value

    def labels_of(self, namespace: str) -> Mapping[str, str]:
        """All of a namespace's labels."""
        return {NAMESPACE_LABEL: namespace, **self._labels.get(namespace, {})}

    def sold(self, node: str) -> VirtualStock:
        """What a virtual node sells, and at which price; also of one that is gone."""
        if node not in self._sold:
            prices = self._stock.instance_prices(node)
            self._sold[node] = VirtualStock(
                node=node,
                stock=dict(_left(self._supplies, _zone_of(node, self._virtual.get(node)))),
                vcpu=prices.vcpu,
                gib=prices.gib,
                types=prices.types,
                spot=prices.spot,
                instance_types=tuple(
                    InstanceType(name=t.name, cpu=t.cpu, memory=t.memory, gpus=t.gpus, gpu_model=t.gpu_model)
                    for t in prices.own_types.values()
                ),
            )
        return self._sold[node]

    def _told_labels(self) -> dict[str, dict[str, str]]:
        """Where there are so many that a message would grow too large, only those that say something of ECI."""
        told = {name: self._labels[name] for name in sorted(self._labels)}
        size = sum(len(name) + len(str(labels)) + 8 for name, labels in told.items())
        if size <= ROOM:
            return told
        if not self._said_too_many:
            self._said_too_many = True
            log.warning(
                "member %s: the labels of its namespaces take %d bytes, over %d: only those of namespaces with label "
                "%s are told; profiles and affinity that select namespaces by other labels do not see the rest",
                *(self._member, size, ROOM, ECI_LABEL[0]),
            )
        return {name: labels for name, labels in told.items() if ECI_LABEL[0] in labels}


def _own_labels(namespace: KubeObject | None) -> dict[str, str]:
    labels = namespace.metadata.labels if namespace is not None else {}
    return {name: value for name, value in labels.items() if name != NAMESPACE_LABEL}


def _zone_of(name: str, node: NodeFacts | None) -> str:
    """A virtual node's zone: by label, else by its name."""
    labels = node.labels if node is not None else {}
    told = next((labels[label] for label in ZONE_LABELS if labels.get(label)), "")
    return told or name.removeprefix(VIRTUAL_NAME)


def _left(supplies: Iterable[_Supply], zone: str) -> Iterator[tuple[str, int]]:
    for supply in supplies:
        if supply.zone in ("", zone) and supply.left is not None:
            yield _canonical(supply.size), supply.left


def _canonical(name: str) -> str:
    """As ECI writes it ("2-4" is "2-4Gi"); a name that is not known here may be a type of the fleet file."""
    try:
        return spec_named(name).name
    except ValueError:
        return name
