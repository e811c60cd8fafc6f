"""A member's PodDisruptionBudgets, as CAPACITY tells them: whose going one of them forbids now."""

from __future__ import annotations

from collections.abc import Callable

from services.inventory.cache import Cache
from services.inventory.core.facts import Key
from shared.contracts.capacity import DisruptionBudget
from shared.contracts.selectors import LabelSelector
from shared.kube import KubeObject, Projection, Resource

BUDGETS = Resource("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets")


class _Spec(Projection):
    selector: LabelSelector | None = None


class _Status(Projection):
    observed_generation: int = 0
    disruptions_allowed: int = 0
    disrupted_pods: dict[str, str | None] = {}


class PodDisruptionBudget(KubeObject):
    """Of policy/v1."""

    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def told(self) -> DisruptionBudget:
        """It allows nothing while its status is older than its spec, as for an eviction."""
        status = self.status
        is_counted = status.observed_generation >= self.metadata.generation
        return DisruptionBudget(
            selector=self.spec.selector,
            allowed=max(0, status.disruptions_allowed) if is_counted else 0,
            evicted=tuple(sorted(status.disrupted_pods)),
        )


class Budgets:
    """woken: called when there is something to tell."""

    def __init__(self, woken: Callable[[], None]) -> None:
        self._woken = woken
        self._told: dict[str, DisruptionBudget] = {}
        self._fresh: dict[str, DisruptionBudget | None] = {}
        self.cache: Cache[PodDisruptionBudget] = Cache(self._changed)

    def _changed(self, key: Key, before: PodDisruptionBudget | None, after: PodDisruptionBudget | None) -> None:
        name, told = "/".join(key), after.told if after is not None else None
        if told == self._told.get(name):
            return
        self._fresh[name] = told
        if told is None:
            del self._told[name]
        else:
            self._told[name] = told
        self._woken()

    @property
    def changed(self) -> bool:
        """Since the last `take` or `whole`."""
        return bool(self._fresh)

    def take(self) -> dict[str, DisruptionBudget | None]:
        """Those that changed, by "namespace/name"; None for one that is no more."""
        fresh, self._fresh = self._fresh, {}
        return fresh

    def whole(self) -> dict[str, DisruptionBudget]:
        self._fresh = {}
        return dict(self._told)
