"""scale, binding and log."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from shared.clock import Clock, rfc3339
from simulator import managed_fields, objects, samples, selectors, statuses
from simulator.objects import Object
from simulator.registry import APPLY_PATCH, Registry, patched
from simulator.request import Call
from simulator.resources import Resource, built_in
from simulator.schema import schema_of
from simulator.statuses import Cause

_SCALE = Resource("autoscaling", "v1", "scales", "Scale")


def read_path(obj: Any, path: str) -> Any:
    """The value at `.spec.replicas`; None where it is absent."""
    for step in path.strip(".").split("."):
        obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


def _with_path(obj: Object, path: str, value: Any) -> Object:
    head, _, rest = path.strip(".").partition(".")
    return {**obj, head: _with_path(obj.get(head) or {}, rest, value) if rest else value}


def scale_of(resource: Resource, obj: Object) -> Object:
    """The autoscaling/v1 Scale of an object."""
    wanted, current, chosen = resource.scale_paths
    selector = read_path(obj, chosen) if chosen else selectors.show(objects.spec(obj).get("selector"))
    metadata = obj["metadata"]
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            key: metadata[key]
            for key in ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
            if key in metadata
        },
        "spec": {"replicas": read_path(obj, wanted) or 0},
        "status": {"replicas": read_path(obj, current) or 0, **({"selector": selector} if selector else {})},
    }


def write_scale(registry: Registry, call: Call) -> Object:
    """PUT or PATCH of /scale: sets the one field of the object behind it."""
    resource = call.resource
    live = registry.get(resource, call.namespace, call.name)
    scale = scale_of(resource, live)
    body = call.document()
    if call.method == "PUT":
        scale = body
    elif call.content_type == APPLY_PATCH:
        return _apply_scale(registry, call, body)
    else:
        scale = patched(_SCALE, scale, body, call.content_type)
    version = (scale.get("metadata") or {}).get("resourceVersion")
    if version and version != live["metadata"]["resourceVersion"]:
        raise statuses.modified(resource, call.name)
    replicas = _replicas(call, scale)
    new = objects.deep(_with_path(live, resource.scale_paths[0], replicas))
    return scale_of(resource, registry.write(resource, live, new, call.write("scale")))


def _apply_scale(registry: Registry, call: Call, body: Any) -> Object:
    wanted = {
        "apiVersion": call.resource.group_version,
        "kind": call.resource.kind,
        "metadata": {"name": call.name},
    }
    wanted = _with_path(wanted, call.resource.scale_paths[0], _replicas(call, body))
    kind = APPLY_PATCH
    obj, _ = registry.patch(call.resource, call.namespace, call.name, wanted, kind, call.write("scale"))
    return scale_of(call.resource, obj)


def _replicas(call: Call, scale: Any) -> int:
    spec = scale.get("spec") if isinstance(scale, dict) else None
    replicas = (spec or {}).get("replicas", 0)
    if isinstance(replicas, bool) or not isinstance(replicas, int):
        raise statuses.bad_request(f"spec.replicas: {replicas!r} is no integer")
    if replicas < 0:
        why = f"Invalid value: {replicas}: must be greater than or equal to 0"
        raise statuses.invalid(_SCALE, call.name, [Cause("FieldValueInvalid", why, "spec.replicas")])
    return replicas


def bind(registry: Registry, space: str, name: str, body: Any, write_as: str) -> Object:
    """The Binding's effect: node, labels and annotations in one write. Raises ApiError 404, 409."""
    pods = built_in("pods")
    pod = registry.get(pods, space, name)
    metadata = body.get("metadata") or {} if isinstance(body, dict) else {}
    target = ((body.get("target") or {}) if isinstance(body, dict) else {}).get("name")
    if not target:
        raise statuses.invalid(pods, name, [Cause("FieldValueRequired", "Required value", "target.name")])
    uid, actual = metadata.get("uid"), objects.uid(pod)
    if uid and uid != actual:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {actual}"
        raise statuses.conflict(pods, name, why)
    if objects.deleting(pod):
        raise statuses.conflict(pods, name, f"pod {name} is being deleted, cannot be assigned to a host")
    if node := pod["spec"].get("nodeName"):
        raise statuses.conflict(pods, name, f'pod {name} is already assigned to node "{node}"')
    if pod["spec"].get("schedulingGates"):
        raise statuses.conflict(pods, name, f"pod {name} has non-empty .spec.schedulingGates")
    new = bound(pod, str(target), registry.clock.now(), metadata)
    manager = managed_fields.Manager(write_as, "Update", "v1", "binding")
    now = registry.clock.now()
    registry.store.update("pods", managed_fields.after_update(pod, new, manager, schema_of(pods), now))
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


