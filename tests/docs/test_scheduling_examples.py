"""Every example of docs/scheduling.md, run against the scheduler's core."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import Gap
from services.scheduler.normalise import wanted_of
from shared.contracts.capacity import NodeClass, NodeColumns, Pool, Snapshot
from shared.contracts.cluster import ClusterManifest, ClusterMetadata, ClusterSpec
from shared.contracts.desired import Desired
from shared.contracts.outcome import Outcome
from shared.contracts.placement import Placement
from shared.contracts.rebalance import Rebalance, Stuck
from shared.contracts.refs import ObjectRef, Order
from shared.contracts.status import Status
from shared.fleet import Kubeconfig

PAGE = Path(__file__).parents[2] / "docs" / "scheduling.md"
NAMESPACE = "test"
SHORTHAND = {
    "dynamic": {
        "replicaSchedulingType": "Divided",
        "replicaDivisionPreference": "Weighted",
        "weightPreference": {"dynamicWeight": "AvailableReplicas"},
    }
}


def examples() -> list[Any]:
    blocks = re.findall(r"^```yaml\n(example: .*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(block) for block in blocks]


@dataclass
class Held:
    """A member's nodes, of one slot each, and what its pool can still add."""

    nodes: int
    pool: int
    bound: dict[str, int] = field(default_factory=dict)


