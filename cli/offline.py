"""Planning without a running brim: a fleet file, manifests, and what ran before, through the scheduler's pure core."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from services.scheduler.core.constraints import Taint
from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.fits import takes
from services.scheduler.core.matching import Policies
from services.scheduler.core.nodes import Class
from services.scheduler.core.values import Policy, Shape, Workload
from services.scheduler.intake import changes
from services.scheduler.intake.advice import Advisor
from services.scheduler.intake.changes import Stamp, Write
from services.scheduler.intake.checking import Checked
from services.scheduler.intake.known import Known
from services.scheduler.normalise import wanted_of
from shared import described, quantities
from shared import fleet as fleet_file
from shared.contracts.base import faults_of
from shared.contracts.capacity import NodeClass, NodeColumns, Pool, Snapshot
from shared.contracts.capacity import Taint as NodeTaint
from shared.contracts.cluster import cluster_of
from shared.contracts.desired import Desired
from shared.contracts.outcome import FieldFault
from shared.contracts.placement import Placement, Share
from shared.contracts.refs import Order
from shared.contracts.submit import Planned
from shared.described import DescribedNode
from shared.documents import Document
from shared.errors import Fault, Invalid, Misconfigured
from shared.fleet import Kubeconfig, Member, NodePool

OFFLINE = Order(epoch=1, counter=1)


class PreviousPlacement(BaseModel):
    """One entry of what `plan -o json` prints; only where replicas run is read back."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: str
    namespace: str = ""
    name: str
    members: dict[str, NonNegativeInt]


