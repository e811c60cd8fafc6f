"""How a managed object fares: the object, its pods and what the autoscaler said of them → its STATUS."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from services.inventory.core.facts import PodFacts
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Provisioning, RolloutStatus, Status, Unschedulable
from shared.numbers import whole

MAX_GROUPS = 100  # of unschedulable replicas in one status; the oldest are merged beyond

# What the events of an autoscaler mean for the pod they are about: (reason, a part of the message) → meaning. Of
# ACK's GOATScaler, of cluster-autoscaler, and of Karpenter, which nominates nodes that are there already, too.
_PROVISIONING: tuple[tuple[str, str, Provisioning], ...] = (
    ("ProvisionNode", "", "ordered"),
    ("TriggeredScaleUp", "", "ordered"),
    ("ProvisionNodeFailed", "", "failed"),
    ("NotTriggerScaleUp", "NoStock", "no-stock"),
    ("NotTriggerScaleUp", "in backoff after failed scale-up", "failed"),
    ("Nominated", "nodeclaim/", "ordered"),
    ("FailedScheduling", "", "no-stock"),
)


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """uid: the workload's in DESIRED. ready, updated, available, succeeded: as the object's own status says,
    None where its kind has no such field. ordered: a StatefulSet that creates its pods one after the other.
    first_ordinal: the number of its first pod. rolling: a Kruise rollout of it is under way. rollout: of a Rollout."""

    ref: ObjectRef
    uid: str = ""
    order: Order = field(default_factory=Order)
    revision: int = 0
    created_at: float = 0.0
    generation: int = 0
    observed_generation: int = 0
    replicas: int = 0
    ready: int | None = None
    updated: int | None = None
    available: int | None = None
    succeeded: int | None = None
    finished: bool = False
    ordered: bool = False
    first_ordinal: int = 0
    rolling: bool = False
    rollout: RolloutStatus | None = None


def provisioning_of(reason: str, message: str) -> Provisioning | None:
    """What an autoscaler's event says about its pod; None where it says nothing about nodes to come."""
    return next((told for said, part, told in _PROVISIONING if said == reason and part in message), None)


def status_of(
    member: str,
    facts: ObjectFacts,
    pods: Iterable[PodFacts],
    provisioning: Mapping[str, Provisioning],
    autoscaler: str | None,
    now: float,
) -> Status:
    """provisioning: by pod uid. autoscaler: the HorizontalPodAutoscaler that targets the object."""
    pods = list(pods)
    living = [pod for pod in pods if not pod.terminating and not pod.finished]
    stuck = [pod for pod in living if _stuck_since(pod) is not None]
    succeeded = sum(pod.phase == "Succeeded" for pod in pods)
    return Status(
        member=member,
        ref=facts.ref,
        uid=facts.uid,
        order=facts.order,
        revision=facts.revision,
        observed_at=now,
        created_at=facts.created_at,
        generation=facts.generation,
        observed_generation=facts.observed_generation,
        replicas=facts.replicas,
        ready=sum(pod.ready for pod in living) if facts.ready is None else facts.ready,
        updated=facts.updated or 0,
        available=facts.available or 0,
        bound=sum(pod.counts_as_bound for pod in pods),
        pending=sum(pod.phase == "Pending" for pod in living),
        succeeded=succeeded if facts.succeeded is None else facts.succeeded,
        finished=facts.finished,
        unschedulable=unschedulable(stuck, provisioning),
        first_stuck_ordinal=_first_ordinal(facts, stuck),
        autoscaler=autoscaler,
        restarts=_restarts(living),
        rolling=facts.rolling,
        rollout=facts.rollout,
    )


def _restarts(living: Sequence[PodFacts]) -> int:
    """Of the pods with the template of the one that was created last."""
    newest = max(living, key=lambda pod: (pod.created_at, pod.name), default=None)
    return sum(pod.restarts for pod in living if newest is not None and pod.template == newest.template)


def unschedulable(
    stuck: Iterable[PodFacts], provisioning: Mapping[str, Provisioning], limit: int = MAX_GROUPS
) -> tuple[Unschedulable, ...]:
    """Pods grouped by second, words and what the autoscaler said; the oldest groups are merged beyond `limit`."""
    groups: dict[tuple[float, str, Provisioning, bool], int] = {}
    for pod in stuck:
        since = _stuck_since(pod)
        if since is not None:
            said = provisioning.get(pod.uid, "none") if not pod.node else "none"
            key = (float(int(since)), pod.message, said, bool(pod.node))
            groups[key] = groups.get(key, 0) + 1
    ordered = sorted(groups.items())
    surplus = len(ordered) - limit
    if surplus > 0:
        merged = sum(count for _, count in ordered[: surplus + 1])
        ordered = [(ordered[0][0], merged), *ordered[surplus + 1 :]]
    return tuple(
        Unschedulable(since=since, count=count, message=message, provisioning=said, no_instance=no_instance)
        for (since, message, said, no_instance), count in ordered
    )


def _stuck_since(pod: PodFacts) -> float | None:
    """Since when it has no node, or a virtual one that has no instance for it; None for neither."""
    return pod.no_instance_since if pod.node else pod.unschedulable_since


def _first_ordinal(facts: ObjectFacts, stuck: Iterable[PodFacts]) -> int | None:
    """Pods of a StatefulSet are named <set>-<ordinal>; here they count from 0, whatever the first one's number is."""
    if not facts.ordered:
        return None
    ordinals = (whole(pod.name.rpartition("-")[2]) for pod in stuck)
    return min((max(0, ordinal - facts.first_ordinal) for ordinal in ordinals if ordinal is not None), default=None)
