"""What a submission does to DESIRED: a pure function from wishes and what is known to writes or faults.

All or nothing: with any fault there are no writes. A wish that asks for what is there already is accepted as
unchanged and writes nothing, so that doing it twice is doing it once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from services.scheduler.intake import rollouts
from services.scheduler.intake.checking import Checked, check, named
from services.scheduler.intake.known import Key, Known
from shared import workloads
from shared.contracts import cluster, policy
from shared.contracts.base import JsonObject
from shared.contracts.desired import Desired, Revision, Tombstone
from shared.contracts.own_kinds import is_for_brim
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.submit import Accepted, Changed, Cordon, Delete, Scale
from shared.documents import Document
from shared.errors import Fault, Invalid
from shared.workloads import WorkloadKind

HEADROOM: Final = 16 * 1024  # bytes of the payload limit that headers and the record around a manifest may take
# Fields of spec that an API server lets nobody change.
_FROZEN: Final[Mapping[tuple[str, str], tuple[str, ...]]] = {
    ("Deployment", "apps"): ("selector",),
    ("ReplicaSet", "apps"): ("selector",),
    ("StatefulSet", "apps"): ("selector", "serviceName", "podManagementPolicy", "volumeClaimTemplates"),
    ("Job", "batch"): ("completions", "completionMode", "selector", "template"),
}
BEING_DELETED: Final = "BeingDeleted"


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a change is marked with. epoch: of the writer's lease. max_payload: bytes that the server takes.

    is_rolling: whether some member is in the middle of what this Rollout says. has_revision: whether an older template
    of this uid and number is kept. before: the revision that members had until a workload's newest one came; 0 where
    that is not known. held_uid: under which members hold such an object that DESIRED lost; empty for none. held_in: how
    many objects a member has a share of.
    """

    now: float
    epoch: int
    new_uid: Callable[[], str]
    max_payload: int = 1024 * 1024
    is_rolling: Callable[[Key], bool] = lambda _key: False
    has_revision: Callable[[str, int], bool] = lambda _uid, _number: True
    before: Callable[[Desired], int] = lambda _desired: 0
    held_uid: Callable[[Key], str] = lambda _key: ""
    held_in: Callable[[str], int] = lambda _member: 0


@dataclass(frozen=True, slots=True)
class Write:
    """One object's new record. payload: its bytes, or None where nothing changes and nothing is to be written.

    expected: the fence. superseded: to be stored in REVISION first.
    """

    desired: Desired
    change: Changed
    expected: int
    payload: bytes | None = None
    superseded: Revision | None = None
    warnings: tuple[str, ...] = ()

    def accepted(self, sequence: int) -> Accepted:
        desired = self.desired
        return Accepted(
            ref=desired.ref,
            uid=desired.uid,
            generation=desired.generation,
            change=self.change,
            sequence=sequence,
            warnings=self.warnings,
        )


@dataclass(slots=True)
class Verdict:
    """What a submission comes to. With faults, `writes` does not count."""

    writes: list[Write] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """Only deletions in progress stand against it: the same submission can succeed a little later."""
        return bool(self.faults) and all(fault.code == BEING_DELETED for fault in self.faults)


def check_all(documents: list[Document]) -> tuple[list[Checked], list[Fault]]:
    """Every document by itself, and that no two are about the same object."""
    sound: list[Checked] = []
    faults: list[Fault] = []
    places: dict[Key, str] = {}
    for document in documents:
        result = check(document)
        if isinstance(result, list):
            faults += result
            continue
        first = places.setdefault(_identity(result.ref), document.place)
        if first != document.place:
            why = f"{document.place} is about the same object as {first}; send one of them"
            faults.append(Fault(str(result.ref), "", why, "Duplicate"))
        sound.append(result)
    return sound, faults + rollouts.clashes(sound)


def _identity(ref: ObjectRef) -> Key:
    """Policies of one name in two of their groups are one policy twice: placements name it without its group."""
    return (ref.kind, "", ref.namespace, ref.name) if policy.is_policy(ref.kind, ref.group) else ref.key


def apply(sound: list[Checked], known: Known, stamp: Stamp) -> Verdict:
    """The objects as they are to be from now on."""
    verdict = Verdict()
    for checked in sound:
        written = _applied(checked, known, stamp)
        if isinstance(written, Fault):
            verdict.faults.append(written)
        else:
            verdict.writes.append(written)
    return verdict


