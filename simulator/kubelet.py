"""The kubelets of a member's nodes: bound pods start, run, end and go away, after the member's delays."""

from __future__ import annotations

import hashlib
from ipaddress import IPv4Address

from shared.clock import rfc3339
from simulator import objects, samples
from simulator.cluster import Cluster
from simulator.objects import Object
from simulator.store import Change, Key

RUN_SECONDS = "simulator.brim.dev/run-seconds"
EXIT_CODE = "simulator.brim.dev/exit-code"
READY = "simulator.brim.dev/ready"
JOB_SECONDS = 5.0  # how long a Job's container runs when its pod says nothing
BACKOFF, LONGEST_BACKOFF = 10.0, 300.0  # CrashLoopBackOff, fleet seconds


class Kubelet:
    """The kubelets of all nodes but those of `others`, which have their own.

    Times of starts and ends are kept here to the fraction; a restart reads them from the status.
    """

    name = "kubelet"  # of its jobs in the queue, and of the source of its events
    network = 10 << 24  # the pods' addresses are counted up from here

    def __init__(self, cluster: Cluster, others: frozenset[str] = frozenset()) -> None:
        self._cluster = cluster
        self._others = others
        self._times: dict[tuple[str, str], float] = {}  # (pod uid, what) → fleet time
        self._addresses = 0

    def runs(self, node: str) -> bool:
        """Whether the pods of this node are its own to run."""
        return node not in self._others

    def install(self) -> None:
        store = self._cluster.store
        self._cluster.queue.register(self.name, self.reconcile)
        for pod in store.every("pods"):
            self._queue(pod)
        store.subscribe(self._on_pod, "pods")
        store.subscribe(self._on_node, "nodes")

    def _on_pod(self, change: Change) -> None:
        if change.type == "DELETED":
            for what in ("start", "end", "stop"):
                self._times.pop((objects.uid(change.object), what), None)
        else:
            self._queue(change.object)

    def _queue(self, pod: Object) -> None:
        node = pod["spec"].get("nodeName")
        if node and self.runs(node):
            self._cluster.queue.add(self.name, (objects.namespace(pod), objects.name(pod)))

    def _on_node(self, change: Change) -> None:
        was = change.previous is not None and objects.ready(change.previous)
        if change.type != "DELETED" and objects.ready(change.object) and not was:
            for pod in self._cluster.store.pods_on(objects.name(change.object)):
                self._queue(pod)

    def _due(self, pod: Object, what: str, seconds: float) -> bool:
        """Whether `seconds` have passed since this was first asked; otherwise comes back then."""
        when = self._times.setdefault((objects.uid(pod), what), self._cluster.now() + seconds)
        if when <= self._cluster.now():
            return True
        self._cluster.queue.add_at(self.name, (objects.namespace(pod), objects.name(pod)), when)
        return False

    def reconcile(self, key: Key) -> None:
        store = self._cluster.store
        pod = store.get("pods", *key)
        if pod is None or not pod["spec"].get("nodeName") or not self.runs(pod["spec"]["nodeName"]):
            return
        node = store.get("nodes", "", pod["spec"]["nodeName"])
        if node is None or not objects.ready(node):
            return
        if objects.deleting(pod):
            self._stop(pod)
        elif objects.status(pod).get("phase") == "Pending":
            self._start(pod, node)
        elif objects.status(pod).get("phase") == "Running":
            self._run(pod)

    # -- the life of a pod

    def _stop(self, pod: Object) -> None:
        grace = float(pod["metadata"].get("deletionGracePeriodSeconds") or 0)
        if not self._due(pod, "stop", min(self._cluster.delays.stop, grace)):
            return
        store = self._cluster.store
        if pod["metadata"].get("finalizers"):
            if pod["metadata"].get("deletionGracePeriodSeconds"):
                store.update("pods", objects.with_meta(pod, deletionGracePeriodSeconds=0))
            return
        store.remove("pods", objects.namespace(pod), objects.name(pod))

    def _start(self, pod: Object, node: Object) -> None:
        if not self._due(pod, "start", self._cluster.delays.start):
            self._wait(pod, node)
            return
        for container in pod["spec"]["containers"]:
            image = f'Container image "{container.get("image", "")}" already present on machine'
            self._cluster.event(pod, self.name, "Pulled", image)
            self._cluster.event(pod, self.name, "Started", f"Started container {container['name']}")
        self._begin(pod, node)

    def _wait(self, pod: Object, node: Object) -> None:
        """Say that the containers are being created."""
        if "startTime" not in objects.status(pod):
            self._cluster.store.update("pods", self._creating(pod, node))

    def _creating(self, pod: Object, node: Object) -> Object:
        now = self._cluster.now()
        waiting = {"waiting": {"reason": "ContainerCreating"}}
        conditions = objects.status(pod).get("conditions") or []
        unready = ("ContainersNotReady", "containers with unready status")
        for kind in ("Ready", "ContainersReady"):
            conditions = objects.set_condition(conditions, kind, "False", now, *unready)
        conditions = objects.set_condition(conditions, "Initialized", "True", now)
        return objects.with_status(
            pod,
            startTime=rfc3339(now),
            hostIP=_address(node),
            conditions=conditions,
            containerStatuses=[container_status(pod, c, waiting, ready=False) for c in pod["spec"]["containers"]],
        )

    def _begin(self, pod: Object, node: Object, restarts: int = 0) -> None:
        """All containers run from now on."""
        cluster, now = self._cluster, self._cluster.now()
        ready = objects.annotations(pod).get(READY) != "false"
        running = {"running": {"startedAt": rfc3339(now)}}
        containers = [
            container_status(pod, c, running, ready=ready, restarts=restarts) for c in pod["spec"]["containers"]
        ]
        ip = objects.status(pod).get("podIP") or self._next_address()
        new = objects.with_status(
            pod,
            phase="Running",
            startTime=objects.status(pod).get("startTime") or rfc3339(now),
            hostIP=_address(node),
            hostIPs=[{"ip": _address(node)}],
            podIP=ip,
            podIPs=[{"ip": ip}],
            conditions=self._conditions(pod, ready),
            containerStatuses=containers,
        )
        cluster.store.update("pods", new)
        self._times.pop((objects.uid(pod), "end"), None)

    def _conditions(self, pod: Object, ready: bool, reason: str = "ContainersNotReady") -> list[Object]:
        now = self._cluster.now()
        conditions = objects.status(pod).get("conditions") or []
        for kind in ("PodReadyToStartContainers", "Initialized"):
            conditions = objects.set_condition(conditions, kind, "True", now)
        for kind in ("ContainersReady", "Ready"):
            value = "True" if ready else "False"
            conditions = objects.set_condition(conditions, kind, value, now, "" if ready else reason)
        return conditions

    def _next_address(self) -> str:
        self._addresses = self._addresses % 0xFFFFF + 1
        return str(IPv4Address(self.network + self._addresses))

    def _run(self, pod: Object) -> None:
        wanted = objects.annotations(pod).get(READY) != "false"
        if self._crashed(pod):
            self._restart_when_due(pod)
            return
        if wanted != objects.ready(pod):
            conditions = self._conditions(pod, wanted)
            containers = [{**c, "ready": wanted} for c in objects.status(pod).get("containerStatuses") or ()]
            self._cluster.store.update(
                "pods", objects.with_status(pod, conditions=conditions, containerStatuses=containers)
            )
        seconds = run_seconds(pod)
        if seconds is not None and self._due(pod, "end", seconds):
            self._end(pod)

    def _crashed(self, pod: Object) -> bool:
        containers = objects.status(pod).get("containerStatuses") or ()
        return any("waiting" in (entry.get("state") or {}) for entry in containers)

    def _restart_when_due(self, pod: Object) -> None:
        restarts = max(c.get("restartCount", 0) for c in objects.status(pod)["containerStatuses"])
        pause = min(LONGEST_BACKOFF, BACKOFF * 2**restarts)
        if self._due(pod, "start", pause):
            node = self._cluster.store.get("nodes", "", pod["spec"]["nodeName"])
            if node is not None:
                self._begin(pod, node, restarts + 1)

    def _end(self, pod: Object) -> None:
        """The containers exit; the restart policy says what follows."""
        cluster, now = self._cluster, self._cluster.now()
        code = exit_code(pod)
        policy = pod["spec"].get("restartPolicy", "Always")
        restarts = max(c.get("restartCount", 0) for c in objects.status(pod)["containerStatuses"])
        started = objects.status(pod)["containerStatuses"][0]["state"]["running"]["startedAt"]
        ended = {
            "exitCode": code,
            "reason": "Completed" if code == 0 else "Error",
            "startedAt": started,
            "finishedAt": rfc3339(now),
        }
        again = policy == "Always" or (policy == "OnFailure" and code != 0)
        self._times.pop((objects.uid(pod), "start"), None)
        state = {"waiting": {"reason": "CrashLoopBackOff"}} if again else {"terminated": ended}
        containers = [
            {
                **container_status(pod, c, state, ready=False, restarts=restarts),
                **({"lastState": {"terminated": ended}} if again else {}),
            }
            for c in pod["spec"]["containers"]
        ]
        reason = "PodCompleted" if code == 0 else "PodFailed"
        phase = "Running" if again else "Succeeded" if code == 0 else "Failed"
        conditions = self._conditions(pod, False, "ContainersNotReady" if again else reason)
        new = objects.with_status(pod, phase=phase, conditions=conditions, containerStatuses=containers)
        cluster.store.update("pods", new)