class World:
    """Plays the part of people, inventory and executor around the core."""

    def __init__(self, example: Any) -> None:
        self.state = SchedulerState()
        self.now = 1_000_000.0
        self.counter = 0
        self.generation = 0
        self.placements: dict[str, Placement] = {}
        self.wanted: dict[str, int] = {}
        self.members = {name: Held(entry["nodes"], entry.get("pool", 0)) for name, entry in example["members"].items()}
        for name in self.members:
            self.member(name, "open")
            self.capacity(name)
        self.policy(example)

    # -- what is wanted --------------------------------------------------------------------------------------

    def desire(self, ref: ObjectRef, manifest: Any, uid: str) -> None:
        self.generation += 1
        desired = Desired(
            ref=ref,
            uid=uid,
            generation=self.generation,
            revision=1,
            order=Order(epoch=1, counter=self.generation),
            manifest=manifest,
            created_at=self.now,
            changed_at=self.now,
        )
        self.state.on_desired(wanted_of(desired))

    def member(self, name: str, wish: Any) -> None:
        manifest = ClusterManifest(
            metadata=ClusterMetadata(name=name), spec=ClusterSpec(kubeconfig=Kubeconfig(context=name), wish=wish)
        )
        self.desire(manifest.ref, manifest.to_manifest(), f"uid-{name}")

    def policy(self, example: Any) -> None:
        placement = dict(example["placement"])
        scheduling = placement["replicaScheduling"]
        placement["replicaScheduling"] = (
            SHORTHAND.get(scheduling, scheduling) if isinstance(scheduling, str) else scheduling
        )
        manifest = {
            "apiVersion": "policy.one.alibabacloud.com/v1alpha1",
            "kind": "PropagationPolicy",
            "metadata": {"name": "example", "namespace": NAMESPACE},
            "spec": {
                "resourceSelectors": [{"apiVersion": "apps/v1", "kind": "Deployment"}],
                "placement": placement,
                **({"autoScaling": example["autoScaling"]} if "autoScaling" in example else {}),
            },
        }
        self.desire(ObjectRef.of(manifest), manifest, "uid-policy")

    def workload(self, name: str, replicas: int) -> None:
        self.wanted[name] = replicas
        container = {"name": "main", "image": "main", "resources": {"requests": {"cpu": "1"}}}
        manifest = {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {
                "replicas": replicas,
                "selector": {"matchLabels": {"app": name}},
                "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container]}},
            },
        }
        self.desire(self.ref(name), manifest, f"uid-{name}")

    @staticmethod
    def ref(name: str) -> ObjectRef:
        return ObjectRef(group="apps", version="v1", kind="Deployment", namespace=NAMESPACE, name=name)

    # -- what members tell -----------------------------------------------------------------------------------

    def capacity(self, name: str) -> None:
        held = self.members[name]
        self.counter += 1
        taken = sum(held.bound.values())
        free = [0] * min(taken, held.nodes) + [1000] * max(0, held.nodes - taken)
        allocatable = {"cpu": 1000, "pods": 1}
        told = self.state.on_capacity(
            Snapshot(
                member=name,
                epoch=1,
                number=self.counter,
                observed_at=self.now,
                classes={0: NodeClass()},
                nodes=NodeColumns(
                    names=[f"node-{number}" for number in range(held.nodes)],
                    classes=[0] * held.nodes,
                    phases=["ready"] * held.nodes,
                    allocatable={"cpu": [1000] * held.nodes, "pods": [1] * held.nodes},
                    free={"cpu": free, "pods": [amount // 1000 for amount in free]},
                ),
                pools=(Pool(id="pool", instance_type="one", allocatable=allocatable, max=held.pool, nodes=0),)
                if held.pool
                else (),
                bound=dict(held.bound),
            )
        )
        assert not isinstance(told, Gap)

    def settle(self) -> None:
        """Promised nodes arrive, pods are bound, what has to go is gone; all members tell so."""
        for name, held in self.members.items():
            shares = [(key, placement.share(name)) for key, placement in self.placements.items()]
            held.bound = {f"uid-{key}": share.replicas for key, share in shares if share and share.replicas}
            arrived = max(0, sum(held.bound.values()) - held.nodes)
            held.nodes, held.pool = held.nodes + arrived, held.pool - arrived
            assert held.pool >= 0, f"more was placed in {name} than fits"
            self.capacity(name)
            for key, share in shares:
                if share is not None and not share.present:
                    self.gone(key, name)
        self.decide()

    def gone(self, workload: str, member: str) -> None:
        placement = self.placements[workload]
        outcome = Outcome(
            member=member, ref=placement.ref, uid=placement.uid, order=placement.order, result="deleted", at=self.now
        )
        self.state.on_outcome(outcome)
        self.state.on_status_gone(member, placement.ref)

    def ready(self, workload: str, ready: dict[str, int]) -> None:
        placement = self.placements[workload]
        for member, count in ready.items():
            share = placement.share(member)
            assert share is not None
            self.state.on_status(
                Status(
                    member=member,
                    ref=placement.ref,
                    uid=placement.uid,
                    order=placement.order,
                    revision=1,
                    observed_at=self.now,
                    generation=1,
                    observed_generation=1,
                    replicas=share.replicas,
                    ready=count,
                    updated=count,
                    available=count,
                    bound=count,
                )
            )

    def stuck(self, entries: Any) -> None:
        placement = self.placements["web"]
        self.state.on_rebalance(
            Rebalance(
                ref=placement.ref,
                uid=placement.uid,
                order=placement.order,
                cause="stuck",
                stuck=tuple(
                    Stuck(member=member, count=entry["count"], ready=entry["ready"], since=self.now - 31)
                    for member, entry in entries.items()
                ),
                asked_at=self.now,
            )
        )

    # -- what is decided -------------------------------------------------------------------------------------

    def decide(self) -> None:
        for _ in range(100):
            decision = self.state.next_decision(self.now)
            if decision is None:
                return
            self.counter += 1
            placement = self.state.assume(decision, Order(epoch=1, counter=self.counter))
            self.state.confirm(placement)
            self.placements[placement.ref.name] = placement
        raise AssertionError("the decisions come to no end")

    def play(self, step: Any) -> None:
        self.now += 1
        if "replicas" in step:
            for name, count in _by_workload(step["replicas"]).items():
                self.workload(name, count)
        for name, count in step.get("nodes", {}).items():
            self.members[name].nodes = count
            self.capacity(name)
        for name, wish in step.get("wish", {}).items():
            self.member(name, wish)
        if "stuck" in step:
            self.stuck(step["stuck"])
        if "ready" in step:
            self.ready("web", step["ready"])
        self.decide()

    def check(self, step: Any) -> None:
        many = isinstance(step.get("replicas"), dict)
        placed = step["placed"] if many else {"web": step["placed"]}
        pending = _by_workload(step.get("pending", 0))
        retiring = {"web": step.get("retiring", {})}
        for name, expected in placed.items():
            placement = self.placements[name]
            shares = [share for share in placement.shares if share.present and share.replicas]
            assert {share.member: share.replicas for share in shares} == expected
            assert {share.member: share.retiring for share in shares if share.retiring} == retiring.get(name, {})
            assert placement.pending == pending.get(name, 0)
            if placement.pending:
                assert placement.reasons


def _by_workload(value: Any) -> dict[str, int]:
    return value if isinstance(value, dict) else {"web": value}


def test_the_page_has_examples() -> None:
    assert len(examples()) >= 10


@pytest.mark.parametrize("example", examples(), ids=lambda example: example["example"].replace(" ", "-"))
def test_the_example_is_what_the_core_decides(example: Any) -> None:
    world = World(example)
    for step in example["steps"]:
        world.play(step)
        world.check(step)
        world.settle()
        world.check(step)
        replacing = step.get("retiring")
        if not replacing:
            for name, placement in list(world.placements.items()):
                world.ready(name, {share.member: share.replicas for share in placement.shares if share.present})
            world.decide()
