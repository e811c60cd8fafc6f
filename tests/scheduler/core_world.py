"""A small world for the core's tests: members described by nodes, and builders for policies and workloads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import (
    Affinity,
    Component,
    Decision,
    MemberFacts,
    Policy,
    Rules,
    Selector,
    Shape,
    Tier,
    Workload,
    WorkloadKey,
)
from shared.contracts.capacity import Delta, Heartbeat, NodeClass, NodeColumns, Pool, Snapshot, Taint
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.rebalance import Rebalance, Stuck
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status

ONE_CPU = Shape.of({"cpu": 1000})
Node = tuple[str, dict[str, int], str, int]  # name, free, phase, class


def columns(nodes: Iterable[Node]) -> NodeColumns:
    nodes = list(nodes)
    resources = sorted({resource for _, free, _, _ in nodes for resource in free})
    amounts = {resource: [free.get(resource, 0) for _, free, _, _ in nodes] for resource in resources}
    return NodeColumns(
        names=[node[0] for node in nodes],
        classes=[node[3] for node in nodes],
        phases=[node[2] for node in nodes],  # type: ignore[arg-type]
        allocatable=amounts,
        free=amounts,
    )


def node(name: str, cpu: int, *, phase: str = "ready", klass: int = 0, pods: int = 110, **more: int) -> Node:
    """A node with `cpu` free cores."""
    return name, {"cpu": cpu * 1000, "pods": pods, **more}, phase, klass


def pool(name: str, cpu: int, most: int, *, nodes: int = 0, stock: int | None = None, **more: Any) -> Pool:
    allocatable = {"cpu": cpu * 1000, "pods": 110}
    return Pool(id=name, instance_type="ecs", allocatable=allocatable, max=most, nodes=nodes, stock=stock, **more)


def snapshot(
    member: str,
    nodes: Iterable[Node],
    *,
    number: int = 0,
    epoch: int = 1,
    pools: Iterable[Pool] = (),
    bound: Mapping[str, int] | None = None,
    classes: Mapping[int, NodeClass] | None = None,
) -> Snapshot:
    return Snapshot(
        member=member,
        epoch=epoch,
        number=number,
        observed_at=0,
        classes=dict(classes or {0: NodeClass()}),
        nodes=columns(nodes),
        pools=tuple(pools),
        bound=dict(bound or {}),
    )


def deployment(name: str, replicas: int, *, shape: Shape = ONE_CPU, kind: str = "Deployment", **more: Any) -> Workload:
    group = "batch" if kind == "Job" else "apps"
    ref = ObjectRef(group=group, version="v1", kind=kind, namespace="test", name=name)
    more.setdefault("uid", f"uid-{name}")
    return Workload(ref=ref, replicas=replicas, components=(Component("", shape, replicas),), revision=1, **more)


def policy(*tiers: str | tuple[str, ...], division: str = "dynamic", name: str = "pp", **more: Any) -> Policy:
    """Each tier a member's name, or several."""
    listed = [(tier,) if isinstance(tier, str) else tier for tier in tiers]
    more.setdefault(
        "selectors",
        tuple(
            Selector(kind, group) for kind, group in (("Deployment", "apps"), ("StatefulSet", "apps"), ("Job", "batch"))
        ),
    )
    return Policy(
        key=f"PropagationPolicy test/{name}",
        name=name,
        namespace="test",
        tiers=tuple(Tier(str(index), Affinity(names=names)) for index, names in enumerate(listed)),
        division=division,  # type: ignore[arg-type]
        **more,
    )


