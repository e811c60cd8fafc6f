"""Kubernetes' Events about objects in members, as people read them with kubectl. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from shared.contracts.base import JsonObject
from shared.contracts.refs import ObjectRef

_LONGEST: Final = 220  # characters of the object's name in the event's: 253 are allowed in all
_MESSAGE: Final = 1024  # characters of a message that an API server takes


def event_about(
    ref: ObjectRef,
    uid: str,
    *,
    reason: str,
    message: str,
    at: str,
    identity: str,
    source: str,
    kind: str = "Normal",
    annotations: Mapping[str, str] | None = None,
) -> JsonObject:
    """uid: the object's. at: the time, as Kubernetes writes it. identity: what makes this event another than the
    object's other ones; the name follows from it, so that an event that is sent twice is there once."""
    digest = hashlib.sha256(f"{uid}/{identity}".encode()).hexdigest()[:16]
    metadata: JsonObject = {"name": f"{ref.name[:_LONGEST].rstrip('.-')}.{digest}", "namespace": ref.namespace}
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": metadata,
        "involvedObject": {
            "apiVersion": ref.api_version,
            "kind": ref.kind,
            "namespace": ref.namespace,
            "name": ref.name,
            "uid": uid,
        },
        "reason": reason,
        "message": message[:_MESSAGE],
        "type": kind,
        "source": {"component": source},
        "reportingComponent": source,
        "reportingInstance": source,
        "firstTimestamp": at,
        "lastTimestamp": at,
        "count": 1,
    }
