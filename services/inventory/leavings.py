"""What members leave behind: all that is told of them goes at once; what they cost is kept for a week."""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Mapping
from typing import Final

import anyio

from services.inventory.core.costs import closed, is_due
from services.inventory.cost_publisher import SWEEP, SWEEP_AT_LEAST, watched_until
from shared.backoff import Backoff, Retries
from shared.bus import Bus, Message
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.cost import Cost
from shared.errors import BusUnavailable, Invalid, WriteConflict

log = logging.getLogger("brim.inventory")

RETRY = Backoff(base=0.5, maximum=30.0)
# What is removed with a member: its streams, and their filters.
STREAMS: Final[Mapping[str, Callable[[str], str]]] = {
    "CAPACITY": subjects.capacity,
    "PODS": subjects.pods,
    "STATUS": subjects.statuses,
}
COST: Final = "COST"


class Leavings:
    """members: those of the fleet now."""

    def __init__(self, bus: Bus, clock: Clock, members: Container[str]) -> None:
        self._bus = bus
        self._clock = clock
        self._members = members

    async def clear_strangers(self) -> None:
        """What is told of members that left while nobody looked."""
        strangers: set[str] = set()
        for stream in (*STREAMS, COST):
            strangers |= {subjects.member_of(subject) for subject in await self._held(stream)}
        for member in sorted(strangers):
            if member not in self._members:
                await self.clear(member)

    async def clear(self, member: str) -> None:
        """Remove what is told of a member, and close its accounts; readers see it at once."""
        retries = Retries(RETRY)
        while True:
            try:
                await self._close(member)
                for stream, of_member in STREAMS.items():
                    for subject in await self._held(stream, of_member(member)):
                        await self._bus.remove(subject)
                return
            except (BusUnavailable, WriteConflict) as error:
                log.warning("what member %s left behind will be removed later: %s", member, error)
                await anyio.sleep(retries.next_delay())

    async def sweep(self) -> None:
        """Let go of old accounts of members that are not of the fleet, until cancelled."""
        while True:
            await anyio.sleep(max(SWEEP_AT_LEAST, self._clock.real(SWEEP)))
            for subject, message in (await self._held(COST)).items():
                cost = _read(message)
                if subjects.member_of(subject) not in self._members and (
                    cost is None or is_due(cost, self._clock.now())
                ):
                    await self._let_go(subject, message)

    async def _let_go(self, subject: str, message: Message) -> None:
        try:
            await self._bus.remove(subject, expected_last_sequence=message.sequence)
        except (BusUnavailable, WriteConflict) as error:
            log.debug("%s is looked at again: %s", subject, error)

    async def _close(self, member: str) -> None:
        """Nobody will see its pods end."""
        until = await watched_until(self._bus, member)
        for subject, message in (await self._held(COST, subjects.costs(member))).items():
            cost = _read(message)
            if cost is not None and cost.gone_since is None:
                ended = closed(cost, max(until, cost.observed_at), self._clock.now())
                await self._bus.publish(
                    subject, ended.encode(), expected_last_sequence=message.sequence, event=Cost.TYPE
                )

    async def _held(self, stream: str, subject: str | None = None) -> Mapping[str, Message]:
        async with anyio.create_task_group() as group:
            view = self._bus.view(stream, [subject] if subject is not None else [])
            group.start_soon(view.run)
            await view.ready()
            group.cancel_scope.cancel()
        return view.items()


def _read(message: Message) -> Cost | None:
    try:
        return Cost.decode(message.data)
    except Invalid as error:
        log.warning("what %s holds cannot be read: %s", message.subject, error)
        return None
