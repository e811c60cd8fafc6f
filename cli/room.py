"""What room a member has in all, from the messages that inventory sent of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from cli.tables import NONE, Table
from shared import quantities
from shared.contracts.capacity import Capacity, Delta, Heartbeat, NodeColumns, Phase, Pool, Snapshot

PHASES: tuple[Phase, ...] = ("ready", "upcoming", "unready", "virtual")


@dataclass(frozen=True, slots=True)
class NodeRoom:
    phase: Phase
    allocatable: dict[str, int]
    free: dict[str, int]


@dataclass(slots=True)
class MemberRoom:
    """nodes: by name."""

    nodes: dict[str, NodeRoom] = field(default_factory=dict)
    pools: tuple[Pool, ...] = ()


def room_of(messages: Iterable[Capacity]) -> MemberRoom:
    """messages: all that the stream holds of one member, oldest first; the snapshot is among them."""
    room = MemberRoom()
    for message in messages:
        match message:
            case Heartbeat():
                continue
            case Snapshot():
                if message.chunk == 0:
                    room = MemberRoom(pools=message.pools)
            case Delta():
                for name in message.removed:
                    room.nodes.pop(name, None)
                if message.pools is not None:
                    room.pools = message.pools
        _take(room, message.nodes)
    return room


def _take(room: MemberRoom, columns: NodeColumns) -> None:
    for place, name in enumerate(columns.names):
        room.nodes[name] = NodeRoom(
            columns.phases[place],
            {resource: amounts[place] for resource, amounts in columns.allocatable.items()},
            {resource: amounts[place] for resource, amounts in columns.free.items()},
        )


def phases(room: MemberRoom) -> str:
    """`3 ready, 2 upcoming`."""
    counts = {phase: sum(node.phase == phase for node in room.nodes.values()) for phase in PHASES}
    return ", ".join(f"{count} {phase}" for phase, count in counts.items() if count) or "none"


def resources(room: MemberRoom) -> Table:
    """Amounts over the nodes that are ready: what there is, what is taken, and what is free."""
    ready = [node for node in room.nodes.values() if node.phase == "ready"]
    names = sorted({name for node in ready for name, amount in node.allocatable.items() if amount})
    rows = []
    for name in names:
        total = sum(node.allocatable.get(name, 0) for node in ready)
        free = sum(node.free.get(name, 0) for node in ready)
        share = f"{(total - free) * 100 // total}%" if total else NONE
        rows.append((name, *(quantities.show(name, amount) for amount in (total, total - free, free)), share))
    return Table(("RESOURCE", "ALLOCATABLE", "USED", "FREE", "USED%"), tuple(rows))


def pools(room: MemberRoom) -> Table:
    rows = [
        (
            pool.id,
            pool.instance_type or NONE,
            str(pool.nodes),
            str(pool.min),
            str(pool.max),
            "some" if pool.stock is None else str(pool.stock),
            str(pool.headroom),
            "-" if pool.price is None else f"{pool.price:g}",
        )
        for pool in room.pools
    ]
    return Table(("NAME", "INSTANCE-TYPE", "NODES", "MIN", "MAX", "STOCK", "HEADROOM", "PRICE"), tuple(rows))
