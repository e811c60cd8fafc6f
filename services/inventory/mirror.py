"""What one member looks like: its caches, and what follows from each change of them.

Watches write here, publishers and the read endpoint read here; all in one thread, without awaiting in between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeAlias

from services.inventory import facts, karpenter, pod_form
from services.inventory.budgets import Budgets
from services.inventory.cache import Cache
from services.inventory.core.capacity import Capacity
from services.inventory.core.facts import Key, NodeFacts, ObjectKey, PodFacts
from services.inventory.core.instances import InstanceFacts
from services.inventory.core.statuses import provisioning_of, status_of
from services.inventory.core.virtual import instance_of, takes
from services.inventory.flags import Flags
from services.inventory.instances import Instances
from services.inventory.policies import Policies
from services.inventory.pools import CONFIG_MAPS, NODE_POOLS, Pools
from services.inventory.projections import Autoscaler, ConfigMap, Managed, Node, Pod, PodEvent
from services.inventory.surroundings import SurroundingsCache
from services.inventory.told_pods import ToldPods
from shared.contracts.annotations import TRACEPARENT_ANNOTATION, WORKLOAD_LABEL
from shared.contracts.capacity import Pool, Surroundings
from shared.contracts.refs import ObjectRef
from shared.contracts.status import Provisioning, Status
from shared.errors import BrimError
from shared.fleet import Stock
from shared.kube import Resource

Kind: TypeAlias = tuple[str, str]  # (kind, group)

# What is watched, as `Mirror.synced` and metrics name it; for a managed kind see `source_of`.
NODES: Final = "nodes"
PODS: Final = "pods"
NAMESPACES: Final = "namespaces"
INSTANCES: Final = "serverless instances"
BUDGETS: Final = "disruption budgets"


def source_of(kind: Kind) -> str:
    """Kinds of one name may be of several groups: Argo and Kruise both have a Rollout."""
    return ".".join(part for part in kind if part)


@dataclass(frozen=True, slots=True)
class ManagedKind:
    """The managed objects of one kind."""

    resource: Resource
    cache: Cache[Managed]


class Follower(Protocol):
    """Told of changes after the mirror itself took them."""

    def pod_changed(self, key: Key, before: Pod | None, after: Pod | None) -> None: ...

    def instance_changed(self, before: InstanceFacts | None, after: InstanceFacts | None) -> None: ...

    def node_changed(self, name: str) -> None: ...

    def look_again(self, pods: Iterable[Key]) -> None: ...

    def prices_changed(self) -> None: ...


class Mirror:
    """One member. now: the fleet's time. malformed: called with the name of a ConfigMap that cannot be read."""

    def __init__(
        self,
        member: str,
        stock: Stock,
        now: Callable[[], float],
        policies: Policies | None = None,
        malformed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.member = member
        self._now = now
        self.capacity = Capacity()
        self.capacity_changed = asyncio.Event()
        self.status_changed: Flags[ObjectKey] = Flags()
        self.nodes: Cache[Node] = Cache(self._node_changed)
        self.pods: Cache[Pod] = Cache(self._pod_changed)
        self.autoscalers: Cache[Autoscaler] = Cache(self._autoscaler_changed)
        self.config_maps: Cache[ConfigMap] = Cache(self._config_map_changed)
        self.kinds: dict[Kind, ManagedKind] = {}
        self.surroundings = SurroundingsCache(
            member,
            stock,
            self.capacity.virtual,
            self.capacity_changed.set,
            malformed,
            lambda namespace: self.told_pods.namespace_relabelled(namespace),
        )
        self.instances = Instances(self._instance_changed)
        self.budgets = Budgets(self.capacity_changed.set)
        self.followers: list[Follower] = []
        self.told_pods = ToldPods(
            member,
            self.pods.items,
            self.capacity.virtual,
            lambda name: ("", name) in self.nodes.items,
            self.surroundings,
            self.instances,
            policies or Policies(),
            self.owner_of,
            now,
        )
        self._pools = Pools(member, stock, self.capacity, self.capacity_changed.set, self._priced)
        self.events = {source: Cache[PodEvent](self._event_changed) for source in self._pools.autoscalers}
        self._pods_of: dict[str, dict[Key, PodFacts]] = {}
        self._owner: dict[str, ObjectKey] = {}
        self._said: dict[str, dict[Key, tuple[float, Provisioning]]] = {}
        self._targets: dict[ObjectKey, str] = {}
        self.synced: set[str] = set()
        self.expected: set[Kind] = set()
        self.disconnected: set[str] = set()
        self.reachable_at = 0.0
        self.trouble: BrimError | None = None
        self.lost = False

    # -- reachability ----------------------------------------------------------------------------------------

    def answered(self) -> None:
        self.reachable_at = self._now()
        self.trouble = None

    def did_not_answer(self, error: BrimError) -> None:
        self.trouble = error

    @property
    def needed(self) -> set[str]:
        """What the room is computed from."""
        return {NODES, PODS} | self._pools.sources

    @property
    def has_room(self) -> bool:
        """Whether the room is known: all that it is computed from was listed."""
        return self.needed <= self.synced

    @property
    def pools(self) -> tuple[Pool, ...]:
        """As CAPACITY tells them."""
        return self._pools.value

    @property
    def node_pools(self) -> Cache[karpenter.NodePool] | None:
        """Karpenter's, where they are the source of the stock."""
        return self._pools.node_pools if NODE_POOLS in self._pools.sources else None

    @property
    def known_surroundings(self) -> Surroundings | None:
        """None before all that they are made of was listed, and the budgets: what is not known yet must not count as
        absent."""
        return self.surroundings.value if {NAMESPACES, CONFIG_MAPS, BUDGETS} <= self.synced else None

    @property
    def stands(self) -> bool:
        """Whether what is known is kept up to date: all was listed, and every watch stands."""
        return self.has_room and not self.disconnected

    @property
    def is_synced(self) -> bool:
        return self.has_room and not self.expected

    # -- changes ---------------------------------------------------------------------------------------------

    def _node_changed(self, key: Key, before: Node | None, after: Node | None) -> None:
        known, virtual_before = self.capacity.node(key[1]), self.capacity.virtual.get(key[1])
        if after is None:
            self.capacity.drop_node(key[1])
        else:
            described = self._pools.of_node(after.metadata.labels)
            self.capacity.put_node(facts.node_facts(after, described), self._now())
        virtual = self.capacity.virtual.get(key[1])
        if virtual != virtual_before:
            self._virtual_node_changed(key[1], (virtual is None) != (virtual_before is None))
        if self.capacity.node(key[1]) is not known:
            for follower in self.followers:
                follower.node_changed(key[1])
        self._wake_capacity()

    def _virtual_node_changed(self, name: str, came_or_went: bool) -> None:
        self.surroundings.touch()
        if came_or_went:  # its pods take another amount of it than they took before
            there = {key: pod for key, pod in self.pods.items.items() if pod.spec.node_name == name}
            for pod in there.values():
                self.capacity.put_pod(self._pod_facts(pod))
            self.told_pods.look_again(there)

    def _wake_capacity(self) -> None:
        if self.capacity.changed:
            self._pools.recount()
            self.capacity_changed.set()

    def _config_map_changed(self, key: Key, before: ConfigMap | None, after: ConfigMap | None) -> None:
        self.surroundings.config_map_changed(key, after)
        self._pools.config_map_changed(key[1], after)

    def _priced(self) -> None:
        for follower in self.followers:
            follower.prices_changed()

    def node_price(self, node: NodeFacts) -> float:
        """What it costs per hour."""
        return self._pools.node_price(node)

    def _pod_changed(self, key: Key, before: Pod | None, after: Pod | None) -> None:
        was = _workload(before)
        if was and (after is None or was != _workload(after)):
            mates = self._pods_of.get(was, {})
            mates.pop(key, None)
            if not mates:
                self._pods_of.pop(was, None)
            self._flag_workload(was)
        if after is None:
            self.capacity.drop_pod(key)
        else:
            pod = self._pod_facts(after)
            self.capacity.put_pod(pod)
            if pod.workload and self._pods_of.setdefault(pod.workload, {}).get(key) != pod:
                self._pods_of[pod.workload][key] = pod
                self._flag_workload(pod.workload)
        self.told_pods.pod_changed(key, after)
        for instance in self.instances.of_name(key).values():
            self._charge_instance(instance)
        for follower in self.followers:
            follower.pod_changed(key, before, after)
        self._wake_capacity()

    def _instance_changed(self, before: InstanceFacts | None, after: InstanceFacts | None) -> None:
        for instance in (before, after):
            pod = self.pods.items.get(instance.pod_key) if instance is not None else None
            if pod is not None:
                self.capacity.put_pod(self._pod_facts(pod))
        if before is not None and after is None:
            self.capacity.drop_pod(_stand_in(before))
        elif after is not None:
            self._charge_instance(after)
        self.told_pods.instance_changed(before, after)
        for follower in self.followers:
            follower.instance_changed(before, after)
        self._wake_capacity()

    def _charge_instance(self, instance: InstanceFacts) -> None:
        """One without a pod takes of the quota as if its pod were there."""
        namespace, name = key = _stand_in(instance)
        spec = instance_of({}, {}, instance.size, self.surroundings.sold(instance.node))
        if instance.until is None and spec is not None and self.told_pods.is_orphan(instance):
            self.capacity.put_pod(PodFacts(namespace, name, node=instance.node, requests=takes({}, spec)))
        else:
            self.capacity.drop_pod(key)

    def _pod_facts(self, pod: Pod) -> PodFacts:
        found = facts.pod_facts(pod)
        if found.node not in self.capacity.virtual:
            return found
        instance = self.instances.of(found.key, found.uid)
        size = instance.size if instance is not None else ""
        sold = self.surroundings.sold(found.node)
        spec = instance_of(found.requests, pod.metadata.annotations, size, sold)
        return replace(found, requests=takes(found.requests, spec))

    def _flag_workload(self, uid: str) -> None:
        owner = self._owner.get(uid)
        if owner is not None:
            self.status_changed.raise_(owner)

    def _event_changed(self, key: Key, before: PodEvent | None, after: PodEvent | None) -> None:
        for event in (before, after):
            if event is not None:
                said = self._said.setdefault(event.involved_object.uid, {})
                said.pop(key, None)
                if not said:
                    del self._said[event.involved_object.uid]
        if after is not None and (meaning := provisioning_of(after.reason, after.message)) is not None:
            self._said.setdefault(after.involved_object.uid, {})[key] = (facts.event_time(after), meaning)
        about = after or before
        pod = self.pods.items.get((about.involved_object.namespace, about.involved_object.name)) if about else None
        if pod is not None:
            self._flag_workload(_workload(pod))

    def _autoscaler_changed(self, key: Key, before: Autoscaler | None, after: Autoscaler | None) -> None:
        for autoscaler in (before, after):
            if autoscaler is None:
                continue
            target = _target(autoscaler)
            if autoscaler is after:
                self._targets[target] = autoscaler.metadata.name
            elif self._targets.get(target) == autoscaler.metadata.name:
                del self._targets[target]
            if target in self:
                self.status_changed.raise_(target)

    # -- managed objects -------------------------------------------------------------------------------------

    def add_kind(self, resource: Resource) -> ManagedKind:
        """The cache of a kind's managed objects, made at the first call."""
        kind = (resource.kind, resource.group)
        if kind not in self.kinds:

            def changed(key: Key, before: Managed | None, after: Managed | None) -> None:
                self._managed_changed((*kind, *key), before, after)

            self.kinds[kind] = ManagedKind(resource, Cache(changed))
        return self.kinds[kind]

    def _managed_changed(self, key: ObjectKey, before: Managed | None, after: Managed | None) -> None:
        was, now = _workload(before), _workload(after)
        if was and was != now and self._owner.get(was) == key:
            del self._owner[was]
        if now and self._owner.get(now) != key:
            self._owner[now] = key
            pods = self._pods_of.get(now, {})
            self.told_pods.look_again(pods)
            for follower in self.followers:
                follower.look_again(pods)
        self.status_changed.raise_(key)

    def owner_of(self, pod: Pod) -> ObjectRef | None:
        """Whom people know as the pod's owner; None for a pod of its own."""
        key = self._owner.get(_workload(pod))
        managed = self.managed(key) if key is not None else None
        ref = facts.object_ref(managed, self.kinds[(key[0], key[1])].resource) if key and managed else None
        return pod_form.owner_of(pod, ref)

    def __contains__(self, key: ObjectKey) -> bool:
        return self.managed(key) is not None

    def managed(self, key: ObjectKey) -> Managed | None:
        kind = self.kinds.get((key[0], key[1]))
        return kind.cache.items.get((key[2], key[3])) if kind is not None else None

    def status(self, key: ObjectKey) -> Status | None:
        """How a managed object fares now; None where it is no more."""
        managed = self.managed(key)
        if managed is None:
            return None
        resource = self.kinds[(key[0], key[1])].resource
        about = facts.object_facts(managed, resource)
        pods = self._pods_of.get(about.uid, {}) if about.uid else {}
        return status_of(
            self.member, about, pods.values(), self._provisioning(pods), self._targets.get(key), self._now()
        )

    def _provisioning(self, pods: Mapping[Key, PodFacts]) -> dict[str, Provisioning]:
        said = {pod.uid: self._said[pod.uid] for pod in pods.values() if pod.uid in self._said}
        return {uid: max(meanings.values())[1] for uid, meanings in said.items()}

    def has_object(self, workload: str) -> bool:
        """Whether the object that bears a workload's mark is known; so are the kinds that are not one's own."""
        return not workload or workload in self._owner

    def traceparent_of(self, workload: str) -> str:
        """As `traceparent`, by the uid that the object is marked with."""
        key = self._owner.get(workload)
        return self.traceparent(key) if key is not None else ""

    def traceparent(self, key: ObjectKey) -> str:
        """The trace of the last change that brim made to the object, empty without one."""
        managed = self.managed(key)
        return managed.metadata.annotations.get(TRACEPARENT_ANNOTATION, "") if managed is not None else ""


def _stand_in(instance: InstanceFacts) -> Key:
    """Under which an instance without a pod is known to the room; no pod can have the name."""
    return (instance.namespace, f"instance {instance.name}")


def _workload(item: Pod | Managed | None) -> str:
    return item.metadata.labels.get(WORKLOAD_LABEL, "") if item is not None else ""


def _target(autoscaler: Autoscaler) -> ObjectKey:
    target = autoscaler.spec.scale_target_ref
    group = target.api_version.rpartition("/")[0]
    return (target.kind, group, autoscaler.metadata.namespace, target.name)
