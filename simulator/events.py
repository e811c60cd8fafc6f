"""Events: recorded by controllers, counted up when they repeat, and forgotten in time, whoever wrote them."""

from __future__ import annotations

import random
from collections import OrderedDict

from shared.clock import Clock, rfc3339
from simulator import objects
from simulator.objects import Object
from simulator.store import Change, Key, Store

SHELF = "events"
KEPT = 5_000  # per member; the oldest go first
LASTS = 3600.0  # fleet seconds since the last occurrence, as Kubernetes' default event TTL


class EventLog:
    """All events of a member, oldest occurrence first."""

    def __init__(self, store: Store, clock: Clock, source: random.Random) -> None:
        self._store = store
        self._clock = clock
        self._random = source
        self._seen: OrderedDict[Key, float] = OrderedDict()  # event → fleet time of its last write
        self._known: dict[tuple[str, ...], Key] = {}  # what is said about whom → event

    def install(self) -> None:
        """Take in what is stored already and follow what comes."""
        stored = self._store.every(SHELF)
        for event in sorted(stored, key=lambda one: str(one.get("lastTimestamp") or "")):
            self._seen[(objects.namespace(event), objects.name(event))] = self._clock.now()
            self._known[_saying(event)] = (objects.namespace(event), objects.name(event))
        self._store.subscribe(self._on_change, SHELF)

    def _on_change(self, change: Change) -> None:
        key = (objects.namespace(change.object), objects.name(change.object))
        if change.type == "DELETED":
            self._seen.pop(key, None)
            self._known.pop(_saying(change.object), None)
            return
        now = self._clock.now()
        self._seen[key] = now
        self._seen.move_to_end(key)
        self._known[_saying(change.object)] = key
        while self._seen:
            oldest, when = next(iter(self._seen.items()))
            if len(self._seen) <= KEPT and when > now - LASTS:
                return
            del self._seen[oldest]
            self._store.remove(SHELF, *oldest)

    def record(self, about: Object, source: str, reason: str, message: str, *, warning: bool) -> None:
        """Say something about an object; saying it again counts up."""
        stamp = rfc3339(self._clock.now())
        known = self._known.get((objects.uid(about), source, reason, message))
        old = self._store.get(SHELF, *known) if known is not None else None
        if old is not None:
            self._store.update(SHELF, {**old, "count": old.get("count", 1) + 1, "lastTimestamp": stamp})
            return
        name = f"{objects.name(about)}.{self._random.getrandbits(64):016x}"
        self._store.create(
            SHELF,
            {
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {"name": name, "namespace": objects.namespace(about) or "default"},
                "involvedObject": objects.reference(about),
                "reason": reason,
                "message": message,
                "source": {"component": source},
                "firstTimestamp": stamp,
                "lastTimestamp": stamp,
                "count": 1,
                "type": "Warning" if warning else "Normal",
                "eventTime": None,
                "reportingComponent": source,
                "reportingInstance": "",
            },
        )


def _saying(event: Object) -> tuple[str, ...]:
    about, source = event.get("involvedObject") or {}, event.get("source") or {}
    said = (about.get("uid"), source.get("component"), event.get("reason"), event.get("message"))
    return tuple(str(part or "") for part in said)
