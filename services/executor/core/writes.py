"""From a wish and what is known of the member's object to the writes that make the one the other.

Level-triggered: every decision is taken from a whole wish and a whole state, so that it may be taken again at any
time, by any process. The replica count has a field manager of its own. Dropping a field that only one manager owns
resets it to its default, so a new object passes through three writes: created by `brim` with the count, the live
count applied by `brim-replicas`, and the count dropped by `brim`. Where a process dies in between, the object's
managedFields say how far it came.

`applied` means that the member runs what was wished, with the wished count: for a new object, from the first of these
writes on. Who owns the count is housekeeping that follows when nothing else waits; should it fail, an outcome says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias

from services.executor.core import marks
from services.executor.core.live import Live, mapping
from services.executor.core.target import Target
from shared.contracts.annotations import FIELD_MANAGER, REPLICAS_MANAGER
from shared.contracts.base import JsonObject
from shared.contracts.outcome import Result
from shared.contracts.refs import Order


@dataclass(frozen=True, slots=True)
class Apply:
    """A server-side apply. force: take fields that somebody else owns; only on objects that are brim's."""

    manager: str
    manifest: JsonObject
    force: bool = True

    @property
    def updates(self) -> bool:
        """Whether it is for an object that is there: it then names the uid."""
        return "uid" in mapping(self.manifest.get("metadata"))


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object with this uid, and its pods after it. version: only as it was seen, empty for any."""

    uid: str
    version: str = ""


@dataclass(frozen=True, slots=True)
class Patch:
    """A merge patch: order marks alone, or taking all of brim's marks off."""

    body: JsonObject


Write: TypeAlias = Apply | Delete | Patch


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write, and what is then true.

    result: None where nothing is to be said (the wish is out of date). look_again: the writes are a part of the
    way; decide anew from what the last one answered. others_first: what is left to do is not urgent. recheck:
    seconds after which to look again.
    """

    writes: tuple[Write, ...] = ()
    result: Result | None = None
    code: str = ""
    message: str = ""
    look_again: bool = False
    others_first: bool = False
    recheck: float | None = None


@dataclass(frozen=True, slots=True)
class Known:
    """What brim left behind in a member, so that a change takes no look first. It may be wrong: every write made
    from it is conditional on the object's uid, and a refusal means to look."""

    uid: str
    workload: str
    order: Order
    revision: int
    applied: str
    fields: str
    replicas: int | None


STALE = Decision()
SUSPENDED = Decision(result="suspended", code="Suspended", message="the policy suspends writing to this member")
GONE_SOON = 1.0  # seconds between two looks at an object that is being deleted
BACK_RECHECK = 1.0  # seconds between two looks at a rollout that is being taken back
ROLLOUT_RECHECK = 15.0  # seconds between two looks at a rollout that has to end first


def known_of(live: Live) -> Known | None:
    """What to remember of an object that is as it should be; None for one that lacks marks."""
    if not live.workload or live.order is None or live.terminating:
        return None
    return Known(live.uid, live.workload, live.order, live.revision or 0, live.applied, live.fields, live.replicas)


def from_memory(target: Target, known: Known) -> Decision | None:
    """The decision without a look at the object; None where a look is needed."""
    if known.workload != target.uid:
        return None
    if target.order < known.order:
        return STALE
    if target.suspended:
        return SUSPENDED
    if not target.present:
        kept = target.preserve or target.is_namespace
        return None if kept else Decision((Delete(known.uid),), "deleted")
    applied = marks.body(target)
    if marks.digest_of(applied) == known.applied:
        return _same_body_from_memory(target, known)
    if target.is_job or (target.kind is not None and target.revision == known.revision):
        return None  # what may be sent depends on the object: a rollout may be under way, a Job is immutable
    if target.undone:
        return None  # it may be paused only once it is back
    if marks.says_how_to_update(target):
        return None  # Kruise may have taken just that over, for a rollout of which this is the way back
    return _said(_with_count(target, (_update(target, applied, known.uid),), known.uid))


def _same_body_from_memory(target: Target, known: Known) -> Decision:
    counted = not target.divided or target.autoscaled or known.replicas == target.replicas
    if known.order == target.order and counted:
        return Decision(result="applied")
    if target.divided and not target.autoscaled:
        return _said(_with_count(target, (), known.uid))
    return _said((Patch(marks.order_patch(target)),))


