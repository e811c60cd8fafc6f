"""Deletion costs: which replicas go first when a workload shrinks.

A controller that honours controller.kubernetes.io/pod-deletion-cost deletes the pods of the lowest cost first (those
that are not Ready go before any other). The cost of a pod follows from its unit: the first unit is the dearest, so that
units empty from the last to the first.
"""

from __future__ import annotations

from typing import Final

from services.scheduler.core.inside.member import Member
from services.scheduler.core.inside.records import PodRecord
from services.scheduler.core.inside.values import ResourcePolicy
from shared.contracts.annotations import DELETION_COST, UNIT_ANNOTATION
from shared.contracts.resource_policy import MAX_UNITS

STEP: Final = 100  # between two units; people's own costs of a few units may stand between them
HONOURING: Final = frozenset({("ReplicaSet", "apps"), ("Deployment", "apps"), ("CloneSet", "apps.kruise.io")})
_OURS: Final = frozenset(str(STEP * step) for step in range(1, MAX_UNITS + 1))


def cost_of(policy: ResourcePolicy, place: int) -> str:
    """The deletion cost of a pod in this unit of the policy."""
    return str(STEP * (len(policy.units) - place))


def honours(record: PodRecord) -> bool:
    """Whether the pod's controller looks at deletion costs."""
    owner = record.pod.owner
    return owner is not None and (owner.kind, owner.group) in HONOURING


def correction(member: Member, record: PodRecord) -> dict[str, str | None] | None:
    """What to annotate a bound pod with so that its cost is right; None where it is.

    Only of pods that name brim's scheduler. Without a policy, or on a node of none of its units, a cost that brim wrote
    goes; one that people wrote stays.
    """
    pod, seat = record.pod, record.seat
    if not record.names_brim or not pod.node or pod.terminating or not honours(record) or seat is None:
        return None
    policy = member.policy_of(record)
    wanted = cost_of(policy, seat.entry.place) if policy is not None and seat.entry is not None else None
    has = pod.annotations.get(DELETION_COST)
    if has == wanted or (wanted is None and (has not in _OURS or UNIT_ANNOTATION not in pod.annotations)):
        return None
    return {DELETION_COST: wanted}
