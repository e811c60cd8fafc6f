"""How long the scheduler's core takes, without bus and wire: decide + assume, distinct shapes, node changes, snapshots.

    python -m benchmarks.core_decision [--members 100] [--nodes 5000]

Prints one JSON object; times in microseconds unless the name says otherwise. One core; CPU time, so that
neighbours do not count.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import statistics
import time
from collections.abc import Callable
from functools import partial

from services.scheduler.core.engine import SchedulerState
from services.scheduler.core.values import Affinity, Component, MemberFacts, Policy, Selector, Shape, Tier, Workload
from services.scheduler.heap import mostly_state
from shared.contracts.capacity import Delta, NodeClass, NodeColumns, Snapshot
from shared.contracts.refs import ObjectRef, Order

CORES = 64_000
GIB = 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--members", type=int, default=100)
    parser.add_argument("--nodes", type=int, default=5000)
    options = parser.parse_args()
    bench = Bench(options.members, options.nodes)
    snapshots = bench.snapshots()
    with mostly_state():  # as the service runs
        figures = bench.figures()
    print(json.dumps({"snapshot_ms": snapshots, **figures}, indent=2))


def shape(index: int, salt: int = 0) -> Shape:
    return Shape.of({"cpu": 500 + 100 * (index % 50) + salt * (index + 1), "memory": GIB * (1 + index % 7)})


class Bench:
    def __init__(self, members: int, nodes: int) -> None:
        self.random = random.Random(7)
        self.state = SchedulerState()
        self.members = [f"member-{i:03}" for i in range(members)]
        self.nodes = nodes
        self.shapes = [shape(i) for i in range(50)]
        self.count = 0
        self.numbers = dict.fromkeys(self.members, 0)
        self.state.on_desired(
            Policy(
                key="PropagationPolicy bench/all",
                name="all",
                namespace="bench",
                selectors=(Selector("Deployment", "apps"),),
                tiers=(Tier("all", Affinity()),),
                division="dynamic",
            )
        )

    def figures(self) -> dict[str, object]:
        """In this order: each finds the fleet as the one before left it."""
        return {
            "cold": self.decisions(self.shapes, 50),
            "cached": self.decisions(self.shapes, 4000),
            "small_cached": self.decisions(self.shapes, 2000, most=3),
            "distinct": self.decisions([shape(i, 1) for i in range(300)], 300, in_turn=True),
            "node_change": self.changes(2000),
            "cached_after": self.decisions(self.shapes, 2000),
            "memory_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        }

    def snapshots(self) -> dict[str, float]:
        times = []
        for member in self.members:
            self.state.on_desired(MemberFacts(member))
            message = Snapshot(
                member=member,
                epoch=1,
                number=0,
                observed_at=0,
                classes={i: NodeClass(labels={"pool": f"p{i}", "member": member}) for i in range(4)},
                nodes=self._columns(range(self.nodes)),
            )
            started = time.process_time()
            self.state.on_capacity(message)
            times.append(1e3 * (time.process_time() - started))
        return _summary(times)

    def _columns(self, numbers: range | list[int]) -> NodeColumns:
        size = len(numbers)
        free = {
            "cpu": [self.random.randrange(0, CORES) for _ in range(size)],
            "memory": [self.random.randrange(0, 256) * GIB for _ in range(size)],
            "pods": [self.random.randrange(0, 110) for _ in range(size)],
            "nvidia.com/gpu": [self.random.randrange(0, 8) for _ in range(size)],
        }
        total = {
            "cpu": [CORES] * size,
            "memory": [256 * GIB] * size,
            "pods": [110] * size,
            "nvidia.com/gpu": [8] * size,
        }
        return NodeColumns(
            names=[f"node-{i:05}" for i in numbers],
            classes=[i % 4 for i in numbers],
            phases=["ready"] * size,
            allocatable=total,
            free=free,
        )

    def decisions(self, shapes: list[Shape], count: int, *, most: int = 50, in_turn: bool = False) -> dict[str, float]:
        times = []
        for number in range(count):
            self.count += 1
            chosen = shapes[number] if in_turn else self.random.choice(shapes)
            replicas = self.random.randint(1, most)
            name = f"w-{self.count}"
            ref = ObjectRef(group="apps", version="v1", kind="Deployment", namespace="bench", name=name)
            workload = Workload(ref, name, replicas=replicas, components=(Component("", chosen, replicas),))
            times.append(_timed(lambda workload=workload: self._decide(workload)))
        return _summary(times) | {"per_second": round(1e6 / statistics.fmean(times))}

    def _decide(self, workload: Workload) -> None:
        self.state.on_desired(workload)
        decision = self.state.next_decision(float(self.count))
        assert decision is not None
        assert decision.pending == 0
        self.state.confirm(self.state.assume(decision, Order(epoch=1, counter=self.count)))

    def changes(self, count: int) -> dict[str, float]:
        times = []
        for _ in range(count):
            member = self.random.choice(self.members)
            self.numbers[member] += 1
            message = Delta(
                member=member,
                epoch=1,
                number=self.numbers[member],
                observed_at=0,
                nodes=self._columns([self.random.randrange(self.nodes)]),
            )
            times.append(_timed(partial(self.state.on_capacity, message)))
        return _summary(times) | {"share_of_a_core_at_2000_per_s": round(statistics.fmean(times) * 2000 / 1e6, 3)}


def _timed(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return 1e6 * (time.process_time() - started)


def _summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "mean": round(statistics.fmean(times), 1),
        "p50": round(ordered[len(ordered) // 2], 1),
        "p99": round(ordered[int(len(ordered) * 0.99)], 1),
    }


if __name__ == "__main__":
    main()