def from_live(
    target: Target,
    live: Live | None,
    *,
    known: Known | None = None,
    unknown: bool = False,
    applied_before: bool = False,
) -> Decision:
    """The decision after a look. live: None where there is no such object.

    known: what brim remembers, to notice fields that others changed. unknown: nothing is remembered, as after a
    restart, and the object is not what brim itself wrote just now: anybody may have changed it meanwhile.
    applied_before: the object was there once, applied for this workload.
    """
    if target.suspended:
        return SUSPENDED
    if live is None:
        return _absent(target, applied_before)
    ours = live.brims and live.workload == target.uid
    if ours and live.order is not None and target.order < live.order:
        return STALE
    if not target.present:
        return _remove(target, live) if ours else Decision(result="deleted")
    if live.terminating:
        return _wait("Terminating", f"{target.ref} is still being deleted", GONE_SOON)
    if not live.brims and not target.overwrite and not target.is_namespace:
        return _conflict(target)
    if target.is_job:
        return _job(target, live, ours)
    return _present(target, live, drifted=unknown or (ours and _differs(known, live)))


def _absent(target: Target, applied_before: bool) -> Decision:
    if not target.present:
        return Decision(result="deleted")
    if target.finished or (applied_before and _cleans_up_after_itself(target)):
        return Decision(result="applied")
    manifest = marks.created(target, marks.body(target))
    left = target.divided  # the count is still to be handed over
    return Decision((Apply(FIELD_MANAGER, manifest, force=False),), "applied", look_again=left, others_first=left)


def _cleans_up_after_itself(target: Target) -> bool:
    """A Job with a time to live that is gone has finished: creating it again would run it twice."""
    spec = target.manifest.get("spec") if target.manifest else None
    return target.is_job and isinstance(spec, dict) and spec.get("ttlSecondsAfterFinished") is not None


def _remove(target: Target, live: Live) -> Decision:
    """A namespace is never deleted: that would take everything in it along."""
    if target.preserve or target.is_namespace:
        return Decision((Patch(marks.release_patch(live)),), "released")
    if live.terminating:
        return Decision(result="deleted")
    return Decision((Delete(live.uid),), "deleted")


def _conflict(target: Target) -> Decision:
    message = (
        f"{target.ref} is already there and not brim's: delete it, or set conflictResolution: Overwrite in the policy"
    )
    return Decision(result="conflict", code="AlreadyOwned", message=message)


def _wait(code: str, message: str, seconds: float, writes: tuple[Write, ...] = ()) -> Decision:
    return Decision(writes, "retrying", code, message, recheck=seconds)


def _job(target: Target, live: Live, ours: bool) -> Decision:
    """Of a Job that exists only the parallelism changes. Completions change by delete and create, and only before
    the first success; a Job that was deleted and submitted again replaces the old one."""
    if live.brims and not ours:
        return _wait("Recreating", f"{target.ref} of an earlier uid is being replaced", GONE_SOON, (Delete(live.uid),))
    if not ours:
        return _fault(
            "Immutable", f"{target.ref} is already there and a Job cannot be taken over: delete it in the member"
        )
    if target.completions is not None and live.completions != target.completions:
        if live.succeeded == 0:
            message = f"{target.ref} is created anew with {target.completions} completions"
            # As it was seen: a success in between would be lost, and its work be done twice.
            return _wait("Recreating", message, GONE_SOON, (Delete(live.uid, live.resource_version),))
        message = (
            f"{target.ref} has {live.succeeded} successes, so its completions stay {live.completions}: "
            f"{target.completions} were wanted"
        )
        return _fault("Immutable", message)
    if live.revision is not None and live.revision != target.revision:
        message = f"{target.ref} exists and a Job's template is immutable: delete the Job and submit it again"
        return _fault("Immutable", message)
    return _settle_count(target, live, ())


def _fault(code: str, message: str) -> Decision:
    return Decision(result="failed", code=code, message=message)


def _differs(known: Known | None, live: Live) -> bool:
    """Whether somebody took fields from brim since."""
    return known is not None and known.uid == live.uid and known.fields != live.fields


