"""The room of one member, kept up to date change by change: nodes and pods in, rows of columns out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from services.inventory.core.daemons import Daemons
from services.inventory.core.facts import HOSTNAME_LABEL, Key, NodeFacts, PodFacts, TaintFacts
from shared.contracts.capacity import NodeClass, NodeColumns, Phase, Taint
from shared.units import VIRTUAL_LABEL

UPCOMING_FOR = 600.0  # seconds after its creation in which a pool's node may become Ready
# Taints that only repeat the Ready condition, a moment later: the phase says it already.
CONDITION_TAINTS = frozenset({"node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"})
# Taints that a node loses while it starts: an upcoming node is judged without them.
STARTUP_TAINTS = CONDITION_TAINTS | {
    "node.kubernetes.io/network-unavailable",
    "node.cloudprovider.kubernetes.io/uninitialized",
}
SLOT = "pods"


@dataclass(frozen=True, slots=True)
class Row:
    """One node as the columns show it."""

    name: str
    class_id: int
    phase: Phase
    allocatable: Mapping[str, int]
    free: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Changes:
    """resources: of all the member's nodes, so that every column is there. bound: replicas per workload; bound_virtual:
    those on virtual nodes."""

    rows: tuple[Row, ...] = ()
    removed: tuple[str, ...] = ()
    classes: Mapping[int, NodeClass] = field(default_factory=dict)
    bound: Mapping[str, int] = field(default_factory=dict)
    bound_virtual: Mapping[str, int] = field(default_factory=dict)
    resources: tuple[str, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.rows or self.removed or self.bound or self.bound_virtual)

    @property
    def columns(self) -> NodeColumns:
        return columns(self.rows, self.resources)


def columns(rows: Iterable[Row], resources: Iterable[str]) -> NodeColumns:
    rows = list(rows)
    return NodeColumns(
        names=[row.name for row in rows],
        classes=[row.class_id for row in rows],
        phases=[row.phase for row in rows],
        allocatable={name: [row.allocatable.get(name, 0) for row in rows] for name in resources},
        free={name: [row.free.get(name, 0) for row in rows] for name in resources},
    )


def phase_of(node: NodeFacts, now: float, upcoming_for: float = UPCOMING_FOR) -> Phase:
    """What a node's room counts as."""
    if node.leaving:
        return "unready"
    if node.virtual:
        return "virtual" if node.ready else "unready"
    if node.ready:
        return "ready"
    return "upcoming" if node.pool and now - node.created_at < upcoming_for else "unready"


class _Classes:
    """Interned node classes. An id is never given twice; a class that no node has any more is forgotten."""

    def __init__(self) -> None:
        self._ids: dict[tuple[object, ...], int] = {}
        self._keys: dict[int, tuple[object, ...]] = {}
        self._uses: dict[int, int] = {}
        self._next = 0
        self.table: dict[int, NodeClass] = {}

    def take(self, labels: Mapping[str, str], taints: tuple[TaintFacts, ...], unschedulable: bool) -> int:
        key = (tuple(sorted(labels.items())), taints, unschedulable)
        found = self._ids.get(key)
        if found is None:
            found, self._next = self._next, self._next + 1
            self._ids[key], self._keys[found], self._uses[found] = found, key, 0
            self.table[found] = NodeClass(
                labels=dict(labels),
                taints=tuple(Taint(key=name, value=value, effect=effect) for name, value, effect in taints),
                unschedulable=unschedulable,
            )
        self._uses[found] += 1
        return found

    def give_back(self, class_id: int) -> None:
        self._uses[class_id] -= 1
        if self._uses[class_id] == 0:
            del self._uses[class_id], self.table[class_id]
            del self._ids[self._keys.pop(class_id)]


