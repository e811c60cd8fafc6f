"""What a Roll does to DESIRED: undo and restart a workload, pause and resume its Rollout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from services.scheduler.intake.changes import Stamp, Verdict, Write, next_of, not_found, write_of
from services.scheduler.intake.checking import named
from services.scheduler.intake.known import Known
from shared import workloads
from shared.clock import rfc3339
from shared.contracts.annotations import PAUSED_ANNOTATION, UNDONE_ANNOTATION
from shared.contracts.base import JsonObject
from shared.contracts.desired import Asked, Desired, Revision
from shared.contracts.fleet_rollout import FleetRollout, is_fleet_rollout
from shared.contracts.refs import ObjectRef
from shared.contracts.rollout import GROUP, KIND, Rollout, is_rollout
from shared.contracts.submit import Roll
from shared.errors import Fault, Invalid

Change: TypeAlias = Literal["undone", "restarted", "paused", "resumed"]

ALL = "*"
RESTARTED = "kubectl.kubernetes.io/restartedAt"


def workload_of(ref: ObjectRef, known: Known) -> ObjectRef | None:
    """What a Rollout or FleetRollout is about; any other object is about itself. None where it is not there."""
    present = known.live(ref.key)
    if present is None:
        return None
    if is_rollout(ref.kind, ref.group):
        return Rollout.read(present.manifest).workload
    if is_fleet_rollout(ref.kind, ref.group):
        return FleetRollout.read(present.manifest).workload
    return present.ref


def refs_of(request: Roll, known: Known) -> list[ObjectRef]:
    """The objects that a request is about. Raises Invalid."""
    ref = named(request.ref)
    workload = workload_of(ref, known)
    return [ref] if workload is None or workload.key == ref.key else [ref, workload]


def roll(request: Roll, known: Known, stamp: Stamp) -> Verdict:
    try:
        ref = named(request.ref)
    except Invalid as error:
        return Verdict(faults=list(error.faults))
    present = known.live(ref.key)
    if present is None:
        return Verdict(faults=[not_found(ref)])
    unknown = sorted(set(request.members) - known.members())
    if unknown:
        members = ", ".join(sorted(known.members())) or "none yet"
        why = f"there is no member {', '.join(unknown)}; the fleet has {members}"
        return Verdict(faults=[Fault(str(ref), "members", why, "NotFound")])
    match request.verb:
        case "pause" | "resume":
            return _judged([_paused(request, present, known, stamp)])
        case "restart":
            return _judged([_moved(request, ref, known, stamp)])
        case "undo":
            return _judged(
                [*_let_back(request, workload_of(ref, known), known, stamp), _moved(request, ref, known, stamp)]
            )
        case "abort":
            pause = _paused(request.model_copy(update={"verb": "pause"}), present, known, stamp, undone=True)
            return _judged([pause, _moved(request, ref, known, stamp)])


def _judged(found: list[Write | Fault]) -> Verdict:
    faults = [one for one in found if isinstance(one, Fault)]
    return Verdict(faults=faults) if faults else Verdict([one for one in found if isinstance(one, Write)])


# -- revisions -----------------------------------------------------------------------------------------------


def _moved(request: Roll, ref: ObjectRef, known: Known, stamp: Stamp) -> Write | Fault:
    target = workload_of(ref, known)
    present = known.live(target.key) if target is not None else None
    if target is None or present is None:
        return not_found(target or ref)
    if not present.revision:
        return Fault(str(target), "kind", f"a {target.kind} has no pod template to go back to or restart", "NoTemplate")
    return (
        _restart(request, present, known, stamp) if request.verb == "restart" else _undo(request, present, known, stamp)
    )


def _undo(request: Roll, present: Desired, known: Known, stamp: Stamp) -> Write | Fault:
    revision = request.revision
    if revision is None:
        revision = stamp.before(present) or present.revision - 1
    if not 1 <= revision < present.revision or not stamp.has_revision(present.uid, revision):
        older = "there is no older revision" if present.revision == 1 else f"revision {revision} is not kept any more"
        if revision >= present.revision:
            older = f"revision {revision} is not older than the newest, {present.revision}"
        return Fault(str(present.ref), "revision", f"{older}; see `brim rollout history`", "NoRevision")
    pins = {ALL: revision} if not request.members else {**present.pins, **dict.fromkeys(request.members, revision)}
    if pins == present.pins:
        return Write(present, "unchanged", known.sequence(present.ref.key))
    asked = _asked(request, "undone", revision)
    return write_of(next_of(present, stamp, {"pins": pins, "asked": asked}), "undone", known.sequence(present.ref.key))


def _restart(request: Roll, present: Desired, known: Known, stamp: Stamp) -> Write | Fault:
    """A new revision of the same template; members that are not named stay where they are. What was taken back would
    go forward again with it: that is refused."""
    kind = workloads.kind_of(present.ref.kind, present.ref.group)
    assert kind is not None
    same_since = present.same_since or present.revision
    if back := _taken_back(request.members, present, same_since):
        why = (
            f"{back} and would go forward to revision {present.revision} again: apply a newer template, or name others"
        )
        return Fault(str(present.ref), "members", why, "TakenBack")
    manifest = workloads.annotate_templates(kind, present.manifest, {RESTARTED: rfc3339(stamp.now)})
    if manifest == present.manifest:
        return Write(present, "unchanged", known.sequence(present.ref.key))
    number = present.revision + 1
    pins: Mapping[str, int] = {}
    if request.members:
        others = present.pins if ALL in present.pins else {**present.pins, ALL: present.revision}
        pins = {**others, **dict.fromkeys(request.members, number)}
    superseded = Revision(uid=present.uid, number=present.revision, manifest=present.manifest, superseded_at=stamp.now)
    update = {
        "manifest": manifest,
        "revision": number,
        "pins": dict(pins),
        "same_since": same_since,
        "asked": _asked(request, "restarted"),
    }
    return write_of(
        next_of(present, stamp, update), "restarted", known.sequence(present.ref.key), superseded=superseded
    )


def _taken_back(members: Sequence[str], present: Desired, same_since: int) -> str:
    """Which of the members stay at a template of before: "ack was taken back to revision 1"; empty for none."""
    pins = {name: present.pins.get(name, present.pins.get(ALL, same_since)) for name in members} or present.pins
    back = {name: pin for name, pin in sorted(pins.items()) if pin < same_since}
    if not back:
        return ""
    revisions = ", ".join(str(pin) for pin in sorted(set(back.values())))
    if ALL in back:
        return f"every member was taken back to revision {back[ALL]}"
    return f"{', '.join(back)} {'was' if len(back) == 1 else 'were'} taken back to revision {revisions}"


def _asked(request: Roll, change: Change, revision: int = 0) -> Asked:
    return Asked(change=change, who=request.who, members=request.members, revision=revision)


# -- pausing -------------------------------------------------------------------------------------------------


def _paused(request: Roll, present: Desired, known: Known, stamp: Stamp, *, undone: bool = False) -> Write | Fault:
    """undone: its workload is taken back at the same time."""
    ref, pause = present.ref, request.verb == "pause"
    if is_rollout(ref.kind, ref.group):
        manifest = _rollout_paused(present.manifest, request.members, pause)
        if isinstance(manifest, str):
            return Fault(str(ref), "members", manifest, "PausedEverywhere")
        manifest = _undone(manifest, request, stamp) if undone else manifest
    elif is_fleet_rollout(ref.kind, ref.group):
        if request.members:
            why = "a FleetRollout is paused as a whole; pause the member's own Rollout instead"
            return Fault(str(ref), "members", why, "NotSupported")
        # The time lets a rollout that failed try again: its manifest is a newer one.
        manifest = _with_spec(present.manifest, "paused", pause)
        manifest = _annotated(manifest, {PAUSED_ANNOTATION: f"{'paused' if pause else 'resumed'} {rfc3339(stamp.now)}"})
    else:
        why = f"a {ref.kind} cannot be paused; name its Rollout or FleetRollout"
        return Fault(str(ref), "kind", why, "NotSupported")
    if manifest == present.manifest:
        return Write(present, "unchanged", known.sequence(ref.key))
    change: Change = "paused" if pause else "resumed"
    desired = next_of(present, stamp, {"manifest": manifest, "asked": _asked(request, change)})
    return write_of(desired, change, known.sequence(ref.key))


def _rollout_paused(manifest: JsonObject, members: tuple[str, ...], pause: bool) -> JsonObject | str:
    """Everywhere it is a field of the manifest; in some members an annotation that the executor follows."""
    spec = _below(manifest, "spec")
    strategy = _below(spec, "strategy")
    if not members:
        paused = {**manifest, "spec": {**spec, "strategy": {**strategy, "paused": pause}}}
        return _annotated(paused, {PAUSED_ANNOTATION: ""})
    if strategy.get("paused"):
        return manifest if pause else "it is paused in every member: resume it everywhere first"
    annotations = _below(_below(manifest, "metadata"), "annotations")
    listed = {name for name in str(annotations.get(PAUSED_ANNOTATION, "")).split(",") if name}
    listed = listed | set(members) if pause else listed - set(members)
    return _annotated(manifest, {PAUSED_ANNOTATION: ",".join(sorted(listed))})


def _let_back(request: Roll, workload: ObjectRef | None, known: Known, stamp: Stamp) -> list[Write | Fault]:
    """Kruise takes nothing back in a Rollout that is paused: that one stands still again only after it."""
    found: list[Write | Fault] = []
    for entry in known.of_kind(KIND, GROUP).values():
        present = entry.desired
        if workload is None or present.deleted is not None or present.ref.namespace != workload.namespace:
            continue
        read = Rollout.read(present.manifest)
        annotations = _below(_below(present.manifest, "metadata"), "annotations")
        paused = read.spec.strategy.paused or bool(annotations.get(PAUSED_ANNOTATION))
        if paused and read.workload.key == workload.key:
            update = {"manifest": _undone(present.manifest, request, stamp), "asked": _asked(request, "undone")}
            found.append(write_of(next_of(present, stamp, update), "undone", known.sequence(present.ref.key)))
    return found


def _undone(manifest: JsonObject, request: Roll, stamp: Stamp) -> JsonObject:
    return _annotated(manifest, {UNDONE_ANNOTATION: " ".join([rfc3339(stamp.now), *sorted(request.members)])})


def _annotated(manifest: JsonObject, given: Mapping[str, str]) -> JsonObject:
    """An empty value takes the annotation away."""
    metadata = _below(manifest, "metadata")
    annotations = {key: value for key, value in _below(metadata, "annotations").items() if key not in given}
    annotations |= {key: value for key, value in given.items() if value}
    rest = {key: value for key, value in metadata.items() if key != "annotations"}
    return {**manifest, "metadata": {**rest, "annotations": annotations} if annotations else rest}


def _with_spec(manifest: JsonObject, name: str, value: bool) -> JsonObject:
    return {**manifest, "spec": {**_below(manifest, "spec"), name: value}}


def _below(node: JsonObject, name: str) -> JsonObject:
    found = node.get(name)
    return found if isinstance(found, dict) else {}
