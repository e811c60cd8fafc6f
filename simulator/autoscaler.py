"""The member's node autoscaler: orders nodes for pods that fit nowhere, returns nodes that stay idle.

Works from what it sees: at each look it packs all waiting pods onto the nodes that are on their way, and orders
what is still missing. Reports on pods as ACK's does, from source GOATScaler.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from shared import quantities
from shared.described import MANAGED_LABEL, pool_node
from shared.fleet import Member, NodePool
from shared.units import POOL_LABEL
from simulator import cloud, objects
from simulator.admission import OWN_SCHEDULERS
from simulator.cluster import Cluster
from simulator.controllers.nodes import NOT_READY, wanted_taints
from simulator.fit import Amounts, NodeTable, Shape, refusal, requests_of, shape_of
from simulator.objects import Object
from simulator.stock import StockBoard
from simulator.store import Change, Key

NAME = "autoscaler"
SOURCE = "GOATScaler"
BATCH = 180  # nodes in one order
AGAIN = 30.0  # fleet seconds after which pods that still wait are looked at again


@dataclass(slots=True)
class _Upcoming:
    """A node that was ordered and is not Ready yet. pods: uids of those that are to run there."""

    name: str
    pool: NodePool
    due: float
    pods: dict[str, None] = field(default_factory=dict)


class Autoscaler:
    """One member's pools."""

    def __init__(self, cluster: Cluster, member: Member, nodes: NodeTable) -> None:
        self._cluster = cluster
        self._member = member
        self._nodes = nodes
        self.stock = StockBoard(cluster, member)
        self._upcoming: dict[str, _Upcoming] = {}
        self._seen: dict[str, float] = {}  # pod uid → fleet time at which it may trigger
        self._pods: dict[str, Key] = {}
        self._idle_since: dict[str, float] = {}
        self._failures: dict[str, int] = {}

    @property
    def _pools(self) -> dict[str, NodePool]:
        return self.stock.pools

    def install(self) -> None:
        if not self._pools:
            return
        queue, store = self._cluster.queue, self._cluster.store
        queue.register(NAME, lambda key: self._look())
        queue.register("autoscaler-node", self._advance)
        queue.register("autoscaler-idle", self._judge_idle)
        self.stock.install(NAME)
        store.subscribe(self._on_pod, "pods")
        store.subscribe(self._on_node, "nodes")
        for pool in self._pools.values():
            for _ in range(pool.min - len(self.members_of(pool.id))):
                self._create_node(pool, f"{pool.id}-{self._cluster.suffix(8)}", ready=True)
        for node in store.every("nodes"):
            if POOL_LABEL in objects.labels(node) and not objects.ready(node):
                self._adopt(node)
            self._watch_idle(objects.name(node))
        for pod in store.every("pods"):
            self._note(pod)

    def shut_down(self) -> None:
        """Give back instances that were ordered and have not arrived."""
        for one in self._upcoming.values():
            if self._cluster.store.get("nodes", "", one.name) is None:
                self.stock.add(one.pool.id, 1)
        self._upcoming.clear()

    def fail_next(self, pool_id: str, count: int = 1) -> None:
        """Let the next orders of a pool fail when the instance should appear."""
        self._failures[pool_id] = self._failures.get(pool_id, 0) + count

    # -- keeping up

    def _on_pod(self, change: Change) -> None:
        for obj in (change.object, change.previous):
            node = obj["spec"].get("nodeName") if obj is not None else None
            if node:
                self._watch_idle(node)
        uid = objects.uid(change.object)
        if change.type == "DELETED" or not is_stuck(change.object):
            self._seen.pop(uid, None)
            self._pods.pop(uid, None)
        else:
            self._note(change.object)

    def _note(self, pod: Object) -> None:
        uid = objects.uid(pod)
        if not is_stuck(pod) or uid in self._seen:
            return
        when = self._cluster.now() + self._cluster.delays.scale_up_trigger
        self._seen[uid] = when
        self._pods[uid] = (objects.namespace(pod), objects.name(pod))
        self._cluster.queue.add_at(NAME, "", when)

    def _on_node(self, change: Change) -> None:
        name = objects.name(change.object)
        if change.type == "DELETED":
            self._upcoming.pop(name, None)
            self._idle_since.pop(name, None)
            pool_id = objects.labels(change.object).get(POOL_LABEL)
            if pool_id in self._pools and MANAGED_LABEL in objects.labels(change.object):
                self.stock.add(pool_id, 1)
        elif _takes_pods(change.object):
            self._upcoming.pop(name, None)
            self._watch_idle(name)

    def _adopt(self, node: Object) -> None:
        """A node that was on its way when the simulator stopped."""
        pool = self._pools.get(objects.labels(node)[POOL_LABEL])
        if pool is not None:
            name = objects.name(node)
            due = self._cluster.now() + self._cluster.delays.node_ready
            self._upcoming[name] = _Upcoming(name, pool, due)
            self._cluster.queue.add_at("autoscaler-node", name, due)

    # -- growing

    def _look(self) -> None:
        """Judge every waiting pod whose time has come."""
        now, store = self._cluster.now(), self._cluster.store
        waiting = [uid for uid, when in self._seen.items() if when <= now]
        later = [when for when in self._seen.values() if when > now]
        if later:
            self._cluster.queue.add_at(NAME, "", min(later))
        plan, has_place = _Plan(self), False
        for uid in waiting:
            pod = store.get("pods", *self._pods[uid])
            if pod is None or objects.uid(pod) != uid or not is_stuck(pod):
                continue
            shape, amounts = shape_of(pod["spec"]), requests_of(pod["spec"])
            if self._nodes.place(_considered(pod, shape), amounts) is None:
                plan.help(pod, shape, amounts)
            else:
                has_place = True
        self._order(plan)
        if plan.helpless or has_place:
            self._cluster.queue.add_at(NAME, "", now + AGAIN)

    def _order(self, plan: _Plan) -> None:
        sold = Counter(one.pool.id for one in plan.ordered)
        for one in plan.ordered:
            self._upcoming[one.name] = one
            self._cluster.queue.add_at("autoscaler-node", one.name, one.due)
        for pool_id, count in sold.items():
            self.stock.add(pool_id, -count)
        for one, pod in plan.helped:
            message = f"Provision node {one.name} in {one.pool.id} for pod"
            self._cluster.event(pod, SOURCE, "ProvisionNode", message)

    def members_of(self, pool_id: str) -> list[str]:
        """The pool's nodes, those on their way included."""
        names = [one.name for one in self._upcoming.values() if one.pool.id == pool_id]
        for record in self._cluster.store.records("nodes"):
            name = objects.name(record.object)
            if objects.labels(record.object).get(POOL_LABEL) == pool_id and name not in self._upcoming:
                names.append(name)
        return names

    def _advance(self, name: str) -> None:
        """An ordered node takes its next step: it appears, or it becomes Ready."""
        one = self._upcoming.get(name)
        if one is None:
            return
        node = self._cluster.store.get("nodes", "", name)
        if node is None:
            if self._failures.get(one.pool.id, 0) > 0:
                self._fail(one)
                return
            self._create_node(one.pool, name, ready=False)
            one.due = self._cluster.now() + self._cluster.delays.node_ready
            self._cluster.queue.add_at("autoscaler-node", name, one.due)
        else:
            conditions = cloud.conditions(node["status"]["conditions"], self._cluster.now(), ready=True)
            self._cluster.store.update("nodes", objects.with_status(node, conditions=conditions))

    def _fail(self, one: _Upcoming) -> None:
        self._failures[one.pool.id] -= 1
        del self._upcoming[one.name]
        self.stock.add(one.pool.id, 1)
        for uid in one.pods:
            pod = self._cluster.store.get("pods", *self._pods[uid]) if uid in self._pods else None
            if pod is not None:
                message = f"Provision node failed in {one.pool.id}: the cloud could not create the instance"
                self._cluster.event(pod, SOURCE, "ProvisionNodeFailed", message, warning=True)
                self._seen[uid] = self._cluster.now() + AGAIN
        self._cluster.queue.add_at(NAME, "", self._cluster.now() + AGAIN)

    def _create_node(self, pool: NodePool, name: str, *, ready: bool) -> None:
        node = cloud.node(self._cluster, pool_node(self._member, pool, name), ready=ready)
        # As the API server does when a node registers: no pod is to slip onto it before its taints come.
        taints = wanted_taints(node, self._cluster.now())
        self._cluster.store.create("nodes", objects.with_spec(node, taints=taints) if taints else node)

    # -- shrinking

    def _watch_idle(self, name: str) -> None:
        node = self._cluster.store.get("nodes", "", name)
        if node is None or MANAGED_LABEL not in objects.labels(node) or not objects.ready(node):
            return
        if any(not _is_daemon(pod) and not objects.finished(pod) for pod in self._cluster.store.pods_on(name)):
            self._idle_since.pop(name, None)
            return
        since = self._idle_since.setdefault(name, self._cluster.now())
        self._cluster.queue.add_at("autoscaler-idle", name, since + self._cluster.delays.node_idle)

    def _judge_idle(self, name: str) -> None:
        """Remove a node that has been idle long enough, unless its pool may not shrink."""
        since = self._idle_since.get(name)
        node = self._cluster.store.get("nodes", "", name)
        if since is None or node is None:
            return
        when = since + self._cluster.delays.node_idle
        if when > self._cluster.now():
            self._cluster.queue.add_at("autoscaler-idle", name, when)
            return
        pool = self._pools.get(objects.labels(node).get(POOL_LABEL, ""))
        if pool is not None and len(self.members_of(pool.id)) <= pool.min:
            return
        message = f"node {name} was idle for {self._cluster.delays.node_idle:g}s and is removed"
        self._cluster.event(node, SOURCE, "ScaleDown", message)
        self._cluster.store.remove("nodes", "", name)