def delete(request: Delete, known: Known, stamp: Stamp, *, preserves: Callable[[ObjectRef], bool]) -> Verdict:
    """preserves: what the policy in force says of an object, where the request does not."""
    verdict = Verdict()
    seen: set[Key] = set()
    for given in request.refs:
        try:
            ref = named(given)
        except Invalid as error:
            verdict.faults += error.faults
            continue
        if ref.key in seen:
            continue
        seen.add(ref.key)
        entry = known.get(ref.key)
        if entry is None:
            verdict.faults.append(not_found(ref))
            continue
        if entry.desired.deleted is not None:
            verdict.writes.append(Write(entry.desired, "deleted", entry.sequence))
            continue
        preserve = preserves(entry.desired.ref) if request.preserve is None else request.preserve
        update = {"deleted": Tombstone(at=stamp.now, preserve=preserve)}
        desired = next_of(entry.desired, stamp, update)
        verdict.writes.append(write_of(desired, "deleted", entry.sequence, warnings=_about_leaving(ref, stamp)))
    return verdict


def _about_leaving(ref: ObjectRef, stamp: Stamp) -> tuple[str, ...]:
    """What a person should know who takes a member out of the fleet."""
    if (ref.kind, ref.group) != (cluster.KIND, cluster.GROUP) or not (held := stamp.held_in(ref.name)):
        return ()
    what = f"{held} object{'s' if held > 1 else ''}"
    return (
        f"nothing is drained: its copies of {what} stay as they are, and their replicas are placed elsewhere too; "
        f"`brim drain {ref.name}` first moves them while they serve",
    )


def scale(request: Scale, known: Known, stamp: Stamp) -> Verdict:
    try:
        ref = named(request.ref)
    except Invalid as error:
        return Verdict(faults=list(error.faults))
    present = known.live(ref.key)
    if present is None:
        return Verdict(faults=[not_found(ref)])
    kind = workloads.kind_of(ref.kind, ref.group)
    if kind is None or not kind.scale_path:
        why = f"a {ref.kind} has no replica count to scale; change its manifest instead"
        return Verdict(faults=[Fault(str(ref), "kind", why, "NotScalable")])
    if workloads.count_of(kind, present.manifest) == request.replicas:
        return Verdict([Write(present, "unchanged", known.sequence(ref.key))])
    manifest = workloads.with_replicas(kind, present.manifest, request.replicas)
    if workloads.replicas_of(kind, manifest) > 1_000_000:
        return Verdict(faults=[Fault(str(ref), "replicas", "its pods would be more than 1,000,000")])
    desired = next_of(present, stamp, {"manifest": manifest})
    return Verdict([write_of(desired, "scaled", known.sequence(ref.key))])


def cordon(request: Cordon, known: Known, stamp: Stamp) -> Verdict:
    ref = cluster.cluster_ref(request.member)
    present = known.live(ref.key)
    if present is None:
        members = ", ".join(sorted(known.members())) or "none yet"
        why = f"there is no such member; the fleet has {members}"
        return Verdict(faults=[Fault(str(ref), "member", why, "NotFound")])
    if _wish(present.manifest) == request.wish:
        return Verdict([Write(present, "unchanged", known.sequence(ref.key))])
    changes: dict[str, Changed] = {"open": "uncordoned", "cordoned": "cordoned", "drained": "drained"}
    desired = next_of(present, stamp, {"manifest": _with_wish(present.manifest, request.wish)})
    return Verdict([write_of(desired, changes[request.wish], known.sequence(ref.key))])


# -- one object ----------------------------------------------------------------------------------------------


def _applied(checked: Checked, known: Known, stamp: Stamp) -> Write | Fault:
    entry = known.get(checked.ref.key)
    present = entry.desired if entry else None
    if present is not None and present.deleted is not None:
        if not is_for_brim(checked.ref):
            why = "it is still being deleted from its members; apply it again once it is gone"
            return Fault(str(checked.ref), "", why, BEING_DELETED)
        present = None
    twin = _twin(checked.ref, known)
    if twin is not None:
        why = f"it is there already in group {twin}; delete that one first, or apply this one to that group"
        return Fault(str(checked.ref), "apiVersion", why, "Duplicate")
    rival = rollouts.rival(checked, known)
    if rival is not None:
        return rival
    if present is None:
        return _sized(_created(checked, stamp, known.sequence(checked.ref.key)), stamp)
    manifest = _with_lasting_wishes(checked, present.manifest)
    fault = _frozen_field(checked, present.manifest, manifest)
    if fault is None and stamp.is_rolling(checked.ref.key):
        fault = rollouts.frozen(checked, present.manifest)
    if fault is not None:
        return fault
    if manifest == present.manifest and checked.ref == present.ref:
        return Write(present, "unchanged", known.sequence(checked.ref.key), warnings=checked.warnings)
    return _sized(_configured(checked, present, manifest, stamp, known.sequence(checked.ref.key)), stamp)


def _twin(ref: ObjectRef, known: Known) -> str | None:
    """Another group of the policy API that has a policy of this name."""
    if not policy.is_policy(ref.kind, ref.group):
        return None
    others = sorted(policy.GROUPS - {ref.group})
    return next((group for group in others if known.live((ref.kind, group, ref.namespace, ref.name))), None)


