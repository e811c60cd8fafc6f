"""What `get` lists of the fleet itself: the streams' newest messages, chosen and made into tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from cli import fleet_tables, reading
from cli.costs import cost_table
from cli.fleet_tables import MemberLine
from cli.json_values import dig, labels_of, name_of, number, text
from cli.kinds import POLICY_GROUPS, POLICY_KINDS, find_kind, require_kind
from cli.naming import fits
from cli.session import Session
from cli.tables import NONE, MemberObject, Table
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.capacity import Capacity, decode_capacity
from shared.contracts.cluster import ClusterManifest
from shared.contracts.cost import Cost
from shared.contracts.placement import Placement
from simulator.selectors import LabelSelector

EVERYTHING = LabelSelector()


@dataclass(frozen=True, slots=True)
class Query:
    """namespace: empty for all. labels: what objects must carry; `selector` is the same as text."""

    names: tuple[str, ...] = ()
    namespace: str = ""
    labels: LabelSelector = EVERYTHING
    selector: str = ""
    wide: bool = False

    def takes(self, namespace: str, name: str, labels: Mapping[str, str]) -> bool:
        if self.names and name not in self.names:
            return False
        return (not self.namespace or namespace in ("", self.namespace)) and self.labels.matches(dict(labels))


@dataclass(frozen=True, slots=True)
class Listing:
    """One answer in all its forms. names: one per object. keys: what tells its objects apart.

    problems: sentences about what could not be listed; failed: because of them the command does not succeed.
    single: one was named. namespaced: objects of this type live in namespaces.
    """

    table: Table
    objects: tuple[JsonObject, ...]
    names: tuple[str, ...]
    problems: tuple[str, ...] = ()
    failed: bool = False
    single: bool = False
    namespaced: bool = True

    @property
    def keys(self) -> list[tuple[str, str]]:
        return [
            (text(found, "metadata", "namespace") or text(found, "ref", "namespace"), name)
            for found, name in zip(self.objects, self.names, strict=True)
        ]


def of_fleet(query: Query, what: str, table: Table, objects: Sequence[JsonObject], names: Sequence[str]) -> Listing:
    """A listing of the fleet's own objects. what: `deployments.apps`, as a missing one is told of."""
    found = {name.rpartition("/")[2] for name in names}
    problems = tuple(f'{what} "{name}" not found in the fleet' for name in query.names if name not in found)
    return Listing(table, tuple(objects), tuple(names), problems, bool(problems), len(query.names) == 1)


async def objects(session: Session, word: str, query: Query) -> Listing:
    """Objects of one kind that the fleet was given. Raises NotFound for a word that names no kind."""
    every = [entry for entry in await reading.workloads(session.bus) if fits(word, entry.desired.ref)]
    kind = find_kind(word)
    if not every and kind is None:
        require_kind(word)
    chosen = [
        entry
        for entry in every
        if query.takes(entry.desired.ref.namespace, entry.desired.ref.name, labels_of(entry.desired.manifest))
    ]
    table = fleet_tables.workload_table if any(entry.divided for entry in every) else fleet_tables.whole_table
    return of_fleet(
        query,
        kind.resource if kind is not None else word,
        table(chosen, session.now, wide=query.wide, namespaces=not query.namespace),
        [{**fleet_tables.object_of(entry.desired), "status": fleet_tables.status_of(entry)} for entry in chosen],
        [f"{entry.desired.ref.kind.lower()}/{entry.desired.ref.name}" for entry in chosen],
    )


async def policies(session: Session, query: Query, kinds: Collection[str] = POLICY_KINDS) -> Listing:
    """Policies of all API groups in one list."""
    filters = [subjects.desired_kind(kind, group) for kind in sorted(kinds) for group in POLICY_GROUPS]
    found = [
        entry
        for entry in await reading.desired_objects(session.bus, filters)
        if query.takes(entry.ref.namespace, entry.ref.name, labels_of(entry.manifest))
    ]
    return of_fleet(
        query,
        "policy" if len(kinds) > 1 else next(iter(kinds)).lower(),
        fleet_tables.policy_table(found, session.now, namespaces=not query.namespace),
        [fleet_tables.object_of(entry) for entry in found],
        [f"{entry.ref.kind.lower()}/{entry.ref.name}" for entry in found],
    )


