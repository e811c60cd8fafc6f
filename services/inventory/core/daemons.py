"""What DaemonSets take of every node, so that a node still to be added is not promised whole.

A DaemonSet counts for a pool when it runs on more than half of the pool's nodes, and for a pool without nodes when it
runs on more than half of all the member's nodes. (cluster-autoscaler does likewise: it looks at a node that is there.)
More than half, rather than all: while a DaemonSet is rolled out, some of its pods are always missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from services.inventory.core.facts import Key, NodeFacts, PodFacts

ALL = ""  # the group of all ordinary nodes; pools are groups of their own


class Daemons:
    """Counts, change by change. Nodes and pods come in any order; virtual nodes run no daemons."""

    def __init__(self) -> None:
        self._groups: dict[str, tuple[str, ...]] = {}  # node → the groups it is in
        self._sizes: dict[str, int] = {}
        self._pods: dict[Key, PodFacts] = {}
        self._on: dict[str, dict[str, int]] = {}  # node → daemon → its pods there
        self._counts: dict[str, dict[str, int]] = {}  # group → daemon → nodes it runs on
        self._requests: dict[str, Mapping[str, int]] = {}  # daemon → what its newest pod asks for
        self._alive: dict[str, int] = {}  # daemon → its pods

    # -- nodes -----------------------------------------------------------------------------------------------

    def put_node(self, node: NodeFacts) -> None:
        groups = () if node.virtual else (ALL, node.pool) if node.pool else (ALL,)
        if self._groups.get(node.name, ()) != groups:
            self.drop_node(node.name)
            if groups:
                self._groups[node.name] = groups
                self._count(groups, self._on.get(node.name, ()), +1)

    def drop_node(self, name: str) -> None:
        groups = self._groups.pop(name, ())
        self._count(groups, self._on.get(name, ()), -1)

    def _count(self, groups: Iterable[str], daemons: Iterable[str], step: int) -> None:
        for group in groups:
            _add(self._sizes, group, step)
            counts = self._counts.setdefault(group, {})
            for daemon in daemons:
                _add(counts, daemon, step)

    # -- pods ------------------------------------------------------------------------------------------------

    def put_pod(self, pod: PodFacts) -> None:
        """Of any pod: those of no DaemonSet change nothing."""
        if pod.daemon and pod.holds_room:
            before = self._pods.get(pod.key)
            if before is None or (before.place, before.daemon) != (pod.place, pod.daemon):
                self.drop_pod(pod.key)
                self._runs(pod.place, pod.daemon, +1)
            self._pods[pod.key], self._requests[pod.daemon] = pod, pod.requests
        else:
            self.drop_pod(pod.key)

    def drop_pod(self, key: Key) -> None:
        pod = self._pods.pop(key, None)
        if pod is not None:
            self._runs(pod.place, pod.daemon, -1)
            if pod.daemon not in self._alive:
                del self._requests[pod.daemon]

    def _runs(self, node: str, daemon: str, step: int) -> None:
        _add(self._alive, daemon, step)
        on = self._on.setdefault(node, {})
        was = daemon in on
        _add(on, daemon, step)
        if was != (daemon in on):
            for group in self._groups.get(node, ()):
                _add(self._counts.setdefault(group, {}), daemon, step)
        if not on:
            del self._on[node]

    # -- out -------------------------------------------------------------------------------------------------

    def takes(self, pool: str) -> tuple[int, dict[str, int]]:
        """Of a new node of the pool: how many pods, and what they ask for in all."""
        group = pool if self._sizes.get(pool) else ALL
        size = self._sizes.get(group, 0)
        running = [daemon for daemon, count in self._counts.get(group, {}).items() if 2 * count > size]
        total: dict[str, int] = {}
        for daemon in running:
            for resource, amount in self._requests[daemon].items():
                total[resource] = total.get(resource, 0) + amount
        return len(running), total


def _add(counts: dict[str, int], key: str, step: int) -> None:
    counts[key] = counts.get(key, 0) + step
    if not counts[key]:
        del counts[key]
