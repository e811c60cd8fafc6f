"""A whole brim in one process: the bus, the simulated members, the four services. `up`, the demo and tests run it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio

from cli.services import SERVICES, service
from cli.session import raise_faults
from shared import nats_server, telemetry
from shared.backoff import Backoff, Retries
from shared.bus import Bus
from shared.clock import Clock
from shared.contracts import subjects
from shared.contracts.cluster import cluster_of
from shared.contracts.submit import Answer
from shared.errors import BrimError, BusUnavailable
from shared.fleet import Fleet, Kubeconfig, Member
from shared.health import Health
from shared.nats_server import NatsServer
from shared.service import service_context, streams_in_place
from shared.settings import Settings
from simulator.members import Running as SimulatedMembers
from simulator.members import run_members, write_kubeconfig

log = logging.getLogger("brim.up")

RESTART = Backoff(base=0.5, maximum=10.0)
READY = 30.0  # seconds until the services must be ready
ANSWER = 5.0  # seconds for one answer of the intake
LOOK_EVERY = 0.05  # seconds between two looks at what is still starting


@dataclass(frozen=True, slots=True)
class Running:
    """One running service. health tells whether it is ready. scope: cancel it to end the service; unlike a task's
    own cancellation, which any library may swallow, it is told again until the service has ended."""

    task: asyncio.Task[None]
    health: Health
    scope: anyio.CancelScope


@dataclass(slots=True)
class Brim:
    """What runs. kubeconfig: of the simulated members; None where none is simulated. server: the embedded one."""

    settings: Settings
    clock: Clock
    fleet: Fleet
    members: SimulatedMembers
    kubeconfig: Path | None
    server: NatsServer | None = None
    services: dict[str, Running] = field(default_factory=dict)

    def simulator_context(self, member: Member) -> Kubeconfig:
        """How to reach a simulated member."""
        return Kubeconfig(context=member.id, path=str(self.kubeconfig))

    def start(self, name: str) -> None:
        """Start a service that does not run. Returns at once; `ready` waits for it."""
        health = Health()
        health.add_check(name, lambda: False)  # until the service itself tells
        scope = anyio.CancelScope()
        task = asyncio.create_task(self._run_in(scope, name, health), name=f"service {name}")
        self.services[name] = Running(task, health, scope)

    async def stop(self, name: str) -> None:
        """Cancel a service and wait until it has handed back what was in flight."""
        running = self.services.pop(name)
        running.scope.cancel()
        await asyncio.wait([running.task])

    async def stop_all(self) -> None:
        for name in reversed(list(self.services)):
            await self.stop(name)

    async def _run_in(self, scope: anyio.CancelScope, name: str, health: Health) -> None:
        with scope:
            await self._run(name, health)

    async def _run(self, name: str, health: Health) -> None:
        """Run it, and run it again with growing pauses when it fails: as a supervisor of processes would."""
        retries = Retries(RESTART)
        main = service(name)
        telemetry.serve_as(name)
        while True:
            try:
                async with service_context(name, self.settings, clock=self.clock, health=health) as context:
                    await streams_in_place(context)
                    await main(context)
                log.info("%s ended and is started again", name)
            except Exception as error:
                log.warning(
                    "%s failed and is started again: %s", name, error, exc_info=not isinstance(error, BrimError)
                )
            await anyio.sleep(retries.next_delay())

    def failing(self) -> dict[str, list[str]]:
        """Services that are not ready, with the checks that do not pass."""
        return {name: found for name, one in self.services.items() if (found := one.health.failing())}

    async def ready(self, *, timeout: float = READY) -> None:
        """Wait until every service is ready. timeout: real seconds. Raises BusUnavailable, naming what is not."""
        deadline = anyio.current_time() + timeout
        while failing := self.failing():
            if anyio.current_time() > deadline:
                late = "; ".join(f"{name}: {', '.join(checks)}" for name, checks in failing.items())
                raise BusUnavailable(f"not all services are ready after {timeout:g} s ({late}): their logs say why")
            await anyio.sleep(LOOK_EVERY)


@asynccontextmanager
async def run_brim(
    settings: Settings,
    clock: Clock,
    fleet: Fleet,
    folder: Path,
    *,
    services: Sequence[str] = SERVICES,
    own_server: bool = False,
) -> AsyncIterator[Brim]:
    """Run all of it while the block runs; with an embedded server where no address is set, or if told so.

    folder: state of the streams and of the simulated members, and the kubeconfig.
    """
    for name in services:
        service(name)  # loaded now: it takes seconds, in which nothing that already runs here would be served
    async with AsyncExitStack() as stack:
        server: NatsServer | None = None
        if own_server or nats_server.needed(settings.bus):
            server = await stack.enter_async_context(NatsServer(folder / "nats"))
            bus = settings.bus.model_copy(update={"url": server.url})
            settings = settings.model_copy(update={"bus": bus})
        members = await stack.enter_async_context(run_members(fleet, clock, folder / "members"))
        kubeconfig = (folder / "kubeconfig").absolute() if members else None
        if kubeconfig is not None:
            write_kubeconfig(members, kubeconfig)
        brim = Brim(settings, clock, fleet, members, kubeconfig, server)
        stack.push_async_callback(brim.stop_all)
        for name in services:
            brim.start(name)
        yield brim


async def join_members(bus: Bus, brim: Brim, *, timeout: float = READY) -> Answer:
    """Submit the fleet's members to the intake, which may still be starting. It keeps their wish (cordon, drain).

    Raises Invalid where the intake finds faults, BusUnavailable where none answers within `timeout` real seconds.
    """
    manifests = [
        cluster_of(member, brim.simulator_context(member) if member.simulated is not None else None).to_manifest()
        for member in brim.fleet.members
    ]
    payload = json.dumps(manifests).encode()
    with anyio.move_on_after(timeout):
        while True:
            try:
                answer = Answer.decode(await bus.request(subjects.APPLY, payload, timeout=ANSWER))
            except BusUnavailable as error:
                log.debug("the intake does not answer yet: %s", error)
                await anyio.sleep(LOOK_EVERY)
            else:
                raise_faults(answer.faults)
                return answer
    raise BusUnavailable(f"the scheduler's intake did not answer within {timeout:g} s: its log says why")