async def placements(session: Session, query: Query) -> Listing:
    found = [
        entry
        for entry in await reading.newest(session.bus, Placement, "PLACEMENT")
        if query.takes(entry.ref.namespace, entry.ref.name, {})
    ]
    return of_fleet(
        query,
        "placement",
        fleet_tables.placement_table(found, session.now, wide=query.wide, namespaces=not query.namespace),
        [entry.model_dump(mode="json", by_alias=True, exclude_none=True) for entry in found],
        [f"placement/{entry.ref.kind.lower()}/{entry.ref.name}" for entry in found],
    )


async def costs(session: Session, query: Query) -> Listing:
    """What workloads cost: per member and unit, now and so far."""
    found = [
        entry
        for entry in await reading.newest(session.bus, Cost, "COST")
        if query.takes(entry.ref.namespace, entry.ref.name, {})
    ]
    found.sort(key=lambda entry: (entry.ref.namespace, entry.ref.name, entry.ref.kind, entry.member))
    return of_fleet(
        query,
        "cost",
        cost_table(found, session.now, namespaces=not query.namespace),
        [entry.model_dump(mode="json", by_alias=True, exclude_none=True) for entry in found],
        [f"cost/{entry.member}/{entry.ref.name}" for entry in found],
    )


async def clusters(session: Session, query: Query) -> Listing:
    """The members: what the fleet was told of them, and what was last heard."""
    filters = [subjects.desired_kind("Cluster", "brim.dev")]
    found = [
        entry
        for entry in await reading.desired_objects(session.bus, filters)
        if query.takes("", entry.ref.name, labels_of(entry.manifest))
    ]
    replicas = await _replicas_per_member(session)
    lines = [
        MemberLine(
            ClusterManifest.read(entry.manifest),
            await _last_heard(session, entry.ref.name),
            entry.created_at,
            replicas.get(entry.ref.name, 0),
        )
        for entry in found
    ]
    listing = of_fleet(
        query,
        "clusters.brim.dev",
        fleet_tables.cluster_table(lines, session.now, wide=query.wide),
        [
            {**fleet_tables.object_of(entry), "status": fleet_tables.member_status(line, session.now)}
            for entry, line in zip(found, lines, strict=True)
        ],
        [f"cluster/{entry.ref.name}" for entry in found],
    )
    return replace(listing, namespaced=False)


async def _replicas_per_member(session: Session) -> dict[str, int]:
    found: dict[str, int] = {}
    for placement in await reading.newest(session.bus, Placement, "PLACEMENT"):
        for member, replicas in fleet_tables.members_of(placement).items():
            found[member] = found.get(member, 0) + replicas
    return found


async def _last_heard(session: Session, member: str) -> Capacity | None:
    message = await session.bus.last("CAPACITY", subjects.capacity(member))
    return decode_capacity(message.data) if message is not None and not message.removed else None


def pool_table(found: Sequence[MemberObject]) -> Table:
    """Node pools: how many nodes there are, and how many more could be had."""
    rows = []
    for entry in found:
        stock = dig(entry.manifest, "spec", "stock")
        rows.append(
            (
                name_of(entry.manifest),
                entry.member,
                entry.alias or NONE,
                text(entry.manifest, "spec", "instanceType") or NONE,
                str(number(entry.manifest, "spec", "nodes")),
                str(number(entry.manifest, "spec", "min")),
                str(number(entry.manifest, "spec", "max")),
                "some" if stock is None else str(stock),
                str(number(entry.manifest, "spec", "headroom")),
                text(entry.manifest, "spec", "price") or "-",
            )
        )
    heading = ("NAME", "CLUSTER", "CLUSTER_ALIAS", "INSTANCE-TYPE", "NODES", "MIN", "MAX", "STOCK", "HEADROOM", "PRICE")
    return Table(heading, tuple(rows))
