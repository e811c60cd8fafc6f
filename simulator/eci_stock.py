"""How many instances of each size ECI can still sell, published as a ConfigMap and changed through it.

`data.status` of kube-system/eci-inventory-status is JSON: SupplySeqs[]{Size or InstanceType, Zone, State, Stock}, one
entry per zone and name of which the number is known; what is not listed is in stock. The annotation
`simulator.brim.dev/stock` holds the same for people, "2-4Gi=3,ecs.gn5-c4g1.xlarge=0", with the zone before each name
("cn-beijing-a/2-4Gi=3") where there are several. A change of either counts; in the annotation a name without a zone is
meant in all of them, what is not named stays as it is, and "some" is a number that is not known.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from shared import eci
from shared.fleet import VirtualNode
from simulator import objects
from simulator.cluster import Cluster
from simulator.objects import Object
from simulator.stock import ANNOTATION, put_config_map
from simulator.store import Change

NAME = "eci-stock"
SPACE, MAP = eci.STOCK
SOME = "some"
NONE = "WithoutStock"

Item = tuple[str, str]  # (zone, size or instance type)
Left = int | None  # None: some, number unknown


class EciStock:
    """The stock of a member's virtual nodes."""

    def __init__(self, cluster: Cluster, nodes: Mapping[str, VirtualNode]) -> None:
        """nodes: by zone."""
        self._cluster = cluster
        self._nodes = nodes
        self._left: dict[str, dict[str, Left]] = {zone: dict(node.stock) for zone, node in nodes.items()}
        self._told: dict[Item, Left] = {}
        self._told_annotation = ""
        self._changed: Callable[[], None] = lambda: None

    def install(self, changed: Callable[[], None]) -> None:
        """Publish, and follow changes; `changed` is called when something may be had that could not be had before."""
        self._changed = changed
        self._cluster.queue.register(NAME, self.reconcile)
        self.reconcile()
        self._cluster.store.subscribe(self._on_change, "configmaps")

    def left(self, zone: str) -> Mapping[str, Left]:
        """Instances left by size or type; None or absent is "some"."""
        return self._left[zone]

    def set_stock(self, zone: str, name: str, count: Left) -> None:
        """Let ECI have that many more instances (None: some). KeyError: no such zone; ValueError: no such size."""
        self._set(zone, eci.spec_named(name, self._nodes[zone].own_types).name, count)

    def add(self, zone: str, name: str, change: int) -> None:
        """An instance sold (negative) or given back; nothing to count while the number is unknown."""
        left = self._left[zone].get(name)
        if left is not None:
            self._set(zone, name, max(0, left + change))

    def _set(self, zone: str, name: str, count: Left) -> None:
        before = self._left[zone].get(name)
        self._left[zone][name] = count
        self._cluster.queue.add(NAME, "")
        if before is not None and (count is None or count > before):
            self._changed()

    # -- the ConfigMap

    def _on_change(self, change: Change) -> None:
        if (objects.namespace(change.object), objects.name(change.object)) == eci.STOCK:
            self._cluster.queue.add(NAME, "")

    def reconcile(self, key: str = "") -> None:
        """Take over what somebody wrote, then publish what is true."""
        found = self._cluster.store.get("configmaps", SPACE, MAP)
        if found is not None:
            annotation = objects.annotations(found).get(ANNOTATION, "")
            by_hand = annotation != self._told_annotation
            for item, count in list(self._named(annotation) if by_hand else self._listed(found)):
                self._set(*item, count)
        self._publish()

    def _named(self, annotation: str) -> Iterator[tuple[Item, Left]]:
        """What the annotation says and was not told."""
        for part in annotation.split(","):
            where, _, text = part.strip().rpartition("=")
            zone, _, name = where.rpartition("/")
            if text != SOME and not text.isdigit():
                continue
            count = None if text == SOME else int(text)
            for item in self._items(zone, name):
                if item not in self._told or self._told[item] != count:
                    yield item, count

    def _listed(self, config_map: Object) -> Iterator[tuple[Item, Left]]:
        """What the status says and was not told; what cannot be read changes nothing."""
        entries = _entries(config_map)
        if entries is None:
            return
        seen: set[Item] = set()
        for zone, name, state, stock in entries:
            for item in self._items(zone, name):
                seen.add(item)
                told = self._told.get(item)
                if stock is not None and stock != told:
                    yield item, 0 if state == NONE else stock
                elif state != _state(told):
                    yield item, 0 if state == NONE else None
        yield from ((item, None) for item in self._told if item not in seen)

    def _items(self, zone: str, name: str) -> list[Item]:
        """What a name means: in one zone, or in all of them; nothing where it is not sold."""
        zones = [zone] if zone else list(self._nodes)
        return [(one, known) for one in zones if one in self._nodes and (known := self._known(one, name))]

    def _known(self, zone: str, name: str) -> str:
        """The name as ECI writes it; empty for what it does not sell."""
        try:
            return eci.spec_named(name, self._nodes[zone].own_types).name
        except ValueError:
            return ""

    def _publish(self) -> None:
        known = {(zone, name): count for zone, by_name in self._left.items() for name, count in sorted(by_name.items())}
        several = len(self._nodes) > 1
        told = [
            f"{f'{zone}/' if several else ''}{name}={SOME if count is None else count}"
            for (zone, name), count in known.items()
        ]
        self._told, self._told_annotation = known, ",".join(told)
        data = {"status": json.dumps({"SupplySeqs": [_entry(item, count) for item, count in known.items()]})}
        put_config_map(self._cluster, MAP, data, {ANNOTATION: self._told_annotation or None})


def _entry(item: Item, count: Left) -> Object:
    zone, name = item
    kind = "InstanceType" if name.startswith("ecs.") else "Size"
    return {kind: name, "Zone": zone, "State": _state(count), **({} if count is None else {"Stock": count})}


def _state(count: Left) -> str:
    return NONE if count == 0 else "WithStock"


def _entries(config_map: Object) -> list[tuple[str, str, str, Left]] | None:
    """(zone or empty, name, state, number or None) of each entry of the status; None where it cannot be read."""
    try:
        entries: list[Any] = json.loads((config_map.get("data") or {})["status"])["SupplySeqs"]
        return [
            (str(e.get("Zone", "")), str(e.get("Size") or e["InstanceType"]), str(e.get("State")), _number(e))
            for e in entries
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _number(entry: Object) -> Left:
    count = entry.get("Stock")
    return count if isinstance(count, int) and count >= 0 else None
