"""What Karpenter may still add: the limits of its NodePools (karpenter.sh/v1) less what they have.

It gives no sign of stock. Without a limit only the fleet file's `max` bounds a pool.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from services.inventory.core.facts import TaintFacts
from services.inventory.projections import Condition, NodeTaint, ResourceList
from shared.kube import KubeObject, Projection, Resource
from shared.quantities import amount

NODE_POOLS = Resource("karpenter.sh", "v1", "NodePool", "nodepools", namespaced=False)
NODES = "nodes"  # a resource of limits and status: how many nodes


class _Requirement(Projection):
    key: str
    operator: str = ""
    values: tuple[str, ...] = ()


class _Metadata(Projection):
    labels: dict[str, str] = {}


class _NodeSpec(Projection):
    taints: tuple[NodeTaint, ...] = ()
    requirements: tuple[_Requirement, ...] = ()


class _Template(Projection):
    metadata: _Metadata = _Metadata()
    spec: _NodeSpec = _NodeSpec()


class _Spec(Projection):
    template: _Template = _Template()
    limits: ResourceList = {}
    replicas: int | None = None


class _Status(Projection):
    resources: ResourceList = {}
    conditions: tuple[Condition, ...] = ()


class NodePool(KubeObject):
    """One of Karpenter's. replicas: set where it keeps a fixed number of nodes, and adds none for pods."""

    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def grows(self) -> bool:
        ready = next((one.status for one in self.status.conditions if one.type == "Ready"), "True")
        return ready == "True" and self.spec.replicas is None and self.metadata.deletion_timestamp is None

    @property
    def nodes(self) -> int | None:
        """None where it does not say."""
        return _amount(NODES, self.status.resources)

    @property
    def labels(self) -> dict[str, str]:
        """That every node of it has: those of its template, and requirements that leave one value."""
        template = self.spec.template
        one_of_one = (one for one in template.spec.requirements if one.operator == "In" and len(one.values) == 1)
        return {one.key: one.values[0] for one in one_of_one} | template.metadata.labels

    @property
    def taints(self) -> tuple[TaintFacts, ...]:
        return tuple((taint.key, taint.value, taint.effect) for taint in self.spec.template.spec.taints)

    def more(self, allocatable: Mapping[str, int]) -> int | None:
        """How many more nodes of this size its limits allow; None for any number."""
        each = {**allocatable, NODES: 1}
        counts = [
            max(0, limit - (_amount(resource, self.status.resources) or 0)) // each[resource]
            for resource in self.spec.limits
            if each.get(resource) and (limit := _amount(resource, self.spec.limits)) is not None
        ]
        return min(counts, default=None)


def _amount(resource: str, resources: ResourceList) -> int | None:
    with suppress(ValueError, KeyError):
        return amount(resource, resources[resource])
    return None
