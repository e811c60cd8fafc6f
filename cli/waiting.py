"""Waiting until what was accepted runs in the members, or is gone from them, with a line whenever something changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import anyio

from cli import reading
from cli.fleet_tables import Workload, shares_text, stuck
from cli.json_values import dig
from cli.session import Session
from shared.bus import View
from shared.contracts import subjects
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement, Share
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from shared.contracts.submit import Accepted
from shared.errors import MemberUnavailable, Refused

LOOK_EVERY = 0.2  # seconds; messages that come closer together make one line
REMIND_EVERY = 10.0  # seconds without a change after which a person is told that nothing hangs
NOT_PLACED = frozenset({"PropagationPolicy", "ClusterPropagationPolicy", "Cluster", "ResourcePolicy", "Namespace"})
# Kinds that say how many of their pods are of the new sort.
ROLLS_OUT = frozenset({("Deployment", "apps"), ("StatefulSet", "apps"), ("CloneSet", "apps.kruise.io")})
FINAL = ("failed", "conflict")  # nobody tries again before a person acts


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an object is. final: it will not get further by itself."""

    done: bool
    words: str
    final: bool = False


async def until_running(
    session: Session, accepted: Sequence[Accepted], *, timeout: float, say: Callable[[str], None]
) -> None:
    """Wait until every accepted object is placed as wanted, applied, rolled out, and its replicas are Ready.

    timeout: real seconds. Raises MemberUnavailable, naming what is not there yet and why; Refused as soon as a member
    says no.
    """
    waiting = [entry for entry in accepted if entry.ref.kind not in NOT_PLACED and entry.change != "deleted"]
    if not waiting:
        return
    async with (
        reading.replayed(session.bus, "DESIRED") as desired,
        reading.replayed(session.bus, "PLACEMENT") as placements,
        reading.replayed(session.bus, "STATUS") as statuses,
        reading.replayed(session.bus, "OUTCOME") as outcomes,
    ):
        views = _Views(desired, placements, statuses, outcomes)
        late = await _watched(
            lambda: {str(entry.ref): views.progress(entry) for entry in waiting}, timeout=timeout, say=say
        )
    if late:
        raise MemberUnavailable(
            f"not all of it runs after {timeout:g} s ({late}): `brim explain` says why", code="Timeout"
        )


async def until_gone(
    session: Session, refs: Sequence[ObjectRef], *, timeout: float, say: Callable[[str], None]
) -> None:
    """Wait until no member holds the deleted objects any more. timeout: real seconds. Raises MemberUnavailable."""
    async with (
        reading.replayed(session.bus, "DESIRED") as desired,
        reading.replayed(session.bus, "STATUS") as statuses,
    ):
        late = await _watched(
            lambda: {str(ref): _leaving(ref, desired, statuses) for ref in refs}, timeout=timeout, say=say
        )
    if late:
        raise MemberUnavailable(f"not all of it is gone after {timeout:g} s ({late})", code="Timeout")


async def _watched(look: Callable[[], Mapping[str, Progress]], *, timeout: float, say: Callable[[str], None]) -> str:
    """Look until all is done, telling of every change. Returns what is still missing when the time is up, else "".

    Raises Refused for what will never be done.
    """
    said: dict[str, str] = {}
    begun = told_at = anyio.current_time()
    with anyio.move_on_after(timeout):
        while True:
            found = look()
            for name, progress in found.items():
                if said.get(name) != progress.words:
                    say(f"{name}: {progress.words}")
                    said[name], told_at = progress.words, anyio.current_time()
            refused = [f"{name}: {progress.words}" for name, progress in found.items() if progress.final]
            if refused:
                raise Refused("; ".join(refused))
            if all(progress.done for progress in found.values()):
                return ""
            if anyio.current_time() >= told_at + REMIND_EVERY:
                told_at = anyio.current_time()
                open_ = [name for name, progress in found.items() if not progress.done]
                say(f"still waiting after {told_at - begun:.0f} s for {', '.join(open_)}")
            await anyio.sleep(LOOK_EVERY)
    return "; ".join(f"{name}: {progress.words}" for name, progress in look().items() if not progress.done)