class _Plan:
    """One look's packing: room on nodes that are on their way, and nodes to order."""

    def __init__(self, scaler: Autoscaler) -> None:
        self._scaler = scaler
        self.ordered: list[_Upcoming] = []
        self.helped: list[tuple[_Upcoming, Object]] = []  # pods that did not know of their node yet
        self.helpless = False
        self._bins: list[tuple[_Upcoming, Amounts]] = [(one, _room(one.pool)) for one in scaler._upcoming.values()]
        self._opened: dict[str, int] = {}
        self._size = {pool_id: len(scaler.members_of(pool_id)) for pool_id in scaler.stock.pools}
        self._cursor: dict[tuple[bytes, tuple[tuple[str, int], ...]], int] = {}
        self._templates = {
            pool.id: cloud.node(scaler._cluster, pool_node(scaler._member, pool, "template"))
            for pool in scaler.stock.pools.values()
        }

    def help(self, pod: Object, shape: Shape, amounts: Amounts) -> None:
        """Find the pod a place on a node to come, ordering one if need be; else say why not."""
        kind = (shape.signature, tuple(sorted(amounts.items())))
        for index in range(self._cursor.get(kind, 0), len(self._bins)):
            one, free = self._bins[index]
            if refusal(self._templates[one.pool.id], shape) is None and _fits(amounts, free):
                self._cursor[kind] = index
                self._charge(one, free, pod, amounts)
                return
        self._cursor[kind] = len(self._bins)
        pools = sorted(self._scaler.stock.pools.values(), key=lambda pool: pool.price or 0.0)
        reasons = []
        for pool in pools:
            why = self._why_not(pool, shape, amounts)
            if why is None:
                self._open(pool, pod, amounts)
                self._cursor[kind] = len(self._bins) - 1
                return
            reasons.append(why)
        self.helpless = True
        message = "pod didn't trigger scale-up: " + ", ".join(reasons)
        self._scaler._cluster.event(pod, SOURCE, "NotTriggerScaleUp", message)

    def _why_not(self, pool: NodePool, shape: Shape, amounts: Amounts) -> str | None:
        if why := refusal(self._templates[pool.id], shape):
            return f"{pool.id}: {why}"
        if not _fits(amounts, _room(pool)):
            return f"{pool.id}: Insufficient resources on an empty {pool.instance_type}"
        opened, left = self._opened.get(pool.id, 0), self._scaler.stock.left(pool.id)
        if left is not None and opened >= left:
            return f"{pool.id}: NodePool NoStock"
        if self._size[pool.id] + opened >= pool.max:
            return f"{pool.id}: max node group size reached"
        return None if opened < BATCH else f"{pool.id}: {BATCH} nodes are already in this order"

    def _open(self, pool: NodePool, pod: Object, amounts: Amounts) -> None:
        cluster = self._scaler._cluster
        self._opened[pool.id] = self._opened.get(pool.id, 0) + 1
        due = cluster.now() + cluster.delays.node_create
        one = _Upcoming(f"{pool.id}-{cluster.suffix(8)}", pool, due)
        free = _room(pool)
        self._bins.append((one, free))
        self.ordered.append(one)
        self._charge(one, free, pod, amounts)

    def _charge(self, one: _Upcoming, free: Amounts, pod: Object, amounts: Amounts) -> None:
        for name, amount in amounts.items():
            free[name] = free.get(name, 0) - amount
        uid = objects.uid(pod)
        if uid not in one.pods:
            one.pods[uid] = None
            self.helped.append((one, pod))


