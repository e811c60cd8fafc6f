"""What the fleet says of itself: the newest messages of its streams, and inventory's answers about members."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio

from cli.fleet_tables import Workload
from cli.kinds import Kind
from cli.tables import MemberObject
from shared import workloads as kinds
from shared.bus import Bus, View
from shared.contracts import subjects
from shared.contracts.base import Contract
from shared.contracts.cluster import ClusterManifest
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.read import Read, ReadAnswer
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Status
from shared.errors import BrimError, BusUnavailable, NotFound

REPLAY = 10.0  # seconds until a stream that does not replay is given up
READ = 10.0  # seconds for one answer of inventory

C = TypeVar("C", bound=Contract)


@asynccontextmanager
async def replayed(bus: Bus, stream: str, filters: Sequence[str] = ()) -> AsyncIterator[View]:
    """A view that has seen all there is, kept alive while the block runs. Raises BusUnavailable."""
    try:
        await bus.stream_info(stream)
    except NotFound:
        # Retryable: a server that has just started again knows its streams a moment later.
        raise BusUnavailable(
            f"this NATS server has no stream {stream}: no brim has run on it yet; `brim up --server URL` or "
            "`brim run` starts one"
        ) from None
    view = bus.view(stream, filters)
    running, seen_all = asyncio.create_task(view.run()), asyncio.create_task(view.ready())
    try:
        await asyncio.wait({running, seen_all}, timeout=REPLAY, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()  # it ends by an error alone
        if not seen_all.done():
            raise BusUnavailable(f"stream {stream} was not read within {REPLAY:g} s: does the NATS server run?")
        yield view
    finally:
        running.cancel()
        seen_all.cancel()
        await asyncio.gather(running, seen_all, return_exceptions=True)


async def newest(bus: Bus, contract: type[C], stream: str, filters: Sequence[str] = ()) -> list[C]:
    """The newest message of every subject, in the order of the subjects."""
    async with replayed(bus, stream, filters) as view:
        return decoded(view, contract)


def decoded(view: View, contract: type[C]) -> list[C]:
    return [contract.decode(message.data) for _, message in sorted(view.items().items())]


async def desired_objects(bus: Bus, filters: Sequence[str] = ()) -> list[Desired]:
    """Everything that people want now; what was deleted is left out."""
    return [entry for entry in await newest(bus, Desired, "DESIRED", filters) if entry.deleted is None]


async def clusters(bus: Bus) -> list[ClusterManifest]:
    """The members, in the order of their ids."""
    filters = [subjects.desired_kind("Cluster", "brim.dev")]
    return [ClusterManifest.read(entry.manifest) for entry in await desired_objects(bus, filters)]


async def member_ids(bus: Bus, only: str | None) -> list[ClusterManifest]:
    """One member or all. Raises NotFound for a member that the fleet does not know."""
    known = await clusters(bus)
    if only is None:
        return known
    chosen = [entry for entry in known if only in (entry.id, entry.spec.alias)]
    if not chosen:
        names = ", ".join(entry.id for entry in known) or "none"
        raise NotFound(f"the fleet has no member {only!r}: its members are {names}")
    return chosen


async def workloads(bus: Bus, filters: Sequence[str] = ()) -> list[Workload]:
    """Desired objects with what was decided and seen of each."""
    found = {entry.ref.key: entry for entry in await desired_objects(bus, filters)}
    placements = {entry.ref.key: entry for entry in await newest(bus, Placement, "PLACEMENT")}
    statuses = _by_key(await newest(bus, Status, "STATUS"))
    outcomes = _by_key(await newest(bus, Outcome, "OUTCOME"))
    return [
        Workload(entry, placements.get(key), tuple(statuses.get(key, ())), tuple(outcomes.get(key, ())))
        for key, entry in found.items()
    ]


S = TypeVar("S", Status, Outcome)


def _by_key(entries: list[S]) -> dict[tuple[str, str, str, str], list[S]]:
    found: dict[tuple[str, str, str, str], list[S]] = {}
    for entry in entries:
        found.setdefault(entry.ref.key, []).append(entry)
    return found


async def workload(bus: Bus, ref: ObjectRef) -> Workload:
    """One object. Raises NotFound."""
    message = await bus.last("DESIRED", subjects.desired(ref))
    desired = Desired.decode(message.data) if message is not None and not message.removed else None
    if desired is None or desired.deleted is not None:
        raise NotFound(f"the fleet has no {ref}: `brim get {ref.kind.lower()} -A` lists what there is")
    decided = await bus.last("PLACEMENT", subjects.placement(ref))
    placement = Placement.decode(decided.data) if decided is not None and not decided.removed else None
    statuses = await newest(bus, Status, "STATUS", [subjects.status_everywhere(ref)])
    outcomes = await newest(bus, Outcome, "OUTCOME", [subjects.outcome_everywhere(ref)])
    return Workload(desired, placement, tuple(statuses), tuple(outcomes))


def has_replicas(ref: ObjectRef) -> bool:
    return kinds.has_replicas(ref.kind, ref.group)


# -- members -----------------------------------------------------------------------------------------------------


async def member_objects(
    bus: Bus, members: Sequence[ClusterManifest], kind: Kind, *, namespace: str, name: str = "", selector: str = ""
) -> tuple[list[MemberObject], list[tuple[str, BrimError]]]:
    """Objects of several members, asked for side by side; what failed comes beside what was found."""
    answers: dict[str, list[MemberObject]] = {}
    failures: dict[str, BrimError] = {}

    async def ask(cluster: ClusterManifest) -> None:
        try:
            items = await _ask(bus, cluster, kind, namespace, name, selector)
        except BrimError as error:
            failures[cluster.id] = error
        else:
            answers[cluster.id] = items

    async with anyio.create_task_group() as group:
        for cluster in members:
            group.start_soon(ask, cluster)
    return (
        [entry for cluster in members for entry in answers.get(cluster.id, ())],
        [(cluster.id, failures[cluster.id]) for cluster in members if cluster.id in failures],
    )


async def _ask(
    bus: Bus, cluster: ClusterManifest, kind: Kind, namespace: str, name: str, selector: str
) -> list[MemberObject]:
    events = kind.resource == "events" and not name  # cached events would be without what they say
    read = Read(
        verb="object" if name else "events" if events else "list",
        group=kind.group,
        version=kind.version or "v1",
        resource=kind.plural,
        namespace=namespace if kind.namespaced else "",
        name=name,
        selector=selector,
        limit=500,
    )
    found: list[MemberObject] = []
    while True:
        answer = await ask_member(bus, cluster.id, read)
        found += [MemberObject(cluster.id, cluster.spec.alias, item) for item in answer.items]
        if not answer.after:
            return found
        read = read.model_copy(update={"after": answer.after})


async def ask_member(bus: Bus, member: str, read: Read) -> ReadAnswer:
    """One question to inventory. Raises what inventory raised, or BusUnavailable where it does not run."""
    return ReadAnswer.decode(await bus.request(subjects.read(member), read.encode(), timeout=READ))
