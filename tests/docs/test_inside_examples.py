"""Every example of docs/scheduling.md about the inside of a member, run against the core that decides there."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from shared.contracts.annotations import CEILING_ANNOTATION
from shared.contracts.binding import Evict
from shared.contracts.pod import Owner
from shared.contracts.resource_policy import seconds_of
from shared.contracts.selectors import LabelSelector
from shared.units import POOL_LABEL
from tests.scheduler.inside.inside_world import World

PAGE = Path(__file__).parents[2] / "docs" / "scheduling.md"
WEB, URGENT = "web", "urgent"


def examples() -> list[Any]:
    blocks = re.findall(r"^```yaml\n(inside: .*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [yaml.safe_load(block) for block in blocks]


class Play:
    """Two workloads with controllers that delete as a ReplicaSet does, in one member."""

    def __init__(self, example: Any) -> None:
        self.world = World()
        self.pod = example["pod"]
        self.wanted = {WEB: 0, URGENT: 0}
        self.made = 0
        self.add_nodes(example["nodes"])
        self.policy(example["policy"])

    def add_nodes(self, nodes: Any) -> None:
        for name, node in nodes.items():
            match node["unit"]:
                case "eci":
                    self.world.virtual(name, **{key: value for key, value in node.items() if key in ("vcpu", "gib")})
                case "ecs":
                    self.world.node(name, node["cpu"], labels={POOL_LABEL: "pool"})
                case "idc":
                    self.world.node(name, node["cpu"])
        self.world.tell_capacity()

    def policy(self, written: Any) -> None:
        spec = dict(written)
        ceiling = spec.pop("ceiling", None)
        annotations = {} if ceiling is None else {CEILING_ANNOTATION: str(ceiling)}
        self.world.policy(*spec.pop("units"), annotations=annotations, **spec)

    def play(self, step: Any) -> None:
        world = self.world
        world.pass_(1)
        self.wanted[WEB] = step.get("replicas", self.wanted[WEB])
        self.wanted[URGENT] = step.get("urgent", self.wanted[URGENT])
        if "budget" in step:
            world.budget(step["budget"], selector=LabelSelector())
        if "policy" in step:
            self.policy(step["policy"])
        if "wait" in step:
            world.pass_(seconds_of(step["wait"]))
        self.add_nodes(step.get("nodes", {}))
        for _ in range(4):
            self.control()
            world.run()
            for order in world.orders(Evict):
                if order.name in world.pods:
                    world.delete(order.name)
            world.pass_(1)

    def control(self) -> None:
        """Each workload gets as many pods as are wanted; waiting ones go first, then by deletion cost and youth."""
        world = self.world
        for workload, count in self.wanted.items():
            own = [name for name in world.pods if name.startswith(workload)]
            while len(own) > count:
                name = min(own, key=self.last_to_go)
                own.remove(name)
                world.delete(name)
            for _ in range(count - len(own)):
                self.made += 1
                priority = 100 if workload == URGENT else 0
                owner = Owner(kind="Deployment", group="apps", name=workload)
                world.pod(f"{workload}-{self.made}", **self.pod, priority=priority, owner=owner)

    def last_to_go(self, name: str) -> tuple[bool, int, float]:
        return bool(self.world.pods[name].node), int(self.world.cost(name) or 0), -self.world.pods[name].created_at

    def check(self, step: Any) -> None:
        world = self.world
        units = {name: self.unit_of(name) for name in world.nodes}
        running = Counter(units[pod.node] for pod in world.pods.values() if pod.node)
        waiting = [pod for pod in world.pods.values() if not pod.node]
        assert dict(running) == step["runs"]
        assert len(waiting) == step.get("pending", 0)
        assert all(pod.unschedulable for pod in waiting), "each is told why"

    def unit_of(self, node: str) -> str:
        if node in self.world.sold:
            return "eci"
        return "ecs" if POOL_LABEL in self.world.nodes[node].labels else "idc"


def test_the_page_has_examples() -> None:
    assert len(examples()) >= 6


@pytest.mark.parametrize("example", examples(), ids=lambda example: example["inside"].replace(" ", "-"))
def test_the_example_is_what_is_decided_inside(example: Any) -> None:
    play = Play(example)
    for step in example["steps"]:
        play.play(step)
        play.check(step)
