"""Which pods of a member are told, so that pods which brim binds itself can be decided about.

Told are
- every pod that names one of brim's schedulers;
- pods without a node that a ResourcePolicy selects but that name another scheduler: somebody should hear of it;
- pods on virtual nodes, and finished ones while their serverless instance is there;
- bound pods that may count for a constraint of a pod of the first kind: those in a namespace that one of these lives in
  or that its (anti-)affinity looks at, those that hold a host port that one asks for, and those whose anti-affinity
  keeps such a pod away from across namespaces.

A cluster without pods of the first kind so tells next to nothing, however many others it has. What is looked at widens
at once. It narrows only now and then (`settle`), so that a namespace whose pods come and go is not told over and over.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from services.inventory.core.facts import Key
from services.inventory.core.selectors import Requirement

Selector: TypeAlias = tuple[Requirement, ...]  # all must fit; an empty one selects everything

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Reach:
    """Namespaces, by name and by label."""

    names: frozenset[str] = frozenset()
    selectors: frozenset[Selector] = frozenset()

    def covers(self, namespace: str, labels_of: Callable[[str], Mapping[str, str]]) -> bool:
        if namespace in self.names:
            return True
        return bool(self.selectors) and selected(self.selectors, labels_of(namespace))


NOWHERE = Reach()
NO_PORTS: frozenset[int] = frozenset()


def selected(selectors: Iterable[Selector], labels: Mapping[str, str]) -> bool:
    """Whether any of them selects these labels."""
    return any(all(one.fits(labels) for one in selector) for selector in selectors)


@dataclass(frozen=True, slots=True)
class PodSight:
    """What the rule asks of a pod. ours: it names one of brim's schedulers. instance: it has a serverless instance.

    reach: namespaces of which pods count for it: of all its terms for a pod of ours, of its anti-affinity for others.
    ports: of its host that it asks for or holds.
    """

    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False
    node: str = ""
    finished: bool = False
    terminating: bool = False
    on_virtual: bool = False
    instance: bool = False
    reach: Reach = NOWHERE
    ports: frozenset[int] = NO_PORTS

    @property
    def counts_from_afar(self) -> bool:
        """Whether it may be told though nothing looks at its namespace."""
        return not self.ours and bool(self.ports or self.reach != NOWHERE)


class _Counted(Generic[T]):
    """What is looked at, and by how many; kept: also what nobody has looked at since the last `settle`."""

    def __init__(self) -> None:
        self._counts: Counter[T] = Counter()
        self.kept: set[T] = set()

    def add(self, items: Collection[T]) -> set[T]:
        """Returns what was not kept before."""
        self._counts.update(items)
        fresh = set(items) - self.kept
        self.kept |= fresh
        return fresh

    def remove(self, items: Collection[T]) -> None:
        self._counts.subtract(items)
        for item in items:
            if not self._counts[item]:
                del self._counts[item]

    def settle(self) -> None:
        self.kept = set(self._counts)


@dataclass(frozen=True, slots=True)
class Widened:
    """What is looked at since just now. afar: pods that count from afar may be told now."""

    namespaces: frozenset[str] = frozenset()
    selectors: frozenset[Selector] = frozenset()
    afar: bool = False

    def __bool__(self) -> bool:
        return bool(self.namespaces or self.selectors or self.afar)


UNCHANGED = Widened()


class Sight:
    """One member. labels_of: a namespace's. selects: whether a ResourcePolicy selects such a pod of a namespace."""

    def __init__(
        self,
        labels_of: Callable[[str], Mapping[str, str]],
        selects: Callable[[str, Mapping[str, str]], bool],
    ) -> None:
        self._labels_of = labels_of
        self._selects = selects
        self._ours: dict[Key, PodSight] = {}
        self._homes: _Counted[str] = _Counted()
        self._names: _Counted[str] = _Counted()
        self._selectors: _Counted[Selector] = _Counted()
        self._ports: _Counted[int] = _Counted()

    def put(self, key: Key, pod: PodSight | None) -> Widened:
        """A pod is new, different or gone (None). Only living pods of ours look at anything."""
        before = self._ours.get(key)
        after = pod if pod is not None and pod.ours and not pod.finished else None
        if before == after:
            return UNCHANGED
        widened = UNCHANGED
        if after is not None:
            self._ours[key] = after
            widened = self._look(after)
        else:
            del self._ours[key]
        if before is not None:
            self._homes.remove((before.namespace,))
            self._names.remove(before.reach.names)
            self._selectors.remove(before.reach.selectors)
            self._ports.remove(before.ports)
        return widened

    def _look(self, pod: PodSight) -> Widened:
        homes = self._homes.add((pod.namespace,))
        ports = self._ports.add(pod.ports)
        return Widened(
            frozenset(homes | self._names.add(pod.reach.names)),
            frozenset(self._selectors.add(pod.reach.selectors)),
            bool(homes or ports),
        )

    def settle(self) -> None:
        """What no pod of ours looks at any more is out of sight from now on."""
        for counted in (self._homes, self._names, self._selectors, self._ports):
            counted.settle()

    @property
    def by_label(self) -> bool:
        """Whether namespaces are looked at by their labels, so that these matter."""
        return bool(self._selectors.kept)

    def is_home(self, namespace: str) -> bool:
        """Whether a pod of ours lives there."""
        return namespace in self._homes.kept

    def looks_at(self, namespace: str) -> bool:
        if self.is_home(namespace) or namespace in self._names.kept:
            return True
        return self.by_label and selected(self._selectors.kept, self._labels_of(namespace))

    def tells(self, pod: PodSight) -> bool:
        if pod.ours or pod.instance:
            return True
        if pod.finished:
            return False
        if not pod.node:
            return not pod.terminating and self._selects(pod.namespace, pod.labels)
        if pod.on_virtual or self.looks_at(pod.namespace):
            return True
        if not pod.ports.isdisjoint(self._ports.kept):
            return True
        return pod.reach != NOWHERE and any(pod.reach.covers(home, self._labels_of) for home in self._homes.kept)
