"""Rollouts of all members as tables, and their history. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from cli.explain import moment
from cli.fleet_tables import Workload, age, trouble_in, unscheduled
from cli.tables import NONE, Table
from shared.contracts.desired import Desired, Revision
from shared.contracts.placement import Placement
from shared.contracts.status import RolloutStatus, Status


def rollout_table(found: Sequence[Status], now: float) -> Table:
    """As kubectl shows a Rollout, with CLUSTER second."""
    rows = [
        (
            status.ref.name,
            status.member,
            _phase(status.rollout),
            f"{status.rollout.step}/{status.rollout.steps}" if status.rollout.steps else "-",
            status.rollout.state or NONE,
            status.rollout.message or NONE,
            age(status.created_at, now),
        )
        for status in found
        if status.rollout is not None
    ]
    return Table(("NAME", "CLUSTER", "STATUS", "CANARY_STEP", "CANARY_STATE", "MESSAGE", "AGE"), tuple(rows))


def _phase(rollout: RolloutStatus) -> str:
    return f"{rollout.phase or 'Unknown'}{' (paused)' if rollout.paused else ''}"


def workload_table(workload: Workload, rollouts: Sequence[Status]) -> Table:
    """How far a workload's members are with which revision, and what they wait for. rollouts: of its Rollouts."""
    placement = workload.placement
    statuses = {one.member: one for one in workload.statuses}
    rows = []
    for share in placement.shares if placement is not None else ():
        status = statuses.get(share.member)
        if not share.present:
            continue
        has = status.revision if status is not None else 0
        wanted = share.replicas or (status.replicas if status is not None else 0)  # a pod on each node is not counted
        stands = "up to date" if placement is not None and share.revision == placement.revision else "held back"
        if has != share.revision:
            stands = "on its way"
        rows.append(
            (
                share.member,
                str(share.revision),
                str(has or "-"),
                f"{status.updated if status else 0}/{wanted}",
                f"{status.ready if status else 0}/{wanted}",
                "rolling" if status is not None and status.rolling else stands,
                "; ".join(_waits_for(workload, share.member, status, rollouts)) or NONE,
            )
        )
    return Table(("CLUSTER", "REVISION", "HAS", "UPDATED", "READY", "STATUS", "WAITS FOR"), tuple(rows))


def _waits_for(workload: Workload, member: str, status: Status | None, rollouts: Sequence[Status]) -> list[str]:
    """What the member itself says: its rollout's step, pods that fit nowhere, writes that did not work."""
    rolling = status is not None and status.rolling
    steps = [one.rollout for one in rollouts if one.member == member and one.rollout is not None]
    told = [step.message for step in steps if rolling and step.message]
    told += unscheduled(status) if status is not None else []
    return [*told, *([trouble] if (trouble := trouble_in(workload, member)) else ())]


def steps_table(rollout: Sequence[Status], placement: Placement | None) -> Table:
    """Where each member's own Rollout stands, and with which revision of the workload. placement: the workload's."""
    rows = []
    for status in rollout:
        told = status.rollout
        share = placement.share(status.member) if placement is not None else None
        if told is None:
            continue
        rows.append(
            (
                status.member,
                str(share.revision) if share is not None and share.present else NONE,
                _phase(told),
                f"{told.step}/{told.steps}" if told.steps else "-",
                told.state or NONE,
                f"{told.canary_ready}/{told.canary}",
                told.traffic or NONE,
            )
        )
    return Table(("CLUSTER", "REVISION", "STATUS", "STEP", "STATE", "NEW READY", "TRAFFIC"), tuple(rows))


def waves_line(placement: Placement | None) -> str:
    """One sentence on the FleetRollout, empty without one."""
    if placement is None or placement.waves is None:
        return ""
    waves = placement.waves
    where = "all waves" if waves.wave >= waves.waves else f"wave {waves.wave + 1} of {waves.waves}"
    why = f": {waves.message}" if waves.message else ""
    return f"FleetRollout {waves.rollout}: revision {waves.revision}, {where}, {waves.state}{why}"


def history_table(desired: Desired, older: Sequence[Revision], placement: Placement | None) -> Table:
    """The revisions that can be gone back to, the newest first, and the members that have each."""
    rows = [
        (str(desired.revision), "now", images(desired.manifest), _members(placement, desired.revision)),
        *(
            (
                str(entry.number),
                f"until {moment(entry.superseded_at)}",
                images(entry.manifest),
                _members(placement, entry.number),
            )
            for entry in sorted(older, key=lambda entry: -entry.number)
        ),
    ]
    return Table(("REVISION", "WANTED", "IMAGES", "CLUSTERS"), tuple(rows))


def _members(placement: Placement | None, revision: int) -> str:
    shares = placement.shares if placement is not None else ()
    return ",".join(share.member for share in shares if share.present and share.revision == revision) or NONE


def images(manifest: object) -> str:
    """The images of a pod template wherever it stands in a manifest, which is what people know revisions by."""
    found: list[str] = []
    waiting = [manifest]
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, dict):
            image = node.get("image")
            found += [image] if isinstance(image, str) and image not in found else []
            waiting += [value for key, value in node.items() if key != "initContainers"]
        elif isinstance(node, list):
            waiting += node
    return ",".join(found) or NONE
