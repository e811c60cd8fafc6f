"""ResourcePolicies: from what people write to what is decided by, and which of them a pod follows."""

from __future__ import annotations

from collections.abc import Mapping

from services.scheduler.core.inside.values import PolicyUnit, ResourcePolicy
from shared import quantities
from shared.contracts.annotations import ceiling_of
from shared.contracts.resource_policy import PolicyUnit as WrittenUnit
from shared.contracts.resource_policy import ResourcePolicy as WrittenPolicy
from shared.contracts.resource_policy import seconds_of

# A wish of ACK's scheduler that is written among podLabels, but is no label of pods: to wait for nodes that are added.
WAIT_LABEL = "k8s.aliyun.com/resource-policy-wait-for-ecs-scaling"


def resource_policy_of(written: WrittenPolicy, created_at: float) -> ResourcePolicy:
    """created_at: Unix seconds, when the policy was first published."""
    spec = written.spec
    return ResourcePolicy(
        namespace=written.metadata.namespace,
        name=written.metadata.name,
        units=tuple(_unit(unit) for unit in spec.units),
        selector=tuple(sorted(spec.selector.items())),
        next_unit=spec.when_try_next_units.policy,
        timeout=seconds_of(spec.when_try_next_units.timeout),
        preempts_early=spec.preempt_policy == "BeforeNextUnit",
        ignores_previous=spec.ignore_previous_pod,
        ignores_terminating=spec.ignore_terminating_pod,
        label_keys=spec.match_label_keys,
        ceiling=ceiling_of(written.metadata.annotations),
        created_at=created_at,
    )


def _unit(unit: WrittenUnit) -> PolicyUnit:
    return PolicyUnit(
        resource=unit.resource,
        node_selector=tuple(sorted(unit.node_selector.items())) if unit.resource == "ecs" else (),
        max=unit.max,
        max_resources=tuple(sorted((name, quantities.amount(name, text)) for name, text in unit.max_resources.items())),
        pod_labels=tuple(sorted((key, value) for key, value in unit.pod_labels.items() if key != WAIT_LABEL)),
        pod_annotations=tuple(sorted(unit.pod_annotations.items())),
    )


class ResourcePolicies:
    """All policies of the fleet, by namespace."""

    def __init__(self) -> None:
        self._by_namespace: dict[str, dict[str, ResourcePolicy]] = {}

    def get(self, key: tuple[str, str]) -> ResourcePolicy | None:
        return self._by_namespace.get(key[0], {}).get(key[1])

    def put(self, policy: ResourcePolicy) -> None:
        self._by_namespace.setdefault(policy.namespace, {})[policy.name] = policy

    def remove(self, key: tuple[str, str]) -> ResourcePolicy | None:
        return self._by_namespace.get(key[0], {}).pop(key[1], None)

    def of(self, namespace: str, labels: Mapping[str, str]) -> tuple[ResourcePolicy, ...]:
        """Those that select a pod with these labels; it follows the first: that with more labels in its selector,
        then by name."""
        policies = self._by_namespace.get(namespace)
        if not policies:
            return ()
        found = [p for p in policies.values() if all(labels.get(key) == value for key, value in p.selector)]
        return tuple(sorted(found, key=lambda policy: (-len(policy.selector), policy.name)))
