"""PLACEMENT: the scheduler's decision for one object, and why."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

from shared.contracts.base import Contract, Part
from shared.contracts.refs import ObjectRef, Order

Cause: TypeAlias = Literal[
    "created",
    "changed",
    "scaled",
    "policy",
    "capacity",
    "rebalance",
    "drain",
    "lost",
    "settled",
    "failback",
    "deleted",
]


class Share(Part):
    """What one member is to hold.

    replicas = free + elastic + virtual, by the room they were given; all three are 0 where the policy fixes
    the numbers and nothing was counted. retiring: of these replicas, so many go as soon as their replacements
    elsewhere are Ready. present: False asks the executor to delete the object there. completions: of a Job.
    deadline: Unix seconds until which replicas on elastic room are on their way, not stuck.
    surge: pods beyond the replicas that its update may make there, for which room is reserved too.
    added: of the free ones, those for which the member added nodes. per_hour: what the elastic, added and virtual ones
    cost, at the prices seen.
    autoscaled: a HorizontalPodAutoscaler in the member owns the count; replicas says what it has, brim writes
    none. suspended: nothing is to be written there now. finished: what runs to completion did so there: it asks for
    no room any more, and is not run a second time.
    """

    member: str
    replicas: int = 0
    free: int = 0
    elastic: int = 0
    virtual: int = 0
    added: int = 0
    surge: int = 0
    retiring: int = 0
    present: bool = True
    completions: int | None = None
    revision: int = 0
    deadline: float | None = None
    autoscaled: bool = False
    suspended: bool = False
    per_hour: float = 0.0
    finished: bool = False


class Rest(Part):
    """The workload avoids this member until then. step: how often it got stuck there in a row."""

    member: str
    until: float
    step: int = 1


class Failback(Part):
    """So many replicas went back to an earlier tier then. at: Unix seconds."""

    at: float
    count: int


class Seen(Part):
    """Room that the decision saw, one position per member in the order they were considered.

    tiers: index into the policy's clusterAffinities (0 without). given: new replicas that this decision put
    there. Members that were filtered out are not here but in `Placement.reasons`.
    """

    members: list[str] = []
    tiers: list[int] = []
    free: list[int] = []
    elastic: list[int] = []
    virtual: list[int] = []
    given: list[int] = []


class Waves(Part):
    """How far a FleetRollout has come with the newest revision.

    rollout: its name. revision: the one that members go over to. wave: 0-based, of the one under way; equal to waves
    once all are through. state: paused and failed wait for a person, undone for a newer revision. since: Unix seconds
    at which the wave last came forward: it began, a member was started, or baking began. generation: of its manifest.
    """

    rollout: str
    revision: int
    wave: int = 0
    waves: int = 1
    state: Literal["running", "baking", "paused", "failed", "undone", "done"] = "running"
    since: float = 0.0
    message: str = ""
    generation: int = 1


class Reason(Part):
    """Why some members got nothing, or why replicas stay pending. code: CamelCase. members: whom it concerns."""

    code: str
    message: str
    members: tuple[str, ...] = ()


class Placement(Contract):
    """The decision in force.

    uid, generation: of the DESIRED object it answers. whole: the object is not divided; every share holds all
    of it. wanted: replicas that people asked for; pending: those of them that fit nowhere now.
    deleted: the object's tombstone was seen: every share is to go. preserve: of a deletion: they go by losing
    brim's marks only; a share that moves is removed whatever this says. overwrite: objects that are already
    there may be taken over (conflictResolution).
    policy: "PropagationPolicy test/vllm-deploy-pp", empty if none matches (the placement is frozen).
    failbacks: when replicas last went back to an earlier tier, the last hour only. before: the revision
    that members had before the newest one; 0 where there is none. waves: of a workload whose members go over to its
    newest revision one after the other.
    """

    TYPE: ClassVar[str] = "dev.brim.placement.v1"

    ref: ObjectRef
    uid: str
    generation: int
    order: Order
    whole: bool = False
    policy: str = ""
    revision: int = 0
    wanted: int = 0
    pending: int = 0
    shares: tuple[Share, ...] = ()
    rests: tuple[Rest, ...] = ()
    seen: Seen = Seen()
    reasons: tuple[Reason, ...] = ()
    cause: Cause
    decided_at: float
    suspended: bool = False
    overwrite: bool = False
    deleted: bool = False
    preserve: bool = False
    failbacks: tuple[Failback, ...] = ()
    before: int = 0
    waves: Waves | None = None

    def share(self, member: str) -> Share | None:
        return next((share for share in self.shares if share.member == member), None)
