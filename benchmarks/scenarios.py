"""Rows about the whole chain: simulated members with delays of zero on the real clock, all four services."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import anyio
import yaml
from pydantic import JsonValue

from benchmarks.decisions import fleet_is_known, offer
from benchmarks.generate import GIB, PER_POLICY, Batch, PodShape, deployment
from benchmarks.members import Members, Seen, connected
from benchmarks.report import Figure, percentile
from benchmarks.stage import START, DidNotHappen, Process, Stage, stage
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.cluster import cluster_of
from shared.contracts.placement import Placement
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from shared.contracts.submit import Delete, Scale
from shared.fleet import Delays, Fleet, Kubeconfig, Member, NodeGroup, Simulated

SERVICES = ("inventory", "scheduler", "executor", "descheduler")
AT_ONCE = Delays(start=0, stop=0, scale_up_trigger=0, node_create=0, node_ready=0, node_idle=600)
NAMESPACE = "bench"
SLOT = PodShape(cpu=1000, memory=GIB)  # one replica; a node's cpu is a whole number of them
THRESHOLD = 2.0  # seconds; the descheduler's default of 30 would only make the row longer
WITHIN = 60.0


def member(name: str, nodes: int, slots: int) -> Member:
    """`nodes` nodes with room for `slots` replicas each, by cpu; nothing else is short."""
    allocatable = {"cpu": str(slots), "memory": f"{4 * slots}Gi", "pods": "250"}
    return Member(
        id=name,
        simulated=Simulated(nodes=(NodeGroup(name="node", count=nodes, allocatable=allocatable),), delays=AT_ONCE),
    )


@dataclass(frozen=True, slots=True)
class World:
    stage: Stage
    members: Members


@asynccontextmanager
async def world(folder: Path, fleet: Fleet, settings: Mapping[str, str] | None = None) -> AsyncIterator[World]:
    """The simulator, the four services, and the whole fleet known to the scheduler."""
    file, kubeconfig = _write(fleet, folder), folder / "kubeconfig"
    ids = [one.id for one in fleet.members]
    async with stage(folder) as it:
        simulator = await it.start(
            "simulator", ["-m", "simulator", "--fleet", str(file), "--kubeconfig", str(kubeconfig)]
        )
        await _written(kubeconfig, simulator)
        await asyncio.gather(*(it.service(name, settings) for name in SERVICES))
        reached = [cluster_of(one, Kubeconfig(context=one.id, path=str(kubeconfig))) for one in fleet.members]
        await it.apply(*(cluster.to_manifest() for cluster in reached))
        await fleet_is_known(it.bus, len(ids))
        async with connected(kubeconfig, ids) as members:
            yield World(it, members)


def _write(fleet: Fleet, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "fleet.yaml"
    file.write_text(yaml.safe_dump(fleet.model_dump(mode="json", by_alias=True, exclude_none=True)), encoding="utf-8")
    return file


async def _written(kubeconfig: Path, simulator: Process) -> None:
    """The simulator writes its kubeconfig once all members answer."""
    there = anyio.Path(kubeconfig)
    for _ in range(int(START / 0.05)):
        if await there.exists():
            return
        if simulator.child.returncode is not None:
            break
        await asyncio.sleep(0.05)
    raise DidNotHappen(f"the simulator did not start:\n{simulator.end_of_log()}")


# -- a burst that exactly fills the fleet ------------------------------------------------------------------------


async def tiling(folder: Path, quick: bool) -> list[Figure]:
    """Every slot of the fleet is asked for at once, by many workloads of one shape."""
    count, nodes, slots = (3, 4, 8) if quick else (10, 20, 8)
    total = count * nodes * slots
    fleet = Fleet(members=tuple(member(f"member-{number:02d}", nodes, slots) for number in range(count)))
    async with world(folder, fleet) as it:
        made = tiles(total, random.Random(1))
        begun = time.time()
        await offer(it.stage.bus, made, None)
        pods = it.members.pods
        with suppress(DidNotHappen):  # what is missing is the figure
            await pods.until(lambda: bound(pods.of(NAMESPACE)) >= total, "every slot is taken", within=2 * WITHIN)
        seconds = time.time() - begun
        over = excess(pods.of(NAMESPACE), slots)
        refused = sum(seen.refused for seen in pods.of(NAMESPACE))
        left = total - bound(pods.of(NAMESPACE)) + await _pending(it.stage)
    note = f"{count} members × {nodes} nodes × {slots} slots = {total} replicas, all bound after {seconds:.1f} s"
    return [
        Figure("tiling", "replicas beyond a node's room", "", (float(over),), 0.0, note=note),
        Figure("tiling", "replicas that a member could not schedule", "", (float(refused),), 0.0, note=note),
        Figure("tiling", "replicas left pending", "", (float(left),), 0.0, note=note),
    ]


def tiles(total: int, chance: random.Random) -> list[Batch]:
    """Workloads of 1 to 50 replicas that ask for exactly `total`, ten per policy."""
    counts: list[int] = []
    while (left := total - sum(counts)) > 0:
        counts.append(min(left, chance.randint(1, 50)))
    made = []
    for first in range(0, len(counts), PER_POLICY):
        group = f"tiles-{first // PER_POLICY:03d}"
        workloads = tuple(
            deployment(f"tile-{first + number:04d}", NAMESPACE, group, replicas, SLOT)
            for number, replicas in enumerate(counts[first : first + PER_POLICY])
        )
        made.append(Batch(dividing(group), workloads))
    return made


def dividing(group: str, tiers: tuple[str, ...] = ()) -> JsonObject:
    """A policy that divides by available room: over all members, or over one member per tier."""
    where: JsonObject = {
        "replicaScheduling": {
            "replicaSchedulingType": "Divided",
            "replicaDivisionPreference": "Weighted",
            "weightPreference": {"dynamicWeight": "AvailableReplicas"},
        }
    }
    if tiers:
        where["clusterAffinities"] = [{"affinityName": name, "clusterNames": [name]} for name in tiers]
    labels: JsonObject = {"matchLabels": {"group": group}}
    return {
        "apiVersion": "policy.one.alibabacloud.com/v1alpha1",
        "kind": "PropagationPolicy",
        "metadata": {"name": group, "namespace": NAMESPACE},
        "spec": {
            "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment", "labelSelector": labels}],
            "placement": where,
        },
    }


def bound(pods: Iterable[Seen]) -> int:
    return sum(seen.bound_at is not None for seen in pods)


def excess(pods: Iterable[Seen], slots: int) -> int:
    """Replicas on nodes beyond their slots."""
    used: dict[tuple[str, str], int] = {}
    for seen in pods:
        if seen.pod.spec.node_name:
            node = (seen.member, seen.pod.spec.node_name)
            used[node] = used.get(node, 0) + seen.pod.requested("cpu")
    return sum(max(0, taken // SLOT.cpu - slots) for taken in used.values())


async def _pending(it: Stage) -> int:
    """Replicas that the newest placements leave pending."""
    newest: dict[str, Placement] = {}
    for message in await it.bus.history("PLACEMENT", "brim.placement.Deployment~apps.>"):
        if not message.removed:
            newest[message.subject] = Placement.decode(message.data)
    return sum(placement.pending for placement in newest.values())


# -- overflow into the next tier ---------------------------------------------------------------------------------


async def overflow(folder: Path, quick: bool) -> list[Figure]:
    """Two replicas fill the first tier; scaling to four puts two on the second. Again and again."""
    rounds = 5 if quick else 100
    fleet = Fleet(members=(member("first", 2, 1), member("second", 4, 4)))
    ref = ObjectRef(group="apps", version="v1", kind="Deployment", namespace=NAMESPACE, name="web")
    async with world(folder, fleet) as it:
        pods = it.members.pods
        await it.stage.apply(dividing("web", ("first", "second")), deployment("web", NAMESPACE, "web", 2, SLOT))
        await pods.until(lambda: bound(pods.of(NAMESPACE, member="first")) == 2, "two replicas run", within=WITHIN)
        await _told(it.stage, "first", ref, ready=2)
        seconds = []
        for _ in range(rounds):
            begun = time.time()
            await _scale(it.stage, ref, 4)
            await pods.until(
                lambda: bound(pods.of(NAMESPACE, member="second")) == 2, "two more are bound", within=WITHIN
            )
            seconds.append(max(seen.bound_at or 0.0 for seen in pods.of(NAMESPACE, member="second")) - begun)
            await _scale(it.stage, ref, 2)
            await pods.until(lambda: not any(pods.of(NAMESPACE, member="second")), "the two go", within=WITHIN)
            await _told(it.stage, "second", ref, ready=None)  # each round starts from rest
    note = f"{rounds} rounds of 2 → 4 → 2; until both pods are bound, as their API tells it"
    return [
        Figure("overflow", "P50", "ms", (percentile(seconds, 0.5) * 1000,), 150, note=note),
        Figure("overflow", "P99", "ms", (percentile(seconds, 0.99) * 1000,), 500, note=note),
    ]


async def _told(it: Stage, member: str, ref: ObjectRef, *, ready: int | None) -> None:
    """Wait until inventory has told that so many replicas serve in a member; None: that the object is gone there.

    A scheduler that has not heard that replicas serve may rightly take them for pending, and take those first.
    """
    for _ in range(int(WITHIN / 0.02)):
        message = await it.bus.last("STATUS", subjects.status(member, ref))
        status = Status.decode(message.data) if message is not None and not message.removed else None
        if (status.ready if status is not None else None) == ready:
            return
        await asyncio.sleep(0.02)
    raise DidNotHappen(f"inventory told of {status} in {member}, not of {ready} replicas")


async def _scale(it: Stage, ref: ObjectRef, replicas: int) -> None:
    await it.bus.publish(subjects.submit("scale"), Scale(ref=ref, replicas=replicas).encode())


# -- stuck replicas ----------------------------------------------------------------------------------------------


async def stuck(folder: Path, quick: bool) -> list[Figure]:
    """One member's nodes are tainted and its workload is restarted there: the new pod finds no node."""
    rounds = 2 if quick else 10
    fleet = Fleet(members=(member("first", 2, 4), member("second", 2, 4)))
    async with world(folder, fleet, {"BRIM_DESCHEDULER__THRESHOLD": str(THRESHOLD)}) as it:
        seconds = [await _rescue(it, f"web-{number}") for number in range(rounds)]
    note = f"{rounds} rounds, threshold {THRESHOLD:g} s counted from the pod's own condition (whole seconds)"
    return [
        Figure("stuck", "replacement bound elsewhere", "ms", tuple(value * 1000 for value in seconds), 1000, note=note)
    ]