class _Bound:
    """Replicas by workload, and for which of them the number is another one since it was last told."""

    def __init__(self) -> None:
        self.changed: set[str] = set()
        self._counts: dict[str, int] = {}

    def count(self, workload: str, step: int) -> None:
        self._counts[workload] = self._counts.get(workload, 0) + step
        self.changed.add(workload)
        if not self._counts[workload]:
            del self._counts[workload]

    def news(self) -> dict[str, int]:
        return {uid: self._counts.get(uid, 0) for uid in sorted(self.changed)}

    def whole(self) -> dict[str, int]:
        return dict(sorted(self._counts.items()))


@dataclass(slots=True)
class _Node:
    facts: NodeFacts
    phase: Phase
    class_id: int


class Capacity:
    """All nodes and pods of one member. `take` says what changed since it was last asked. virtual: nodes by name."""

    def __init__(self, upcoming_for: float = UPCOMING_FOR) -> None:
        self._upcoming_for = upcoming_for
        self._nodes: dict[str, _Node] = {}
        self._pods: dict[Key, PodFacts] = {}
        self._used: dict[str, dict[str, int]] = {}
        self._bound = _Bound()
        self._bound_virtual = _Bound()
        self._resources: set[str] = {SLOT}
        self._classes = _Classes()
        self._upcoming: set[str] = set()
        self.virtual: dict[str, NodeFacts] = {}
        self._changed: set[str] = set()
        self._removed: set[str] = set()
        self._told_classes: set[int] = set()
        self._told_nodes: set[str] = set()
        self.pool_nodes: dict[str, int] = {}
        self.daemons = Daemons()

    @property
    def changed(self) -> bool:
        return bool(self._changed or self._removed or self._bound.changed or self._bound_virtual.changed)

    # -- nodes -----------------------------------------------------------------------------------------------

    def put_node(self, facts: NodeFacts, now: float) -> None:
        """A node is there, new or different. Heartbeats of a kubelet change nothing here."""
        known = self._nodes.get(facts.name)
        phase = phase_of(facts, now, self._upcoming_for)
        if known is not None and known.facts == facts and known.phase == phase:
            return
        class_id = self._class_of(facts, phase)
        was_virtual = facts.name in self.virtual
        if known is not None:
            self._forget(known)
        self._nodes[facts.name] = _Node(facts, phase, class_id)
        if facts.virtual:
            self.virtual[facts.name] = facts
        if facts.virtual != was_virtual:
            self._recount_virtual(facts.name, +1 if facts.virtual else -1)
        self._resources.update(facts.allocatable)
        self.daemons.put_node(facts)
        self._count_pool(facts.pool, +1)
        if phase == "upcoming":
            self._upcoming.add(facts.name)
        self._changed.add(facts.name)
        self._removed.discard(facts.name)

    def node(self, name: str) -> NodeFacts | None:
        """The same object for as long as nothing about the node has changed."""
        known = self._nodes.get(name)
        return known.facts if known is not None else None

    def drop_node(self, name: str) -> None:
        known = self._nodes.pop(name, None)
        if known is not None:
            self._forget(known)
            if known.facts.virtual:
                self._recount_virtual(name, -1)
            self.daemons.drop_node(name)
            self._changed.discard(name)
            if name in self._told_nodes:
                self._removed.add(name)

    def _forget(self, node: _Node) -> None:
        self._classes.give_back(node.class_id)
        self._told_classes &= self._classes.table.keys()
        self._count_pool(node.facts.pool, -1)
        self._upcoming.discard(node.facts.name)
        self.virtual.pop(node.facts.name, None)

    def _count_pool(self, pool: str, step: int) -> None:
        if pool:
            self.pool_nodes[pool] = self.pool_nodes.get(pool, 0) + step
            if not self.pool_nodes[pool]:
                del self.pool_nodes[pool]

    def _class_of(self, facts: NodeFacts, phase: Phase) -> int:
        labels = {
            name: value for name, value in facts.labels.items() if not (name == HOSTNAME_LABEL and value == facts.name)
        }
        if facts.virtual:  # however it said so: units are told by this label
            labels |= (VIRTUAL_LABEL,)
        passing = STARTUP_TAINTS if phase == "upcoming" else CONDITION_TAINTS
        taints = tuple(taint for taint in facts.taints if taint[0] not in passing)
        return self._classes.take(labels, taints, facts.unschedulable)

    def age(self, now: float) -> None:
        """Nodes that should have become Ready by now no longer count as upcoming."""
        for name in list(self._upcoming):
            self.put_node(self._nodes[name].facts, now)

    # -- pods ------------------------------------------------------------------------------------------------

    def put_pod(self, facts: PodFacts) -> None:
        known = self._pods.get(facts.key)
        self._pods[facts.key] = facts
        self.daemons.put_pod(facts)
        self._charge(known, facts)

    def drop_pod(self, key: Key) -> None:
        self.daemons.drop_pod(key)
        self._charge(self._pods.pop(key, None), None)

    def _charge(self, before: PodFacts | None, after: PodFacts | None) -> None:
        held = before if before is not None and before.holds_room else None
        holds = after if after is not None and after.holds_room else None
        if (held and (held.place, held.requests)) != (holds and (holds.place, holds.requests)):
            for pod, sign in ((held, -1), (holds, +1)):
                if pod is not None:
                    self._use(pod, sign)
        was = before if before is not None and before.counts_as_bound else None
        now = after if after is not None and after.counts_as_bound else None
        if (was and (was.workload, was.node)) != (now and (now.workload, now.node)):
            for pod, sign in ((was, -1), (now, +1)):
                if pod is not None:
                    self._bound.count(pod.workload, sign)
                    if pod.node in self.virtual:
                        self._bound_virtual.count(pod.workload, sign)

    def _use(self, pod: PodFacts, sign: int) -> None:
        used = self._used.setdefault(pod.place, {})
        for resource, amount in ((SLOT, 1), *pod.requests.items()):
            used[resource] = used.get(resource, 0) + sign * amount
            if not used[resource]:
                del used[resource]
            elif resource not in self._resources:
                self._resources.add(resource)
        if not used:
            del self._used[pod.place]
        if pod.place in self._nodes:
            self._changed.add(pod.place)

    def _recount_virtual(self, node: str, step: int) -> None:
        """The node is virtual now, or is not any more: its pods may have been told of first."""
        for pod in self._pods.values():
            if pod.node == node and pod.counts_as_bound:
                self._bound_virtual.count(pod.workload, step)

    # -- out -------------------------------------------------------------------------------------------------

    def take(self) -> Changes:
        """What changed since the last `take` or `whole`."""
        rows = tuple(self._row(name) for name in sorted(self._changed))
        fresh = {row.class_id for row in rows} - self._told_classes
        changes = Changes(
            rows=rows,
            removed=tuple(sorted(self._removed)),
            classes={class_id: self._classes.table[class_id] for class_id in sorted(fresh)},
            bound=self._bound.news(),
            bound_virtual=self._bound_virtual.news(),
            resources=self.resources,
        )
        self._told_classes |= fresh
        self._told_nodes |= self._changed
        self._told_nodes -= self._removed
        self._told()
        return changes

    def whole(self) -> Changes:
        """All of it; nothing counts as changed afterwards."""
        self._told_classes = set(self._classes.table)
        self._told_nodes = set(self._nodes)
        self._told()
        return Changes(
            rows=tuple(self._row(name) for name in sorted(self._nodes)),
            classes=dict(self._classes.table),
            bound=self._bound.whole(),
            bound_virtual=self._bound_virtual.whole(),
            resources=self.resources,
        )

    @property
    def resources(self) -> tuple[str, ...]:
        return tuple(sorted(self._resources))

    @property
    def node_count(self) -> int:
        return len(self._nodes)

    def _told(self) -> None:
        self._changed.clear()
        self._removed.clear()
        self._bound.changed.clear()
        self._bound_virtual.changed.clear()

    def _row(self, name: str) -> Row:
        node = self._nodes[name]
        used = self._used.get(name, {})
        free = {
            resource: node.facts.allocatable.get(resource, 0) - used.get(resource, 0)
            for resource in node.facts.allocatable.keys() | used.keys()
        }
        return Row(name, node.class_id, node.phase, node.facts.allocatable, free)