def is_stuck(pod: Object) -> bool:
    """Unbound, and its scheduler said that it fits nowhere."""
    found = objects.condition(pod, "PodScheduled")
    return (
        found is not None
        and found["status"] == "False"
        and found.get("reason") == "Unschedulable"
        and not pod["spec"].get("nodeName")
        and not objects.deleting(pod)
    )


def _takes_pods(node: Object) -> bool:
    """Ready, and no longer tainted for not being so."""
    return objects.ready(node) and not any(taint["key"] == NOT_READY for taint in node["spec"].get("taints") or ())


def _considered(pod: Object, shape: Shape) -> Shape:
    """The shape with which room is looked for on nodes that exist.

    The member's own scheduler would have used any node with room. Another one may keep a pod off some of them for
    reasons of its own; that it has not used a pool's node yet means only that it has not looked again.
    """
    if pod["spec"].get("schedulerName") in OWN_SCHEDULERS:
        return shape
    of_pool = {"key": POOL_LABEL, "operator": "Exists"}
    terms = [
        {**term, "matchExpressions": [*(term.get("matchExpressions") or ()), of_pool]}
        for term in (shape.terms or ())
        if term.get("matchExpressions") or term.get("matchFields")
    ]
    if shape.terms is None:
        terms = [{"matchExpressions": [of_pool]}]
    return replace(shape, signature=shape.signature + b"of a pool", terms=terms)


def _is_daemon(pod: Object) -> bool:
    owner = objects.controller(pod)
    return owner is not None and owner["kind"] == "DaemonSet"


def _room(pool: NodePool) -> Amounts:
    return quantities.amounts({"pods": "110", **pool.allocatable})


def _fits(amounts: Amounts, free: Amounts) -> bool:
    return all(amount <= free.get(name, 0) for name, amount in amounts.items())
