"""STATUS: how an object that brim manages fares in one member."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from shared.contracts.base import Contract, Part
from shared.contracts.refs import ObjectRef, Order

Provisioning: TypeAlias = Literal["none", "ordered", "no-stock", "failed"]


class Unschedulable(Part):
    """Replicas that cannot be scheduled since the same second for the same reason.

    since: Unix seconds at which the first of them became unschedulable. message: the member's scheduler's own
    words. provisioning: what the member's autoscaler said about them.
    """

    since: float
    count: int
    message: str = ""
    provisioning: Provisioning = "none"


class Status(Contract):
    """The subject is purged when the object is gone.

    uid: the workload's uid in DESIRED, from the object's mark; empty for an object that brim does not manage.
    order: of the placement that was last applied there. replicas: what the object's spec asks for; ready:
    replicas that serve (pods Ready; for a Job active or succeeded ones do not count here); bound: pods of the
    workload that have a node and are not terminating (a Job's succeeded ones count).
    first_stuck_ordinal: of a StatefulSet with ordered pods: nothing above it will be created.
    autoscaler: name of the HorizontalPodAutoscaler that owns the replica count, if there is one.
    """

    TYPE: ClassVar[str] = "dev.brim.status.v1"

    member: str
    ref: ObjectRef
    uid: str = ""
    order: Order = Order()
    revision: int = 0
    observed_at: float
    created_at: float = 0.0
    generation: int = 0
    observed_generation: int = 0
    replicas: int = 0
    ready: int = 0
    updated: int = 0
    available: int = 0
    bound: int = 0
    pending: int = 0
    succeeded: int = 0
    finished: bool = False
    unschedulable: tuple[Unschedulable, ...] = ()
    first_stuck_ordinal: int | None = None
    autoscaler: str | None = None
