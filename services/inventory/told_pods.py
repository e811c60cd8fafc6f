"""Which pods of one member PODS tells, and what of each: the caches in, contract values out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from services.inventory import pod_form
from services.inventory.core.facts import VIRTUAL_NAME, Key, NodeFacts
from services.inventory.core.instances import InstanceFacts
from services.inventory.core.sight import PodSight, Sight, Widened
from services.inventory.core.virtual import hourly
from services.inventory.flags import Flags
from services.inventory.instances import Instances
from services.inventory.pod_sight import sight_of
from services.inventory.policies import Policies
from services.inventory.projections import Pod
from services.inventory.surroundings import SurroundingsCache
from shared.contracts import pod as contract
from shared.contracts.annotations import UNIT_ANNOTATION
from shared.contracts.refs import ObjectRef
from shared.eci import INSTANCE_SPEC
from shared.units import asks_for_eci


class ToldPods:
    """changed: keys of pods about which there may be something to tell. Whoever owns the caches says what changed.

    nodes: whether a node is there. owner_of: whom people know as a pod's owner.
    """

    def __init__(
        self,
        member: str,
        pods: Mapping[Key, Pod],
        virtual: Mapping[str, NodeFacts],
        has_node: Callable[[str], bool],
        surroundings: SurroundingsCache,
        instances: Instances,
        policies: Policies,
        owner_of: Callable[[Pod], ObjectRef | None],
        now: Callable[[], float],
    ) -> None:
        self._member = member
        self._pods = pods
        self._virtual = virtual
        self._has_node = has_node
        self._surroundings = surroundings
        self._instances = instances
        self._policies = policies
        self._owner_of = owner_of
        self._now = now
        self._sight = Sight(surroundings.labels_of, policies.selects)
        self._by_namespace: dict[str, set[Key]] = {}
        self._from_afar: set[Key] = set()
        self._told: set[Key] = set()
        self._unbound: set[Key] = set()  # of brim's schedulers
        self._counted: dict[Key, float] = {}  # since when the capacity counts those that got their node since then
        self.changed: Flags[Key] = Flags()

    # -- what changed ----------------------------------------------------------------------------------------

    def pod_changed(self, key: Key, after: Pod | None) -> None:
        """after: it is in the capacity already."""
        seen = self._see(after) if after is not None else None
        self._count(key, seen)
        if seen is None:
            self._leave(key)
        else:
            self._by_namespace.setdefault(key[0], set()).add(key)
            (self._from_afar.add if seen.counts_from_afar else self._from_afar.discard)(key)
        widened = self._sight.put(key, seen)
        if widened:
            self._widen(widened, key)  # first: who counts for a pod is told before the pod itself
        self._judge(key, seen)
        for instance in self._instances.of_name(key):  # whose pod it was may have gone, or another taken its name
            self.changed.raise_(instance)

    def _count(self, key: Key, seen: PodSight | None) -> None:
        if seen is None or not seen.ours or not seen.node:
            self._counted.pop(key, None)
            (self._unbound.add if seen is not None and seen.ours else self._unbound.discard)(key)
        elif key in self._unbound:
            self._unbound.discard(key)
            self._counted[key] = self._now()

    def _leave(self, key: Key) -> None:
        self._from_afar.discard(key)
        mates = self._by_namespace.get(key[0])
        if mates is not None:
            mates.discard(key)
            if not mates:
                del self._by_namespace[key[0]]

    def _judge(self, key: Key, seen: PodSight | None) -> None:
        """Flag what is to be told, or was. Others, of which there may be very many, cost next to nothing."""
        tells = seen is not None and self._sight.tells(seen)
        if tells:
            self._told.add(key)
        elif key in self._told:
            self._told.discard(key)
        else:
            return
        self.changed.raise_(key)

    def _widen(self, widened: Widened, by: Key) -> None:
        namespaces = set(widened.namespaces)
        if widened.selectors:
            namespaces |= {name for name in self._by_namespace if self._sight.looks_at(name)}
        for namespace in namespaces:
            self.look_again(self._by_namespace.get(namespace, set()) - {by})
        if widened.afar:
            self.look_again(self._from_afar)

    def look_again(self, keys: Iterable[Key]) -> None:
        """Something that these pods' being told depends on is another."""
        for key in list(keys):
            pod = self._pods.get(key)
            if pod is not None:
                self._judge(key, self._see(pod))

    def policies_changed(self, namespace: str) -> None:
        self.look_again(self._by_namespace.get(namespace, ()))

    def namespace_relabelled(self, namespace: str) -> None:
        if self._sight.by_label:
            self.look_again(self._by_namespace.get(namespace, ()))
        if self._sight.is_home(namespace):
            self.look_again(self._from_afar)

    def listed(self) -> None:
        """All pods, or all instances, were listed: now it is known which instances have no pod."""
        for instance in self._instances:
            self.instance_changed(None, instance)

    def instance_changed(self, before: InstanceFacts | None, after: InstanceFacts | None) -> None:
        for instance in (before, after):
            if instance is not None:
                self.changed.raise_(instance.key)
                self.changed.raise_(instance.pod_key)
                self.look_again([instance.pod_key])

    def settle(self) -> None:
        """Once in a while: what nothing looks at any more is out of sight."""
        self._sight.settle()
        self.look_again(self._told)

    # -- what is told ----------------------------------------------------------------------------------------

    def value(self, key: Key) -> contract.Pod | None:
        """What is to be told under this name now; None where nothing is."""
        pod = self._pods.get(key)
        if pod is not None:
            return self._of_pod(key, pod) if self._sight.tells(self._see(pod)) else None
        orphan = self._orphan_told_as(key)
        return pod_form.gone(self._member, key[1], orphan, self._instance(orphan), self._now()) if orphan else None

    def _of_pod(self, key: Key, pod: Pod) -> contract.Pod:
        instance = self._instances.of(key, pod.metadata.uid)
        return pod_form.told(
            self._member,
            pod,
            owner=self._owner_of(pod),
            annotations=self._policies.annotations(key[0]),
            instance=self._instance(instance) if instance is not None else None,
            counted_at=self._counted.get(key),
            eci=asks_for_eci(pod.metadata.labels, self._surroundings.labels_of(key[0])),
            now=self._now(),
        )

    def _orphan_told_as(self, key: Key) -> InstanceFacts | None:
        """The instance whose missing pod had this name, or that has it itself because another pod took its pod's."""
        left = self._instances.of_name(key)
        if left:
            return max(left.values(), key=lambda one: (one.since or 0.0, one.name))
        instance = self._instances.named(key)
        if instance is None or not self.is_orphan(instance):
            return None
        heir = self._pods.get(instance.pod_key)
        first = self._orphan_told_as(instance.pod_key) if heir is None else None
        return instance if instance != first else None

    def is_orphan(self, instance: InstanceFacts) -> bool:
        pod = self._pods.get(instance.pod_key)
        return pod is None or pod.metadata.uid != instance.uid

    def _instance(self, instance: InstanceFacts) -> contract.Instance:
        return contract.Instance(
            name=instance.name,
            size=instance.size,
            since=instance.since,
            spot=instance.spot,
            per_hour=hourly(instance.size, instance.spot, self._surroundings.sold(instance.node)),
        )

    # -- how a pod is seen -----------------------------------------------------------------------------------

    def _see(self, pod: Pod) -> PodSight:
        instance = self._instances.of(pod.key, pod.metadata.uid)
        return sight_of(pod, on_virtual=instance is not None or self.on_virtual(pod), instance=instance is not None)

    def on_virtual(self, pod: Pod) -> bool:
        """Whether its node is virtual, or was one while it was there."""
        node = pod.spec.node_name
        if not node or node in self._virtual:
            return bool(node)
        if self._has_node(node):
            return False
        annotations = pod.metadata.annotations
        return (
            node.startswith(VIRTUAL_NAME) or INSTANCE_SPEC in annotations or annotations.get(UNIT_ANNOTATION) == "eci"
        )
