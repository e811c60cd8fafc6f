"""Rows about the scheduler alone: a generated fleet, its real process, a real server.

The clock of a decision starts when its message is handed to the client for stream SUBMIT and stops when the server
stored the placement, by the server's own timestamp: both are of this machine's clock.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.generate import Batch, PodShape, Size, batches, clusters, deployment, policy, shapes
from benchmarks.report import Figure, percentile
from benchmarks.room import Room
from benchmarks.stage import DidNotHappen, Process, Stage, served, stage
from shared.bus import Bus
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.placement import Placement
from shared.contracts.submit import Plan, Planned

IN_FLIGHT = 512  # messages of a burst that await their acknowledgement
WITHIN = 120.0  # seconds for all decisions of one run
KNOWN = 180.0  # seconds until the scheduler has read the fleet
SHAPES = 50
MOST_PENDING = 0.05  # of all replicas; some shapes ask for what is scarce
FULL = Size()
EVERYWHERE = 1  # random.Random(1).random() is 0.13: below 0.6, see generate.policy


@dataclass(frozen=True, slots=True)
class Load:
    """How much is asked. rate: workloads a second; churn: node changes a second.
    profile: a folder for the scheduler's profile."""

    size: Size = FULL
    repetitions: int = 3
    rate: float = 200.0
    seconds: float = 10.0
    distinct: int = 1_000
    burst: int = 5_000
    churn: float = 2_000.0
    seed: int = 1
    profile: Path | None = None


QUICK = Load(Size(10, 500), repetitions=1, seconds=2.0, distinct=100, burst=300)


@dataclass(frozen=True, slots=True)
class Run:
    """What came of one run. latencies: seconds per decision; span: first message out to last placement stored."""

    latencies: list[float]
    span: float
    pending: int

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.span


@dataclass(slots=True)
class Decisions:
    """A stage with the scheduler running and the whole fleet known to it."""

    stage: Stage
    room: Room
    scheduler: Process
    load: Load
    shapes: list[PodShape]
    memory_read: int = 0  # bytes, once the fleet was read and every shape seen
    placed: int = 0  # workloads, in all runs so far
    _runs: Iterator[int] = field(default_factory=lambda: iter(range(10_000)))

    @property
    def conditions(self) -> str:
        return f"{self.load.size.members} members × {self.load.size.nodes:,} nodes"

    async def latency(self) -> list[Run]:
        count = int(self.load.rate * self.load.seconds)
        return [await self._run(self._batches(count), self.load.rate) for _ in range(self.load.repetitions)]

    async def distinct(self) -> list[Run]:
        runs = []
        for number in range(self.load.repetitions):
            choices = shapes(self.load.distinct, self.load.seed + 100 + number)
            made = list(batches(self.load.distinct, choices, self._namespace(), self.load.seed, distinct=True))
            runs.append(await self._run(made, self.load.rate))
        return runs

    async def burst(self) -> list[Run]:
        return [await self._run(self._batches(self.load.burst), None) for _ in range(self.load.repetitions)]

    async def burst_under_churn(self) -> tuple[list[Run], list[float]]:
        """The runs, and how many deltas a second really went out beside each."""
        runs, rates = [], []
        for _ in range(self.load.repetitions):
            intervals = self.room.deltas(self.load.churn, 2.0 + self.load.burst / 300)
            made = self._batches(self.load.burst)
            async with asyncio.TaskGroup() as group:
                playing = group.create_task(self.room.play(intervals))
                await asyncio.sleep(1.0)
                runs.append(await self._run(made, None))
                changes = self.load.churn * len(intervals) * 0.05
            _, seconds = playing.result()
            rates.append(changes / seconds)
        return runs, rates

    async def warm_up(self) -> None:
        """Every shape once: what is measured afterwards is the steady state. Distinct shapes measure the other."""
        made = [deployment(f"warm-{number}", "warm-up", "warm", 1, shape) for number, shape in enumerate(self.shapes)]
        await self._run([Batch(_everywhere("warm", "warm-up"), tuple(made))], None)

    def _namespace(self) -> str:
        return f"run-{next(self._runs)}"

    def _batches(self, count: int) -> list[Batch]:
        return list(batches(count, self.shapes, self._namespace(), self.load.seed))

    async def _run(self, made: Sequence[Batch], rate: float | None) -> Run:
        namespace = _name_of(made[0].policy, "namespace")
        bus = self.stage.bus
        before = (await bus.stream_info("PLACEMENT")).last_sequence
        sent = await offer(bus, made, rate)
        stored = await placements(bus, namespace, len(sent), before)
        latencies = [at - sent[name] for name, (at, _) in stored.items()]
        span = max(at for at, _ in stored.values()) - min(sent.values())
        wanted = sum(placement.wanted for _, placement in stored.values())
        pending = sum(placement.pending for _, placement in stored.values())
        if pending > MOST_PENDING * wanted:
            raise DidNotHappen(f"{pending} of {wanted} replicas found no room: decisions of that kind prove nothing")
        self.placed += len(stored)
        return Run(latencies, span, pending)