async def _rescue(it: World, name: str) -> float:
    """Seconds from the moment the threshold has passed until the replacement is bound in the other member."""
    pods = it.members.pods
    first = it.members.clients["first"]
    ref = ObjectRef(group="apps", version="v1", kind="Deployment", namespace=NAMESPACE, name=name)
    await it.stage.apply(dividing(name, ("first", "second")), deployment(name, NAMESPACE, name, 1, SLOT))
    await pods.until(lambda: bound(pods.of(NAMESPACE, member="first")) == 1, f"{name} runs", within=WITHIN)
    await _taint(it, [{"key": "bench", "value": "closed", "effect": "NoSchedule"}])
    restart: JsonObject = {"kubectl.kubernetes.io/restartedAt": str(time.time())}
    await first.merge_patch(
        ref, {"spec": {"template": {"metadata": {"annotations": restart}}}}, manager="kubectl-rollout"
    )

    def refused() -> list[float]:
        return [seen.pod.unschedulable_since or 0.0 for seen in pods.of(NAMESPACE, member="first") if seen.refused]

    await pods.until(lambda: bool(refused()), "the restarted pod finds no node", within=WITHIN)
    since = max(refused())
    await pods.until(lambda: bound(pods.of(NAMESPACE, member="second")) == 1, "it is replaced", within=WITHIN)
    at = next(seen.bound_at or 0.0 for seen in pods.of(NAMESPACE, member="second"))
    await _taint(it, None)
    await it.stage.bus.request(subjects.DELETE, Delete(refs=(ref,)).encode())
    await pods.until(lambda: not any(pods.of(NAMESPACE)), f"{name} is gone", within=WITHIN)
    return at - since - THRESHOLD


async def _taint(it: World, taints: list[JsonValue] | None) -> None:
    for number in range(2):
        node = ObjectRef(version="v1", kind="Node", name=f"node-{number}")
        await it.members.clients["first"].merge_patch(node, {"spec": {"taints": taints}}, manager="kubectl-taint")
