"""What members hold of a workload whose placement was lost: taken for the placement before, so that it stays put.

Without this its own replicas would look like others' that are in its way, and nothing would ever own them again. What
cannot be told from statuses (rests, completions of a Job) begins anew.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.scheduler.core.values import Workload
from shared.contracts.placement import Placement, Share
from shared.contracts.status import Status

NEVER = 0  # the generation that it answers: of no manifest, so that the next decision is always published


def regained(workload: Workload, statuses: Mapping[str, Status]) -> Placement | None:
    """statuses: by member, of this very workload. None where nothing is held, and of a Job, whose completions are not
    told."""
    if not statuses or workload.is_job:
        return None
    shares = tuple(
        Share(
            member=member,
            replicas=status.replicas if workload.components else 0,
            free=status.replicas if workload.components else 0,
            revision=workload.revision,
            autoscaled=status.autoscaler is not None,
        )
        for member, status in sorted(statuses.items())
    )
    return Placement(
        ref=workload.ref,
        uid=workload.uid,
        generation=NEVER,
        order=max((status.order for status in statuses.values()), key=lambda order: (order.epoch, order.counter)),
        whole=not workload.components,
        revision=workload.revision,
        wanted=workload.replicas,
        shares=shares,
        cause="created",
        decided_at=0.0,
    )


def held_uid(statuses: Iterable[Status], epoch: int) -> str:
    """The uid under which members hold an object that nobody wants as far as DESIRED knows; empty for none.

    Only from before this epoch: what is held under it was asked for, and is on its way out. Of several the one with
    the most replicas counts.
    """
    told = [status for status in statuses if status.uid and status.order.epoch < epoch]
    most = max(told, key=lambda status: (status.bound, status.replicas, status.uid), default=None)
    return most.uid if most is not None else ""