def _created(checked: Checked, stamp: Stamp, expected: int) -> Write:
    desired = Desired.model_construct(  # all of it was checked: to validate it anew would walk the manifest
        ref=checked.ref,
        uid=_uid_of(checked, stamp),
        generation=1,
        revision=1 if checked.workload else 0,
        order=Order(epoch=stamp.epoch, counter=1),
        manifest=checked.manifest,
        created_at=stamp.now,
        changed_at=stamp.now,
    )
    return write_of(desired, "created", expected, warnings=checked.warnings)


def _uid_of(checked: Checked, stamp: Stamp) -> str:
    """A Job that is submitted again is another one, whatever is left of the first: it runs anew."""
    runs_once = checked.workload is not None and checked.workload.completions_path
    held = "" if runs_once else stamp.held_uid(checked.ref.key)
    return held or stamp.new_uid()


def _configured(checked: Checked, present: Desired, manifest: JsonObject, stamp: Stamp, expected: int) -> Write:
    superseded: Revision | None = None
    revision = present.revision
    if checked.workload and _templates_differ(checked.workload, present.manifest, manifest):
        if revision:  # else its kind was not known to have templates when it came
            superseded = Revision(uid=present.uid, number=revision, manifest=present.manifest, superseded_at=stamp.now)
        revision += 1
    pins = present.pins if revision == present.revision else {}  # a newer template comes to every member
    same_since = present.same_since if revision == present.revision else 0
    update = {
        "ref": checked.ref,
        "manifest": manifest,
        "revision": revision,
        "pins": pins,
        "same_since": same_since,
    }
    return write_of(
        next_of(present, stamp, update), "configured", expected, superseded=superseded, warnings=checked.warnings
    )


def next_of(present: Desired, stamp: Stamp, update: Mapping[str, object]) -> Desired:
    order = Order(epoch=stamp.epoch, counter=present.order.counter + 1)
    common = {"generation": present.generation + 1, "order": order, "changed_at": stamp.now, "asked": None}
    return present.model_copy(update={**common, **update})


def write_of(
    desired: Desired,
    change: Changed,
    expected: int,
    *,
    superseded: Revision | None = None,
    warnings: tuple[str, ...] = (),
) -> Write:
    return Write(desired, change, expected, desired.encode(), superseded, warnings)


def _sized(write: Write, stamp: Stamp) -> Write | Fault:
    limit = stamp.max_payload - HEADROOM
    if write.payload is None or len(write.payload) <= limit:
        return write
    why = f"it is {len(write.payload):,} bytes as JSON, over the {limit:,} that fit the server's payload limit"
    return Fault(str(write.desired.ref), "", why, "TooLarge")


def _templates_differ(kind: WorkloadKind, before: JsonObject, after: JsonObject) -> bool:
    return workloads.templates_of(kind, before) != workloads.templates_of(kind, after)


def _with_lasting_wishes(checked: Checked, before: JsonObject) -> JsonObject:
    """A manifest that does not speak of the replica count, or of a member's wish, leaves it as it is."""
    manifest = checked.manifest
    if (checked.ref.kind, checked.ref.group) == (cluster.KIND, cluster.GROUP):
        wish = _wish(before)
        return manifest if wish == "open" or "wish" in _spec(manifest) else _with_wish(manifest, wish)
    kind = checked.workload
    if kind is None or not kind.scale_path or workloads.count_of(kind, manifest) is not None:
        return manifest
    count = workloads.count_of(kind, before)
    return manifest if count is None else workloads.with_replicas(kind, manifest, count)


def _frozen_field(checked: Checked, before: JsonObject, after: JsonObject) -> Fault | None:
    """Changes that every member would refuse."""
    ref = checked.ref
    frozen = _FROZEN.get((ref.kind, ref.group), ())
    for name in frozen:
        if _spec(before).get(name) != _spec(after).get(name):
            why = f"Kubernetes lets nobody change it once a {ref.kind} exists; delete the {ref.kind} and create it anew"
            return Fault(str(ref), f"spec.{name}", why, "Immutable")
    return None


def _spec(manifest: JsonObject) -> JsonObject:
    spec = manifest.get("spec")
    return spec if isinstance(spec, dict) else {}


def _wish(manifest: JsonObject) -> str:
    return str(_spec(manifest).get("wish") or "open")


def _with_wish(manifest: JsonObject, wish: str) -> JsonObject:
    return {**manifest, "spec": {**_spec(manifest), "wish": wish}}


def not_found(ref: ObjectRef) -> Fault:
    return Fault(str(ref), "", "there is no such object; see `brim get` for those there are", "NotFound")
