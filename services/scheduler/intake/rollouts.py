"""What Kruise's admission would refuse of a Rollout in every member, refused here once. FleetRollouts likewise."""

from __future__ import annotations

from collections.abc import Sequence

from services.scheduler.intake.checking import Checked
from services.scheduler.intake.known import Key, Known
from shared.contracts.base import JsonObject
from shared.contracts.fleet_rollout import FleetRollout
from shared.contracts.refs import ObjectRef
from shared.contracts.rollout import Rollout
from shared.errors import Fault


def clashes(sound: Sequence[Checked]) -> list[Fault]:
    """Two Rollouts, or two FleetRollouts, of one workload in the same submission."""
    first: dict[tuple[str, Key], ObjectRef] = {}
    faults: list[Fault] = []
    for checked in sound:
        if isinstance(checked.model, Rollout | FleetRollout):
            other = first.setdefault((checked.ref.kind, checked.model.workload.key), checked.ref)
            if other.key != checked.ref.key:
                faults.append(_taken(checked.ref, checked.model.workload, other))
    return faults


def rival(checked: Checked, known: Known) -> Fault | None:
    """Another one of the same workload that is there already."""
    if not isinstance(checked.model, Rollout | FleetRollout):
        return None
    for key, entry in known.of_kind(checked.ref.kind, checked.ref.group).items():
        other = entry.desired
        if key == checked.ref.key or other.deleted is not None or other.ref.namespace != checked.ref.namespace:
            continue
        if type(checked.model).read(other.manifest).workload.key == checked.model.workload.key:
            return _taken(checked.ref, checked.model.workload, other.ref)
    return None


def frozen(checked: Checked, before: JsonObject) -> Fault | None:
    """What may not change while a member is in the middle of the rollout."""
    if not isinstance(checked.model, Rollout):
        return None
    was, now = Rollout.read(before).spec, checked.model.spec
    parts = {
        "spec.workloadRef": (was.workload_ref, now.workload_ref),
        "spec.strategy": (was.strategy.style, now.strategy.style),
        f"spec.strategy.{was.strategy.style}.steps": (len(was.strategy.steps), len(now.strategy.steps)),
        "spec.strategy.canary.enableExtraWorkloadForCanary": (was.has_extra_workload, now.has_extra_workload),
        f"spec.strategy.{was.strategy.style}.trafficRoutings": (
            was.strategy.written.traffic_routings,
            now.strategy.written.traffic_routings,
        ),
    }
    for path, (old, new) in parts.items():
        if old != new:
            why = "a member is in the middle of this rollout: wait for its end, or undo it, before this changes"
            return Fault(str(checked.ref), path, why, "Progressing")
    return None


def _taken(ref: ObjectRef, workload: ObjectRef, other: ObjectRef) -> Fault:
    why = f"{workload} is rolled out by {other} already; a workload has one {ref.kind}: change or delete that one"
    return Fault(str(ref), "spec.workloadRef", why, "Duplicate")
