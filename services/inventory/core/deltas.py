"""Numbering and cutting: changes become numbered deltas, the whole becomes chunks of one snapshot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, TypeAlias

from services.inventory.core.capacity import Changes, Row, columns
from shared.contracts.capacity import Delta, DisruptionBudget, Heartbeat, NodeClass, Pool, Snapshot, Surroundings

NO_BUDGETS: Final[Mapping[str, DisruptionBudget]] = MappingProxyType({})
CHUNK = 512 * 1024  # bytes of one message: half of NATS' default limit


@dataclass(slots=True)
class Ledger:
    """One member's numbers in one epoch. Deltas count from 1; a snapshot contains the deltas up to its number."""

    member: str
    epoch: int
    chunk: int = CHUNK
    number: int = 0
    since_snapshot: int = 0
    snapshot_at: float = field(default=float("-inf"))

    def delta(
        self,
        changes: Changes,
        pools: tuple[Pool, ...] | None,
        now: float,
        surroundings: Surroundings | None = None,
        budgets: Mapping[str, DisruptionBudget | None] = NO_BUDGETS,
    ) -> bytes | None:
        """The next delta; None where it would be too large, so that a snapshot must go instead."""
        delta = Delta(
            member=self.member,
            epoch=self.epoch,
            number=self.number + 1,
            observed_at=now,
            classes=dict(changes.classes),
            nodes=changes.columns,
            removed=list(changes.removed),
            pools=pools,
            bound=dict(changes.bound),
            bound_virtual=dict(changes.bound_virtual),
            surroundings=surroundings,
            budgets=dict(budgets),
        )
        data = delta.encode()
        if len(data) > self.chunk:
            return None
        self.number += 1
        self.since_snapshot += 1
        return data

    def snapshot(
        self,
        whole: Changes,
        pools: tuple[Pool, ...],
        now: float,
        surroundings: Surroundings | None = None,
        budgets: Mapping[str, DisruptionBudget] = NO_BUDGETS,
    ) -> list[bytes]:
        """All chunks, each about `chunk` bytes at most: classes, pools, bound and budgets come before the nodes."""
        first = len(surroundings.model_dump_json(by_alias=True)) if surroundings is not None else 0
        parts = list(_cut(_sized(whole, pools, budgets), self.chunk, first))
        self.since_snapshot = 0
        self.snapshot_at = now
        return [
            Snapshot(
                member=self.member,
                epoch=self.epoch,
                number=self.number,
                chunk=place,
                chunks=len(parts),
                observed_at=now,
                classes=part.classes,
                nodes=columns(part.rows, whole.resources),
                pools=tuple(part.pools),
                bound=part.bound,
                bound_virtual=part.bound_virtual,
                surroundings=surroundings if place == 0 else None,
                budgets=part.budgets,
            ).encode()
            for place, part in enumerate(parts)
        ]

    def heartbeat(self, now: float, reachable_at: float, lost: bool, silent: bool = False) -> bytes:
        return Heartbeat(
            member=self.member,
            epoch=self.epoch,
            number=self.number,
            observed_at=now,
            reachable_at=reachable_at,
            lost=lost,
            silent=silent,
        ).encode()


@dataclass(slots=True)
class _Part:
    """What goes into one chunk, and about how many bytes that makes."""

    size: int = 512
    classes: dict[int, NodeClass] = field(default_factory=dict)
    pools: list[Pool] = field(default_factory=list)
    bound: dict[str, int] = field(default_factory=dict)
    bound_virtual: dict[str, int] = field(default_factory=dict)
    budgets: dict[str, DisruptionBudget] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Class:
    id: int
    node_class: NodeClass


@dataclass(frozen=True, slots=True)
class _Bound:
    uid: str
    count: int
    virtual: bool


@dataclass(frozen=True, slots=True)
class _Budget:
    name: str
    budget: DisruptionBudget


_Item: TypeAlias = Row | Pool | _Class | _Bound | _Budget


def _cut(sized: Iterable[tuple[_Item, int]], chunk: int, first: int) -> Iterator[_Part]:
    """first: bytes that the first part holds already."""
    part = _Part(size=_Part().size + first)
    for item, size in sized:
        if part.size + size > chunk and part.size > _Part().size:
            yield part
            part = _Part()
        part.size += size
        match item:
            case Row():
                part.rows.append(item)
            case Pool():
                part.pools.append(item)
            case _Class():
                part.classes[item.id] = item.node_class
            case _Bound():
                (part.bound_virtual if item.virtual else part.bound)[item.uid] = item.count
            case _Budget():
                part.budgets[item.name] = item.budget
    yield part


def _sized(
    whole: Changes, pools: Iterable[Pool], budgets: Mapping[str, DisruptionBudget]
) -> Iterator[tuple[_Item, int]]:
    """Everything in the order of the chunks, with its bytes in JSON, never fewer than it takes."""
    for class_id, node_class in whole.classes.items():
        yield _Class(class_id, node_class), len(node_class.model_dump_json(by_alias=True)) + 24
    for pool in pools:
        yield pool, len(pool.model_dump_json(by_alias=True)) + 1
    for bound, virtual in ((whole.bound, False), (whole.bound_virtual, True)):
        for uid, count in bound.items():
            yield _Bound(uid, count, virtual), len(uid.encode()) + 24
    for name, budget in budgets.items():
        yield _Budget(name, budget), len(name.encode()) + len(budget.model_dump_json(by_alias=True).encode()) + 8
    for row in whole.rows:
        amounts = sum(
            len(str(row.allocatable.get(name, 0))) + len(str(row.free.get(name, 0))) + 2 for name in whole.resources
        )
        yield row, len(row.name) + amounts + 40
