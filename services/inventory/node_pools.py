"""Node pools: from the fleet file's table, or from the ConfigMaps in which a member tells them.

kube-system/autoscaler-meta: `scaling_configurations`, the pools. kube-system/<pool>-inventory-status:
`status`, a JSON document with SupplySeqs[]{InstanceType, Zone, State}. ACK tells no numbers; a simulated member
tells how many instances are left in an annotation.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Mapping

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_pascal

from services.inventory.core.facts import TaintFacts
from services.inventory.core.stock import PoolFacts, Supply, stock_of
from services.inventory.projections import ConfigMap
from shared.fleet import NodePool, Stock
from shared.numbers import whole
from shared.quantities import amounts

log = logging.getLogger("brim.inventory")

NAMESPACE = "kube-system"
META = "autoscaler-meta"
STATUS_SUFFIX = "-inventory-status"
CONFIGURATIONS = "scaling_configurations"
COUNT_ANNOTATION = "simulator.brim.dev/stock"


class _Told(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Taint(_Told):
    key: str
    value: str = ""
    effect: str


class _Configuration(_Told):
    """One pool in autoscaler-meta. Field names differ between versions of the autoscaler."""

    id: str
    instance_types: tuple[str, ...] = Field((), validation_alias=AliasChoices("instanceTypes", "instance_types"))
    min: int = Field(0, ge=0)
    max: int = Field(0, ge=0)
    labels: dict[str, str] = {}
    taints: tuple[_Taint, ...] = ()
    allocatable: dict[str, str | int | float] = Field({}, validation_alias=AliasChoices("resources", "allocatable"))
    price: float | None = None


class _Supply(_Told):
    model_config = ConfigDict(alias_generator=to_pascal, extra="ignore")

    instance_type: str = ""
    zone: str = ""
    state: str = ""


class _Inventory(_Told):
    model_config = ConfigDict(alias_generator=to_pascal, extra="ignore")

    supply_seqs: tuple[_Supply, ...] = ()


def is_about_pools(name: str) -> bool:
    """Whether a ConfigMap of kube-system tells of node pools."""
    return name == META or name.endswith(STATUS_SUFFIX)


def pool_facts(stock: Stock, config_maps: Mapping[str, ConfigMap]) -> list[PoolFacts]:
    """The member's pools, from the table or from ConfigMaps. config_maps: by name, of those in kube-system that are
    about pools."""
    match stock.source:
        case "static":
            return [described(pool) for pool in stock.pools]
        case "nodepool-inventory":
            return list(_told(stock, config_maps))
        case _:
            return []


def described(pool: NodePool) -> PoolFacts:
    """As the fleet file has it."""
    return PoolFacts(
        id=pool.id,
        instance_type=pool.instance_type,
        max=pool.max,
        min=pool.min,
        allocatable=amounts(dict(pool.allocatable)),
        labels=pool.labels,
        taints=tuple((taint.key, taint.value, taint.effect) for taint in pool.taints),
        stock=pool.stock,
        price=pool.price,
    )


def _told(stock: Stock, config_maps: Mapping[str, ConfigMap]) -> Iterator[PoolFacts]:
    own = {pool.id: pool for pool in stock.pools}
    meta = config_maps.get(META)
    for pool in _configurations(meta.data if meta is not None else {}):
        known = own.get(pool.id)
        allocatable = _amounts(pool) or (amounts(dict(known.allocatable)) if known is not None else {})
        instance_type = next(iter(pool.instance_types), known.instance_type if known else "")
        yield PoolFacts(
            id=pool.id,
            instance_type=instance_type,
            max=pool.max,
            min=pool.min,
            allocatable=allocatable,
            labels=pool.labels,
            taints=tuple(_taints(pool.taints)),
            stock=_stock(pool, config_maps.get(pool.id + STATUS_SUFFIX)),
            price=known.price if known is not None and known.price is not None else pool.price,
        )


def _configurations(data: Mapping[str, str]) -> Iterator[_Configuration]:
    """`scaling_configurations` stands in the ConfigMap itself, or inside one of its values; as a list, or by id."""
    for key, text in data.items():
        document = _json(META, text)
        if key != CONFIGURATIONS:
            document = document.get(CONFIGURATIONS) if isinstance(document, dict) else None
        if isinstance(document, dict):
            entries: Iterable[JsonValue] = [
                {"id": pool, **entry} for pool, entry in document.items() if isinstance(entry, dict)
            ]
        else:
            entries = document if isinstance(document, list) else ()
        for entry in entries:
            try:
                yield _Configuration.model_validate(entry)
            except ValidationError as error:
                log.warning("a pool in %s cannot be read and counts as none: %s", META, error.errors()[0]["msg"])


def _stock(pool: _Configuration, told: ConfigMap | None) -> int | None:
    if told is None:
        return 0
    stock = stock_of(_supplies(pool, told.data))
    return whole(told.metadata.annotations.get(COUNT_ANNOTATION, "")) if stock is None else stock


def _supplies(pool: _Configuration, data: Mapping[str, str]) -> list[Supply]:
    name = pool.id + STATUS_SUFFIX
    try:
        inventory = _Inventory.model_validate(_json(name, data.get("status", "{}")))
    except ValidationError as error:
        log.warning("%s cannot be read, so that the pool has no stock: %s", name, error.errors()[0]["msg"])
        return []
    return [
        Supply(one.instance_type, one.state)
        for one in inventory.supply_seqs
        if not pool.instance_types or one.instance_type in pool.instance_types
    ]


def _amounts(pool: _Configuration) -> dict[str, int]:
    try:
        return amounts(pool.allocatable)
    except ValueError as error:
        log.warning("pool %s in %s: %s", pool.id, META, error)
        return {}


def _taints(taints: tuple[_Taint, ...]) -> Iterator[TaintFacts]:
    for taint in taints:
        yield (taint.key, taint.value, taint.effect)


def _json(name: str, text: str) -> JsonValue:
    try:
        document: JsonValue = json.loads(text)
    except (ValueError, RecursionError):
        log.debug("a value in %s is no JSON", name)
        return None
    return document
