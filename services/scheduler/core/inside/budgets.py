"""PodDisruptionBudgets of one member: whose going would violate one.

As kube-scheduler counts: of the pods that may have to go, the most important first, each takes one disruption of every
budget that selects it, and violates one that has none left. An empty selector selects every pod of the namespace, as it
does for evictions; kube-scheduler passes such a budget over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.scheduler.core.constraints import LabelSelector
from services.scheduler.core.inside.nodes import Nodes
from services.scheduler.core.inside.ranks import Ranks
from services.scheduler.core.inside.records import LEAVING, PodRecord, Seat
from services.scheduler.core.inside.values import Labels
from services.scheduler.core.nodes import Floats
from shared.contracts.capacity import DisruptionBudget

REMEMBERED: Final = 10_000  # sets of labels of which it is known whether a budget selects them


@dataclass(frozen=True, slots=True)
class _Budget:
    """name: "namespace/name"."""

    name: str
    selector: LabelSelector
    allowed: int
    evicted: frozenset[str]


class Budgets:
    """Those that were told."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, _Budget]] = {}  # by namespace, then by name
        self._exhausted: Mapping[str, tuple[LabelSelector, ...]] | None = None

    def replace(self, told: Mapping[str, DisruptionBudget]) -> None:
        """All there are."""
        self._of.clear()
        self._exhausted = None
        self.change(told)

    def change(self, told: Mapping[str, DisruptionBudget | None]) -> None:
        """Some of them; None for one that is no more."""
        self._exhausted = None if told else self._exhausted
        for name, budget in told.items():
            namespace = name.partition("/")[0]
            if budget is not None and budget.selector is not None:
                made = _Budget(name, LabelSelector.of(budget.selector), budget.allowed, frozenset(budget.evicted))
                self._of.setdefault(namespace, {})[name] = made
            elif namespace in self._of:
                self._of[namespace].pop(name, None)
                if not self._of[namespace]:
                    del self._of[namespace]

    @property
    def exhausted(self) -> Mapping[str, tuple[LabelSelector, ...]]:
        """Of those that let nobody go, by namespace."""
        if self._exhausted is None:
            found = {
                namespace: tuple(one.selector for one in budgets.values() if one.allowed <= 0 and not one.evicted)
                for namespace, budgets in self._of.items()
            }
            self._exhausted = {namespace: selectors for namespace, selectors in found.items() if selectors}
        return self._exhausted

    def allowance(self, going: Mapping[tuple[str, Labels], int]) -> Allowance | None:
        """None where there are none. going: (namespace, labels) → pods that were told to go, which the member has not
        counted yet."""
        return Allowance(self._of, going) if self._of else None


class Allowance:
    """What the budgets allow at one moment, for one pod that looks for a place."""

    def __init__(self, budgets: Mapping[str, Mapping[str, _Budget]], going: Mapping[tuple[str, Labels], int]) -> None:
        self._budgets = budgets
        self._selecting: dict[tuple[str, Labels], tuple[_Budget, ...]] = {}
        self._taken: dict[str, int] = {}
        for (namespace, labels), count in going.items():
            for budget in self._of(namespace, labels):
                self._taken[budget.name] = self._taken.get(budget.name, 0) + count

    def _of(self, namespace: str, labels: Labels) -> tuple[_Budget, ...]:
        here = self._budgets.get(namespace)
        if here is None:
            return ()
        found = self._selecting.get((namespace, labels))
        if found is None:
            has = dict(labels)
            found = tuple(budget for budget in here.values() if budget.selector.matches(has))
            self._selecting[namespace, labels] = found
        return found

    def violated(self, pods: Iterable[PodRecord]) -> dict[PodRecord, Sequence[str]]:
        """Who of these, were they all to go in this order, violates budgets, and which."""
        taken, found = dict(self._taken), dict[PodRecord, Sequence[str]]()
        for record in pods:
            names = []
            for budget in self._of(record.pod.namespace, record.labels):
                if record.pod.name in budget.evicted:
                    continue
                taken[budget.name] = taken.get(budget.name, 0) + 1
                if taken[budget.name] > budget.allowed:
                    names.append(budget.name)
            if names:
                found[record] = names
        return found


class Kept:
    """What pods hold whose going would violate a budget that allows nothing: nodes where the others' room is not enough
    need no closer look. Counted from the first question on. seats: all that count now."""

    def __init__(self, nodes: Nodes, seats: Callable[[], Iterable[Seat]]) -> None:
        self._nodes = nodes
        self._seats = seats
        self._ranks: Ranks | None = None
        self._exhausted: Mapping[str, tuple[LabelSelector, ...]] = {}
        self._keeps: dict[tuple[str, Labels], bool] = {}

    def below(self, priority: int, budgets: Budgets) -> Floats:
        """What those of lower priority hold."""
        exhausted = budgets.exhausted
        if self._ranks is None or (exhausted is not self._exhausted and exhausted != self._exhausted):
            self._ranks = Ranks(self._nodes)
            self._keeps.clear()
            self._exhausted = exhausted
            for seat in self._seats():
                self.count(seat, 1)
        self._exhausted = exhausted
        return self._ranks.all_below(priority)

    def count(self, seat: Seat, sign: int) -> None:
        """One pod more, or less."""
        if self._ranks is None or seat.priority == LEAVING or seat.namespace not in self._exhausted:
            return
        keeps = self._keeps.get((seat.namespace, seat.labels))
        if keeps is None:
            if len(self._keeps) >= REMEMBERED:
                self._keeps.clear()
            labels = dict(seat.labels)
            keeps = any(selector.matches(labels) for selector in self._exhausted[seat.namespace])
            self._keeps[seat.namespace, seat.labels] = keeps
        if keeps:
            self._ranks.count(seat.priority, seat.row, seat.needs.shape.requests, sign)
