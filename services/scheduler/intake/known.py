"""What DESIRED holds, as the intake knows it: the one thing that a submission is judged against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from shared.contracts import cluster
from shared.contracts.desired import Desired

Key: TypeAlias = tuple[str, str, str, str]  # ObjectRef.key: (kind, group, namespace, name)

REMOVED = 10_000  # removals remembered, the newest ones


@dataclass(frozen=True, slots=True)
class Entry:
    """One object and the sequence of its last message in DESIRED, which the next write is fenced by."""

    desired: Desired
    sequence: int


class Known:
    """All objects by key, and by kind. Entries only ever become newer: an older sequence is ignored."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str], dict[Key, Entry]] = {}
        self._removed: dict[Key, int] = {}  # sequence of the subject's last message where it holds nothing any more

    def get(self, key: Key) -> Entry | None:
        return self._kinds.get(key[:2], {}).get(key)

    def live(self, key: Key) -> Desired | None:
        """The object, unless it is deleted."""
        entry = self.get(key)
        return entry.desired if entry and entry.desired.deleted is None else None

    def was_removed(self, key: Key) -> bool:
        """It was there, and was deleted, not long ago."""
        return key in self._removed

    def sequence(self, key: Key) -> int:
        """What the next write of the object is fenced by; 0 where nothing was ever written."""
        entry = self.get(key)
        return entry.sequence if entry else self._removed.get(key, 0)

    def put(self, desired: Desired, sequence: int) -> bool:
        """Whether this was news."""
        key = desired.ref.key
        if sequence <= self.sequence(key):
            return False
        self._kinds.setdefault(key[:2], {})[key] = Entry(desired, sequence)
        self._removed.pop(key, None)
        return True

    def fence(self, key: Key, sequence: int) -> None:
        """What lies on the subject cannot be read: what is known stays, and the next write goes over it."""
        entry = self.get(key)
        if entry is not None:
            self._kinds[key[:2]][key] = Entry(entry.desired, sequence)
        else:
            self._remember_removal(key, sequence)

    def remove(self, key: Key, sequence: int) -> bool:
        """The subject holds nothing any more. sequence: of the tombstone, 0 where it was purged without one."""
        entry = self.get(key)
        if entry is not None and sequence and sequence <= entry.sequence:
            return False
        if entry is not None:
            del self._kinds[key[:2]][key]
        if sequence:
            self._remember_removal(key, sequence)
        return entry is not None

    def _remember_removal(self, key: Key, sequence: int) -> None:
        self._removed[key] = sequence
        if len(self._removed) > REMOVED:  # a forgotten one is looked up when its fence does not hold
            del self._removed[next(iter(self._removed))]

    def forget_removal(self, key: Key) -> None:
        """The tombstone itself is gone (it expires): the next write is a first one."""
        self._removed.pop(key, None)

    def of_kind(self, kind: str, group: str) -> Mapping[Key, Entry]:
        return MappingProxyType(self._kinds.get((kind, group), {}))

    def members(self) -> frozenset[str]:
        """Ids of the fleet's members."""
        clusters = self.of_kind(cluster.KIND, cluster.GROUP)
        return frozenset(key[3] for key, entry in clusters.items() if entry.desired.deleted is None)

    def __iter__(self) -> Iterator[Entry]:
        for entries in self._kinds.values():
            yield from list(entries.values())

    def __len__(self) -> int:
        return sum(len(entries) for entries in self._kinds.values())
