"""What `get` lists of the fleet itself: the streams' newest messages, chosen and made into tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cli import fleet_tables, reading
from cli.fleet_tables import MemberLine
from cli.json_values import dig, number, table_of, text
from cli.kinds import POLICY_GROUPS, find_kind, require_kind
from cli.naming import fits
from cli.session import Session
from cli.tables import NONE, MemberObject, Table, matches
from shared.contracts import subjects
from shared.contracts.base import JsonObject
from shared.contracts.capacity import Capacity, decode_capacity
from shared.contracts.cluster import ClusterManifest
from shared.contracts.placement import Placement

POLICY_KINDS = frozenset({"PropagationPolicy", "ClusterPropagationPolicy"})


@dataclass(frozen=True, slots=True)
class Query:
    """namespace: empty for all. labels: what objects must carry; `selector` is the same as text."""

    names: tuple[str, ...] = ()
    namespace: str = ""
    labels: Mapping[str, str | None] = field(default_factory=dict)
    selector: str = ""
    wide: bool = False

    def takes(self, namespace: str, name: str, labels: Mapping[str, str]) -> bool:
        if self.names and name not in self.names:
            return False
        return (not self.namespace or namespace in ("", self.namespace)) and matches(labels, self.labels)


@dataclass(frozen=True, slots=True)
class Listing:
    """One answer in all its forms. problems: sentences about what could not be listed. single: one was named."""

    table: Table
    objects: tuple[JsonObject, ...]
    names: tuple[str, ...]
    problems: tuple[str, ...] = ()
    single: bool = False


async def objects(session: Session, word: str, query: Query) -> Listing:
    """Objects of one kind that the fleet was given. Raises NotFound for a word that names no kind."""
    every = [entry for entry in await reading.workloads(session.bus) if fits(word, entry.desired.ref)]
    if not every and find_kind(word) is None:
        require_kind(word)
    chosen = [
        entry
        for entry in every
        if query.takes(entry.desired.ref.namespace, entry.desired.ref.name, labels_of(entry.desired.manifest))
    ]
    desired = [entry.desired for entry in chosen]
    return Listing(
        table=fleet_tables.workload_table(chosen, session.now, wide=query.wide, namespaces=not query.namespace),
        objects=tuple(fleet_tables.object_of(entry) for entry in desired),
        names=tuple(f"{entry.ref.kind.lower()}/{entry.ref.name}" for entry in desired),
        problems=_missing(query, word, [entry.ref.name for entry in desired]),
        single=len(query.names) == 1,
    )


async def policies(session: Session, query: Query) -> Listing:
    """Policies of all API groups in one list."""
    filters = [subjects.desired_kind(kind, group) for kind in sorted(POLICY_KINDS) for group in POLICY_GROUPS]
    found = [
        entry
        for entry in await reading.desired_objects(session.bus, filters)
        if query.takes(entry.ref.namespace, entry.ref.name, labels_of(entry.manifest))
    ]
    return Listing(
        table=fleet_tables.policy_table(found, session.now, namespaces=not query.namespace),
        objects=tuple(fleet_tables.object_of(entry) for entry in found),
        names=tuple(f"{entry.ref.kind.lower()}/{entry.ref.name}" for entry in found),
        problems=_missing(query, "policies", [entry.ref.name for entry in found]),
        single=len(query.names) == 1,
    )


async def placements(session: Session, query: Query) -> Listing:
    found = [
        entry
        for entry in await reading.newest(session.bus, Placement, "PLACEMENT")
        if query.takes(entry.ref.namespace, entry.ref.name, {})
    ]
    return Listing(
        table=fleet_tables.placement_table(found, session.now, wide=query.wide, namespaces=not query.namespace),
        objects=tuple(entry.model_dump(mode="json", by_alias=True, exclude_none=True) for entry in found),
        names=tuple(f"placement/{entry.ref.kind.lower()}/{entry.ref.name}" for entry in found),
        problems=_missing(query, "placements", [entry.ref.name for entry in found]),
        single=len(query.names) == 1,
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
    return Listing(
        table=fleet_tables.cluster_table(lines, session.now, wide=query.wide),
        objects=tuple(fleet_tables.object_of(entry) for entry in found),
        names=tuple(f"cluster/{entry.ref.name}" for entry in found),
        problems=_missing(query, "clusters.brim.dev", [entry.ref.name for entry in found]),
        single=len(query.names) == 1,
    )


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


def labels_of(manifest: JsonObject) -> dict[str, str]:
    return table_of(manifest, "metadata", "labels")


def name_of(manifest: JsonObject) -> str:
    return text(manifest, "metadata", "name")


def _missing(query: Query, what: str, found: Sequence[str]) -> tuple[str, ...]:
    return tuple(f'{what} "{name}" not found' for name in query.names if name not in found)
