"""The labels and annotations by which brim knows its own objects in a member.

The executor writes them, inventory reads them. The workload's uid is also a label of its pod template, so
that every pod says which workload it is a replica of, whatever controllers stand between.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Final

MANAGED_LABEL: Final = "brim.dev/managed"  # on every object that brim applied; value "true"
WORKLOAD_LABEL: Final = "brim.dev/workload"  # on the object and its pod template: the uid in DESIRED
ORDER_ANNOTATION: Final = "brim.dev/order"  # on the object: the placement's order, "epoch.counter"
REVISION_ANNOTATION: Final = "brim.dev/revision"  # on the object: the number of its template's revision
APPLIED_ANNOTATION: Final = "brim.dev/applied"  # on the object: a digest of the manifest applied, replicas apart
FAILBACK_ANNOTATION: Final = "brim.dev/failback"  # on a policy: moves per hour back to an earlier tier
PAUSED_ANNOTATION: Final = "brim.dev/paused"  # on a Rollout: members where it stands still, by comma
UNDONE_ANNOTATION: Final = "brim.dev/undone"  # on a paused Rollout: when it was last undone, and in which members
TRACEPARENT_ANNOTATION: Final = "brim.dev/traceparent"  # on the object: the trace of its last change
MEMBER_ANNOTATION: Final = "brim.dev/member"  # in what the command line prints only: whose object it is
UNIT_ANNOTATION: Final = "brim.dev/unit"  # on a pod that brim bound: idc, ecs or eci
DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"  # on a pod: which replica goes first
CEILING_ANNOTATION: Final = (
    "brim.dev/max-hourly-cost"  # on a policy or workload: what elastic and virtual room may cost
)

FIELD_MANAGER: Final = "brim"  # owns all that a manifest says, but replicas
REPLICAS_MANAGER: Final = "brim-replicas"  # owns the replica count alone


def ceiling_of(annotations: Mapping[str, object]) -> float | None:
    """What elastic and virtual room may cost per hour, in the fleet's currency; None for any amount.

    Raises ValueError with a sentence where the annotation is no such number.
    """
    if CEILING_ANNOTATION not in annotations:
        return None
    text = str(annotations[CEILING_ANNOTATION])
    try:
        amount = float(text)
    except ValueError:
        amount = -1.0
    if not isfinite(amount) or amount < 0:
        raise ValueError(f"{text!r} is no price per hour: give a number such as 2.50, or 0 for nothing")
    return amount
