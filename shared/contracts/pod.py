"""PODS: pods that brim binds to nodes itself, bound ones that count for constraints, and serverless instances.

A subject holds the newest state of one pod and is purged when the pod and its serverless instance are gone.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from shared.contracts.base import Contract, JsonObject, Part


class Owner(Part):
    """The pod's controller. name and kind of what people know: a Deployment rather than its ReplicaSet."""

    kind: str
    group: str = ""
    name: str


class Instance(Part):
    """The serverless instance behind a pod.

    size: as in `shared.eci.Spec.name`. since: Unix seconds from which it is billed; None while it is not.
    per_hour: its price, in the fleet's currency.
    """

    name: str
    size: str
    since: float | None = None
    spot: bool = False
    per_hour: float = 0.0


class Pod(Contract):
    """One pod of one member.

    workload: the uid in brim's label, empty for a pod that brim did not propagate. scheduler: what its
    schedulerName says. requests: whole base units, "pods" included. spec: what scheduling reads of the pod's spec,
    as it stands there: nodeSelector, affinity, tolerations, topologySpreadConstraints, ports (host ports only),
    resourceClaims, volumes (persistent ones only), schedulingGates. annotations: only those that scheduling reads.
    bound_at: Unix seconds at which it got its node. counted_at: from then on (Unix seconds, by their own observed_at)
    capacity messages count it there; of pods that name brim's scheduler, None where inventory found it bound.
    unschedulable: it says so already (PodScheduled=False), with this message. no_instance: its virtual node could not
    have an instance for it, and says so with this message; None where it has one, or has not tried. instance: of a pod
    on a virtual node.
    eci: it or its namespace asks for ECI by label; told here, because capacity tells of namespaces a moment later.
    gone: the pod is no more, but its instance is; name is the instance's where another pod has the name by now.
    """

    TYPE: ClassVar[str] = "dev.brim.pod.v1"

    member: str
    namespace: str
    name: str
    uid: str
    workload: str = ""
    owner: Owner | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    scheduler: str = ""
    priority: int = 0
    preemption: Literal["PreemptLowerPriority", "Never"] = "PreemptLowerPriority"
    requests: dict[str, int] = {}
    spec: JsonObject = {}
    node: str = ""
    phase: str = "Pending"
    ready: bool = False
    terminating: bool = False
    created_at: float = 0.0
    bound_at: float | None = None
    counted_at: float | None = None
    unschedulable: str | None = None
    no_instance: str | None = None
    instance: Instance | None = None
    eci: bool = False
    gone: bool = False
    observed_at: float