def run_seconds(pod: Object) -> float | None:
    """How long the pod's containers run; None is for ever."""
    text = objects.annotations(pod).get(RUN_SECONDS)
    if text is not None:
        try:
            return max(0.0, float(text))
        except ValueError:
            return None
    if samples.sample_in(pod):
        return samples.SECONDS
    owner = objects.controller(pod)
    return JOB_SECONDS if owner is not None and owner["kind"] == "Job" else None


def exit_code(pod: Object) -> int:
    text = objects.annotations(pod).get(EXIT_CODE)
    if text is None:
        return samples.exit_code_of(pod) if samples.sample_in(pod) else 0
    try:
        return int(text)
    except ValueError:
        return 1


def _address(node: Object) -> str:
    for entry in objects.status(node).get("addresses") or ():
        if entry["type"] == "InternalIP":
            return str(entry["address"])
    return ""


def container_status(pod: Object, container: Object, state: Object, *, ready: bool, restarts: int = 0) -> Object:
    """One entry of status.containerStatuses."""
    started = "running" in state
    image = container.get("image", "")
    entry: Object = {
        "name": container["name"],
        "image": image,
        "imageID": "",
        "lastState": {},
        "ready": ready,
        "started": started,
        "restartCount": restarts,
        "state": state,
    }
    if started:
        digest = hashlib.sha256(f"{objects.uid(pod)}/{container['name']}/{restarts}".encode()).hexdigest()
        entry["containerID"] = f"containerd://{digest}"
        entry["imageID"] = image
    return entry
