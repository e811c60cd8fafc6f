"""The ResourcePolicies of the fleet, as far as inventory needs them: they say of which pods the scheduler hears."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from shared.contracts.desired import Desired
from shared.contracts.resource_policy import ResourcePolicy
from shared.errors import Invalid

log = logging.getLogger("brim.inventory")


class Policies:
    """They hold in every member. Whoever `listens` is called with each namespace of which a policy changes."""

    def __init__(self) -> None:
        self._by_namespace: dict[str, dict[str, ResourcePolicy]] = {}
        self._listeners: list[Callable[[str], None]] = []

    def listen(self, listener: Callable[[str], None]) -> None:
        self._listeners.append(listener)

    def forget(self, listener: Callable[[str], None]) -> None:
        self._listeners.remove(listener)

    def take(self, namespace: str, name: str, desired: Desired | None) -> None:
        """desired: None where there is no such policy, or none that can be read."""
        policy = self._read(desired) if desired is not None and desired.deleted is None else None
        policies = self._by_namespace.setdefault(namespace, {})
        if policy == policies.get(name):
            policy_changed = False
        elif policy is None:
            del policies[name]
            policy_changed = True
        else:
            policies[name] = policy
            policy_changed = True
        if not policies:
            del self._by_namespace[namespace]
        if policy_changed:
            for listener in self._listeners:
                listener(namespace)

    def _read(self, desired: Desired) -> ResourcePolicy | None:
        try:
            return ResourcePolicy.read(desired.manifest)
        except Invalid as error:
            log.error("%s is left out: %s", desired.ref, error)
            return None

    def selects(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether any policy of the namespace selects a pod with these labels."""
        return any(
            policy.spec.selector.items() <= labels.items() for policy in self._by_namespace.get(namespace, {}).values()
        )

    def annotations(self, namespace: str) -> frozenset[str]:
        """Keys of the annotations by which the namespace's policies count pods."""
        return frozenset(
            key
            for policy in self._by_namespace.get(namespace, {}).values()
            for unit in policy.spec.units
            for key in unit.pod_annotations
        )
