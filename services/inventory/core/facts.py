"""What inventory keeps of nodes and pods: plain values, without Kubernetes' form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from shared.units import VIRTUAL_LABEL, VIRTUAL_TAINT, pool_of

Key: TypeAlias = tuple[str, str]  # (namespace, name)
ObjectKey: TypeAlias = tuple[str, str, str, str]  # (kind, group, namespace, name)
TaintFacts: TypeAlias = tuple[str, str, str]  # (key, value, effect)

HOSTNAME_LABEL = "kubernetes.io/hostname"
AGENT = ("kubernetes.io/role", "agent")  # a virtual node's role, and in some clouds that of every node
VIRTUAL_NAME = "virtual-kubelet-"  # how a virtual node's name begins


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """created_at: Unix seconds. leaving: it is being deleted. allocatable: whole base units. described_pool: the pool
    that it is of by what the fleet file says of pools, for members whose nodes do not say so themselves."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[TaintFacts, ...] = ()
    unschedulable: bool = False
    ready: bool = True
    leaving: bool = False
    created_at: float = 0.0
    allocatable: Mapping[str, int] = field(default_factory=dict)
    described_pool: str = ""

    @property
    def pool(self) -> str:
        """The node pool it belongs to, empty for none."""
        return self.described_pool or pool_of(self.labels)

    @property
    def virtual(self) -> bool:
        """Serverless: it says so by label, by taint, or by role and name."""
        label, value = VIRTUAL_LABEL
        if self.labels.get(label) == value or any(taint[0] == VIRTUAL_TAINT[0] for taint in self.taints):
            return True
        role, agent = AGENT
        return self.labels.get(role) == agent and self.name.startswith(VIRTUAL_NAME)


@dataclass(frozen=True, slots=True)
class PodFacts:
    """node: empty while it has none. workload: the uid in brim's label, empty for a pod that is not brim's.

    unschedulable_since: Unix seconds at which the member's scheduler first said so, None where it did not.
    no_instance_since: when it got the virtual node that now says that it could not have an instance for it, None where
    none does. message: the scheduler's words, or that node's. requests: what it takes of its node's room, on a virtual
    node its instance's size.
    nominated: the node where the member's own scheduler makes room for it, empty for none. daemon: the uid of its
    DaemonSet, empty for a pod of none.
    template: by which its controller tells templates apart. restarts: of its containers.
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
    no_instance_since: float | None = None
    message: str = ""
    nominated: str = ""
    daemon: str = ""
    requests: Mapping[str, int] = field(default_factory=dict)
    created_at: float = 0.0
    template: str = ""
    restarts: int = 0

    @property
    def key(self) -> Key:
        return (self.namespace, self.name)

    @property
    def finished(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def place(self) -> str:
        """The node of whose room it takes: its own, or the one that others are evicted from for its sake. Replicas
        of brim's workloads have that reserved until they are bound."""
        waits = self.nominated if not self.workload and not self.terminating else ""
        return self.node or waits

    @property
    def holds_room(self) -> bool:
        """A terminating pod still does; a finished one does not."""
        return bool(self.place) and not self.finished

    @property
    def counts_as_bound(self) -> bool:
        """One replica that the placement need not reserve room for any more: a succeeded one had its room."""
        return bool(self.node) and bool(self.workload) and not self.terminating and self.phase != "Failed"
