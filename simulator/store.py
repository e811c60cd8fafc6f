"""One member's objects, with resourceVersions, a log of changes to watch, and the indices controllers need.

Everything runs in one event loop and every method is synchronous, so a read followed by a write is atomic.
Objects handed in and out are shared: never change one in place (see `simulator.objects`).
"""

from __future__ import annotations

import asyncio
import uuid
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from shared.clock import Clock, rfc3339
from simulator import objects
from simulator.objects import Object

HISTORY = 5_000  # changes a shelf's log keeps at least, for watchers that start late or fall behind
FIRST_VERSION = 100

Key = tuple[str, str]  # (namespace or "", name)


class Record:
    """A stored object and, once someone asked for it, its JSON."""

    __slots__ = ("_encoded", "object", "version")

    def __init__(self, obj: Object, version: int) -> None:
        self.object = obj
        self.version = version
        self._encoded: bytes | None = None

    @property
    def encoded(self) -> bytes:
        if self._encoded is None:
            self._encoded = objects.encode(self.object)
        return self._encoded


@dataclass(frozen=True, slots=True)
class Change:
    """One write. `record` is the new state, or for DELETED the last; `previous` what it replaced."""

    type: str  # ADDED, MODIFIED, DELETED
    shelf: str
    record: Record
    previous: Object | None

    @property
    def object(self) -> Object:
        return self.record.object


class Log:
    """The last changes of one shelf, addressed by resourceVersion."""

    def __init__(self, oldest: int) -> None:
        self._changes: list[Change] = []
        self._versions: list[int] = []
        self.oldest = oldest  # versions below this one can no longer be watched from
        self.wakers: set[asyncio.Event] = set()

    def append(self, change: Change) -> None:
        if len(self._changes) >= 2 * HISTORY:
            self.oldest = self._versions[HISTORY - 1]
            del self._changes[:HISTORY], self._versions[:HISTORY]
        self._changes.append(change)
        self._versions.append(change.record.version)
        for waker in self.wakers:
            waker.set()

    def since(self, version: int, limit: int = 500) -> list[Change]:
        start = bisect_right(self._versions, version)
        return self._changes[start : start + limit]

    def forget(self) -> None:
        """Drop all history (a test's way to a 410)."""
        if self._versions:
            self.oldest = self._versions[-1]
        self._changes.clear()
        self._versions.clear()


Listener = Callable[[Change], None]


