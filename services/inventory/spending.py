"""What one member's pods cost: the caches in, payments into the accounts.

Metered are pods of brim's (of a workload that it propagated, or that name its scheduler) on nodes that have a price,
and every pod on a virtual node. A pod pays a node's price × its dominant share: the largest part of any resource of the
node that it asks for. On a virtual node it pays its instance's price, from when that is billed; where the member
serves no instances as objects, that of the size it has or rounds up to, from its start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from typing import Final

from services.inventory import facts
from services.inventory.core.costs import Accounts, Payment
from services.inventory.core.facts import Key, ObjectKey
from services.inventory.core.instances import InstanceFacts
from services.inventory.core.virtual import hourly, instance_of
from services.inventory.flags import Flags
from services.inventory.mirror import NODES, PODS, Mirror
from services.inventory.projections import Pod
from shared.contracts.annotations import WORKLOAD_LABEL
from shared.contracts.capacity import VirtualStock
from shared.contracts.cost import Cost
from shared.contracts.refs import ObjectRef
from shared.eci import wants_spot
from shared.pod_requests import dominant_share
from shared.units import SCHEDULERS, Unit, unit_of

NOTHING: Final = frozenset[Key]()


class NothingPaid(Enum):
    """Nothing is paid for a pod, for as long as things are as they are."""

    NOTHING_PAID = "nothing"


NOTHING_PAID: Final = NothingPaid.NOTHING_PAID


class Spending:
    """Follows a mirror. changed: keys of accounts that are others now."""

    def __init__(self, mirror: Mirror, now: Callable[[], float]) -> None:
        self._mirror = mirror
        self._pods = mirror.pods.items
        self._instances = mirror.instances
        self._now = now
        self._on_node: dict[str, set[Key]] = {}
        self.accounts = Accounts(mirror.member)
        self.changed: Flags[ObjectKey] = Flags()

    def take_up(self, costs: Iterable[Cost], watched_until: float) -> None:
        """Go on where a predecessor stopped; before anything is watched."""
        self.accounts = Accounts(self._mirror.member, watched_until)
        for cost in costs:
            self.accounts.take_up(cost)

    def value(self, key: ObjectKey, most: int) -> Cost | None:
        """most: meters that are told one by one."""
        return self.accounts.cost(key, self._now(), most)

    def flag(self, keys: Iterable[ObjectKey]) -> None:
        for key in keys:
            self.changed.raise_(key)

    # -- what changed ----------------------------------------------------------------------------------------

    def pod_changed(self, key: Key, before: Pod | None, after: Pod | None) -> None:
        if before is not None and before.spec.node_name:
            self._leave(key, before.spec.node_name)
            if after is None or after.metadata.uid != before.metadata.uid:
                self._gone(before)
        if after is not None and after.spec.node_name and self._counts(after):
            self._on_node.setdefault(after.spec.node_name, set()).add(key)
            self._meter(after)

    def _leave(self, key: Key, node: str) -> None:
        there = self._on_node.get(node)
        if there is not None:
            there.discard(key)
            if not there:
                del self._on_node[node]

    def node_changed(self, name: str) -> None:
        """It came, went, or is another."""
        self.look_again(self._on_node.get(name, NOTHING))

    def prices_changed(self) -> None:
        for there in list(self._on_node.values()):
            self.look_again(there)

    def look_again(self, keys: Iterable[Key]) -> None:
        for key in list(keys):
            pod = self._pods.get(key)
            if pod is not None and pod.spec.node_name and self._counts(pod):
                self._meter(pod)

    def listed(self) -> None:
        """Nodes, pods or instances were. Once all are, what a predecessor metered and that is missing is gone."""
        if not self._knows_nodes or PODS not in self._mirror.synced or not self._instances.known:
            return
        self.prices_changed()
        for instance in self._instances:
            self.instance_changed(None, instance)
        present = {pod.metadata.uid for pod in self._pods.values()} | {one.uid for one in self._instances}
        self.flag(self.accounts.end_missing(present))

    @property
    def _knows_nodes(self) -> bool:
        return NODES in self._mirror.synced

    def instance_changed(self, before: InstanceFacts | None, after: InstanceFacts | None) -> None:
        instance = after or before
        if instance is None:
            return
        pod = self._pods.get(instance.pod_key)
        if pod is not None and pod.metadata.uid == instance.uid:
            self.look_again([instance.pod_key])
        elif after is not None:
            self._meter_orphan(after)
        else:
            self._end(instance.uid, instance.until)

    # -- payments --------------------------------------------------------------------------------------------

    def _counts(self, pod: Pod) -> bool:
        ours = WORKLOAD_LABEL in pod.metadata.labels or pod.spec.scheduler_name in SCHEDULERS
        return ours or self._on_virtual(pod)

    def _on_virtual(self, pod: Pod) -> bool:
        return self._mirror.told_pods.on_virtual(pod)

    def _meter(self, pod: Pod) -> None:
        uid, now = pod.metadata.uid, self._now()
        payment = self._payment(pod)
        if isinstance(payment, Payment):
            self.flag(self.accounts.observe(uid, payment, now))
        elif payment is NOTHING_PAID:
            until = self._until(pod)
            self.flag(self.accounts.lapse(uid, now) if until is None else self.accounts.end(uid, until))

    def _payment(self, pod: Pod) -> Payment | NothingPaid | None:
        """None while it is not known what the pod costs, or since when."""
        instance = self._instances.of(pod.key, pod.metadata.uid)
        if instance is not None:
            return self._for_instance(instance, self._ref(pod), pod.metadata.labels.get(WORKLOAD_LABEL, ""))
        if self._on_virtual(pod):
            return self._without_instance(pod) if self._instances.known else None
        node = self._mirror.capacity.node(pod.spec.node_name)
        if node is None:
            return NOTHING_PAID if self._knows_nodes else None
        share = dominant_share(facts.pod_facts(pod).requests, node.allocatable)
        return self._for(pod, unit_of(node.labels), self._mirror.node_price(node) * share, facts.bound_at(pod))

    def _for_instance(self, instance: InstanceFacts, ref: ObjectRef, workload: str) -> Payment | None:
        if instance.since is None:
            return None
        price = hourly(instance.size, instance.spot, self._sold(instance.node))
        return Payment(ref, instance.pod, "eci", instance.since, price, instance.until, workload)

    def _without_instance(self, pod: Pod) -> Payment | NothingPaid | None:
        """Where instances are objects, one that is not there is not paid for."""
        if self._instances.served:
            return NOTHING_PAID
        sold, annotations = self._sold(pod.spec.node_name), pod.metadata.annotations
        spec = instance_of(facts.pod_facts(pod).requests, annotations, "", sold)
        price = hourly(spec.name, wants_spot(annotations), sold) if spec is not None else 0.0
        return self._for(pod, "eci", price, facts.seconds(pod.status.start_time) or facts.bound_at(pod))

    def _sold(self, node: str) -> VirtualStock:
        return self._mirror.surroundings.sold(node)

    def _for(self, pod: Pod, unit: Unit, per_hour: float, since: float | None) -> Payment | None:
        if since is None:
            return None
        workload = pod.metadata.labels.get(WORKLOAD_LABEL, "")
        return Payment(self._ref(pod), pod.metadata.name, unit, since, per_hour, self._until(pod), workload)

    def _until(self, pod: Pod) -> float | None:
        if pod.status.phase not in ("Succeeded", "Failed"):
            return None
        return facts.finished_at(pod) or self._now()

    def _ref(self, pod: Pod) -> ObjectRef:
        """A pod of its own is its own owner. A workload's meter stays where it is while its object is not known yet."""
        metadata = pod.metadata
        held = self.accounts.ref_of(metadata.uid)
        if held is not None and not self._mirror.has_object(metadata.labels.get(WORKLOAD_LABEL, "")):
            return held
        own = ObjectRef(version="v1", kind="Pod", namespace=metadata.namespace, name=metadata.name)
        return self._mirror.owner_of(pod) or own

    # -- ends ------------------------------------------------------------------------------------------------

    def _gone(self, pod: Pod) -> None:
        """An instance that is left behind is paid for until it goes, too."""
        uid = pod.metadata.uid
        if not self.accounts.knows(uid):
            return
        instance = self._instances.of(pod.key, uid)
        if instance is not None and instance.until is None:
            self._meter_orphan(instance)
        else:
            self._end(uid, instance.until if instance is not None else facts.finished_at(pod))

    def _meter_orphan(self, instance: InstanceFacts) -> None:
        name = instance.pod or instance.name
        own = ObjectRef(version="v1", kind="Pod", namespace=instance.namespace, name=name)
        payment = self._for_instance(instance, self.accounts.ref_of(instance.uid) or own, "")
        if payment is not None and self._instances.known:
            self.flag(self.accounts.observe(instance.uid, payment, self._now()))

    def _end(self, uid: str, at: float | None) -> None:
        self.flag(self.accounts.end(uid, self._now() if at is None else at))
        self.accounts.forget(uid)
