"""Which policy a workload follows: explicit priority, then name over label over kind, then the policy's name.

ClusterPropagationPolicies count only where no PropagationPolicy matches.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, TypeAlias

from services.scheduler.core.values import Policy, Selector, Workload

Anchor: TypeAlias = tuple[str, ...]
_Place: TypeAlias = tuple[str | None, str, str, Anchor]  # namespace (None: cluster policies), kind, group, anchor
BY_KIND: Final[Anchor] = ()


def anchor_of(selector: Selector) -> Anchor:
    """What a workload must have for the selector to match, if one name or one label says so: `anchors_of` has it."""
    if selector.name:
        return ("name", selector.name)
    for expression in selector.labels.expressions if selector.labels is not None else ():
        if expression.operator == "In" and len(expression.values) == 1:
            return ("label", expression.key, expression.values[0])
    return BY_KIND


def anchors_of(workload: Workload) -> Iterator[Anchor]:
    yield BY_KIND
    yield ("name", workload.ref.name)
    for key, value in workload.labels.items():
        yield ("label", key, value)


class Policies:
    """Policies by what they may select, so that a look-up meets only the few that could match."""

    def __init__(self) -> None:
        self.by_key: dict[str, Policy] = {}
        self._places: dict[_Place, dict[str, Policy]] = {}

    def put(self, policy: Policy) -> Policy | None:
        """Adds or replaces; returns what was there."""
        old = self.remove(policy.key)
        self.by_key[policy.key] = policy
        for place in _places(policy):
            self._places.setdefault(place, {})[policy.key] = policy
        return old

    def remove(self, key: str) -> Policy | None:
        old = self.by_key.pop(key, None)
        for place in _places(old) if old else ():
            here = self._places[place]
            here.pop(key, None)
            if not here:
                del self._places[place]
        return old

    def match(self, workload: Workload) -> Policy | None:
        """The policy that the workload follows."""
        namespace = workload.ref.namespace
        if namespace:  # cluster scope: PropagationPolicies live in namespaces
            own = self._best(namespace, workload)
            if own is not None:
                return own
        return self._best(None, workload)

    def _best(self, namespace: str | None, workload: Workload) -> Policy | None:
        kind, group = workload.ref.kind, workload.ref.group
        ranked = [
            (-policy.priority, -specific, policy.name, policy.key)
            for anchor in anchors_of(workload)
            for policy in self._places.get((namespace, kind, group, anchor), {}).values()
            if (specific := specificity(policy, workload))
        ]
        return self.by_key[min(ranked)[3]] if ranked else None


def _places(policy: Policy) -> set[_Place]:
    return {(policy.namespace, s.kind, s.group, anchor_of(s)) for s in policy.selectors}


def specificity(policy: Policy, workload: Workload) -> int:
    """3 by name, 2 by label, 1 by kind, 0: the policy does not select the workload."""
    return max((_specificity(policy, selector, workload) for selector in policy.selectors), default=0)


def _specificity(policy: Policy, selector: Selector, workload: Workload) -> int:
    ref = workload.ref
    namespace = selector.namespace or policy.namespace
    if (selector.kind, selector.group) != (ref.kind, ref.group) or (namespace and namespace != ref.namespace):
        return 0
    if policy.namespace is not None and ref.namespace != policy.namespace:
        return 0
    if selector.name:
        return 3 if selector.name == ref.name else 0
    if selector.labels is not None:
        return 2 if selector.labels.matches(workload.labels) else 0
    return 1