class Store:
    """Objects by shelf (a resource's qualified name), namespace and name."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.version = FIRST_VERSION
        self._shelves: dict[str, dict[str, dict[str, Record]]] = {}
        self._logs: dict[str, Log] = {}
        self._listeners: dict[str, list[Listener]] = {}
        self._all_listeners: list[Listener] = []
        self._owned: dict[str, dict[tuple[str, str, str], None]] = {}  # owner uid → (shelf, ns, name)
        self._uids: dict[str, tuple[str, str, str]] = {}
        self._on_node: dict[str, dict[Key, None]] = {}  # node name → pods
        self._orphans: dict[tuple[str, str], dict[str, None]] = {}  # (shelf, ns) → names without controller

    # -- reading

    def get(self, shelf: str, namespace: str, name: str) -> Object | None:
        record = self.record(shelf, namespace, name)
        return None if record is None else record.object

    def record(self, shelf: str, namespace: str, name: str) -> Record | None:
        return self._shelves.get(shelf, {}).get(namespace, {}).get(name)

    def records(self, shelf: str, namespace: str = "") -> Iterable[Record]:
        """All records, or one namespace's. Do not write while iterating over the result."""
        spaces = self._shelves.get(shelf, {})
        if namespace:
            return spaces.get(namespace, {}).values()
        return (record for space in spaces.values() for record in space.values())

    def every(self, shelf: str, namespace: str = "") -> list[Object]:
        return [record.object for record in self.records(shelf, namespace)]

    def shelves(self) -> Iterator[str]:
        return iter(tuple(self._shelves))

    def owned(self, owner_uid: str, shelf: str) -> list[Object]:
        """Objects on a shelf that name this uid as an owner."""
        found = (self.get(*entry) for entry in self._owned.get(owner_uid, ()) if entry[0] == shelf)
        return [obj for obj in found if obj is not None]

    def dependents(self, owner_uid: str) -> list[tuple[str, Object]]:
        """Every object that names this uid as an owner, with its shelf."""
        found = ((entry[0], self.get(*entry)) for entry in tuple(self._owned.get(owner_uid, ())))
        return [(shelf, obj) for shelf, obj in found if obj is not None]

    def orphans(self, shelf: str, namespace: str) -> list[Object]:
        """Pods or ReplicaSets that no controller owns."""
        found = (self.get(shelf, namespace, name) for name in self._orphans.get((shelf, namespace), ()))
        return [obj for obj in found if obj is not None]

    def pods_on(self, node: str) -> list[Object]:
        found = (self.get("pods", *key) for key in self._on_node.get(node, ()))
        return [obj for obj in found if obj is not None]

    def log(self, shelf: str) -> Log:
        log = self._logs.get(shelf)
        if log is None:
            log = self._logs[shelf] = Log(self._first_watchable)
        return log

    _first_watchable = 0

    def find(self, uid: str) -> tuple[str, str, str] | None:
        """(shelf, namespace, name) of the object with this uid."""
        return self._uids.get(uid)

    # -- writing

    def create(self, shelf: str, obj: Object) -> Object:
        """Store a new object; uid, creationTimestamp and resourceVersion are given here."""
        metadata = {**obj["metadata"]}
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", rfc3339(self.clock.now()))
        return self._commit("ADDED", shelf, {**obj, "metadata": metadata}, None)

    def update(self, shelf: str, obj: Object) -> Object:
        """Replace an object. One that is being deleted and waits for nothing more is removed instead."""
        space, name = objects.namespace(obj), objects.name(obj)
        record = self.record(shelf, space, name)
        if record is None:
            raise KeyError(f"{shelf} {space}/{name}")
        old = record.object
        metadata = obj["metadata"]
        if metadata.get("deletionTimestamp") and not metadata.get("deletionGracePeriodSeconds"):
            waits = metadata.get("finalizers") or (shelf == "namespaces" and obj["spec"].get("finalizers"))
            if not waits:
                return self._commit("DELETED", shelf, obj, old)
        if obj == old:
            return old
        return self._commit("MODIFIED", shelf, obj, old)

    def remove(self, shelf: str, namespace: str, name: str) -> Object | None:
        """Take an object away at once, whatever its finalizers say."""
        record = self.record(shelf, namespace, name)
        return None if record is None else self._commit("DELETED", shelf, record.object, record.object)

    def _commit(self, kind: str, shelf: str, obj: Object, old: Object | None) -> Object:
        self.version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        record = Record(obj, self.version)
        self._place(shelf, record, gone=kind == "DELETED")
        self._index(shelf, None if kind == "DELETED" else obj, old)
        change = Change(kind, shelf, record, old)
        self.log(shelf).append(change)
        self.replay(change)
        return obj

    def replay(self, change: Change) -> None:
        """Tell the listeners of a change, or again of what has been there all along."""
        for listener in self._listeners.get(change.shelf, ()):
            listener(change)
        for listener in self._all_listeners:
            listener(change)

    def _place(self, shelf: str, record: Record, gone: bool) -> None:
        spaces = self._shelves.setdefault(shelf, {})
        space, name = objects.namespace(record.object), objects.name(record.object)
        if gone:
            spaces[space].pop(name, None)
            if not spaces[space]:
                del spaces[space]
        else:
            spaces.setdefault(space, {})[name] = record

    def _index(self, shelf: str, new: Object | None, old: Object | None) -> None:
        for obj, present in ((old, False), (new, True)):
            if obj is None:
                continue
            space, name = objects.namespace(obj), objects.name(obj)
            if present:
                self._uids[objects.uid(obj)] = (shelf, space, name)
            else:
                self._uids.pop(objects.uid(obj), None)
            owners = obj["metadata"].get("ownerReferences") or ()
            for owner in owners:
                _mark(self._owned, owner["uid"], (shelf, space, name), present)
            if shelf in ("pods", "replicasets.apps"):
                _mark(self._orphans, (shelf, space), name, present and objects.controller(obj) is None)
            if shelf == "pods" and (node := obj["spec"].get("nodeName")):
                _mark(self._on_node, node, (space, name), present)

    # -- telling others

    def subscribe(self, listener: Listener, *shelves: str) -> None:
        """Call back after each change on these shelves, or on all when none is named. Must not raise."""
        for shelf in shelves:
            self._listeners.setdefault(shelf, []).append(listener)
        if not shelves:
            self._all_listeners.append(listener)

    # -- starting again

    def restore(self, version: int, entries: Iterable[tuple[str, Object]]) -> None:
        """Take over persisted objects as they were; nothing older than `version` can be watched."""
        self.version = version
        self._first_watchable = version
        for shelf, obj in entries:
            record = Record(obj, int(obj["metadata"]["resourceVersion"]))
            self._place(shelf, record, gone=False)
            self._index(shelf, obj, None)


K = TypeVar("K")
V = TypeVar("V")


def _mark(index: dict[K, dict[V, None]], key: K, value: V, present: bool) -> None:
    if present:
        index.setdefault(key, {})[value] = None
    elif key in index:
        index[key].pop(value, None)
        if not index[key]:
            del index[key]