class World:
    """A SchedulerState with the messages around it; `now` moves by hand."""

    def __init__(self, rules: Rules | None = None, shapes: int = 64) -> None:
        self.state = SchedulerState(rules, shapes=shapes)
        self.now = 1000.0
        self.counter = 0
        self.numbers: dict[str, int] = {}
        self.decided: list[Placement] = []

    # -- members

    def member(self, name: str, *nodes: Node, pools: Iterable[Pool] = (), classes: Any = None, **facts: Any) -> None:
        self.state.on_desired(MemberFacts(name, **facts))
        self.numbers[name] = 0
        assert not self.is_gap(self.state.on_capacity(snapshot(name, nodes, pools=pools, classes=classes)))

    def wish(self, name: str, **facts: Any) -> None:
        self.state.on_desired(MemberFacts(name, **facts))

    def delta(self, name: str, *nodes: Node, **more: Any) -> None:
        self.numbers[name] += 1
        message = Delta(
            member=name, epoch=1, number=self.numbers[name], observed_at=self.now, nodes=columns(nodes), **more
        )
        assert not self.is_gap(self.state.on_capacity(message))

    def heartbeat(self, name: str, *, lost: bool = False, silent: bool = False, ahead: int = 0) -> None:
        """ahead: so many deltas of the member were missed."""
        message = Heartbeat(
            member=name,
            epoch=1,
            number=self.numbers[name] + ahead,
            observed_at=self.now,
            reachable_at=0,
            lost=lost,
            silent=silent,
        )
        assert self.is_gap(self.state.on_capacity(message)) == bool(ahead)

    @staticmethod
    def is_gap(answer: object) -> bool:
        return type(answer).__name__ == "Gap"

    # -- decisions

    def want(self, *values: Any) -> None:
        for value in values:
            self.state.on_desired(value)

    def run(self) -> list[Placement]:
        """Decides until nothing is due; every placement is stored at once."""
        made = []
        self.state.tick(self.now)
        for _ in range(10_000):
            decision = self.state.next_decision(self.now)
            if decision is None:
                self.decided += made
                return made
            made.append(self.publish(decision))
        raise AssertionError("decisions do not come to an end")

    def publish(self, decision: Decision) -> Placement:
        self.counter += 1
        placement = self.state.assume(decision, Order(epoch=1, counter=self.counter))
        self.state.confirm(placement)
        return placement

    def placement(self, workload: Workload | WorkloadKey) -> Placement:
        found = self.state.explain(workload.key if isinstance(workload, Workload) else workload)
        assert found is not None
        return found

    def placed(self, workload: Workload) -> dict[str, int]:
        return {share.member: share.replicas for share in self.placement(workload).shares if share.present}

    def leaving(self, workload: Workload) -> set[str]:
        return {share.member for share in self.placement(workload).shares if not share.present}

    def codes(self, workload: Workload) -> set[str]:
        return {reason.code for reason in self.placement(workload).reasons}

    def reasons(self, workload: Workload, member: str) -> list[tuple[str, str]]:
        """(code, message) of those about a member."""
        return [(one.code, one.message) for one in self.placement(workload).reasons if member in one.members]

    # -- what members say

    def status(self, workload: Workload, member: str, **fields: Any) -> None:
        fields.setdefault("order", self.placement(workload).order)
        self.state.on_status(Status(member=member, ref=workload.ref, uid=workload.uid, observed_at=self.now, **fields))

    def outcome(self, workload: Workload, member: str, result: str = "deleted") -> None:
        self.state.on_outcome(
            Outcome(
                member=member,
                ref=workload.ref,
                uid=workload.uid,
                order=self.placement(workload).order,
                result=result,  # type: ignore[arg-type]
                at=self.now,
            )
        )

    def rebalance(
        self, workload: Workload, cause: str = "stuck", order: Order | None = None, **stuck: tuple[int, int]
    ) -> None:
        """stuck: member=(count, ready)."""
        self.state.on_rebalance(
            Rebalance(
                ref=workload.ref,
                uid=workload.uid,
                order=order or self.placement(workload).order,
                cause=cause,  # type: ignore[arg-type]
                stuck=tuple(
                    Stuck(member=member, count=count, ready=ready, since=self.now)
                    for member, (count, ready) in stuck.items()
                ),
                asked_at=self.now,
            )
        )


def fleet(*tiers: Any, rooms: dict[str, int], **options: Any) -> World:
    """A policy over these tiers, and members with so many nodes of one core each."""
    world = World()
    world.want(policy(*tiers, **options))
    for name, room in rooms.items():
        world.member(name, *slots(name, room))
    return world


def slots(name: str, count: int) -> list[Node]:
    return [node(f"{name}{i}", 1) for i in range(count)]


def decided(world: World, workload: Workload) -> Workload:
    world.want(workload)
    world.run()
    return workload


__all__ = ["Delta", "NodeClass", "Taint"]