def bound(pod: Object, node: str, now: float, metadata: Object | None = None) -> Object:
    """A pod assigned to a node, PodScheduled, with a Binding's labels and annotations."""
    added = metadata or {}
    changes = {
        key: {**(pod["metadata"].get(key) or {}), **added[key]} for key in ("labels", "annotations") if added.get(key)
    }
    conditions = objects.set_condition(objects.status(pod).get("conditions") or [], "PodScheduled", "True", now)
    pod = objects.with_meta(pod, **changes) if changes else pod
    return objects.with_status(objects.with_spec(pod, nodeName=node), conditions=conditions)


# -- logs


def log_lines(pod: Object, gpu: str = "") -> list[str]:
    """What a pod's simulated containers have written so far. gpu: the model of the pod's GPU."""
    lines = []
    for entry in _container_statuses(pod):
        state = entry.get("state") or {}
        run = state.get("running") or state.get("terminated")
        if run is None:
            continue
        if samples.adds_vectors(entry):
            lines += samples.log_of(pod, gpu) if "terminated" in state else []
            continue
        where = objects.spec(pod).get("nodeName", "")
        lines.append(f"{run['startedAt']} {entry['name']}: {entry.get('image', '')} started on {where}")
        if ended := state.get("terminated"):
            lines.append(f"{ended['finishedAt']} {entry['name']}: exited with {ended['exitCode']}")
    return lines


def _ended_before(pod: Object, container: str) -> bool:
    """Whether a container has run before what runs in it now."""
    return any(
        (entry.get("lastState") or {}).get("terminated")
        for entry in _container_statuses(pod)
        if container in ("", entry["name"])
    )


def _has_started(pod: Object) -> bool:
    return any({"running", "terminated"} & (entry.get("state") or {}).keys() for entry in _container_statuses(pod))


def _container_statuses(pod: Object) -> list[Object]:
    return objects.status(pod).get("containerStatuses") or []


async def log(registry: Registry, clock: Clock, call: Call, request: web.Request) -> web.StreamResponse:
    """GET pods/<name>/log, with container, tailLines and follow."""
    pods = built_in("pods")
    pod = registry.get(pods, call.namespace, call.name)
    containers = [container["name"] for container in pod["spec"]["containers"]]
    wanted = call.query.get("container", "")
    if wanted and wanted not in containers:
        raise statuses.bad_request(f"container {wanted} is not valid for pod {call.name}")
    if call.flag("previous") and not _ended_before(pod, wanted):
        raise statuses.bad_request(
            f'previous terminated container "{wanted or containers[0]}" in pod "{call.name}" not found'
        )
    lines = log_lines(pod, samples.gpu_of(registry.store, pod))
    if not lines and not _has_started(pod):
        raise statuses.bad_request(
            f'container "{wanted or containers[0]}" in pod "{call.name}" is waiting to start: ContainerCreating'
        )
    if "tailLines" in call.query:
        count = call.number("tailLines")
        lines = lines[-count:] if count else []
    if not call.flag("follow"):
        return web.Response(text="".join(f"{line}\n" for line in lines), content_type="text/plain")
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write("".join(f"{line}\n" for line in lines).encode())
    try:
        await _follow(registry, clock, call, response, len(lines))
    except ConnectionResetError:
        return response
    return response


async def _follow(registry: Registry, clock: Clock, call: Call, response: web.StreamResponse, seen: int) -> None:
    """New lines as the pod changes, until it has ended or is gone."""
    log_of_pods = registry.store.log("pods")
    waker = asyncio.Event()
    log_of_pods.wakers.add(waker)
    try:
        while True:
            pod = registry.store.get("pods", call.namespace, call.name)
            if pod is None:
                await response.write(f"{rfc3339(clock.now())} stopped\n".encode())
                return
            lines = log_lines(pod, samples.gpu_of(registry.store, pod))
            for line in lines[seen:]:
                await response.write(f"{line}\n".encode())
            seen = len(lines)
            if objects.finished(pod):
                return
            waker.clear()
            await waker.wait()
    finally:
        log_of_pods.wakers.discard(waker)
