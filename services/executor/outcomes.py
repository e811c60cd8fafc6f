"""OUTCOME: what the executor says became of each object, said once per change."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import anyio

from services.executor.metrics import ExecutorMetrics
from shared.backoff import Backoff, Retries
from shared.bus import Bus, Message, View
from shared.contracts import subjects
from shared.contracts.outcome import Outcome
from shared.contracts.refs import ObjectRef
from shared.errors import BrimError, Invalid, Retryable

log = logging.getLogger("brim.executor")

AT_ONCE = 64  # publishes in flight
RETRY = Backoff(base=0.1, maximum=5.0)
FLUSH = 2.0  # seconds, on shutdown, to say what was not said yet


@dataclass(frozen=True, slots=True)
class _Waiting:
    """outcome: None takes the subject away."""

    outcome: Outcome | None
    context: Mapping[str, str]


class Outcomes:
    """Publishes in the background, newest wins per subject. view: of OUTCOME, this service's own last words.
    resync: seconds between two comparisons of the stream with what was said."""

    def __init__(self, bus: Bus, view: View, metrics: ExecutorMetrics, resync: float) -> None:
        self._bus = bus
        self._view = view
        self._metrics = metrics
        self._resync = resync
        self._waiting: dict[str, _Waiting] = {}
        self._said: dict[str, Outcome] = {}
        self._wake = anyio.Event()

    def load(self) -> None:
        """Take over the last words of whoever led before. Call it once the view is ready."""
        for subject, message in self._view.items().items():
            try:
                self._said[subject] = Outcome.decode(message.data)
            except Invalid as error:
                self._metrics.bad_messages.add(stream="OUTCOME")
                log.warning("an outcome cannot be read and is said anew: %s", error)

    def last(self, member: str, ref: ObjectRef) -> Outcome | None:
        return self._said.get(subjects.outcome(member, ref))

    def known(self) -> dict[str, Outcome]:
        """Every subject with what was last said on it."""
        return dict(self._said)

    def say(self, outcome: Outcome, context: Mapping[str, str]) -> None:
        """Publish, unless the same was said last. context: the trace that this belongs to."""
        subject = subjects.outcome(outcome.member, outcome.ref)
        last = self._said.get(subject)
        if last is not None and _same(last, outcome):
            return
        self._said[subject] = outcome
        self._put(subject, _Waiting(outcome, context))

    def forget(self, member: str, ref: ObjectRef) -> None:
        """No placement names the object in that member any more."""
        subject = subjects.outcome(member, ref)
        if self._said.pop(subject, None) is not None:
            self._put(subject, _Waiting(None, {}))

    def _put(self, subject: str, waiting: _Waiting) -> None:
        self._waiting[subject] = waiting
        self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled; `finish` says the rest."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._publish_all)
            group.start_soon(self._compare)

    async def _compare(self) -> None:
        """What was lost in the stream, or lies there wrongly, such as an old word that came late, is said anew."""
        while True:
            await anyio.sleep(self._resync)
            held = dict(self._view.items())
            for subject, outcome in self._said.items():
                if subject not in self._waiting and not _says(held.get(subject), outcome):
                    self._put(subject, _Waiting(outcome, {}))
            for subject in held.keys() - self._said.keys() - self._waiting.keys():
                self._put(subject, _Waiting(None, {}))

    async def _publish_all(self) -> None:
        retries = Retries(RETRY)
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            if not await self._flush():
                await anyio.sleep(retries.next_delay())
                self._wake.set()
            else:
                retries.succeeded()

    async def finish(self) -> None:
        """Publish what still waits, once nobody says anything more; for a moment at most."""
        with anyio.move_on_after(FLUSH, shield=True):
            await self._flush()

    async def _flush(self) -> bool:
        """Publish all that waits; False where something has to be tried again."""
        slots = anyio.CapacityLimiter(AT_ONCE)
        async with anyio.create_task_group() as group:
            for subject, waiting in list(self._waiting.items()):
                group.start_soon(self._publish, subject, waiting, slots)
        return not self._waiting

    async def _publish(self, subject: str, waiting: _Waiting, slots: anyio.CapacityLimiter) -> None:
        async with slots:
            try:
                await self._send(subject, waiting)
            except Retryable as error:
                log.debug("outcome %s waits: %s", subject, error)
                return
            except BrimError as error:
                log.error("outcome %s cannot be published: %s", subject, error)
        if self._waiting.get(subject) is waiting:
            del self._waiting[subject]

    async def _send(self, subject: str, waiting: _Waiting) -> None:
        outcome = waiting.outcome
        if outcome is None:
            await self._bus.remove(subject)
            return
        await self._bus.publish(subject, outcome.encode(), headers=waiting.context, event=Outcome.TYPE)
        self._metrics.outcomes.add(member=outcome.member, result=outcome.result)


def _says(message: Message | None, outcome: Outcome) -> bool:
    try:
        return message is not None and _same(Outcome.decode(message.data), outcome)
    except Invalid:
        return False


def _same(one: Outcome, other: Outcome) -> bool:
    """Whether both say the same: time and attempts aside, and while retrying the wording of the failure too."""
    if (one.uid, one.order, one.result, one.code) != (other.uid, other.order, other.result, other.code):
        return False
    return one.result == "retrying" or one.message == other.message
