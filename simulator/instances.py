"""Serverless instances: what the cloud runs behind a member's virtual nodes, what is left of it, and what it bills.

Each is an object, `containergroups.eci.brim.dev/v1alpha1`, that lives on its own: nothing but the virtual kubelet, or
whoever deletes the object, ends it. It counts against stock and quota, and is paid for, from its creation or its image
pull until its status says that it has finished, or until it is deleted.

spec: podName, podUid and nodeName; size, a size of ECI or an instance type, with its cpu, memory, gpus and gpuModel;
spot; hourlyPrice. status: phase (Scheduling, Pending while the image is pulled, Running; then Succeeded, Failed,
Expired or Terminated), startedAt (the image pull), finishedAt; billedSeconds and cost, which are settled at the end
(until then the table of `kubectl get` counts them); of a spot instance that is wanted back noticedAt and releaseAt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from shared import eci, quantities
from shared.clock import parse_rfc3339, rfc3339
from shared.eci import Spec
from shared.fleet import Member, VirtualNode
from simulator import objects
from simulator.cluster import Cluster
from simulator.eci_stock import EciStock
from simulator.fit import requests_of
from simulator.objects import Object
from simulator.resources import CONTAINER_GROUPS
from simulator.store import Change, Key

SHELF = CONTAINER_GROUPS.shelf
INSTANCE_ID = "k8s.aliyun.com/eci-instance-id"
COUNTED = ("cpu", "memory", eci.GPU)  # what of an instance counts against the quota of its virtual node


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no instance for a pod, in the cloud's words."""

    code: str
    message: str


class Instances:
    """The instances of one member."""

    def __init__(self, cluster: Cluster, member: Member) -> None:
        assert member.simulated is not None
        self._cluster = cluster
        self.nodes = {one.node_name: one for one in member.simulated.virtual_nodes}
        self.stock = EciStock(cluster, {one.zone: one for one in member.simulated.virtual_nodes})
        self._of_pod: dict[str, Key] = {}  # pod uid → instance
        self._used: dict[str, Counter[str]] = {name: Counter() for name in self.nodes}
        self._more_to_have: Callable[[], None] = lambda: None

    def install(self, more_to_have: Callable[[], None]) -> None:
        """more_to_have: called when what could not be had before may be had now."""
        self._more_to_have = more_to_have
        self.stock.install(more_to_have)
        for instance in self._cluster.store.every(SHELF):
            self._index(instance, present=True)
            if lives(instance):
                self._count(instance, +1)
        self._cluster.store.subscribe(self._on_instance, SHELF)

    def of(self, pod: Object) -> Object | None:
        """The instance behind a pod."""
        key = self._of_pod.get(objects.uid(pod))
        return self._cluster.store.get(SHELF, *key) if key is not None else None

    # -- keeping count

    def _on_instance(self, change: Change) -> None:
        gone = change.type == "DELETED"
        before = change.previous is not None and lives(change.previous)
        now = not gone and lives(change.object)
        self._index(change.object, present=not gone)
        if before == now:
            return
        self._count(change.object, +1 if now else -1)
        where = self.nodes.get(change.object["spec"]["nodeName"])
        if where is not None:
            self.stock.add(where.zone, change.object["spec"]["size"], -1 if now else +1)
        if not now:
            self._more_to_have()

    def _index(self, instance: Object, *, present: bool) -> None:
        uid = instance["spec"]["podUid"]
        if present:
            self._of_pod[uid] = (objects.namespace(instance), objects.name(instance))
        else:
            self._of_pod.pop(uid, None)

    def _count(self, instance: Object, step: int) -> None:
        spec = instance["spec"]
        used = self._used.setdefault(spec["nodeName"], Counter())
        for resource, amount in _amounts(_spec_of(instance)).items():
            used[resource] += step * amount
        used["pods"] += step

    # -- life

    def create(self, pod: Object, node: Object) -> Object | Refusal:
        """Buy an instance for a pod on a virtual node."""
        found = self._choose(pod, node)
        if isinstance(found, Refusal):
            return found
        cluster, spot = self._cluster, eci.wants_spot(objects.annotations(pod))
        price = _price(self.nodes[objects.name(node)], found, spot)
        spec: Object = {
            "podName": objects.name(pod),
            "podUid": objects.uid(pod),
            "nodeName": objects.name(node),
            "size": found.name,
            "cpu": quantities.show("cpu", found.cpu),
            "memory": quantities.show("memory", found.memory),
            "spot": spot,
            "hourlyPrice": price,
        }
        if found.gpus:
            spec |= {"gpus": found.gpus, "gpuModel": found.gpu_model}
        return cluster.store.create(
            SHELF,
            {
                "apiVersion": CONTAINER_GROUPS.group_version,
                "kind": CONTAINER_GROUPS.kind,
                "metadata": {
                    "name": f"eci-{cluster.suffix(20)}",
                    "namespace": objects.namespace(pod),
                    "generation": 1,
                },
                "spec": spec,
                "status": {"phase": "Scheduling", "billedSeconds": 0, "cost": 0.0},
            },
        )

    def pull(self, instance: Object) -> Object:
        """It pulls its image: from now on it is billed."""
        return self._update(instance, phase="Pending", startedAt=rfc3339(self._cluster.now()))

    def run(self, instance: Object) -> Object:
        return self._update(instance, phase="Running")

    def finish(self, instance: Object, phase: str) -> Object:
        """It has ended, in this phase, and is billed no longer."""
        now = self._cluster.now()
        seconds, cost = bill(instance, now)
        return self._update(instance, phase=phase, finishedAt=rfc3339(now), billedSeconds=seconds, cost=cost)

    def remove(self, instance: Object) -> None:
        """Give it back. Whoever watches sees its last bill first."""
        if lives(instance):
            instance = self.finish(instance, "Terminated")
        self._cluster.store.remove(SHELF, objects.namespace(instance), objects.name(instance))

    def _update(self, instance: Object, **status: object) -> Object:
        return self._cluster.store.update(SHELF, objects.with_status(instance, **status))

    # -- what can be had

    def _choose(self, pod: Object, node: Object) -> Spec | Refusal:
        """The first that the pod may have, that is in stock, that it is ready to pay for, and that the quota allows."""
        sold, marks = self.nodes[objects.name(node)], objects.annotations(pod)
        containers = len(pod["spec"]["containers"])
        if containers > eci.MAX_CONTAINERS:
            why = f"an instance runs at most {eci.MAX_CONTAINERS} containers, the pod has {containers}"
            return Refusal("InvalidParameter", why)
        try:
            wanted, limit = eci.candidates(requests_of(pod["spec"]), marks, sold.own_types), _price_limit(marks)
        except ValueError as error:
            return Refusal("InvalidParameter", str(error))
        if not wanted:
            return Refusal("InvalidParameter", "no size and no instance type that the pod lists holds its requests")
        named = ", ".join(spec.name for spec in wanted)
        in_stock = list(eci.chosen(wanted, self.stock.left(sold.zone)))
        if not in_stock:
            return Refusal("NoStock", f"{named} is sold out in {sold.zone}")
        spot = eci.wants_spot(marks)
        paid = [spec for spec in in_stock if limit is None or _price(sold, spec, spot) <= limit]
        if not paid:
            return Refusal("SpotPriceAboveLimit", f"{named} costs more than {limit:g} per hour in {sold.zone}")
        quota = quantities.amounts(objects.status(node).get("allocatable") or {})
        fitting = (spec for spec in paid if self._within(quota, self._used[objects.name(node)], spec))
        return next(fitting, None) or Refusal(
            "QuotaExceeded", f"{named} does not fit the quota of {objects.name(node)}"
        )

    @staticmethod
    def _within(quota: dict[str, int], used: Counter[str], spec: Spec) -> bool:
        wanted = {**_amounts(spec), "pods": 1}
        return all(used[name] + amount <= quota.get(name, 0) for name, amount in wanted.items())


