"""What `kubectl get` shows of each kind: the columns and cells of server-side printing.

Names, order and wording are those of Kubernetes' printers; a column with priority 1 shows with `-o wide`.
"""

from __future__ import annotations

from shared.clock import parse_rfc3339
from simulator.cells import Cells, Printer, age, born, columns, containers, duration, scheduled, selector
from simulator.kruise import columns as kruise
from simulator.objects import Object, condition, deleting, labels, name, spec, status
from simulator.resources import CONTAINER_GROUPS


def pod_status(pod: Object) -> str:
    """The STATUS column: phase, or what a container or the deletion says instead."""
    if deleting(pod):
        return "Terminating"
    text = str(status(pod).get("reason") or status(pod).get("phase") or "Unknown")
    for container in status(pod).get("containerStatuses") or ():
        state = container.get("state") or {}
        for kind in ("waiting", "terminated"):
            if reason := (state.get(kind) or {}).get("reason"):
                text = str(reason)
    scheduled = condition(pod, "PodScheduled")
    if scheduled and scheduled.get("reason") == "SchedulingGated":
        text = "SchedulingGated"
    return text


def _pod(pod: Object, now: float) -> Cells:
    statuses = status(pod).get("containerStatuses") or ()
    ready = sum(bool(entry.get("ready")) for entry in statuses)
    restarts = sum(entry.get("restartCount", 0) for entry in statuses)
    gates = len(spec(pod).get("readinessGates") or ())
    return [
        name(pod),
        f"{ready}/{len(spec(pod).get('containers') or ())}",
        pod_status(pod),
        str(restarts),
        born(pod, now),
        status(pod).get("podIP") or "<none>",
        spec(pod).get("nodeName") or "<none>",
        status(pod).get("nominatedNodeName") or "<none>",
        f"0/{gates}" if gates else "<none>",
    ]


def _node(node: Object, now: float) -> Cells:
    found = condition(node, "Ready")
    states = {"True": "Ready", "False": "NotReady"}
    text = states.get(found["status"], "NotReady") if found else "Unknown"
    if spec(node).get("unschedulable"):
        text += ",SchedulingDisabled"
    addresses = {entry["type"]: entry["address"] for entry in status(node).get("addresses") or ()}
    info = status(node).get("nodeInfo") or {}
    return [
        name(node),
        text,
        ",".join(_roles(node)) or "<none>",
        born(node, now),
        info.get("kubeletVersion", ""),
        addresses.get("InternalIP", "<none>"),
        addresses.get("ExternalIP", "<none>"),
        info.get("osImage") or "<unknown>",
        info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]


def _roles(node: Object) -> list[str]:
    found = set()
    for key, value in labels(node).items():
        if key.startswith("node-role.kubernetes.io/"):
            found.add(key.partition("/")[2])
        elif key == "kubernetes.io/role" and value:
            found.add(value)
    return sorted(found)


def _deployment(obj: Object, now: float) -> Cells:
    state = status(obj)
    return [
        name(obj),
        f"{state.get('readyReplicas', 0)}/{spec(obj).get('replicas', 1)}",
        state.get("updatedReplicas", 0),
        state.get("availableReplicas", 0),
        born(obj, now),
        *containers(obj),
        selector(obj),
    ]


def _replicaset(obj: Object, now: float) -> Cells:
    state = status(obj)
    return [
        name(obj),
        spec(obj).get("replicas", 1),
        state.get("replicas", 0),
        state.get("readyReplicas", 0),
        born(obj, now),
        *containers(obj),
        selector(obj),
    ]


def _statefulset(obj: Object, now: float) -> Cells:
    ready = f"{status(obj).get('readyReplicas', 0)}/{spec(obj).get('replicas', 1)}"
    return [name(obj), ready, born(obj, now), *containers(obj)]


def _daemonset(obj: Object, now: float) -> Cells:
    inner = ((spec(obj).get("template") or {}).get("spec") or {}).get("nodeSelector") or {}
    return [
        name(obj),
        *scheduled(obj),
        ",".join(f"{key}={value}" for key, value in inner.items()) or "<none>",
        born(obj, now),
        *containers(obj),
        selector(obj),
    ]


def _job(obj: Object, now: float) -> Cells:
    state, wanted = status(obj), spec(obj).get("completions")
    parallelism = spec(obj).get("parallelism", 1)
    if wanted is not None:
        completions = f"{state.get('succeeded', 0)}/{wanted}"
    else:
        completions = f"{state.get('succeeded', 0)}/1" + (f" of {parallelism}" if parallelism > 1 else "")
    took = "<none>"
    if started := state.get("startTime"):
        ended = state.get("completionTime")
        took = duration((parse_rfc3339(ended) if ended else now) - parse_rfc3339(started))
    return [name(obj), _job_state(obj), completions, took, born(obj, now), *containers(obj), selector(obj)]


def _job_state(obj: Object) -> str:
    held = {entry["type"] for entry in status(obj).get("conditions") or () if entry["status"] == "True"}
    for kind, text in (("Complete", "Complete"), ("Failed", "Failed")):
        if kind in held:
            return text
    if deleting(obj):
        return "Terminating"
    for kind in ("Suspended", "FailureTarget", "SuccessCriteriaMet"):
        if kind in held:
            return kind
    return "Running"