class Previous(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    placements: tuple[PreviousPlacement, ...] = ()


@dataclass(slots=True)
class _Node:
    name: str
    facts: Class
    allocatable: dict[str, int]
    free: dict[str, int]
    virtual: bool = False

    def take(self, shape: Shape) -> bool:
        """Put one replica here, if it fits."""
        if not takes(shape, self.facts, self.name):
            return False
        if any(self.free.get(resource, 0) < amount for resource, amount in shape.requests):
            return False
        for resource, amount in shape.requests:
            self.free[resource] -= amount
        return True


@dataclass(slots=True)
class _Room:
    """One member of the fleet file, with what runs there. added: nodes of each pool, by the pool's id."""

    member: Member
    nodes: list[_Node]
    added: dict[str, int] = field(default_factory=dict)
    bound: dict[str, int] = field(default_factory=dict)
    bound_virtual: dict[str, int] = field(default_factory=dict)


def plan(fleet: Path, wanted: Sequence[Document], previous: Previous) -> Planned:
    """What would be decided for a fleet file. previous: an earlier plan, whose replicas run already.

    Raises Misconfigured, Invalid for files that cannot be read; faults of the manifests are in the answer.
    """
    members = fleet_file.load(fleet).members
    clusters = [
        Document(f"{fleet}, member {member.id}", cluster_of(member, Kubeconfig(context=member.id)).to_manifest())
        for member in members
    ]
    sound, faults = changes.check_all([*clusters, *wanted])
    verdict = changes.apply(sound, Known(), Stamp(now=time.time(), epoch=1, new_uid=lambda: str(uuid4())))
    if faults or verdict.faults:
        return Planned(faults=tuple(FieldFault.of(fault) for fault in (*faults, *verdict.faults)))
    warnings = tuple(_warnings(sound, verdict.writes))
    decided = _decide(members, [write.desired for write in verdict.writes], previous)
    return Planned(placements=tuple(decided), warnings=warnings)


def _warnings(sound: Sequence[Checked], writes: Sequence[Write]) -> Iterator[str]:
    """What a person should know of what was accepted. That no policy selects an object is a reason in its plan."""
    known, policies = Known(), Policies()
    for write in writes:
        known.put(write.desired, 1)
        value = wanted_of(write.desired)
        if isinstance(value, Policy):
            policies.put(value)
        for text in write.warnings:
            yield f"{write.desired.ref}: {text}"
    about_policies = [checked for checked in sound if checked.policy is not None]
    advice = Advisor(known, policies).advise(about_policies)
    for checked in about_policies:
        for text in advice[checked.ref.key]:
            yield f"{checked.ref}: {text}"


def read_previous(path: Path | None) -> Previous:
    """What ran before. Raises Misconfigured (no such file), Invalid (not what `plan -o json` prints)."""
    if path is None:
        return Previous()
    try:
        return Previous.model_validate_json(path.read_bytes())
    except OSError as error:
        raise Misconfigured(f"{path}: {error.strerror}; give what `brim plan -o json` printed") from None
    except ValidationError as error:
        faults = faults_of(error, str(path))
        if any(not fault.field for fault in faults):  # no JSON, or no object
            raise Misconfigured(f"{path}: {faults[0].message}; give what `brim plan -o json` printed") from None
        raise Invalid(faults) from None


def _decide(members: Sequence[Member], desired: Sequence[Desired], previous: Previous) -> list[Placement]:
    now = time.time()
    state = SchedulerState()
    rooms = {member.id: _room(member) for member in members}
    wanted = [wanted_of(entry) for entry in desired]
    workloads = [entry for entry in wanted if isinstance(entry, Workload)]
    running = _run(rooms, workloads, previous)
    for entry in wanted:
        state.on_desired(entry)
    for room in rooms.values():
        state.on_capacity(_snapshot(room, now))
    for placement in running:
        state.on_placement(placement)
    decided = {decision.workload.ref.key: decision.placement(OFFLINE) for decision in state.plan(workloads, now)}
    standing = {placement.ref.key: placement for placement in running}
    both = [decided.get(entry.ref.key) or standing.get(entry.ref.key) for entry in workloads]
    return [placement for placement in both if placement is not None]


# -- what the fleet file says of room ----------------------------------------------------------------------------


def _room(member: Member) -> _Room:
    if member.simulated is None:
        raise Invalid([Fault(f"member {member.id}", "simulated", "an offline plan needs its nodes described here")])
    room = _Room(member, [_node(node) for node in described.standing_nodes(member)])
    for pool in member.simulated.pools:
        room.nodes += [_node(described.pool_node(member, pool, f"{pool.id}-{number}")) for number in range(pool.min)]
        room.added[pool.id] = pool.min
    return room


def _node(node: DescribedNode) -> _Node:
    amounts = _amounts(node.allocatable)
    facts = Class(dict(node.labels), tuple(Taint(taint.key, taint.value, taint.effect) for taint in node.taints), False)
    return _Node(node.name, facts, amounts, dict(amounts), node.virtual)


def _amounts(texts: Mapping[str, str]) -> dict[str, int]:
    return {resource: quantities.amount(resource, text) for resource, text in texts.items()}


def _run(rooms: dict[str, _Room], workloads: Sequence[Workload], previous: Previous) -> list[Placement]:
    """Put the replicas of an earlier plan on nodes, adding the pools' nodes that they made necessary."""
    known = {(entry.ref.kind, entry.ref.namespace, entry.ref.name): entry for entry in workloads}
    placements = []
    for before in previous.placements:
        workload = known.get((before.kind, before.namespace, before.name))
        if workload is None:
            continue  # it is not wanted any more; its room is free again
        shares = []
        for member, replicas in before.members.items():
            if member not in rooms:
                raise Invalid(
                    [Fault(f"{before.kind} {before.name}", f"members.{member}", "the fleet has no such member")]
                )
            started = [_start(rooms[member], one.shape) for one in workload.components for _ in range(replicas)]
            if workload.components:
                rooms[member].bound[workload.uid] = replicas
                rooms[member].bound_virtual[workload.uid] = min(replicas, sum(started))
            shares.append(Share(member=member, replicas=replicas, free=replicas, revision=workload.revision))
        placements.append(_standing(workload, tuple(shares)))
    return placements


def _start(room: _Room, shape: Shape) -> bool:
    """One replica, where it fits; on a new node of a pool where it must. Whether it is on a virtual node."""
    if any(node.take(shape) for node in room.nodes if not node.virtual):
        return False
    assert room.member.simulated is not None
    for pool in room.member.simulated.pools:
        count = room.added.get(pool.id, 0)
        node = _node(described.pool_node(room.member, pool, f"{pool.id}-{count}"))
        if count < _most(pool) and node.take(shape):
            room.added[pool.id] = count + 1
            room.nodes.append(node)
            return False
    return any(node.take(shape) for node in room.nodes if node.virtual)


def _most(pool: NodePool) -> int:
    return pool.max if pool.stock is None else min(pool.max, pool.stock)


def _standing(workload: Workload, shares: tuple[Share, ...]) -> Placement:
    placed = sum(share.replicas for share in shares)
    return Placement(
        ref=workload.ref,
        uid=workload.uid,
        generation=workload.generation,
        order=Order(),
        whole=not workload.divisible,
        revision=workload.revision,
        wanted=placed,
        shares=shares,
        cause="created",
        decided_at=workload.created_at,
    )


def _snapshot(room: _Room, now: float) -> Snapshot:
    assert room.member.simulated is not None
    resources = sorted({resource for node in room.nodes for resource in node.allocatable})
    return Snapshot(
        member=room.member.id,
        epoch=1,
        number=1,
        observed_at=now,
        classes={number: _class(node) for number, node in enumerate(room.nodes)},
        nodes=NodeColumns(
            names=[node.name for node in room.nodes],
            classes=list(range(len(room.nodes))),
            phases=["virtual" if node.virtual else "ready" for node in room.nodes],
            allocatable={name: [node.allocatable.get(name, 0) for node in room.nodes] for name in resources},
            free={name: [node.free.get(name, 0) for node in room.nodes] for name in resources},
        ),
        pools=tuple(_pool(room.member, pool, room.added.get(pool.id, 0)) for pool in room.member.simulated.pools),
        bound=room.bound,
        bound_virtual=room.bound_virtual,
    )


def _class(node: _Node) -> NodeClass:
    taints = tuple(NodeTaint(key=taint.key, value=taint.value, effect=taint.effect) for taint in node.facts.taints)
    return NodeClass(labels=node.facts.labels, taints=taints)


def _pool(member: Member, pool: NodePool, added: int) -> Pool:
    return Pool(
        id=pool.id,
        instance_type=pool.instance_type,
        allocatable=_amounts({**described.PODS, **pool.allocatable}),
        labels=described.pool_labels(member, pool),
        taints=tuple(NodeTaint(key=taint.key, value=taint.value, effect=taint.effect) for taint in pool.taints),
        min=pool.min,
        max=pool.max,
        nodes=added,
        stock=None if pool.stock is None else max(0, pool.stock - added),
        price=pool.price,
    )
