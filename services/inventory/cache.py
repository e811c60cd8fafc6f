"""A cache of one resource's objects, which tells what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from services.inventory.core.facts import Key
from shared.kube import KubeObject

P = TypeVar("P", bound=KubeObject)


class Cache(Generic[P]):
    """changed(key, before, after): called for each difference; None for "was not" and "is no more"."""

    def __init__(self, changed: Callable[[Key, P | None, P | None], None]) -> None:
        self._changed = changed
        self.items: dict[Key, P] = {}

    def replace(self, items: Iterable[P]) -> None:
        """The whole state: what is not among the items is gone."""
        fresh = {item.key: item for item in items}
        for key in self.items.keys() - fresh.keys():
            self.drop(key)
        for item in fresh.values():
            self.put(item)

    def put(self, item: P) -> None:
        before = self.items.get(item.key)
        if before is not None and before.metadata.resource_version == item.metadata.resource_version != "":
            return
        self.items[item.key] = item
        self._changed(item.key, before, item)

    def drop(self, key: Key) -> None:
        before = self.items.pop(key, None)
        if before is not None:
            self._changed(key, before, None)
