"""The intake: what people ask for, by request or as durable submissions, becomes DESIRED or is refused."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter

from services.scheduler.intake import changes, rolling
from services.scheduler.intake.changes import Stamp, Verdict
from services.scheduler.intake.checking import Checked, named
from services.scheduler.intake.known import Key, Known
from services.scheduler.intake.store import OnStored, Store
from services.scheduler.metrics import SchedulerMetrics
from services.scheduler.normalise import is_member
from shared import telemetry
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.cluster import FleetMember, cluster_ref, members_in
from shared.contracts.desired import Desired
from shared.contracts.outcome import FieldFault, Rejected
from shared.contracts.refs import ObjectRef
from shared.contracts.submit import Accepted, Answer, Cordon, Delete, Roll, Scale
from shared.documents import Document, read
from shared.errors import Fault, Invalid, Retryable
from shared.service import root_tasks

log = logging.getLogger("brim.scheduler.intake")

SUBMISSION = "brim-submission"  # header of DESIRED: which message of SUBMIT this came from
PATIENCE = 3.0  # seconds that a request is worked on: less than its sender waits by default
WORKERS = 64  # submissions under way at once; each spends its time waiting for an acknowledgement
IN_FLIGHT = 1024
EXCERPT = 200  # characters
LISTED = 32  # objects that a span names
_SUBJECTS = {
    "apply": subjects.APPLY,
    "delete": subjects.DELETE,
    "scale": subjects.SCALE,
    "cordon": subjects.CORDON,
    "roll": subjects.ROLL,
}

Advise = Callable[[Sequence[Checked]], Mapping[Key, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class _Ask:
    """A wish that could be read: the objects it is about, how to judge it, and the manifests in it."""

    refs: list[ObjectRef]
    judge: Callable[[], Verdict]
    sound: Sequence[Checked] = ()


class Intake:
    """Serves brim.apply, .delete, .scale and .cordon, and consumes SUBMIT, while `run` runs.

    epoch: of the lease under which it writes. preserves: what the policy in force says of an object's copies in
    the members when it is deleted. advise: warnings about accepted manifests.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        known: Known,
        *,
        epoch: int,
        on_stored: OnStored,
        preserves: Callable[[ObjectRef], bool],
        advise: Advise,
        is_rolling: Callable[[Key], bool],
        has_revision: Callable[[str, int], bool],
        before: Callable[[Desired], int],
        held_uid: Callable[[Key], str],
        held_in: Callable[[str], int],
        metrics: SchedulerMetrics,
    ) -> None:
        self._bus = bus
        self._clock = clock
        self._known = known
        self._epoch = epoch
        self._preserves = preserves
        self._advise = advise
        self._is_rolling = is_rolling
        self._has_revision = has_revision
        self._before = before
        self._held_uid = held_uid
        self._held_in = held_in
        self._metrics = metrics
        self._store = Store(bus, known, on_stored)
        self._serving: set[str] = set()
        self._reading: dict[str, Callable[[bytes], _Ask]] = {
            "apply": self._read_apply,
            "delete": self._read_delete,
            "scale": self._read_scale,
            "cordon": self._read_cordon,
            "roll": self._read_roll,
        }

    @property
    def is_serving(self) -> bool:
        """Requests of all kinds reach it."""
        return self._serving == self._reading.keys()

    async def run(self) -> None:
        serving = {f"serve brim.{verb}": self._endpoint(verb) for verb in self._reading}
        await root_tasks({**serving, "consume SUBMIT": self._consume})

    # -- requests --------------------------------------------------------------------------------------------

    def _endpoint(self, verb: str) -> Callable[[], Awaitable[None]]:
        async def answer(message: Message) -> bytes:
            return (await self._answer(verb, message)).encode()

        return lambda: self._bus.serve(
            _SUBJECTS[verb], answer, concurrency=WORKERS, on_serving=lambda: self._serving.add(verb)
        )

    async def _answer(self, verb: str, message: Message) -> Answer:
        begin = perf_counter()
        try:
            ask = self._validated(verb, message)
        except Invalid as error:
            self._metrics.submitted(verb, "refused", perf_counter() - begin)
            return Answer(faults=_on_the_wire(error.faults))
        accepted, faults = await self._store.carry_out(
            [ref.key for ref in ask.refs], ask.judge, headers=telemetry.here(message.headers), patience=PATIENCE
        )
        self._metrics.submitted(verb, "refused" if faults else "accepted", perf_counter() - begin)
        if faults:
            return Answer(faults=_on_the_wire(faults))
        return Answer(accepted=tuple(_advised(accepted, self._advise(ask.sound))))

    # -- submissions -----------------------------------------------------------------------------------------

    async def _consume(self) -> None:
        await self._bus.consume(
            "SUBMIT",
            "scheduler-intake",
            self.take,
            concurrency=WORKERS,
            max_in_flight=IN_FLIGHT,
            on_poison=self._poison,
        )

    async def take(self, message: Message) -> None:
        begin = perf_counter()
        verb = message.subject.removeprefix("brim.submit.")
        if verb not in self._reading:
            verbs = ", ".join(sorted(self._reading))
            fault = Fault("the message", "subject", f"{message.subject} is unknown; publish to brim.submit.<{verbs}>")
            await self._reject(message, [fault])
            return
        try:
            ask = self._validated(verb, message)
        except Invalid as error:
            await self._reject(message, error.faults)
            self._metrics.submitted(verb, "refused", perf_counter() - begin)
            return
        faults = await self._carry_out(message, ask, verb)
        if faults:
            await self._reject(message, faults)
        self._metrics.submitted(verb, "refused" if faults else "accepted", perf_counter() - begin)

    async def _carry_out(self, message: Message, ask: _Ask, verb: str) -> list[Fault]:
        submission = f"{message.sequence}@{message.published_at:.6f}"
        headers = {**telemetry.here(message.headers), SUBMISSION: submission}
        done: Mapping[Key, Accepted] = {}
        if message.delivered > 1:
            done = await self._store.written_by(ask.refs, SUBMISSION, submission)
            if len(done) == len({ref.key for ref in ask.refs}):
                return []
        _, faults = await self._store.carry_out(
            [ref.key for ref in ask.refs], ask.judge, headers=headers, patience=0.0, done=done
        )
        if faults and all(fault.code == changes.BEING_DELETED for fault in faults):
            raise Retryable(str(faults[0]), code=changes.BEING_DELETED, retry_after=0.5)
        if verb == "delete" and message.delivered > 1:
            # An earlier delivery may have deleted it, and the object may be gone for good by now.
            faults = [fault for fault in faults if fault.code != "NotFound"]
        return faults

    async def _reject(self, message: Message, faults: Sequence[Fault]) -> None:
        rejected = Rejected(
            service="scheduler",
            subject=message.subject,
            sequence=message.sequence,
            at=self._clock.now(),
            faults=_on_the_wire(faults),
            excerpt=_excerpt(message.data),
        )
        await self._bus.publish(
            subjects.rejected("scheduler"),
            rejected.encode(),
            headers=telemetry.here(message.headers),
            message_id=f"submit-{message.sequence}-{message.published_at:.6f}",
            event=Rejected.TYPE,
        )
        self._metrics.rejected("SUBMIT")
        log.info("a submission on %s was refused: %s", message.subject, "; ".join(str(fault) for fault in faults))

    async def _poison(self, message: Message, error: Exception) -> None:
        """A message that this program cannot deal with must not be lost in silence either."""
        why = f"brim could not deal with it ({type(error).__name__}); its log says more"
        await self._reject(message, [Fault("the message", "", why, "Internal")])

    # -- reading ---------------------------------------------------------------------------------------------

    def _validated(self, verb: str, message: Message) -> _Ask:
        """Raises Invalid."""
        with telemetry.span(f"validate {verb}", attributes={"brim.bytes": len(message.data)}) as span:
            ask = self._reading[verb](message.data)
            span.set_attribute("brim.objects", [str(ref) for ref in ask.refs[:LISTED]])
            return ask

    def _stamp(self) -> Stamp:
        return Stamp(
            self._clock.now(),
            self._epoch,
            _new_uid,
            self._bus.max_payload,
            self._is_rolling,
            self._has_revision,
            self._before,
            self._held_uid,
            self._held_in,
        )

    def _read_apply(self, data: bytes) -> _Ask:
        sound = read_manifests(data)
        return _Ask([checked.ref for checked in sound], lambda: changes.apply(sound, self._known, self._stamp()), sound)

    def _read_delete(self, data: bytes) -> _Ask:
        request = Delete.decode(data)
        refs = [named(ref) for ref in request.refs]
        return _Ask(refs, lambda: changes.delete(request, self._known, self._stamp(), preserves=self._preserves))

    def _read_scale(self, data: bytes) -> _Ask:
        request = Scale.decode(data)
        return _Ask([named(request.ref)], lambda: changes.scale(request, self._known, self._stamp()))

    def _read_cordon(self, data: bytes) -> _Ask:
        request = Cordon.decode(data)
        return _Ask([cluster_ref(request.member)], lambda: changes.cordon(request, self._known, self._stamp()))

    def _read_roll(self, data: bytes) -> _Ask:
        request = Roll.decode(data)
        telemetry.mark({"brim.action": request.verb, "enduser.id": request.who})
        return _Ask(rolling.refs_of(request, self._known), lambda: rolling.roll(request, self._known, self._stamp()))