def _service(obj: Object, now: float) -> Cells:
    ports = []
    for port in spec(obj).get("ports") or ():
        node_port = f":{port['nodePort']}" if port.get("nodePort") else ""
        ports.append(f"{port['port']}{node_port}/{port.get('protocol', 'TCP')}")
    chosen = spec(obj).get("selector") or {}
    return [
        name(obj),
        spec(obj).get("type", "ClusterIP"),
        spec(obj).get("clusterIP") or "<none>",
        "<pending>" if spec(obj).get("type") == "LoadBalancer" else "<none>",
        ",".join(ports) or "<none>",
        born(obj, now),
        ",".join(f"{key}={value}" for key, value in chosen.items()) or "<none>",
    ]


def _event(obj: Object, now: float) -> Cells:
    about = obj.get("involvedObject") or {}
    count = obj.get("count", 1)
    last = age(obj.get("lastTimestamp") or obj.get("eventTime"), now)
    first = age(obj.get("firstTimestamp") or obj.get("eventTime"), now)
    return [
        f"{last} (x{count} over {first})" if count > 1 else last,
        obj.get("type", ""),
        obj.get("reason", ""),
        f"{str(about.get('kind', '')).lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""),
        (obj.get("source") or {}).get("component") or obj.get("reportingComponent") or "",
        str(obj.get("message", "")).strip(),
        first,
        count,
        name(obj),
    ]


def _container_group(obj: Object, now: float) -> Cells:
    from simulator.instances import bill  # brings numpy along, which `brim get` need not wait for

    seconds, cost = bill(obj, now)
    inner = spec(obj)
    return [
        name(obj),
        inner.get("podName", ""),
        inner.get("size", ""),
        status(obj).get("phase", ""),
        "true" if inner.get("spot") else "false",
        duration(seconds),
        f"{cost:g}",
        born(obj, now),
        inner.get("nodeName", ""),
        inner.get("hourlyPrice", 0),
    ]


PRINTERS: dict[str, Printer] = {
    **kruise.PRINTERS,
    CONTAINER_GROUPS.shelf: Printer(
        columns("Name", "Pod", "Size", "Status", "Spot", "Billed", "Cost", "Age", "+Node", "+Hourly Price"),
        _container_group,
    ),
    "pods": Printer(
        columns("Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates"),
        _pod,
    ),
    "nodes": Printer(
        columns(
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            "+Internal-IP",
            "+External-IP",
            "+OS-Image",
            "+Kernel-Version",
            "+Container-Runtime",
        ),
        _node,
    ),
    "deployments.apps": Printer(
        columns("Name", "Ready", "Up-to-date", "Available", "Age", "+Containers", "+Images", "+Selector"),
        _deployment,
    ),
    "replicasets.apps": Printer(
        columns("Name", "Desired", "Current", "Ready", "Age", "+Containers", "+Images", "+Selector"),
        _replicaset,
    ),
    "statefulsets.apps": Printer(columns("Name", "Ready", "Age", "+Containers", "+Images"), _statefulset),
    "daemonsets.apps": Printer(
        columns(
            "Name",
            "Desired",
            "Current",
            "Ready",
            "Up-to-date",
            "Available",
            "Node Selector",
            "Age",
            "+Containers",
            "+Images",
            "+Selector",
        ),
        _daemonset,
    ),
    "jobs.batch": Printer(
        columns("Name", "Status", "Completions", "Duration", "Age", "+Containers", "+Images", "+Selector"),
        _job,
    ),
    "poddisruptionbudgets.policy": Printer(
        columns("Name", "Min Available", "Max Unavailable", "Allowed Disruptions", "Age"),
        lambda obj, now: [
            name(obj),
            *(str(spec(obj).get(bound, "N/A")) for bound in ("minAvailable", "maxUnavailable")),
            status(obj).get("disruptionsAllowed", 0),
            born(obj, now),
        ],
    ),
    "services": Printer(columns("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector"), _service),
    "configmaps": Printer(
        columns("Name", "Data", "Age"),
        lambda obj, now: [
            name(obj),
            len(obj.get("data") or ()) + len(obj.get("binaryData") or ()),
            born(obj, now),
        ],
    ),
    "secrets": Printer(
        columns("Name", "Type", "Data", "Age"),
        lambda obj, now: [name(obj), obj.get("type", "Opaque"), len(obj.get("data") or ()), born(obj, now)],
    ),
    "namespaces": Printer(
        columns("Name", "Status", "Age"),
        lambda obj, now: [name(obj), status(obj).get("phase", ""), born(obj, now)],
    ),
    "events": Printer(
        columns(
            "Last Seen",
            "Type",
            "Reason",
            "Object",
            "+Subobject",
            "+Source",
            "Message",
            "+First Seen",
            "+Count",
            "+Name",
        ),
        _event,
    ),
}
GENERIC = Printer(columns("Name", "Age"), lambda obj, now: [name(obj), born(obj, now)])