def lives(instance: Object) -> bool:
    """Whether it still takes of stock and quota."""
    return "finishedAt" not in objects.status(instance)


def bill(instance: Object, now: float) -> tuple[int, float]:
    """(seconds, cost) so far: whole seconds from the image pull until the end, at the price of its size."""
    status = objects.status(instance)
    if "startedAt" not in status:
        return 0, 0.0
    end = parse_rfc3339(status.get("finishedAt") or rfc3339(now))
    seconds = max(0, int(end - parse_rfc3339(status["startedAt"])))
    return seconds, round(seconds * float(instance["spec"]["hourlyPrice"]) / 3600, 6)


def _price(node: VirtualNode, spec: Spec, spot: bool) -> float:
    """Per hour, to the millionth, as it is shown."""
    return round(node.prices.rates.hourly(spec, spot=spot), 6)


def _amounts(spec: Spec) -> dict[str, int]:
    amounts = dict(zip(COUNTED, (spec.cpu, spec.memory, spec.gpus), strict=True))
    return {name: amount for name, amount in amounts.items() if amount}


def _spec_of(instance: Object) -> Spec:
    spec = instance["spec"]
    cpu, memory = quantities.amount("cpu", spec["cpu"]), quantities.amount("memory", spec["memory"])
    return Spec(spec["size"], cpu, memory, spec.get("gpus", 0), spec.get("gpuModel", ""))


def _price_limit(marks: dict[str, str]) -> float | None:
    """What a spot instance may cost per hour, None without a limit. Raises ValueError with a sentence."""
    strategy = marks.get(eci.SPOT_STRATEGY, "NoSpot")
    if strategy not in {*eci.SPOT_STRATEGIES, "NoSpot"}:
        known = ", ".join(sorted(eci.SPOT_STRATEGIES))
        raise ValueError(f"{eci.SPOT_STRATEGY} is {strategy!r}; it is one of {known}")
    if strategy != "SpotWithPriceLimit":
        return None
    text = marks.get(eci.SPOT_PRICE_LIMIT, "")
    try:
        limit = float(text)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise ValueError(f"{eci.SPOT_PRICE_LIMIT} is {text!r}; SpotWithPriceLimit needs a price per hour")
    return limit
