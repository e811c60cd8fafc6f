"""Orders about pods → what is sent to the member, and what its answers mean. Pure.

Every request names the pod's uid, so that a pod of the same name that came later is left alone, and every one may be
sent twice.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from services.executor.core.events import event_about
from services.executor.core.live import mapping
from shared.contracts.base import JsonObject
from shared.contracts.binding import Annotate, Bind, Binding, Evict, Note, Pend, Release
from shared.contracts.refs import ObjectRef

LIFETIME: Final = 600.0  # seconds after which an order is void, as the stream has it
SOURCE: Final = "brim-scheduler"  # whom events name
INSTANCE: Final = ("eci.brim.dev", "v1alpha1", "ContainerGroup")

Standing: TypeAlias = Literal["as ordered", "open", "elsewhere", "gone"]


def pod_ref(order: Binding) -> ObjectRef:
    return ObjectRef(version="v1", kind="Pod", namespace=order.namespace, name=order.name)


def instance_ref(order: Release) -> ObjectRef:
    group, version, kind = INSTANCE
    return ObjectRef(group=group, version=version, kind=kind, namespace=order.namespace, name=order.instance)


def is_void(order: Binding, now: float) -> bool:
    """Too old: what is still to be done is decided anew."""
    return now - order.at > LIFETIME


def binding_body(order: Bind) -> JsonObject:
    """The Binding: node, labels and annotations in one request, for this very pod."""
    metadata: JsonObject = {"name": order.name, "namespace": order.namespace, "uid": order.uid}
    if order.labels:
        metadata["labels"] = dict(order.labels)
    if order.annotations:
        metadata["annotations"] = dict(order.annotations)
    target: JsonObject = {"apiVersion": "v1", "kind": "Node", "name": order.node}
    return {"apiVersion": "v1", "kind": "Binding", "metadata": metadata, "target": target}


def pending_patch(order: Pend, live: JsonObject, at: str) -> JsonObject | None:
    """A strategic patch of the pod's status; None where it says so already. at: the time, as Kubernetes writes it.

    The condition's transition time stays while the pod remains unscheduled: it tells since when it is stuck.
    """
    before = _condition(live)
    nominated = mapping(live.get("status")).get("nominatedNodeName") or ""
    same = before.get("status") == "False"
    told = (before.get("reason"), before.get("message"), nominated)
    if same and told == ("Unschedulable", order.message, order.nominated):
        return None
    since = before.get("lastTransitionTime") if same else None
    condition: JsonObject = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": order.message,
        "lastTransitionTime": since or at,
    }
    status: JsonObject = {"conditions": [condition]}
    if nominated != order.nominated:
        status["nominatedNodeName"] = order.nominated or None
    return {"metadata": {"uid": order.uid}, "status": status}


def annotations_patch(order: Annotate) -> JsonObject:
    return {"metadata": {"uid": order.uid, "annotations": dict(order.annotations)}}


def standing(order: Binding, live: JsonObject) -> Standing:
    """How the pod stands to an order that was refused with a conflict, or that asks for a look first."""
    metadata, spec = mapping(live.get("metadata")), mapping(live.get("spec"))
    if metadata.get("uid") != order.uid:
        return "gone"
    node = spec.get("nodeName")
    if not node:
        return "gone" if metadata.get("deletionTimestamp") else "open"
    return "as ordered" if isinstance(order, Bind) and node == order.node else "elsewhere"


def event_of(order: Binding, at: str) -> JsonObject | None:
    """The event that people see about the pod; None for what they need not read."""
    match order:
        case Bind():
            message = f"Successfully assigned {order.namespace}/{order.name} to {order.node}"
            return _event(order, "Scheduled", message, at, "Normal")
        case Pend():
            return _event(order, "FailedScheduling", order.message, at, "Warning")
        case Evict():
            return _event(order, order.reason, order.message, at, "Warning")
        case Note():
            return _event(order, order.reason, order.message, at, "Warning" if order.warning else "Normal")
        case Annotate() | Release():
            return None


def _event(order: Binding, reason: str, message: str, at: str, kind: str) -> JsonObject:
    """Its name follows from what it says: said twice, it is there once."""
    identity = f"{reason}/{message}"
    return event_about(
        pod_ref(order), order.uid, reason=reason, message=message, at=at, identity=identity, source=SOURCE, kind=kind
    )


def _condition(live: JsonObject) -> JsonObject:
    conditions = mapping(live.get("status")).get("conditions")
    for entry in conditions if isinstance(conditions, list) else ():
        if isinstance(entry, dict) and entry.get("type") == "PodScheduled":
            return entry
    return {}