def _present(target: Target, live: Live, *, drifted: bool) -> Decision:
    """An object that may change: its body where it differs or may differ, then the count and the order. Applying
    what is there already changes nothing in the member."""
    if target.undone and target.undone != live.undone and live.progressing:
        return _taken_back(target.let_back(), live)
    applied = marks.body(target)
    same = live.applied == marks.digest_of(applied) and live.workload == target.uid and live.managed
    new_revision = live.revision != target.revision
    if live.in_progress and not new_revision and not (same and not drifted):
        decision = _settle_count(target, live, ())
        if same or decision.look_again:  # others changed fields of ours: that is how Kruise rolls out
            return decision
        message = f"{target.ref} is in the middle of a rollout: what does not belong to its template waits for its end"
        return _wait("RolloutInProgress", message, ROLLOUT_RECHECK, decision.writes)
    if same and not drifted:
        return _settle_count(target, live, ())
    if live.taken_over:
        partly = _update(target, marks.body(target, without=marks.TAKEN_OVER), live.uid)
        return replace(_settle_count(target, live, (partly,)), recheck=ROLLOUT_RECHECK)  # the rest once it is through
    force = live.brims or target.overwrite
    update: tuple[Write, ...] = (_update(target, applied, live.uid, force=force),)
    if force and live.rolls and marks.recreates(target):  # Kruise leaves a rolling update behind, whatever was before
        unbound = Patch(marks.without_bounds(live.uid))
        if target.divided and FIELD_MANAGER in live.count_owners:
            return Decision((unbound,), "applied", look_again=True)
        update = (unbound, *update)
    return _settle_count(target, live, update)


def _taken_back(target: Target, live: Live) -> Decision:
    """Kruise takes nothing back in a Rollout that is paused: first the one, then the other."""
    applied = marks.body(target)
    same = live.applied == marks.digest_of(applied)
    writes = () if same else (_update(target, applied, live.uid, force=live.brims or target.overwrite),)
    message = f"{target.ref} is being taken back, and is paused after that"
    return _wait("BeingTakenBack", message, BACK_RECHECK, writes)


def _settle_count(target: Target, live: Live, updates: tuple[Write, ...]) -> Decision:
    """The count and the order, after the updates of the body."""
    if not target.divided:
        if not updates and live.order != target.order:
            return _said((Patch(marks.order_patch(target)),))
        return _said(updates)
    if FIELD_MANAGER in live.count_owners:
        return _hand_over(target, live)
    if target.autoscaled:
        order = () if live.order == target.order else (Patch(marks.order_patch(target)),)
        return _said((*updates, *order))
    if live.replicas == target.replicas and live.order == target.order and REPLICAS_MANAGER in live.count_owners:
        return _said(updates)
    return _said(_with_count(target, updates, live.uid))


def _hand_over(target: Target, live: Live) -> Decision:
    """`brim` still owns the count: `brim-replicas` takes it as it is, then `brim` lets go of it.

    An autoscaler's count may have moved since the look: the object then has to be exactly what was seen."""
    assert target.kind is not None
    dropped = _update(target, marks.body(target), live.uid)
    if live.count_owners - {FIELD_MANAGER}:
        return Decision((dropped,), "applied", look_again=True)
    replicas = live.replicas if live.replicas is not None else target.replicas
    order = live.order if live.order is not None and replicas != target.replicas else target.order
    counted = marks.with_uid(marks.count(target, replicas, order), live.uid)
    taken = Apply(
        REPLICAS_MANAGER, marks.with_version(counted, live.resource_version) if target.autoscaled else counted
    )
    return Decision((taken, dropped), "applied", look_again=True)


def _update(target: Target, applied: JsonObject, uid: str, *, force: bool = True) -> Apply:
    manifest = applied if target.divided else marks.ordered(target, applied)
    return Apply(FIELD_MANAGER, marks.with_uid(manifest, uid), force)


def _with_count(target: Target, updates: tuple[Write, ...], uid: str) -> tuple[Write, ...]:
    """The body first: its order, written with the count, says that all of the placement was carried out."""
    if not target.divided:
        return updates
    if target.autoscaled:
        return (*updates, Patch(marks.order_patch(target)))
    manifest = marks.count(target, target.replicas, target.order)
    return (*updates, Apply(REPLICAS_MANAGER, marks.with_uid(manifest, uid)))


def _said(writes: tuple[Write, ...]) -> Decision:
    return Decision(writes, "applied")