def read_manifests(data: bytes) -> list[Checked]:
    """All manifests of a submission, each sound by itself. Raises Invalid with every fault of all of them."""
    read_documents, faults = read(data)
    documents: list[Document] = []
    for document in read_documents:
        try:
            documents += members_in(document)
        except Invalid as error:
            faults += error.faults
    sound, more = changes.check_all(documents)
    if faults or more:
        raise Invalid([*faults, *more])
    listed = tuple(ObjectRef.of(one.manifest).name for one in documents if isinstance(one, FleetMember))
    return [replace(one, fleet=listed) if one.ref.name in listed and is_member(one.ref) else one for one in sound]


def _new_uid() -> str:
    return str(uuid.uuid4())


def _advised(accepted: Sequence[Accepted], advice: Mapping[Key, tuple[str, ...]]) -> list[Accepted]:
    return [
        one.model_copy(update={"warnings": (*one.warnings, *advice[one.ref.key])}) if advice.get(one.ref.key) else one
        for one in accepted
    ]


def _on_the_wire(faults: Sequence[Fault]) -> tuple[FieldFault, ...]:
    return tuple(FieldFault.of(fault) for fault in faults)


def _excerpt(data: bytes) -> str:
    """The beginning, for a person to know the message again; nothing where a Secret might be in it."""
    return "" if b"secret" in data.lower() else data[: EXCERPT * 4].decode("utf-8", "replace")[:EXCERPT]
