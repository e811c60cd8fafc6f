"""Which pods are where: counts per node of the pods that a selector means, and of those that have wishes themselves.

A count is kept from the first time that somebody asks for it, and costs what changes from then on.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import numpy as np

from services.scheduler.core.inside.values import Labels, Needs, PodTerm
from services.scheduler.core.nodes import Floats
from shared.contracts.capacity import Surroundings

QUERIES: Final = 256  # counts that are kept, the least recently asked for goes first
KNOWN: Final = 4096  # label sets per count of which it is known whether they are meant
Carried: TypeAlias = tuple[PodTerm, int]  # a term that a pod has, with its weight; 0 for a required one


class Placed(Protocol):
    """A pod that counts on a node. labels: sorted."""

    @property
    def namespace(self) -> str: ...
    @property
    def labels(self) -> Labels: ...
    @property
    def needs(self) -> Needs: ...
    @property
    def leaving(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Query:
    """Pods that all of these terms select, in whatever topology. staying: but not those that terminate."""

    terms: tuple[PodTerm, ...]
    staying: bool = False


@dataclass(slots=True)
class _Count:
    rows: Floats
    total: int = 0
    known: dict[tuple[str, Labels], bool] = field(default_factory=dict)

    def add(self, row: int, sign: int) -> None:
        if row >= len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros(max(64, row))])
        self.rows[row] += sign
        self.total += sign

    def along(self, top: int) -> Floats:
        """As long as the member has rows."""
        if top > len(self.rows):
            self.rows = np.concatenate([self.rows, np.zeros(top)])
        return self.rows[:top]


class Neighbours:
    """placed: everybody that counts now, with their rows. top: how many rows there are."""

    def __init__(self, placed: Callable[[], Iterable[tuple[Placed, int]]], top: Callable[[], int]) -> None:
        self._placed = placed
        self._top = top
        self._around = Surroundings()
        self._counts: OrderedDict[Query, _Count] = OrderedDict()
        self._refusing: dict[Carried, _Count] = {}  # required anti-affinity of pods that are there
        self._wishing: dict[Carried, _Count] = {}

    def set_namespaces(self, around: Surroundings) -> None:
        """Which namespaces a namespaceSelector means may be another now: all is counted anew when asked for."""
        if around.namespaces == self._around.namespaces:
            return
        self._around = around
        self._counts.clear()
        for count in (*self._refusing.values(), *self._wishing.values()):
            count.known.clear()

    def count(self, pod: Placed, row: int, sign: int) -> None:
        """A pod came to a row, or left it."""
        for query, count in self._counts.items():
            if self._means(query, count, pod):
                count.add(row, sign)
        needs = pod.needs
        for term in needs.anti_affinity:
            self._carry(self._refusing, (term, 0), row, sign)
        for carried in needs.preferred:
            self._carry(self._wishing, carried, row, sign)
        for term in needs.affinity:  # who needs others near also wishes them near, with kube-scheduler's weight
            self._carry(self._wishing, (term, 1), row, sign)

    def _carry(self, counts: dict[Carried, _Count], carried: Carried, row: int, sign: int) -> None:
        count = counts.get(carried)
        if count is None:
            count = counts[carried] = _Count(np.zeros(self._top()))
        count.add(row, sign)
        if not count.total:
            del counts[carried]

    # -- reading ---------------------------------------------------------------------------------------------

    def of(self, query: Query) -> tuple[Floats, int]:
        """Per row how many pods are meant, and how many there are in all."""
        count = self._counts.get(query)
        if count is None:
            count = self._counts[query] = _Count(np.zeros(self._top()))
            for pod, row in self._placed():
                if self._means(query, count, pod):
                    count.add(row, 1)
            if len(self._counts) > QUERIES:
                self._counts.popitem(last=False)
        self._counts.move_to_end(query)
        return count.along(self._top()), count.total

    def refusing(self, namespace: str, labels: Labels) -> list[tuple[PodTerm, Floats]]:
        """Terms of required anti-affinity, of pods that are there, that mean a pod like this; and where those are."""
        return [(term, rows) for (term, _), rows in self._meaning(self._refusing, namespace, labels)]

    def wishing(self, namespace: str, labels: Labels) -> list[tuple[Carried, Floats]]:
        """Preferred terms of pods that are there, that mean a pod like this; and where those are."""
        return list(self._meaning(self._wishing, namespace, labels))

    def _meaning(
        self, counts: Mapping[Carried, _Count], namespace: str, labels: Labels
    ) -> Iterator[tuple[Carried, Floats]]:
        for carried, count in counts.items():
            if self._known(count, (carried[0],), namespace, labels):
                yield carried, count.along(self._top())

    def selects(self, term: PodTerm, namespace: str, labels: Labels) -> bool:
        """Whether the term means a pod with these labels in this namespace."""
        if term.selector is None or not term.selector.matches(dict(labels)):
            return False
        if namespace in term.namespaces:
            return True
        by_label = term.namespace_selector
        return by_label is not None and by_label.matches(self._around.labels_of(namespace))

    def _means(self, query: Query, count: _Count, pod: Placed) -> bool:
        return not (query.staying and pod.leaving) and self._known(count, query.terms, pod.namespace, pod.labels)

    def _known(self, count: _Count, terms: tuple[PodTerm, ...], namespace: str, labels: Labels) -> bool:
        found = count.known.get((namespace, labels))
        if found is None:
            if len(count.known) >= KNOWN:
                count.known.clear()
            found = all(self.selects(term, namespace, labels) for term in terms)
            count.known[namespace, labels] = found
        return found
