"""The serverless instances of one member, where it serves them as objects: found by their pods."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from services.inventory import facts
from services.inventory.cache import Cache
from services.inventory.core.facts import Key
from services.inventory.core.instances import InstanceFacts
from services.inventory.kinds import WatchedKind
from services.inventory.projections import Managed
from shared.contracts.base import JsonObject

KIND: Final = WatchedKind("eci.brim.dev", "v1alpha1", "ContainerGroup")
PLURAL: Final = "containergroups"

_NONE: Final[Mapping[Key, InstanceFacts]] = MappingProxyType({})


class Instances:
    """changed: called with what became of each instance; None for "was not" and "is no more".

    served: the member has them as objects. known: all are listed, or it serves none.
    """

    def __init__(self, changed: Callable[[InstanceFacts | None, InstanceFacts | None], None]) -> None:
        self._changed = changed
        self._by_key: dict[Key, InstanceFacts] = {}
        self._by_pod: dict[Key, dict[Key, InstanceFacts]] = {}
        self.served = False
        self.known = False
        self.cache: Cache[Managed] = Cache(self._object_changed)

    def _object_changed(self, key: Key, _before: Managed | None, after: Managed | None) -> None:
        before = self._by_key.pop(key, None)
        now = _facts(after) if after is not None else None
        if before is not None:
            mates = self._by_pod[before.pod_key]
            del mates[key]
            if not mates:
                del self._by_pod[before.pod_key]
        if now is not None:
            self._by_key[key] = now
            self._by_pod.setdefault(now.pod_key, {})[key] = now
        if before != now:
            self._changed(before, now)

    def __iter__(self) -> Iterator[InstanceFacts]:
        return iter(self._by_key.values())

    def named(self, key: Key) -> InstanceFacts | None:
        return self._by_key.get(key)

    def of_name(self, pod: Key) -> Mapping[Key, InstanceFacts]:
        """All that are for pods of this name, whichever."""
        return self._by_pod.get(pod, _NONE)

    def of(self, pod: Key, uid: str) -> InstanceFacts | None:
        """Of this very pod; the one that began last where there are several."""
        named = self._by_pod.get(pod)
        if named is None:
            return None
        mine = [one for one in named.values() if one.uid == uid]
        return max(mine, key=lambda one: (one.since or 0.0, one.name), default=None)


def _facts(group: Managed) -> InstanceFacts:
    spec, status = group.spec or {}, group.status or {}
    return InstanceFacts(
        namespace=group.metadata.namespace,
        name=group.metadata.name,
        pod=_text(spec, "podName"),
        uid=_text(spec, "podUid"),
        node=_text(spec, "nodeName"),
        size=_text(spec, "size"),
        spot=spec.get("spot") is True,
        since=facts.seconds(_text(status, "startedAt")),
        until=facts.seconds(_text(status, "finishedAt")),
    )


def _text(holder: JsonObject, field: str) -> str:
    found = holder.get(field)
    return found if isinstance(found, str) else ""