@dataclass(frozen=True, slots=True)
class _Views:
    desired: View
    placements: View
    statuses: View
    outcomes: View

    def progress(self, entry: Accepted) -> Progress:
        wish = self.desired.get(subjects.desired(entry.ref))
        decided = self.placements.get(subjects.placement(entry.ref))
        if wish is None:
            return Progress(False, "accepted")
        workload = Workload(
            Desired.decode(wish.data),
            Placement.decode(decided.data) if decided is not None else None,
            tuple(Status.decode(data) for data in _about(entry.ref, self.statuses)),
            tuple(Outcome.decode(data) for data in _about(entry.ref, self.outcomes)),
        )
        return progress(workload, entry.generation)


def _about(ref: ObjectRef, view: View) -> Iterable[bytes]:
    """Messages about an object in any member."""
    return [
        message.data
        for subject, message in sorted(view.items().items())
        if subjects.object_key(subject, skip=3) == ref.key
    ]


def _leaving(ref: ObjectRef, desired: View, statuses: View) -> Progress:
    """The tombstone goes once the last member has confirmed."""
    if desired.get(subjects.desired(ref)) is None:
        return Progress(True, "gone")
    members = [Status.decode(data).member for data in _about(ref, statuses)]
    return Progress(False, f"leaving {', '.join(members)}" if members else "leaving")


def progress(workload: Workload, generation: int) -> Progress:
    """Pure: how far an object is on its way to run as wanted since that generation."""
    placement = workload.placement
    if placement is None or placement.generation < generation:
        return Progress(False, "accepted, not placed yet")
    results = {outcome.member: outcome for outcome in workload.outcomes if not outcome.order < placement.order}
    for member, outcome in sorted(results.items()):
        if outcome.result in ("retrying", *FINAL):
            return Progress(False, f"{outcome.result} in {member}: {outcome.message}", outcome.result in FINAL)
    shares = [share for share in placement.shares if share.present]
    applied = all(share.member in results for share in placement.shares)
    if not workload.divided:
        count = sum(share.member in results for share in shares)
        done = bool(shares) and applied
        return Progress(done, f"{count}/{len(shares)} members applied ({shares_text(placement)})")
    statuses = {status.member: status for status in workload.statuses}
    parts = [_share_words(share, statuses.get(share.member), workload) for share in shares]
    words = f"{workload.ready}/{placement.wanted} ready" + (f" ({'; '.join(parts)})" if parts else "")
    if placement.pending:
        reasons = "; ".join(reason.message for reason in placement.reasons if not reason.members)
        words += f", {placement.pending} pending: {reasons}"
    finished = bool(statuses) and all(status.finished for status in statuses.values())
    running = workload.ready >= placement.wanted and all(
        _runs(share, statuses.get(share.member), placement, workload) for share in shares
    )
    return Progress(applied and placement.pending == 0 and (running or finished), words)


def _runs(share: Share, status: Status | None, placement: Placement, workload: Workload) -> bool:
    """Exactly what this member was asked for serves there: none too few, none too many, none of an older template."""
    if share.retiring:
        return False
    if status is None:
        return share.replicas == 0
    if (workload.desired.ref.kind, workload.desired.ref.group) not in ROLLS_OUT or share.autoscaled:
        return True
    current = not status.order < placement.order and status.observed_generation >= status.generation
    # A Ready pod of the old template may stand in for one of the new that is not: there must be no pod too many.
    exact = status.ready == status.bound == share.replicas and status.pending == 0
    return current and exact and not _to_update(share, status, workload)


def _to_update(share: Share, status: Status, workload: Workload) -> int:
    """Replicas of an older template that are still to be replaced."""
    if (workload.desired.ref.kind, workload.desired.ref.group) not in ROLLS_OUT or _held_back(workload):
        return 0
    return max(0, share.replicas - status.updated)


def _held_back(workload: Workload) -> bool:
    """The workload itself asks that not all of its pods follow the template."""
    spec = dig(workload.desired.manifest, "spec")
    update = dig(spec, "updateStrategy")
    partition = dig(update, "rollingUpdate", "partition") or dig(update, "partition")  # of a CloneSet the latter
    paused = dig(spec, "paused") or dig(update, "paused")
    return bool(paused or dig(update, "type") == "OnDelete" or (partition and partition != "0%"))


def _share_words(share: Share, status: Status | None, workload: Workload) -> str:
    """`ack 0/2, 2 of the old template, 2 unschedulable: nodes are being added`."""
    words = [f"{share.member} {status.ready if status is not None else 0}/{share.replicas}"]
    if status is not None:
        outdated = _to_update(share, status, workload)
        if outdated and status.ready:
            words.append(f"{outdated} to update")
        words += stuck(status)
    if share.retiring:
        words.append(f"{share.retiring} leave once replaced")
    return ", ".join(words)
