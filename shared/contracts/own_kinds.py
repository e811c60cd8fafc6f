"""Which objects of DESIRED are for brim itself: they are in no member, and deleted they are gone at once."""

from __future__ import annotations

from typing import Final

from shared.contracts import cluster, fleet_rollout, policy, resource_policy
from shared.contracts.refs import ObjectRef

GROUPS: Final = policy.GROUPS | {cluster.GROUP, resource_policy.GROUP}


def is_for_brim(ref: ObjectRef) -> bool:
    """Whether it is a policy of any kind, or a member's manifest."""
    return (
        policy.is_policy(ref.kind, ref.group)
        or resource_policy.is_resource_policy(ref.kind, ref.group)
        or fleet_rollout.is_fleet_rollout(ref.kind, ref.group)
        or (ref.kind, ref.group) == (cluster.KIND, cluster.GROUP)
    )
