"""How long deciding inside a member takes, without bus and wire: from a pod's message to its order, and back.

    python -m benchmarks.inside_decision [--nodes 1000] [--pods 1000]

Prints one JSON object; times in microseconds unless the name says otherwise. One core; CPU time, so that neighbours do
not count. Each figure starts with an empty member: `plain` pods of a few shapes; `distinct`, every pod of its own
shape; `policy`, first idc up to its max, then eci; `apart`, one to a node by anti-affinity, and spread over zones;
`full`, pods of which none finds a place; `preempting`, on a member that is full of less important ones; `guarded`, the
same where budgets keep all of them but those on the last tenth of the nodes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Mapping

from services.scheduler.core.inside.engine import InsideState
from services.scheduler.core.inside.policies import resource_policy_of
from services.scheduler.heap import mostly_state
from shared.contracts.base import JsonObject
from shared.contracts.binding import Bind
from shared.contracts.capacity import (
    DisruptionBudget,
    NodeClass,
    NodeColumns,
    Snapshot,
    Surroundings,
    Taint,
    VirtualStock,
)
from shared.contracts.pod import Owner, Pod
from shared.contracts.resource_policy import ResourcePolicy
from shared.contracts.selectors import LabelSelector
from shared.units import VIRTUAL_LABEL, VIRTUAL_TAINT

GIB = 2**30
MEMBER = "idc"
VIRTUAL = "virtual-kubelet-a"
OWNER = Owner(kind="Deployment", group="apps", name="web")
APART: JsonObject = {
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}
            ]
        }
    },
    "topologySpreadConstraints": [
        {
            "topologyKey": "topology.kubernetes.io/zone",
            "maxSkew": 1,
            "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "web"}},
        }
    ],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=1000)
    options = parser.parse_args()
    bench = Bench(options.nodes, options.pods)
    with mostly_state():  # as the service runs
        print(json.dumps(bench.figures(), indent=2))


class Bench:
    def __init__(self, nodes: int, pods: int) -> None:
        self.nodes = nodes
        self.pods = pods

    def figures(self) -> dict[str, object]:
        cpus = [250, 500, 1000, 2000]
        return {
            "plain": self.burst(lambda i: self.pod(i, cpus[i % 4])),
            "distinct": self.burst(lambda i: self.pod(i, 500 + i)),
            "policy": self.burst(lambda i: self.pod(i, 1000), policy=True),
            "apart": self.burst(lambda i: self.pod(i, 500, spec=APART)),
            "full": self.burst(lambda i: self.pod(i, 10**6 + i), bound=0),
            "preempting": self.preempting(),
            "guarded": self.preempting(guarded=0.9),
        }

    def pod(self, number: int, cpu: int, *, spec: JsonObject | None = None, node: str = "", priority: int = 0) -> Pod:
        return Pod(
            member=MEMBER,
            namespace="bench",
            name=f"p-{priority}-{number}",
            uid=f"uid-{priority}-{number}",
            owner=OWNER,
            labels={"app": "web", "pod-template-hash": f"{cpu}"},
            scheduler="brim-scheduler",
            requests={"cpu": cpu, "memory": GIB, "pods": 1},
            spec=spec or {},
            priority=priority,
            node=node,
            created_at=float(number),
            observed_at=float(number),
        )

    def member(self, *, free: bool = True) -> Snapshot:
        names = [f"node-{number:05}" for number in range(self.nodes)]
        key, value, effect = VIRTUAL_TAINT
        virtual = NodeClass(
            labels={VIRTUAL_LABEL[0]: VIRTUAL_LABEL[1]}, taints=(Taint(key=key, value=value, effect=effect),)
        )
        zones = {z: NodeClass(labels={"topology.kubernetes.io/zone": f"zone-{z}"}) for z in range(3)}
        total = {"cpu": [16_000] * self.nodes, "memory": [64 * GIB] * self.nodes, "pods": [110] * self.nodes}
        left = total if free else {"cpu": [0] * self.nodes, "memory": total["memory"], "pods": total["pods"]}
        quota = {"cpu": 10**7, "memory": 10**5 * GIB, "pods": 10**5}
        return Snapshot(
            member=MEMBER,
            epoch=1,
            number=1,
            observed_at=1e6,
            classes={**zones, 9: virtual},
            nodes=NodeColumns(
                names=[*names, VIRTUAL],
                classes=[*(number % 3 for number in range(self.nodes)), 9],
                phases=[*(["ready"] * self.nodes), "virtual"],
                allocatable={name: [*column, quota[name]] for name, column in total.items()},
                free={name: [*column, quota[name]] for name, column in left.items()},
            ),
            surroundings=Surroundings(virtual=(VirtualStock(node=VIRTUAL, vcpu=0.1, gib=0.01),)),
        )

    def burst(
        self, make: Callable[[int], Pod], *, policy: bool = False, bound: int | None = None
    ) -> Mapping[str, float]:
        """All pods at once; every order is seen carried out, as PODS would tell."""
        state = InsideState()
        if policy:
            state.on_policy(resource_policy_of(self.policy(), 0.0))
        pods = [make(number) for number in range(self.pods)]
        snapshot = self.member()
        state.on_pod(pods[0])
        state.on_capacity(snapshot)
        taking = sum(_timed(lambda pod=pod: state.on_pod(pod)) for pod in pods)
        times, binds = self._decide(state)
        assert len(binds) == (self.pods if bound is None else bound)
        known = {pod.name: pod for pod in pods}
        telling = 0.0
        for bind in binds:
            pod = known[bind.name].model_copy(update={"node": bind.node, "observed_at": 2e6})
            telling += _timed(lambda pod=pod: state.on_pod(pod))
        return _summary(times) | {"take": round(taking / self.pods), "tell": round(telling / self.pods)}

    def preempting(self, *, guarded: float = 0.0) -> Mapping[str, float]:
        """guarded: the share of nodes whose pods are under a budget that allows nothing."""
        state = InsideState()
        low = [self.pod(i, 4000, node=f"node-{i // 4:05}") for i in range(4 * self.nodes)]
        for pod in low:
            labels = (
                {**pod.labels, "guarded": "yes"} if pod.node < f"node-{int(guarded * self.nodes):05}" else pod.labels
            )
            state.on_pod(pod.model_copy(update={"labels": labels}))
        budget = DisruptionBudget(selector=LabelSelector(match_labels={"guarded": "yes"}))
        member = self.member(free=False)
        state.on_capacity(member.model_copy(update={"budgets": {"bench/guard": budget} if guarded else {}}))
        for number in range(self.pods):
            state.on_pod(self.pod(number, 4000, priority=10))
        times, _ = self._decide(state)
        return _summary(times)

    def _decide(self, state: InsideState) -> tuple[list[float], list[Bind]]:
        times: list[float] = []
        binds: list[Bind] = []
        while True:
            started = time.process_time()
            decided = state.next_orders(1e6, 1)
            times.append(1e6 * (time.process_time() - started))
            if decided is None:
                return times[:-1], binds
            binds += [order for order in decided.orders if isinstance(order, Bind)]

    @staticmethod
    def policy() -> ResourcePolicy:
        return ResourcePolicy.read(
            {
                "apiVersion": "scheduling.alibabacloud.com/v1alpha1",
                "kind": "ResourcePolicy",
                "metadata": {"name": "bench", "namespace": "bench"},
                "spec": {"units": [{"resource": "idc", "max": 500}, {"resource": "eci"}]},
            }
        )


def _timed(action: Callable[[], object]) -> float:
    started = time.process_time()
    action()
    return 1e6 * (time.process_time() - started)


def _summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "p50": round(statistics.median(ordered)),
        "p99": round(ordered[int(0.99 * (len(ordered) - 1))]),
        "max": round(ordered[-1]),
        "per_second": round(1e6 / statistics.fmean(ordered)),
    }


if __name__ == "__main__":
    main()