async def offer(bus: Bus, made: Sequence[Batch], rate: float | None) -> dict[str, float]:
    """Submit policies and workloads, `rate` workloads a second or as fast as the server takes them.

    Returns the Unix seconds at which each workload was handed over; for the first of a policy the policy's.
    """
    sent: dict[str, float] = {}
    slots = asyncio.Semaphore(IN_FLIGHT)
    loop = asyncio.get_running_loop()
    encoded = [
        (json.dumps(batch.policy).encode(), [(_name_of(w, "name"), json.dumps(w).encode()) for w in batch.workloads])
        for batch in made
    ]
    begun, number = loop.time(), 0

    async def store(data: bytes) -> None:
        try:
            await bus.publish(subjects.submit("apply"), data)
        finally:
            slots.release()

    async with asyncio.TaskGroup() as group:
        for policy_data, workloads in encoded:
            for position, (name, data) in enumerate(workloads):
                if rate is not None:
                    await asyncio.sleep(max(0.0, begun + number / rate - loop.time()))
                sent[name] = time.time()
                for message in (policy_data, data) if position == 0 else (data,):
                    await slots.acquire()
                    group.create_task(store(message))
                number += 1
    return sent


async def placements(bus: Bus, namespace: str, count: int, before: int) -> dict[str, tuple[float, Placement]]:
    """The first placement of every workload of a namespace, with the Unix seconds at which it was stored.

    Until enough are there only the stream's length is asked for, so that watching costs the scheduler nothing.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + WITHIN
    found: dict[str, tuple[float, Placement]] = {}
    stored = 0
    while loop.time() < until:
        stored = (await bus.stream_info("PLACEMENT")).last_sequence - before
        if stored >= count:
            found = {}
            for message in await bus.history("PLACEMENT", f"brim.placement.Deployment~apps.{namespace}.>"):
                name = subjects.object_key(message.subject)[3]
                found.setdefault(name, (message.published_at, Placement.decode(message.data)))
            if len(found) == count:
                return found
        await asyncio.sleep(0.1)
    raise DidNotHappen(f"{min(stored, count)} of {count} workloads were placed within {WITHIN:g} s")


def _name_of(manifest: object, key: str) -> str:
    assert isinstance(manifest, dict)
    return str(manifest["metadata"][key])


def _everywhere(name: str, namespace: str) -> JsonObject:
    """A policy that considers every member. The seed is one that draws this kind of policy."""
    return policy(name, namespace, random.Random(EVERYWHERE))


@asynccontextmanager
async def decisions(folder: Path, load: Load) -> AsyncIterator[Decisions]:
    """A running scheduler that has read the whole fleet and has seen every shape once."""
    async with stage(folder) as it:
        scheduler = await it.service("scheduler", profile=load.profile)
        await it.apply(*(cluster.to_manifest() for cluster in clusters(load.size)))
        room = Room(it.bus, load.size, load.seed)
        await room.publish()
        ready = Decisions(it, room, scheduler, load, shapes(SHAPES, load.seed))
        heartbeats = asyncio.create_task(room.heartbeats())
        try:
            await fleet_is_known(it.bus, load.size.members)
            await ready.warm_up()
            ready.memory_read = scheduler.memory()[0]
            yield ready
        finally:
            heartbeats.cancel()
            await asyncio.gather(heartbeats, return_exceptions=True)


async def fleet_is_known(bus: Bus, members: int) -> None:
    """Ask for a plan until it considers every member."""
    shape = PodShape(100, 1024**2)
    manifests = [_everywhere("probe", "probe"), deployment("probe", "probe", "probe", 1, shape)]
    question = Plan(manifests="\n---\n".join(map(json.dumps, manifests))).encode()
    loop = asyncio.get_running_loop()
    until = loop.time() + KNOWN
    seen = 0
    while loop.time() < until:
        planned = Planned.decode(await served(bus, subjects.PLAN, question))
        seen = len(planned.placements[0].seen.members) if planned.placements else 0
        if seen == members:
            return
        await asyncio.sleep(0.2)
    raise DidNotHappen(f"the scheduler considers {seen} of {members} members after {KNOWN:g} s: {planned}")


def latency_figures(row: str, runs: list[Run], bars: dict[str, float], note: str) -> list[Figure]:
    """bars: by "P50" or "P99", in milliseconds."""
    shares = {"P50": 0.5, "P99": 0.99}
    return [
        Figure(row, name, "ms", tuple(percentile(run.latencies, shares[name]) * 1000 for run in runs), bar, note=note)
        for name, bar in bars.items()
    ]


def rate_figure(row: str, runs: list[Run], bar: float, note: str) -> Figure:
    pending = sum(run.pending for run in runs)
    values = tuple(run.per_second for run in runs)
    return Figure(row, "decisions per second", "/s", values, bar, at_least=True, note=f"{note}; {pending} pending")
