"""What the cloud can still sell, published as ConfigMaps and changed through them.

kube-system/autoscaler-meta tells the pools; kube-system/<pool>-inventory-status tells, per pool, whether there
is stock. The latter is also the truth: its annotation `simulator.brim.dev/stock` holds the number left ("3";
absent: unknown but some), and a change of either the annotation or the state counts.
"""

from __future__ import annotations

import json

from shared.described import PODS, pool_labels
from shared.fleet import Member, NodePool
from simulator import objects
from simulator.cluster import Cluster
from simulator.objects import Object
from simulator.store import Change

NAME = "stock"
SPACE = "kube-system"
META = "autoscaler-meta"
ANNOTATION = "simulator.brim.dev/stock"
_SUFFIX = "-inventory-status"


class StockBoard:
    """The stock of a member's pools."""

    def __init__(self, cluster: Cluster, member: Member) -> None:
        assert member.simulated is not None
        self._cluster = cluster
        self._member = member
        self.pools = {pool.id: pool for pool in member.simulated.pools}
        self._left: dict[str, int | None] = {pool.id: pool.stock for pool in self.pools.values()}
        self._seen: dict[str, tuple[str | None, str | None]] = {}
        self._wakes = ""

    def install(self, wakes: str) -> None:
        """Publish, and follow changes; `wakes` names the controller to queue when stock changes."""
        if not self.pools:
            return
        self._wakes = wakes
        self._cluster.queue.register(NAME, self.reconcile)
        self._publish_meta()
        for pool_id in self.pools:
            self.reconcile(pool_id)
        self._cluster.store.subscribe(self._on_change, "configmaps")

    def left(self, pool_id: str) -> int | None:
        """How many more instances can be had; None: some, number unknown."""
        return self._left[pool_id]

    def set_stock(self, pool_id: str, count: int | None) -> None:
        """Let the cloud have that many more instances (None: some, number unknown). KeyError: no such pool."""
        if pool_id not in self.pools:
            raise KeyError(pool_id)
        self._left[pool_id] = count
        self._publish(pool_id)
        self._cluster.queue.add(self._wakes, "")

    def add(self, pool_id: str, change: int) -> None:
        """Instances sold (negative) or given back; nothing to count while the number is unknown."""
        left = self._left[pool_id]
        if left is not None:
            self.set_stock(pool_id, max(0, left + change))

    def _on_change(self, change: Change) -> None:
        space, name = objects.namespace(change.object), objects.name(change.object)
        if space == SPACE and (name == META or name.removesuffix(_SUFFIX) in self.pools):
            self._cluster.queue.add(NAME, name.removesuffix(_SUFFIX))

    def reconcile(self, what: str) -> None:
        """Take over what somebody wrote into a ConfigMap, or publish it again if it is gone or broken."""
        if what == META:
            if self._cluster.store.get("configmaps", SPACE, META) is None:
                self._publish_meta()
            return
        found = self._cluster.store.get("configmaps", SPACE, what + _SUFFIX)
        if found is None:
            self._publish(what)
            return
        count, state = objects.annotations(found).get(ANNOTATION), _state(found)
        seen = self._seen.get(what, (None, None))
        before = self._left[what]
        if count != seen[0] and (count is None or count.isdigit()):
            self._left[what] = None if count is None else int(count)
        elif state is not None and state != seen[1]:
            self._left[what] = 0 if state == "WithoutStock" else before or None
        self._publish(what)
        if self._left[what] != before:
            self._cluster.queue.add(self._wakes, "")

    def _publish(self, pool_id: str) -> None:
        left = self._left[pool_id]
        count = None if left is None else str(left)
        state = "WithoutStock" if left == 0 else "WithStock"
        self._seen[pool_id] = (count, state)
        zone = self._member.zone or self._member.region
        entry = {"InstanceType": self.pools[pool_id].instance_type, "Zone": zone, "State": state}
        data = {"status": json.dumps({"SupplySeqs": [entry]})}
        put_config_map(self._cluster, pool_id + _SUFFIX, data, {ANNOTATION: count})

    def _publish_meta(self) -> None:
        pools = [_configuration(self._member, pool) for pool in self.pools.values()]
        data = {"scaler-type": "goatscaler", "scaling_configurations": json.dumps(pools)}
        put_config_map(self._cluster, META, data, {})


def put_config_map(cluster: Cluster, name: str, data: dict[str, str], marks: dict[str, str | None]) -> None:
    """Write a ConfigMap of kube-system, with annotations set or (None) removed."""
    found = cluster.store.get("configmaps", SPACE, name)
    metadata = {"name": name, "namespace": SPACE}
    base = found or {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    new = objects.with_annotations({**base, "data": data}, **marks)
    if found is None:
        cluster.store.create("configmaps", new)
    else:
        cluster.store.update("configmaps", new)


def _configuration(member: Member, pool: NodePool) -> Object:
    return {
        "id": pool.id,
        "instanceTypes": [pool.instance_type],
        "resources": {**PODS, **pool.allocatable},
        "labels": pool_labels(member, pool),
        "taints": [taint.model_dump() for taint in pool.taints],
        "min": pool.min,
        "max": pool.max,
    }


def _state(configmap: Object) -> str | None:
    """The State that a ConfigMap's status claims; None when it is not readable."""
    try:
        status = json.loads((configmap.get("data") or {}).get("status", ""))
        states = [entry["State"] for entry in status["SupplySeqs"]]
    except (ValueError, KeyError, TypeError):
        return None
    if not states:
        return None
    return "WithoutStock" if all(state == "WithoutStock" for state in states) else "WithStock"
