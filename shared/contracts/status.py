"""STATUS: how an object that brim manages fares in one member."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from shared.contracts.base import Contract, Part
from shared.contracts.refs import ObjectRef, Order

Provisioning: TypeAlias = Literal["none", "ordered", "no-stock", "failed"]


class Unschedulable(Part):
    """Replicas that cannot be scheduled, or started, since the same second for the same reason.

    since: Unix seconds at which the first of them became unschedulable. message: the member's scheduler's own
    words. provisioning: what the member's autoscaler said about them. no_instance: they have a node, a virtual one,
    which could not have instances for them; since is then when they got it, and the words are its.
    """

    since: float
    count: int
    message: str = ""
    provisioning: Provisioning = "none"
    no_instance: bool = False


class RolloutStatus(Part):
    """How a Kruise Rollout fares in one member, in Kruise's own words.

    step: the current one, from 1; steps: how many there are; 0 before the first. state: of the step (StepUpgrade,
    StepPaused, …). reason: of the Progressing condition (InRolling, Paused, Completed, …). succeeded: of the last
    rollout that ended, None while there is none. canary: pods of the new revision. resumes_at: Unix seconds at which
    a timed pause ends. traffic: what the step sends to the new revision, "20%" or "what matches"; empty where it says
    nothing.
    """

    phase: str = ""
    message: str = ""
    step: int = 0
    steps: int = 0
    state: str = ""
    reason: str = ""
    succeeded: bool | None = None
    paused: bool = False
    next_step: int = 0
    style: Literal["canary", "blueGreen"] = "canary"
    stable_revision: str = ""
    new_revision: str = ""
    canary: int = 0
    canary_ready: int = 0
    resumes_at: float | None = None
    traffic: str = ""


class Status(Contract):
    """The subject is purged when the object is gone.

    uid: the workload's uid in DESIRED, from the object's mark; empty for an object that brim does not manage.
    order: of the placement that was last applied there. replicas: what the object's spec asks for; ready:
    replicas that serve (pods Ready; for a Job active or succeeded ones do not count here); bound: pods of the
    workload that have a node and are not terminating (a Job's succeeded ones count).
    first_stuck_ordinal: of a StatefulSet with ordered pods, from 0: nothing above it will be created.
    autoscaler: name of the HorizontalPodAutoscaler that owns the replica count, if there is one. restarts: of the
    containers of the newest revision's pods. rolling: the workload is in the middle of a Kruise rollout. rollout: of
    a Rollout object.
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
    restarts: int = 0
    rolling: bool = False
    rollout: RolloutStatus | None = None
