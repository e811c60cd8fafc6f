"""The virtual kubelet: runs the pods of virtual nodes on serverless instances, one each.

An instance is there sooner than a node would be, and ends with its pod. What the cloud does not sell becomes an event
about the pod, which fails or is tried again, as its annotation says. A spot instance that is taken back takes its pod
with it. Two annotations are for tests and for people:

- `simulator.brim.dev/reclaim: "true"` on a spot ContainerGroup: the cloud takes it back, as soon as the protected hour
  and the notice allow;
- `simulator.brim.dev/outlives-pod: "true"` on a pod: its instance lives on when the pod is gone. So does that of a pod
  which goes while its virtual node is not Ready, or not there.
"""

from __future__ import annotations

from shared import eci
from shared.clock import parse_rfc3339, rfc3339
from shared.fleet import Member
from simulator import objects
from simulator.cluster import Cluster
from simulator.instances import INSTANCE_ID, SHELF, Instances, Refusal, lives
from simulator.kubelet import Kubelet, container_status
from simulator.objects import Object
from simulator.store import Change, Key

RECLAIM = "simulator.brim.dev/reclaim"
OUTLIVES_POD = "simulator.brim.dev/outlives-pod"
AGAIN, LONGEST = 10.0, 300.0  # fleet seconds until an instance that could not be had is asked for again, doubling
BETWEEN = 1.0  # fleet seconds between two times at which all ask again because there is more to have
ASK = "virtual-kubelet-ask"
EXPIRED = "Expired"


