"""Gates of waves that ask a Prometheus server: their queries' values, for the core to judge."""

from __future__ import annotations

import logging
from collections.abc import Callable

import anyio

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import WorkloadKey
from services.scheduler.rollouts import FleetRollouts
from shared.contracts.fleet_rollout import PrometheusGate
from shared.errors import BrimError
from shared.prometheus import Prometheus

log = logging.getLogger("brim.scheduler")

EVERY = 5.0  # real seconds between two rounds
MEMBER = "{member}"  # in a query: the member's id


class Gates:
    """wake: called when a value changed what is due."""

    def __init__(self, state: SchedulerState, rollouts: FleetRollouts, wake: Callable[[], None]) -> None:
        self._state = state
        self._rollouts = rollouts
        self._wake = wake

    async def run(self) -> None:
        """Until cancelled."""
        async with Prometheus.connect() as prometheus:
            while True:
                for key, _, placement in self._state.under_way():
                    assert placement.waves is not None
                    gate = self._rollouts.gate(key, placement.waves.wave)
                    if gate is not None:
                        members = [share.member for share in placement.shares if share.present]
                        await self._ask(prometheus, gate, key, members)
                await anyio.sleep(EVERY)

    async def _ask(self, prometheus: Prometheus, gate: PrometheusGate, key: WorkloadKey, members: list[str]) -> None:
        """A query that does not name the member is asked once for all of them."""
        queries: dict[str, list[str]] = {}
        for member in members:
            queries.setdefault(gate.query.replace(MEMBER, member), []).append(member)
        for query, asking in queries.items():
            try:
                value = await prometheus.value(gate.url, query)
            except BrimError as error:
                log.warning("the gate of %s/%s waits: %s", key[2], key[3], error)
                continue
            if value is None:
                continue
            due = [self._state.on_value(key, member, value) for member in asking]
            if any(due):
                self._wake()
