"""What inventory keeps of nodes and pods: plain values, without Kubernetes' form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Key: TypeAlias = tuple[str, str]  # (namespace, name)
TaintFacts: TypeAlias = tuple[str, str, str]  # (key, value, effect)

POOL_LABEL = "alibabacloud.com/nodepool-id"
VIRTUAL_LABEL = ("type", "virtual-kubelet")
HOSTNAME_LABEL = "kubernetes.io/hostname"


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """created_at: Unix seconds. leaving: it is being deleted. allocatable: whole base units."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[TaintFacts, ...] = ()
    unschedulable: bool = False
    ready: bool = True
    leaving: bool = False
    created_at: float = 0.0
    allocatable: Mapping[str, int] = field(default_factory=dict)

    @property
    def pool(self) -> str:
        """The node pool it belongs to, empty for none."""
        return self.labels.get(POOL_LABEL, "")

    @property
    def virtual(self) -> bool:
        name, value = VIRTUAL_LABEL
        return self.labels.get(name) == value


@dataclass(frozen=True, slots=True)
class PodFacts:
    """node: empty while it has none. workload: the uid in brim's label, empty for a pod that is not brim's.

    unschedulable_since: Unix seconds at which the member's scheduler first said so, None where it did not.
    message: the scheduler's words.
    """

    namespace: str
    name: str
    uid: str = ""
    node: str = ""
    workload: str = ""
    phase: str = "Pending"
    terminating: bool = False
    ready: bool = False
    unschedulable_since: float | None = None
    message: str = ""
    requests: Mapping[str, int] = field(default_factory=dict)

    @property
    def key(self) -> Key:
        return (self.namespace, self.name)

    @property
    def finished(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def holds_room(self) -> bool:
        """A terminating pod still does; a finished one does not."""
        return bool(self.node) and not self.finished

    @property
    def counts_as_bound(self) -> bool:
        """One replica that the placement need not reserve room for any more: a succeeded one had its room."""
        return bool(self.node) and bool(self.workload) and not self.terminating and self.phase != "Failed"