class VirtualKubelet(Kubelet):
    """All virtual nodes of one member."""

    name = "virtual-kubelet"
    network = 172 << 24 | 16 << 16

    def __init__(self, cluster: Cluster, member: Member) -> None:
        super().__init__(cluster)
        self.instances = Instances(cluster, member)
        self._waiting: dict[str, int] = {}  # uid of a pod that could not have an instance → attempts
        self._asked_at = float("-inf")

    def runs(self, node: str) -> bool:
        return node in self.instances.nodes

    def install(self) -> None:
        if not self.instances.nodes:
            return
        store, queue = self._cluster.store, self._cluster.queue
        queue.register(SHELF, self._look)
        queue.register(ASK, self._ask_again)
        self.instances.install(self._more_to_have)
        super().install()
        store.subscribe(self._on_instance, SHELF)
        for instance in store.every(SHELF):
            self._queue_instance(instance)

    def shut_down(self) -> None:
        """Leave a true word of the stock behind."""
        if self.instances.nodes:
            self.instances.stock.reconcile()

    # -- keeping up

    def _on_pod(self, change: Change) -> None:
        super()._on_pod(change)
        instance = self.instances.of(change.object)
        if change.type == "DELETED":
            self._forget(objects.uid(change.object))
            if instance is not None and objects.annotations(change.object).get(OUTLIVES_POD) == "true":
                marked = objects.with_annotations(instance, **{OUTLIVES_POD: "true"})
                instance = self._cluster.store.update(SHELF, marked)
        if instance is not None and (change.type == "DELETED" or objects.finished(change.object)):
            self._queue_instance(instance)

    def _on_node(self, change: Change) -> None:
        super()._on_node(change)
        was = change.previous is not None and objects.ready(change.previous)
        if change.type != "DELETED" and objects.ready(change.object) and not was:
            for instance in self._cluster.store.every(SHELF):
                if instance["spec"]["nodeName"] == objects.name(change.object):
                    self._queue_instance(instance)

    def _on_instance(self, change: Change) -> None:
        if change.type == "DELETED":
            spec = change.object["spec"]
            self._cluster.queue.add(self.name, (objects.namespace(change.object), spec["podName"]))
        else:
            self._queue_instance(change.object)

    def _queue_instance(self, instance: Object) -> None:
        self._cluster.queue.add(SHELF, (objects.namespace(instance), objects.name(instance)))

    # -- pods

    def _start(self, pod: Object, node: Object) -> None:
        delays = self._cluster.delays
        instance = self.instances.of(pod)
        if instance is None:
            if (instance := self._buy(pod, node)) is None:
                return
            pod = self._mark(pod, instance)
        if self._ended(pod, instance):
            return
        self._wait(pod, node)
        pull = min(delays.image_pull, delays.eci_start)
        if "startedAt" not in objects.status(instance):
            if not self._due(pod, "pull", delays.eci_start - pull):
                return
            instance = self.instances.pull(instance)
            for container in pod["spec"]["containers"]:
                self._cluster.event(pod, self.name, "Pulling", f'Pulling image "{container.get("image", "")}"')
        if not self._due(pod, "start", pull):
            return
        for container in pod["spec"]["containers"]:
            self._cluster.event(pod, self.name, "Started", f"Started container {container['name']}")
        self.instances.run(instance)
        fresh = self._cluster.store.get("pods", objects.namespace(pod), objects.name(pod))
        self._begin(fresh or pod, node)

    def _run(self, pod: Object) -> None:
        instance = self.instances.of(pod)
        if instance is None:
            self._fail(pod, "NotFound", "The instance behind the pod is no more")
        elif not self._ended(pod, instance):
            super()._run(pod)

    def _ended(self, pod: Object, instance: Object) -> bool:
        """Whether the cloud has ended the instance; its pod fails then."""
        if lives(instance):
            return False
        self._fail(pod, EXPIRED, f"The spot instance {objects.name(instance)} was taken back by the cloud")
        return True

    def _mark(self, pod: Object, instance: Object) -> Object:
        """Write back what was chosen."""
        marks = {eci.INSTANCE_SPEC: instance["spec"]["size"], INSTANCE_ID: objects.name(instance)}
        marked = objects.with_status(objects.with_annotations(pod, **marks), reason=None, message=None)
        self._cluster.event(
            pod, self.name, "InstanceCreated", f"Created {objects.name(instance)}, {marks[eci.INSTANCE_SPEC]}"
        )
        return self._cluster.store.update("pods", marked)

    def _fail(self, pod: Object, reason: str, message: str) -> None:
        """The pod is over, and its containers with it."""
        stamp = rfc3339(self._cluster.now())
        before = {entry["name"]: entry for entry in objects.status(pod).get("containerStatuses") or ()}
        containers = []
        for container in pod["spec"]["containers"]:
            entry = before.get(container["name"]) or {}
            started = ((entry.get("state") or {}).get("running") or {}).get("startedAt", stamp)
            state = {"exitCode": 137, "reason": reason, "startedAt": started, "finishedAt": stamp}
            restarts = entry.get("restartCount", 0)
            containers.append(container_status(pod, container, {"terminated": state}, ready=False, restarts=restarts))
        conditions = self._conditions(pod, False, "PodFailed")
        changes = {"phase": "Failed", "reason": reason, "message": message}
        new = objects.with_status(pod, **changes, conditions=conditions, containerStatuses=containers)
        self._cluster.store.update("pods", new)

    # -- what cannot be had

    def _buy(self, pod: Object, node: Object) -> Object | None:
        """An instance; None where there is none, or where it is too early to ask again."""
        uid = objects.uid(pod)
        if uid in self._waiting and not self._due(pod, "again", min(LONGEST, AGAIN * 2 ** (self._waiting[uid] - 1))):
            return None
        found = self.instances.create(pod, node)
        if not isinstance(found, Refusal):
            self._forget(uid)
            return found
        self._times.pop((uid, "again"), None)
        self._waiting[uid] = self._waiting.get(uid, 0) + 1
        self._refuse(pod, found)
        return None

    def _refuse(self, pod: Object, refusal: Refusal) -> None:
        said = f"{refusal.code}: {refusal.message}"
        self._cluster.event(pod, self.name, "ProviderCreateFailed", said, warning=True)
        fails = objects.annotations(pod).get(eci.FAIL_ON_CREATE_ERROR) == "true"
        phase = {"phase": "Failed"} if fails else {}
        new = objects.with_status(pod, reason="ProviderFailed", message=said, **phase)
        self._cluster.store.update("pods", new)
        if fails:
            self._forget(objects.uid(pod))
        else:
            self._due(pod, "again", min(LONGEST, AGAIN * 2 ** (self._waiting[objects.uid(pod)] - 1)))

    def _forget(self, uid: str) -> None:
        self._waiting.pop(uid, None)
        for what in ("pull", "start", "again"):
            self._times.pop((uid, what), None)

    def _more_to_have(self) -> None:
        self._cluster.queue.add_at(ASK, "", self._asked_at + BETWEEN)

    def _ask_again(self, key: str) -> None:
        """There may be an instance now for pods that wait for one."""
        self._asked_at = self._cluster.now()
        for uid in self._waiting:
            self._times[(uid, "again")] = self._asked_at
            where = self._cluster.store.find(uid)
            if where is not None:
                self._cluster.queue.add(self.name, where[1:])

    # -- instances

    def _look(self, key: Key) -> None:
        """End an instance whose pod has ended; take one back that the cloud wants."""
        store = self._cluster.store
        instance = store.get(SHELF, *key)
        if instance is None:
            return
        pod = store.get("pods", key[0], instance["spec"]["podName"])
        if pod is not None and objects.uid(pod) != instance["spec"]["podUid"]:
            pod = None
        if pod is None and self._is_seen(instance):
            self.instances.remove(instance)
        elif pod is not None and objects.finished(pod) and lives(instance):
            self.instances.finish(instance, objects.status(pod)["phase"])
        elif instance["spec"]["spot"] and lives(instance) and objects.annotations(instance).get(RECLAIM) == "true":
            self._reclaim(instance, pod)

    def _is_seen(self, instance: Object) -> bool:
        """Whether the virtual kubelet would notice that the pod is gone."""
        node = self._cluster.store.get("nodes", "", instance["spec"]["nodeName"])
        return node is not None and objects.ready(node) and objects.annotations(instance).get(OUTLIVES_POD) != "true"

    def _reclaim(self, instance: Object, pod: Object | None) -> None:
        """Take a spot instance back: after its protected hour, and a while after saying so."""
        store, now = self._cluster.store, self._cluster.now()
        status = objects.status(instance)
        if "releaseAt" not in status:
            born = parse_rfc3339(instance["metadata"]["creationTimestamp"])
            release = max(now + eci.SPOT_NOTICE, born + eci.SPOT_PROTECTION)
            store.update(SHELF, objects.with_status(instance, releaseAt=rfc3339(release)))
            return  # its own change brings us back
        release = parse_rfc3339(status["releaseAt"])
        if "noticedAt" not in status:
            if now < release - eci.SPOT_NOTICE:
                self._come_back(instance, release - eci.SPOT_NOTICE)
                return
            stamp = rfc3339(max(release, now + eci.SPOT_NOTICE))  # later than said where time ran away
            if pod is not None:
                message = f"Spot instance {objects.name(instance)} will be released at {stamp}"
                self._cluster.event(pod, self.name, "SpotToBeReleased", message, warning=True)
            store.update(SHELF, objects.with_status(instance, noticedAt=rfc3339(now), releaseAt=stamp))
        elif now < release:
            self._come_back(instance, release)
        else:
            self.instances.finish(instance, EXPIRED)
            self._cluster.queue.add(self.name, (objects.namespace(instance), instance["spec"]["podName"]))

    def _come_back(self, instance: Object, when: float) -> None:
        self._cluster.queue.add_at(SHELF, (objects.namespace(instance), objects.name(instance)), when)
