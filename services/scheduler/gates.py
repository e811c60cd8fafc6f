"""Gates of waves that ask a Prometheus server: what their queries say, for the core to judge."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import WorkloadKey
from services.scheduler.core.waves import Measured
from services.scheduler.rollouts import FleetRollouts
from shared.clock import Clock
from shared.contracts.placement import Waves
from shared.errors import BrimError
from shared.prometheus import Prometheus

log = logging.getLogger("brim.scheduler")

EVERY = 5.0  # fleet seconds between two rounds
LEAST = 0.1  # real seconds between them, however fast the fleet's time runs
AT_ONCE = 16  # queries under way
MEMBER = "{member}"  # in a query: the member's id


@dataclass(frozen=True, slots=True)
class _Question:
    """One query, and the members that its value is about."""

    url: str
    query: str
    key: WorkloadKey
    waves: Waves
    members: list[str]


class Gates:
    """wake: called when an answer changed what is due."""

    def __init__(self, state: SchedulerState, rollouts: FleetRollouts, clock: Clock, wake: Callable[[], None]) -> None:
        self._state = state
        self._rollouts = rollouts
        self._clock = clock
        self._wake = wake
        self._slots = anyio.Semaphore(AT_ONCE)

    async def run(self) -> None:
        """Until cancelled."""
        pause = max(LEAST, self._clock.real(EVERY))
        async with Prometheus.connect() as prometheus:
            while True:
                async with anyio.create_task_group() as group:
                    for question in self._questions():
                        group.start_soon(self._ask, prometheus, question)
                await anyio.sleep(pause)

    def _questions(self) -> list[_Question]:
        """A query that does not name the member is asked once for all of them."""
        found: list[_Question] = []
        for key, waves, members in self._state.asking():
            gate = self._rollouts.gate(key, waves.wave)
            if gate is None:
                continue
            by_query: dict[str, list[str]] = {}
            for member in members:
                by_query.setdefault(gate.query.replace(MEMBER, member), []).append(member)
            found += [_Question(gate.url, query, key, waves, about) for query, about in by_query.items()]
        return found

    async def _ask(self, prometheus: Prometheus, question: _Question) -> None:
        async with self._slots:
            value, why = await _value(prometheus, question.url, question.query)
        measured = Measured(question.waves.revision, question.waves.wave, value, why)
        due = [self._state.on_measured(question.key, member, measured) for member in question.members]
        if any(due):
            if why:
                log.warning("the gate of %s/%s waits: %s", *question.key[2:], why)
            self._wake()


async def _value(prometheus: Prometheus, url: str, query: str) -> tuple[float | None, str]:
    """The value, or why there is none."""
    try:
        value = await prometheus.value(url, query)
    except BrimError as error:
        return None, str(error)
    return value, "" if value is not None else f"nothing matches {query!r}"
